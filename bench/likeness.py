"""How like recordings rendered pianos are: level, rise and fall of notes.

    python bench/likeness.py FOLDER [--seconds 60] [--pieces N]

FOLDER is as for `bench/decoding.py`: run it on recordings and on a rendered corpus, and
compare. Measured are notes whose partials no other note touches, in the constant-Q
transform:

level: in the 100 ms after the onset, fitted to gamma * 20 log10((velocity + 10) / 137),
  the curve of sampled pianos (`mt3x.data.synthesis.pianos.velocity_gain`), a level for
  each piece, and a parabola over the keys or a level for each key. What is left says
  how uneven keys and hammers are.
rise: time from the label to 6 dB below the highest level, by frequency, medians. (A
  window of the transform reaches before its frame: an ideal attack has about 0 ms.)
fall: level after the label of the offset, relative to 80 ms before it, medians.
end: level around the label of the offset, relative to 200 ms before it, medians, of
  notes that their key ends and of those that the pedal held. (Recordings alone.)
"""

import argparse
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from recordings import clips, held_by_pedal, maps_recordings

from mt3x.models.features import CQTConfig, cqt
from mt3x.music.notes import Notes

COARSE, FINE = CQTConfig(), CQTConfig(hop_samples=64)
# Distances at which another note's partials, or its neighbours, reach a fundamental.
TOUCHING = (-2, -1, 0, 1, 2, 12, 19, 24, 28, 31, 34, 36)
PARTIALS = (1, 2, 3, 4, 6, 8, 10)
BANDS_HZ = (150, 300, 600, 1200, 2500, 5000)
KEYS = (21, 45, 60, 75, 90)
FALL_S = (0.0, 0.04, 0.08, 0.16, 0.32)
END_S = (-0.16, -0.12, -0.08, -0.04, 0.0, 0.1, 0.2)
Rows = list[tuple[float, ...]]


def touched(notes: Notes, index: int, start_s: float, end_s: float) -> bool:
    """Return whether notes that sound in a span reach this one's fundamental."""
    inside = (notes.onset_s < end_s) & (notes.offset_s > start_s)
    inside[index] = False
    return bool(np.isin(notes.pitch[index] - notes.pitch[inside], TOUCHING).any())


def own_bins(db_TxF: np.ndarray, pitch: int, partial: int = 1) -> np.ndarray:
    """Return a partial's level over time; empty where it is off the spectrogram."""
    first = 4 * (pitch - 21) + round(48 * np.log2(partial))
    own_TxF = db_TxF[:, first : first + 4]
    return own_TxF.max(axis=1) if own_TxF.shape[1] == 4 else np.zeros(0)


def levels(db_TxF: np.ndarray, notes: Notes) -> Rows:
    """Return rows of key, velocity, level."""
    rows = []
    for n, onset_s in enumerate(notes.onset_s):
        frame, pitch = round(onset_s * COARSE.frame_rate_hz), int(notes.pitch[n])
        near = np.abs(notes.onset_s - onset_s) < 0.06
        near[n] = False
        if frame < 3 or np.isin(pitch - notes.pitch[near], TOUCHING).any():
            continue
        own_T = own_bins(db_TxF, pitch)
        after = own_T[frame : frame + 6].max()
        if after - own_T[frame - 3 : frame - 1].max() > 10:
            rows.append((pitch, int(notes.velocity[n]), after))
    return rows


def rises(db_TxF: np.ndarray, notes: Notes) -> Rows:
    """Return rows of frequency in Hz, milliseconds."""
    rows, rate = [], FINE.frame_rate_hz
    for n, onset_s in enumerate(notes.onset_s):
        frame = round(onset_s * rate)
        alone = (np.abs(notes.onset_s - onset_s) < 0.08).sum() == 1
        if not alone or frame < 30 or frame + 50 > len(db_TxF):
            continue
        for partial in PARTIALS:
            own_T = own_bins(db_TxF, int(notes.pitch[n]), partial)[frame - 30 :][:80]
            if len(own_T) and own_T[30:].max() - own_T[5:20].max() > 18:
                late = int(np.argmax(own_T > own_T[30:].max() - 6)) - 30
                hz = 440 * 2 ** ((notes.pitch[n] - 69) / 12) * partial
                rows.append((hz, 1e3 * late / rate))
    return rows


