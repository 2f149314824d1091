"""Live input against whole recordings: note F1, delay and cost by kind of window.

    python bench/live.py FOLDER [--checkpoint FILE] [--seconds 60] [--pieces N]

FOLDER holds recordings with labels beside them, as MAPS has them, or is a corpus
written by `mt3x corpus`. Each is fed in blocks of 20 ms. A line of a Markdown table
each gives the mean F1 of notes, with offset, and of frames; the mean and the longest
delay, from an onset in the recording to the return of the push that makes it certain,
in seconds of sound and of computing; and CPU seconds for a second of sound. Alone on a
machine, since delays have the computing in them.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
from recordings import clips

from mt3x.inference.live import KeyEvents, LiveTranscriber, LiveWindowConfig
from mt3x.inference.transcriber import Transcriber
from mt3x.music.metrics import mean_scores, note_scores
from mt3x.music.notes import Notes

BLOCK_S = 0.02
# Frames of a window, of its context and fade at the end, and new ones.
WINDOWS = (
    LiveWindowConfig(128, 24, 16, hop_frames=64),
    LiveWindowConfig(128, 16, 8, hop_frames=32),
    LiveWindowConfig(128, 12, 4, hop_frames=16),
    LiveWindowConfig(96, 12, 4, hop_frames=16),
    LiveWindowConfig(64, 12, 4, hop_frames=16),
    LiveWindowConfig(64, 8, 2, hop_frames=8),
    LiveWindowConfig(64, 4, 2, hop_frames=8),
)


class Take(NamedTuple):
    """What came of a recording."""

    notes: Notes
    delay_N: np.ndarray
    cpu_s: float


def listen(
    transcriber: Transcriber, samples_S: np.ndarray, window: LiveWindowConfig
) -> Take:
    rate_hz = transcriber.sample_rate_hz
    live, events = LiveTranscriber(transcriber, window=window), KeyEvents()
    size = round(BLOCK_S * rate_hz)
    notes, delays_s, cpu_s = [], [], 0.0
    for start in range(0, len(samples_S), size):
        block_S = samples_S[start : start + size]
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        ended = live.push(block_S)
        cpu_s += time.process_time() - begin_cpu_s
        told_s = (start + len(block_S)) / rate_hz + time.perf_counter() - begin_s
        notes.append(ended)
        delays_s += [
            told_s - event.time_s
            for event in events(ended, live.sounding)
            if event.velocity
        ]
    notes.append(live.finish())
    return Take(Notes.concatenate(notes), np.array(delays_s), cpu_s)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--checkpoint")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pieces", type=int)
    args = parser.parse_args()
    transcriber = Transcriber(args.checkpoint)
    rate_hz = transcriber.sample_rate_hz
    pieces = clips(args.folder, rate_hz, args.seconds, args.pieces)
    total_s = sum(len(samples_S) for samples_S, _ in pieces) / rate_hz
    decoding = transcriber.roll_decoding
    whole = decoding.postprocessing if decoding is not None else None

    print(f"{len(pieces)} pieces, {total_s:.0f} s")
    print(
        "| window | context, fade | step | note | with offset | frame | delay | CPU |"
    )
    print("|---|---|---|---|---|---|---|---|")

    def line(name: str, found: list[Notes], delay: str, cpu_s: float) -> None:
        pairs = zip(pieces, found, strict=True)
        mean = mean_scores([note_scores(ref, est) for (_, ref), est in pairs])
        kinds = (mean.note, mean.note_offset, mean.frame)
        f1 = " | ".join(f"{100 * kind.f1:.1f}" for kind in kinds)
        print(f"| {name} | {f1} | {delay} | {cpu_s / total_s:.2f} |", flush=True)

    start_s = time.process_time()
    found = [transcriber(samples_S, rate_hz) for samples_S, _ in pieces]
    line("whole recording | | ", found, "", time.process_time() - start_s)
    for window in WINDOWS:
        takes = [listen(transcriber, samples_S, window) for samples_S, _ in pieces]
        delay_N = np.concatenate([take.delay_N for take in takes])
        frames = (
            window.num_frames,
            window.context_frames,
            window.fade_frames,
            window.hop_frames,
        )
        length_s, *sides_s, step_s = np.array(frames) / transcriber.frame_rate_hz
        sides = " + ".join(f"{side_s:.2f}" for side_s in sides_s)
        name = f"{length_s:.2f} s | {sides} s | {step_s:.2f} s"
        found = [whole(take.notes) if whole else take.notes for take in takes]
        delay = f"{delay_N.mean():.2f}, {delay_N.max():.2f} s"
        line(name, found, delay, sum(take.cpu_s for take in takes))


if __name__ == "__main__":
    main()
