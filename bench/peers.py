"""mt3x beside other transcribers of pianos: time, memory, size on disk and scores.

    python bench/peers.py FOLDER --envs ENVS [--seconds 30] [--pieces N]
    python bench/peers.py FOLDER --envs ENVS --lengths      # mt3x alone, 10 s to 2 h

FOLDER holds recordings with labels beside them, as MAPS has them. ENVS is a folder of
virtual environments, one for each program; those that are missing are made by pip, with
the versions in `PEERS` (some 8 GB, most of it PyTorch's CUDA libraries, which nothing
here uses). Python 3.10, 3.11 and 3.12 are looked for as `python3.10` and so on, or in
`--python 3.10=PATH`. Each program is its own package's, with the weights inside it.

All transcribe the same first seconds of the same recordings on two cores, one program
after another. A table in Markdown is printed, and written where `--out` says:

- seconds of the clock and of the processor for each second of audio: of all recordings
  in one process, without the start;
- the start: a whole process for a clip of 10 s, after one (printed) and another file;
- memory: the most that a process held;
- size: the packages of the environment, without CUDA's libraries; the weights;
- mean F1 of notes (onsets within 50 ms) and of notes with offsets (20 % or 50 ms).
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import soundfile
from basic_pitch import cut
from timing import Usage, limit_threads, run_process
from transcribe import RATE, write_tiled

from mt3x.data.published.maps import read_maps
from mt3x.data.published.source import NotesSource
from mt3x.music.audio import load_audio
from mt3x.music.metrics import mean_scores, note_scores
from mt3x.music.note_files import read_notes

ROOT = Path(__file__).resolve().parents[1]
START_S = 10.0
LENGTHS_S = {"10 s": 10, "1 min": 60, "10 min": 600, "1 h": 3600, "2 h": 7200}
# Their programs take one file a call; so they load their model once for all.
HARMONICA = """
import pathlib, sys
from harmonica import Harmonica
size, out, *files = sys.argv[1:]
model = Harmonica(size)
for file in map(pathlib.Path, files):
    model.transcribe(str(file)).save_midi(f"{out}/{file.stem}.mid")
"""
TRANSKUN = """
import pathlib, sys
from transkun.transcribe import main
out, *files = sys.argv[1:]
for file in map(pathlib.Path, files):
    sys.argv = ["transkun", str(file), f"{out}/{file.stem}.mid"]
    main()
"""

# Environment's bin folder, files, out folder -> a command.
Command = Callable[[Path, list[Path], Path], list[str | Path]]


@dataclass(frozen=True)
class Peer:
    """A program in an environment of its own."""

    env: str
    python: str
    requirements: tuple[str, ...]
    # Its weights, inside of site-packages.
    weights: str
    # Transcribes all files in one process.
    all_files: Command
    # Its own program, for one file.
    one_file: Command


def _mt3x(bin: Path, files: list[Path], out: Path) -> list[str | Path]:
    return [bin / "mt3x", "transcribe", "-q", "--overwrite", "-d", out, *files]


def _basic_pitch(bin: Path, files: list[Path], out: Path) -> list[str | Path]:
    options = ["--save-midi", "--model-serialization", "onnx"]
    return [bin / "basic-pitch", *options, out, *files]


def _harmonica(size: str) -> Peer:
    return Peer(
        "harmonica",
        "3.12",
        ("harmonica-amt==0.3.0", "torch==2.14.1"),
        f"harmonica/weights/harmonica-{size}.pt",
        lambda bin, files, out: [bin / "python", "-c", HARMONICA, size, out, *files],
        lambda bin, files, out: [
            *(bin / "harmonica-amt", files[0], "--model", size),
            *("--output", out / f"{files[0].stem}.mid"),
        ],
    )


PEERS = {
    "mt3x": Peer("mt3x", "3.11", (str(ROOT),), "mt3x/weights/*", _mt3x, _mt3x),
    "basic-pitch 0.4.0": Peer(
        "basic-pitch",
        "3.10",  # from 3.11 on it needs TensorFlow
        ("basic-pitch[onnx]==0.4.0", "numpy<2", "setuptools<81"),
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        _basic_pitch,
        _basic_pitch,
    ),
    "harmonica-amt 0.3.0 small": _harmonica("small"),
    "harmonica-amt 0.3.0 medium": _harmonica("medium"),
    "Transkun 2.0.1": Peer(
        "transkun",
        "3.11",
        ("transkun==2.0.1", "torch==2.11.0", "torchaudio==2.11.0", "setuptools<81"),
        "transkun/pretrained/2.0.pt",
        lambda bin, files, out: [bin / "python", "-c", TRANSKUN, out, *files],
        lambda bin, files, out: [
            *(bin / "transkun", files[0], out / f"{files[0].stem}.mid"),
        ],
    ),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="recordings with labels beside them")
    parser.add_argument("--envs", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each recording")
    parser.add_argument("--pieces", type=int, help="the first of them only")
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--lengths", action="store_true")
    parser.add_argument("--longest", type=float, default=7200.0, help="in s")
    parser.add_argument("--python", nargs="*", default=[], metavar="3.10=PATH")
    parser.add_argument("--out", type=Path, help="file for the table")
    return parser.parse_args()


def install(peer: Peer, envs: Path, pythons: dict[str, str]) -> Path:
    """Make an environment where it is missing; return its folder of programs."""
    folder = envs / peer.env
    if not (folder / "done").exists():
        make(peer, folder, pythons)
    if peer.env == "mt3x":
        install_checkout(folder)
    return folder / "bin"


def make(peer: Peer, folder: Path, pythons: dict[str, str]) -> None:
    python = pythons.get(peer.python) or shutil.which(f"python{peer.python}")
    if python is None:
        raise SystemExit(
            f"{peer.env} needs Python {peer.python}: give --python {peer.python}=PATH"
        )
    print(f"making {folder}", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    pip = [folder / "bin" / "pip", "install", "-q"]
    subprocess.run([*pip, *peer.requirements], check=True)
    (folder / "done").touch()


def install_checkout(folder: Path) -> None:
    """Install mt3x as it is now; from a copy, as a build leaves files behind."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "mt3x"
        left_out = shutil.ignore_patterns(".*", "build", "runs", "tests", "*.egg-info")
        shutil.copytree(ROOT, copy, ignore=left_out)
        pip = [folder / "bin" / "pip", "install", "-q", "--force-reinstall"]
        subprocess.run([*pip, "--no-deps", copy], check=True)


