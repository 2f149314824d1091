"""`mt3x transcribe` beside basic-pitch: real-time factors and scores of both, one run.

    python bench/basic_pitch.py FOLDER --basic-pitch ENV/bin/basic-pitch

FOLDER holds recordings with labels beside them, as MAPS has them; basic-pitch (PyPI,
Bittner et al. 2022) lives in an environment of its own. Both commands transcribe the
first 60 s of all recordings in one call each, by turns, from start to MIDI files, after
one call to warm up. A real-time factor is seconds of work per second of audio: lower is
faster. Then come the mean scores of both over the recordings.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile
from timing import limit_threads, median_times

from mt3x.data.published.maps import read_maps
from mt3x.data.published.source import NotesSource
from mt3x.music.audio import load_audio
from mt3x.music.metrics import integrated, mean_scores, note_scores
from mt3x.music.note_files import read_notes

RATE_HZ = 22050  # basic-pitch's, so that neither has an advantage by much
SCORES = ("note", "note_offset", "note_offset_velocity", "frame")


def mt3x_command(files: list[Path], out: Path, checkpoint: str | None) -> list[str]:
    command = [sys.executable, "-m", "mt3x", "transcribe", "-q", "--overwrite"]
    command += ["--checkpoint", checkpoint] if checkpoint else []
    return [*command, "-d", str(out), *map(str, files)]


def basic_pitch_command(program: str, files: list[Path], out: Path) -> list[str]:
    for old in out.glob("*.mid"):
        old.unlink()  # it does not overwrite
    options = ["--save-midi", "--model-serialization", "onnx"]
    return [program, *options, str(out), *map(str, files)]


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip()[-500:]}")


def cut(recordings: list[NotesSource], folder: Path, seconds: float) -> list[Path]:
    files = []
    for recording in recordings:
        samples_S = load_audio(recording.audio_path, RATE_HZ)
        samples_S = samples_S[: round(seconds * RATE_HZ)]
        files.append(folder / (Path(recording.audio_path).stem + ".wav"))
        soundfile.write(files[-1], samples_S, RATE_HZ)
    return files


def mean_line(recordings: list[NotesSource], out: Path, seconds: float) -> str:
    """Mean F1 in percent: notes, with offset, and velocity, frames of 20 and 10 ms."""
    pieces, cells = [], []
    for recording in recordings:
        found = sorted(out.glob(Path(recording.audio_path).stem + "*.mid"))
        ref = recording.notes().clip(0.0, seconds)
        est = read_notes(found[0]).clip(0.0, seconds)
        pieces.append(note_scores(ref, est))
        cells.append(integrated(ref, est, frame_rate_hz=100).score.f1)
    means = [getattr(mean_scores(pieces), name).f1 for name in SCORES]
    values = [*means, sum(cells) / len(cells)]
    return " ".join(f"{100 * value:7.2f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--basic-pitch", required=True, help="its program")
    parser.add_argument("--checkpoint")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pieces", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    limit_threads()
    recordings = read_maps(args.folder)[: args.pieces]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = cut(recordings, folder, args.seconds)
        audio_s = sum(soundfile.info(file).duration for file in files)
        ours, theirs = folder / "mt3x", folder / "basic_pitch"
        theirs.mkdir()
        times_s = median_times(
            {
                "mt3x": lambda: run(mt3x_command(files, ours, args.checkpoint)),
                "basic-pitch": lambda: run(
                    basic_pitch_command(args.basic_pitch, files, theirs)
                ),
            },
            args.repeats,
        )
        print(f"{len(files)} recordings, {audio_s:.0f} s of audio, two CPU threads")
        for name, time_s in times_s.items():
            factor = time_s / audio_s
            print(f"{name:12s} {time_s:7.1f} s   real-time factor {factor:.3f}")
        ratio = times_s["basic-pitch"] / times_s["mt3x"]
        print(f"ratio {ratio:.2f}")
        print(f"{'F1, %':12s}    note  offset    vel.   frame  frame 10 ms")
        for name, out in (("mt3x", ours), ("basic-pitch", theirs)):
            print(f"{name:12s} {mean_line(recordings, out, args.seconds)}")


if __name__ == "__main__":
    main()
