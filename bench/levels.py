"""How loud the notes of a piano are: by velocity, and from key to key.

    python bench/levels.py FOLDER [--seconds 60] [--pieces N]

FOLDER is as for `bench/decoding.py`. Of each note whose fundamental no other note
touches the level in the 100 ms after its onset is taken from the constant-Q transform.
Fitted to gamma * 20 log10((velocity + 10) / 137), the curve of sampled pianos
(`mt3x.pianos.velocity_gain`), a level for each piece, and a parabola over the keys or a
level for each key, they give gamma and what is left: how uneven keys and hammers are.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from recordings import clips

from mt3x.features import CQTConfig, cqt
from mt3x.notes import Notes

CONFIG = CQTConfig()
# Distances at which another note's partials, or its neighbours, reach a fundamental.
TOUCHING = (-2, -1, 1, 2, 12, 19, 24, 28, 31, 34, 36)


def levels(mags_TxF: np.ndarray, notes: Notes) -> list[tuple[int, int, float]]:
    """Key, velocity and level in dB of the notes whose fundamentals sound alone."""
    rows = []
    for onset_s, pitch, velocity in zip(
        notes.onset_s, notes.pitch, notes.velocity, strict=True
    ):
        frame, first = round(onset_s * CONFIG.frame_rate_hz), 4 * (int(pitch) - 21)
        near = np.abs(notes.onset_s - onset_s) < 0.06
        if frame < 3 or np.isin(pitch - notes.pitch[near], TOUCHING).any():
            continue
        own_TxF = mags_TxF[:, first : first + 4]
        after = own_TxF[frame : frame + 6].max()
        before = max(float(own_TxF[frame - 3 : frame - 1].max()), 1e-7)
        if after > 3 * before:
            rows.append((int(pitch), int(velocity), 20 * float(np.log10(after))))
    return rows


def fit(columns: list[np.ndarray], level_N: np.ndarray) -> tuple[float, float]:
    """Weight of the first column, and the standard deviation of what is left."""
    matrix = np.stack(columns, axis=1)
    weights = np.linalg.lstsq(matrix, level_N)[0]
    return float(weights[0]), float(np.std(level_N - matrix @ weights))


def each(values_N: np.ndarray) -> list[np.ndarray]:
    """A column for each value, 1 where it stands."""
    return [(values_N == value).astype(float) for value in np.unique(values_N)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pieces", type=int)
    args = parser.parse_args()
    transform = jax.jit(lambda samples_BxS: cqt(samples_BxS, CONFIG)[0])
    rows = []
    pieces = clips(args.folder, CONFIG.sample_rate_hz, args.seconds, args.pieces)
    for n, (samples_S, notes) in enumerate(pieces):
        mags_TxF = np.asarray(transform(jnp.asarray(samples_S)[None]))
        rows += [(n, *row) for row in levels(mags_TxF, notes)]
    piece_N, key_N, velocity_N, level_N = np.array(rows, float).T
    curve_N = 20 * np.log10((velocity_N + 10) / 137)
    common = [curve_N, *each(piece_N)]
    gamma, even_db = fit([*common, *each(key_N)], level_N)
    _, uneven_db = fit([*common, key_N / 100, (key_N / 100) ** 2], level_N)
    print(f"{len(rows)} notes, gamma {gamma:.2f}")
    print(
        f"left with a level for each key: {even_db:.2f} dB, smooth: {uneven_db:.2f} dB"
    )


if __name__ == "__main__":
    main()