def megabytes(peer: Peer, envs: Path) -> tuple[float, float]:
    """Size of the packages without CUDA's libraries, and of the weights."""
    (packages,) = (envs / peer.env).glob("lib/python*/site-packages")
    total = 0
    for file in packages.rglob("*"):
        top = file.relative_to(packages).parts[0]
        is_tool = top.startswith(("pip", "nvidia", "triton", "cuda"))
        if file.is_file() and not is_tool and "cuda.so" not in file.name:
            total += file.stat().st_size
    weights = sum(file.stat().st_size for file in packages.glob(peer.weights))
    return total / 1e6, weights / 1e6


def scores(
    recordings: list[NotesSource], out: Path, seconds: float
) -> tuple[float, float]:
    """Mean F1 in percent: notes, and notes with offsets."""
    pieces = []
    for recording in recordings:
        (found,) = out.glob(Path(recording.audio_path).stem + "*.mid")
        ref = recording.notes().clip(0.0, seconds)
        est = read_notes(found).clip(0.0, seconds)
        pieces.append(note_scores(ref, est))
    mean = mean_scores(pieces)
    return 100 * mean.note.f1, 100 * mean.note_offset.f1


def compare(args: argparse.Namespace, pythons: dict[str, str]) -> str:
    """Run all programs and return the table."""
    bins = {name: install(PEERS[name], args.envs, pythons) for name in args.only}
    recordings = read_maps(args.folder)[: args.pieces]
    lines = [
        "| program | s per s | CPU s per s | memory, MB | start, s | size, MB | "
        "weights, MB | notes | with offset |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = cut(recordings, folder, args.seconds)
        audio_s = sum(soundfile.info(file).duration for file in files)
        start_file = folder / "start.wav"
        samples_S = load_audio(recordings[0].audio_path, RATE)
        soundfile.write(start_file, samples_S[: round(START_S * RATE)], RATE)
        cache = {"MT3X_CACHE": str(folder / "cache")}
        for name, bin in bins.items():
            peer, out = PEERS[name], folder / name
            starts = []
            # The second fills caches for files of this length.
            for n, file in enumerate((start_file, files[0], start_file)):
                (started := folder / f"start {name} {n}").mkdir()
                command = peer.one_file(bin, [file], started)
                starts.append(run_process(command, **cache))
            start = starts[-1]
            out.mkdir()
            run = run_process(peer.all_files(bin, files, out), **cache)
            rest_s = audio_s - START_S
            size_mb, weights_mb = megabytes(peer, args.envs)
            note_f1, offset_f1 = scores(recordings, out, args.seconds)
            lines.append(
                f"| {name} | {(run.wall_s - start.wall_s) / rest_s:.3f} "
                f"| {(run.cpu_s - start.cpu_s) / rest_s:.3f} "
                f"| {max(run.peak_mb, start.peak_mb):.0f} "
                f"| {start.wall_s:.1f} | {size_mb:.0f} | {weights_mb:.1f} "
                f"| {note_f1:.1f} | {offset_f1:.1f} |"
            )
            print(f"{lines[-1]} first start {starts[0].wall_s:.1f} s", flush=True)
    title = f"{len(files)} recordings, {audio_s:.0f} s of audio, two cores"
    return "\n".join([title, "", *lines])


def lengths(args: argparse.Namespace, pythons: dict[str, str]) -> str:
    """Transcribe files of several lengths by mt3x alone; return the table."""
    bin = install(PEERS["mt3x"], args.envs, pythons)
    samples_S = load_audio(read_maps(args.folder)[0].audio_path, RATE)
    lines = [
        "| audio | time, s | CPU, s | s per s | memory, MB |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = {"MT3X_CACHE": str(folder / "cache")}

        def transcribe(seconds: float) -> Usage:
            write_tiled(folder / "a.wav", samples_S, seconds)
            return run_process(_mt3x(bin, [folder / "a.wav"], folder), **cache)

        # Programs for both lengths of window are compiled, and kept.
        transcribe(START_S)
        transcribe(60.0)
        for title, seconds in LENGTHS_S.items():
            if seconds > args.longest:
                break
            used = transcribe(seconds)
            lines.append(
                f"| {title} | {used.wall_s:.1f} | {used.cpu_s:.1f} "
                f"| {used.wall_s / seconds:.3f} | {used.peak_mb:.0f} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    args = options()
    limit_threads()
    pythons = dict(given.split("=", 1) for given in args.python)
    table = (lengths if args.lengths else compare)(args, pythons)
    print("\n" + table)
    if args.out:
        args.out.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
