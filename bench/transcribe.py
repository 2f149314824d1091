"""Time and memory of `mt3x transcribe`, from cold start to a one-hour recording.

    python bench/transcribe.py [--checkpoint FILE] [--minutes 60] [--repeats 5]
        [--before CHECKOUT]

Prints one line a measure: wall and processor seconds and peak memory of a 10 s clip
with an empty and with a filled compilation cache, of a batch of 12 such clips, of a
long recording, made by tiling the clip, and of as much silence. They are medians of
`--repeats` runs (one of what is long); runs of another checkout of mt3x take turns with
those of this one. Processor seconds say what an idle machine would need at most; they
hold on a busy one too.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from timing import Usage, run_process

from mt3x.music.audio import load_audio

CLIP = Path(__file__).parents[1] / "tests" / "data" / "prelude.ogg"
RATE = 16000


def command(args: Sequence[str | Path], checkout: Path, cache: Path) -> Usage:
    """Run `mt3x transcribe` of a checkout."""
    program = [sys.executable, "-m", "mt3x", "transcribe", "-q", "--overwrite"]
    path = os.pathsep.join([str(checkout), os.environ.get("PYTHONPATH", "")])
    return run_process([*program, *args], MT3X_CACHE=str(cache), PYTHONPATH=path)


def measure(
    label: str,
    args: Sequence[str | Path],
    checkouts: Mapping[str, Path],
    folder: Path,
    repeats: int,
    empty_cache: bool = False,
) -> None:
    """Print medians of alternating runs.

    Unless caches are to be empty, a run that does not count fills them.
    """
    used: dict[str, list[Usage]] = {name: [] for name in checkouts}
    for number in range(repeats if empty_cache else repeats + 1):
        for name, checkout in checkouts.items():
            cache = folder / f"cache_{name}"
            if empty_cache:
                shutil.rmtree(cache, ignore_errors=True)
            usage = command(args, checkout, cache)
            if empty_cache or number > 0:
                used[name].append(usage)
    for name, usages in used.items():
        wall_s, cpu_s, peak_mb = np.median(usages, axis=0)
        print(
            f"{label:32s} {name:6s} {wall_s:7.2f} s  {cpu_s:7.2f} processor s  "
            f"{peak_mb:5.0f} MB",
            flush=True,
        )


def write_tiled(path: Path, clip_S: np.ndarray, seconds: float) -> None:
    """The clip over and over, in bounded memory."""
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as out:
        left = int(seconds * RATE)
        while left > 0:
            out.write(clip_S[:left])
            left -= len(clip_S[:left])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout of mt3x")
    args = parser.parse_args()
    options = ["--checkpoint", args.checkpoint.absolute()] if args.checkpoint else []
    checkouts = {"now": Path(__file__).absolute().parents[1]}
    if args.before is not None:
        checkouts = {"before": args.before.absolute(), **checkouts}

    clip_S = load_audio(CLIP, RATE)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        # Not in a checkout, which would be imported from.
        os.chdir(folder)
        clips = [folder / f"{n}.wav" for n in range(12)]
        for clip in clips:
            write_tiled(clip, clip_S, 10)
        seconds = 60 * args.minutes
        write_tiled(folder / "long.wav", clip_S, seconds)
        write_tiled(folder / "silence.wav", np.zeros_like(clip_S), seconds)
        for label, inputs, repeats, empty_cache in (
            ("10 s clip, empty cache", clips[:1], args.repeats, True),
            ("10 s clip, filled cache", clips[:1], args.repeats, False),
            ("12 clips of 10 s", clips, args.repeats, False),
            (f"{args.minutes:g} min recording", [folder / "long.wav"], 1, True),
            (f"{args.minutes:g} min of silence", [folder / "silence.wav"], 1, True),
        ):
            measure(label, [*inputs, *options], checkouts, folder, repeats, empty_cache)


if __name__ == "__main__":
    main()