def falls(
    db_TxF: np.ndarray,
    notes: Notes,
    which_N: np.ndarray | None = None,
    times_s: tuple[float, ...] = FALL_S,
    before_s: float = 0.08,
) -> Rows:
    """Return rows of key and levels after the offset, relative to that before it."""
    rows, rate = [], COARSE.frame_rate_hz
    which_N = np.ones(len(notes), bool) if which_N is None else which_N
    for n in np.flatnonzero(which_N):
        offset_s = notes.offset_s[n]
        frame, before = round(offset_s * rate), round((offset_s - before_s) * rate)
        if before < 6 or frame + 20 > len(db_TxF):
            continue
        if touched(notes, n, offset_s - 0.25, offset_s + 0.35):
            continue
        own_T = own_bins(db_TxF, int(notes.pitch[n]))
        if own_T[before] - np.median(db_TxF[frame + 7]) > 15:
            after = [own_T[frame + round(s * rate)] - own_T[before] for s in times_s]
            rows.append((int(notes.pitch[n]), *after))
    return rows


def fit(columns: list[np.ndarray], level_N: np.ndarray) -> tuple[float, float]:
    """Return the first column's weight, and the standard deviation of what is left."""
    matrix = np.stack(columns, axis=1)
    weights = np.linalg.lstsq(matrix, level_N)[0]
    return float(weights[0]), float(np.std(level_N - matrix @ weights))


def each(values_N: np.ndarray) -> list[np.ndarray]:
    """Return a column for each value, 1 where it stands."""
    return [(values_N == value).astype(float) for value in np.unique(values_N)]


def report_levels(rows: Rows) -> None:
    piece_N, key_N, velocity_N, level_N = np.array(rows, float).T
    curve_N = 20 * np.log10((velocity_N + 10) / 137)
    common = [curve_N, *each(piece_N)]
    gamma, even_db = fit([*common, *each(key_N)], level_N)
    _, uneven_db = fit([*common, key_N / 100, (key_N / 100) ** 2], level_N)
    print(
        f"level: {len(rows)} notes, gamma {gamma:.2f}, left {even_db:.2f} dB with a "
        f"level for each key, {uneven_db:.2f} dB with a parabola"
    )


def report_medians(title: str, edges: tuple[int, ...], rows: Rows, unit: str) -> None:
    """Print medians of all columns except the first, between each two edges of that."""
    values = np.array(rows, float)
    for low, high in itertools.pairwise(edges):
        inside = values[(values[:, 0] >= low) & (values[:, 0] < high), 1:]
        if len(inside) > 5:
            medians = " ".join(f"{m:6.1f}" for m in np.median(inside, axis=0))
            print(f"{title} {low:5d}+ {medians} {unit} ({len(inside)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pieces", type=int)
    args = parser.parse_args()

    def in_db(samples_S: np.ndarray, config: CQTConfig) -> np.ndarray:
        mags = jax.jit(cqt, static_argnums=1)(jnp.asarray(samples_S)[None], config)[0]
        return 20 * np.log10(np.maximum(np.asarray(mags), 1e-7))

    level, rise, fall = [], [], []
    end: dict[str, Rows] = {"key": [], "pedal": []}
    pieces = clips(args.folder, COARSE.sample_rate_hz, args.seconds, args.pieces)
    recordings = maps_recordings(args.folder)
    for n, (samples_S, notes) in enumerate(pieces):
        db_TxF = in_db(samples_S, COARSE)
        level += [(n, *row) for row in levels(db_TxF, notes)]
        fall += falls(db_TxF, notes)
        rise += rises(in_db(samples_S, FINE), notes)
        if recordings:
            held_N = held_by_pedal(recordings[n], args.seconds)
            long_N = notes.offset_s - notes.onset_s > 0.3
            for name, which_N in (("key", ~held_N), ("pedal", held_N)):
                end[name] += falls(db_TxF, notes, which_N & long_N, END_S, 0.2)
    report_levels(level)
    report_medians("rise from Hz", BANDS_HZ, rise, "ms")
    print(f"fall at {' '.join(f'{1e3 * s:.0f}' for s in FALL_S)} ms")
    report_medians("fall from key", KEYS, fall, "dB")
    if recordings:
        print(f"end at {' '.join(f'{1e3 * s:.0f}' for s in END_S)} ms")
        for name, rows in end.items():
            report_medians(f"end by the {name}, from key", KEYS, rows, "dB")


if __name__ == "__main__":
    main()
