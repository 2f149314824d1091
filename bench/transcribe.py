"""Time and memory of `mt3x transcribe`, from cold start to a one-hour recording.

    python bench/transcribe.py [--checkpoint FILE] [--minutes 60]

Prints one line a measure: wall and processor seconds of a 10 s clip with an empty and
with a filled compilation cache, seconds per minute of audio once running, and time and
peak memory of a long recording, made by tiling the clip. Processor seconds say what an
idle machine would need at most; they hold on a busy one too.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from timing import Usage, run_process

from mt3x.music.audio import load_audio

CLIP = Path(__file__).parents[1] / "tests" / "data" / "prelude.ogg"
RATE = 16000


def command(*args: str | Path, cache: str | Path) -> Usage:
    """Run `mt3x transcribe`."""
    program = [sys.executable, "-m", "mt3x", "transcribe", "-q", "--overwrite"]
    return run_process([*program, *args], MT3X_CACHE=str(cache))


def write_tiled(path: Path, clip_S: np.ndarray, seconds: float) -> None:
    """The clip over and over, in bounded memory."""
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as out:
        left = int(seconds * RATE)
        while left > 0:
            out.write(clip_S[:left])
            left -= len(clip_S[:left])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint")
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    options = ["--checkpoint", args.checkpoint] if args.checkpoint else []

    clip_S = load_audio(CLIP, RATE)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        write_tiled(folder / "10s.wav", clip_S, 10)
        write_tiled(folder / "long.wav", clip_S, 60 * args.minutes)
        for label in ("empty", "filled"):
            wall_s, cpu_s, peak_mb = command(
                folder / "10s.wav", *options, cache=folder / "cache"
            )
            print(
                f"10 s clip, {label} compilation cache: {wall_s:.2f} s, "
                f"{cpu_s:.2f} processor s, {peak_mb:.0f} MB",
                flush=True,
            )

        from mt3x.inference.transcriber import Transcriber

        transcriber = Transcriber(args.checkpoint)
        minute_S = np.resize(clip_S, 60 * RATE)
        transcriber(minute_S, RATE)
        start_s, start_cpu_s = time.monotonic(), time.process_time()
        transcriber(minute_S, RATE)
        wall_s = time.monotonic() - start_s
        cpu_s = time.process_time() - start_cpu_s
        print(
            f"per minute of audio: {wall_s:.2f} s, {cpu_s:.2f} processor s "
            f"({60 / wall_s:.1f}x realtime)",
            flush=True,
        )
        wall_s, cpu_s, peak_mb = command(
            folder / "long.wav", *options, cache=folder / "cache"
        )
        print(
            f"{args.minutes:g} min recording: {wall_s:.1f} s, {cpu_s:.1f} processor s, "
            f"{peak_mb:.0f} MB at most ({args.minutes * 60 / wall_s:.1f}x realtime)"
        )


if __name__ == "__main__":
    main()
