"""Where a piano transcription goes wrong, by kind, loudness, register and length.

    mt3x transcribe FOLDER -d out
    python bench/errors.py FOLDER out [--seconds 60]

FOLDER holds recordings with labels beside them, as MAPS has them, and `out` a MIDI file
of each. Notes match as in the score `note` (same key, onsets within 50 ms); all counts
are over all recordings together.
"""

import argparse
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
from recordings import held_by_pedal

from mt3x.data.published.maps import read_maps
from mt3x.music.metrics import count_velocity_matches, match_notes
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes

OVERTONES = (12, 19, 24, 28, 31, 34, 36)  # semitones of partials 2 to 8
VELOCITIES = (0, 30, 40, 50, 60, 128)
KEYS = (21, 33, 45, 57, 69, 81, 109)
NEAR_S = 0.15
DURATIONS_S = (0.0, 0.15, 0.3, 0.6, 1.2, 60.0)


def extra_kind(ref: Notes, pitch: int, onset_s: float) -> str:
    """What an estimated note that matches none may be."""
    same = ref.pitch == pitch
    if (same & (np.abs(ref.onset_s - onset_s) < NEAR_S)).any():
        return "second of a note, or more than 50 ms off"
    if (same & (ref.onset_s < onset_s) & (ref.offset_s > onset_s)).any():
        return "key that sounds struck again"
    above = pitch - ref.pitch[np.abs(ref.onset_s - onset_s) < 0.06]
    if np.isin(above, OVERTONES).any():
        return "overtone of a note that begins"
    if (above == -12).any():
        return "octave below a note that begins"
    return "another"


def missed_kind(ref: Notes, index: int) -> str:
    """What a reference note that matches none is."""
    onset_s, pitch = ref.onset_s[index], ref.pitch[index]
    gap_s = onset_s - ref.offset_s
    before = (ref.pitch == pitch) & (ref.onset_s < onset_s) & (np.abs(gap_s) < 0.1)
    if before.any():
        return "key struck again within 0.1 s"
    others = np.abs(ref.onset_s - onset_s) < 0.05
    if np.isin(pitch - ref.pitch[others], OVERTONES).any():
        return "overtone of another note"
    return "another"


def shares(name: str, edges: tuple[float, ...], values: np.ndarray, hit: np.ndarray):
    """Prints the share of hits between each two edges."""
    parts = []
    for low, high in itertools.pairwise(edges):
        inside = (values >= low) & (values < high)
        if inside.any():
            parts.append(f"{low:g}+ {100 * hit[inside].mean():.0f} % of {inside.sum()}")
    print(f"  by {name}: " + ", ".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("transcriptions")
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    extra: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    notes, pairs, velocity, timing = [], [], [], []
    for recording in read_maps(args.folder):
        stem = Path(recording.audio_path).stem
        ref = recording.notes().clip(0.0, args.seconds)
        est = read_notes(Path(args.transcriptions) / f"{stem}.mid")
        est = est.clip(0.0, args.seconds)
        matched = match_notes(ref, est, 0.05, offset_ratio=None)
        found, right = np.isin(np.arange(len(ref)), matched[:, 0]), matched[:, 1]
        for i in np.setdiff1d(np.arange(len(est)), right):
            extra[extra_kind(ref, int(est.pitch[i]), float(est.onset_s[i]))] += 1
        for i in np.flatnonzero(~found):
            missed[missed_kind(ref, i)] += 1
        notes.append((ref.velocity, ref.pitch, found))
        r, e = matched.T
        by_pedal = held_by_pedal(recording, args.seconds)[r]
        duration_s = ref.offset_s[r] - ref.onset_s[r]
        late_s = est.offset_s[e] - ref.offset_s[r]
        onset_s = est.onset_s[e] - ref.onset_s[r]
        pairs.append((onset_s, late_s, duration_s, ref.pitch[r], by_pedal))
        within = count_velocity_matches(ref, est, matched)
        correlation = np.corrcoef(ref.velocity[r], est.velocity[e])[0, 1]
        velocity.append((within, len(matched), correlation))
        r, e = match_notes(ref, est, NEAR_S, offset_ratio=None).T
        timing.append((ref.velocity[r], np.abs(est.onset_s[e] - ref.onset_s[r])))

    loudness, pitch, found = (np.concatenate(part) for part in zip(*notes, strict=True))
    onset_s, late_s, duration_s, key, by_pedal = (
        np.concatenate(part) for part in zip(*pairs, strict=True)
    )
    print(f"{len(found)} notes, {found.sum()} found, {extra.total()} extra")
    for title, kinds in (("extra", extra), ("missed", missed)):
        counts = (f"{count} {kind}" for kind, count in kinds.most_common())
        print(f"{title}: " + ", ".join(counts))
    print("found")
    shares("velocity", VELOCITIES, loudness, found)
    shares("key", KEYS, pitch, found)
    tolerance_s = np.maximum(0.05, 0.2 * duration_s)
    for title, hit in (
        ("offset right", np.abs(late_s) <= tolerance_s),
        ("offset late", late_s > tolerance_s),
        ("offset early", late_s < -tolerance_s),
    ):
        print(f"{title}: {100 * hit.mean():.1f} %")
        shares("length in s", DURATIONS_S, duration_s, hit)
        shares("key", KEYS, key, hit)
        shares("held by the key alone, by the pedal", (0, 1, 2), by_pedal, hit)
    for name, which in (("the key", ~by_pedal), ("the pedal", by_pedal)):
        median_ms = 1e3 * np.median(late_s[which])
        print(f"offset of notes that {name} ends: median {median_ms:+.0f} ms")
    within, count, correlations = np.array(velocity).T
    print(
        f"velocity within 0.1: {100 * within.sum() / count.sum():.1f} %, "
        f"mean correlation {correlations.mean():.2f}"
    )
    low, median, high = 1e3 * np.quantile(onset_s, [0.05, 0.5, 0.95])
    print(f"onset: {median:+.1f} ms, 90 % from {low:+.0f} to {high:+.0f} ms")
    loudness, error_s = (np.concatenate(part) for part in zip(*timing, strict=True))
    share = 100 * (error_s > 0.05).mean()
    print(f"of onsets within {NEAR_S:g} s more than 50 ms off: {share:.1f} %")
    shares("velocity", VELOCITIES, loudness, error_s > 0.05)


if __name__ == "__main__":
    main()
