"""Measurements that someone else starts, on another machine, can be started."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mt3x.music.notes import Notes

BENCH = Path(__file__).parent.parent / "bench"


@pytest.mark.by_hand
def test_accelerator_measures_what_trains_and_decodes(tmp_path):
    options = ["--small", "--models", "MT3 small", "--dtypes", "float32"]
    options += ["--parts", "device", "training", "decoding"]
    command = [sys.executable, BENCH / "accelerator.py", "--out-dir", tmp_path]
    subprocess.run([*command, *options], check=True)
    tables = json.loads((tmp_path / "accelerator.json").read_text(encoding="utf-8"))
    batches = [row["batch"] for row in tables["training"]]
    assert batches == [2, 4] and "notes" not in tables
    assert all(row["audio_h_per_h"] > 0 for row in tables["training"])
    assert all(row["utilisation_percent"] > 0 for row in tables["training"])
    assert [row["batch"] for row in tables["decoding"]] == [4, 1]
    assert all(row["tokens_per_s"] > 0 for row in tables["decoding"])
    text = (tmp_path / "accelerator.md").read_text(encoding="utf-8")
    assert "| MT3 small | float32 | 4 |" in text


@pytest.fixture
def recordings(tmp_path):
    """A duet whose oboe is written as a clarinet, drums, and a quartet held out."""
    duet = Notes([0.2, 0.2, 0.6], [0.5, 0.5, 0.9], [60, 64, 62], None, [40, 68, 40])
    drums = Notes([0.1, 0.5], [0.2, 0.6], [36, 46], is_drum=[True, True])
    onset_s = np.array([0.1, 0.5, 0.7])
    wrong = Notes(onset_s, onset_s + 0.1, [36, 42, 60], is_drum=[1, 1, 0])
    as_clarinet = np.where(duet.program == 68, 71, duet.program)
    est = Notes(duet.onset_s, duet.offset_s, duet.pitch, None, as_clarinet)
    folder, out = tmp_path / "band", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    info = []
    for name, group, ref, written in (
        ("duet", "duet-trio", duet, est),
        ("hits", "drums", drums, wrong),
        ("secret", "quartet", None, None),
    ):
        info.append({"name": name, "group": group, "held_out": ref is None})
        if ref is None:
            continue
        soundfile.write(folder / f"{name}.flac", np.zeros(16000), 16000)
        rows = zip(*ref._arrays(), strict=True)
        lines = ["# onset offset pitch velocity program is_drum"]
        lines += ["\t".join(str(float(x)) for x in row) for row in rows]
        (folder / f"{name}.tsv").write_text("\n".join(lines))
        written.to_midi(out / f"{name}.mid")
    (folder / "test_info.json").write_text(json.dumps(info))
    return folder, out


def run_band(*arguments) -> str:
    command = [sys.executable, BENCH / "band.py", *arguments, "--piano", "nowhere"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def test_band_table_of_folders(recordings, tmp_path):
    folder, out = recordings
    figures = tmp_path / "f.json"
    text = run_band(
        *(folder, "--no-mt3x", "--system", f"a system={out}"),
        *("--json", figures, "--out", tmp_path / "t.md"),
    )
    assert "| a system | 100.0 / 100 / 100 | 100.0 / 100 / 100 |" in text
    assert "| a system | 100.0 | 66.7 | 1.00 |" in text
    assert "quartet, solo-wind-string, violin, guitar, voice, collage" in text
    assert text.strip().endswith((tmp_path / "t.md").read_text().strip())
    system = json.loads(figures.read_text())["a system"]
    assert system["groups"]["duet-trio"]["note_family"] == 100
    assert system["groups"]["mean"]["note_class"] == pytest.approx(200 / 3)
    assert system["groups"]["drums"] == {"drums": 50, "kick_snare_hats": 100}
    assert system["false_notes_per_s"] == 1
    assert system["confusion"]["duet-trio"]["oboe and English horn"] == {"clarinet": 1}
    assert system["pieces"].keys() == {"duet", "hits"}


def test_band_table_of_thresholds(recordings, tmp_path):
    """The package's weights hear nothing in silence; what they write is kept."""
    folder, _ = recordings
    keep = tmp_path / "keep"
    options = ["--onset-threshold", "0.3", "0.6", "--frame-threshold", "0.5"]
    text = run_band(folder, "--groups", "duet-trio", *options, "--keep", keep)
    for onset in ("0.3", "0.6"):
        assert f"| mt3x {onset} / 0.5 | 0.0 / 0 / 0 | 0.0 / 0 / 0 |" in text
        assert (keep / f"mt3x_{onset}_0.5" / "duet.mid").is_file()
    assert "drums: drums" not in text


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([4, 4, 4], 32, (0, 3)),
        ([2, 4, 4, 6, 4, 4, 4, 5], 32, (16, 3)),
        ([4, 4, 4, 3, 4, 4, 4, 4], 2, (0, 2)),
        ([4, 2], 32, (0, 1)),
    ],
)
def test_scores_are_of_the_longest_run_of_even_bars(
    lengths, most, expected, monkeypatch
):
    monkeypatch.syspath_prepend(BENCH)
    position = np.concatenate([np.arange(1, n + 1) for n in [*lengths, 1]])
    even_bars = importlib.import_module("score").even_bars
    assert even_bars(position, 4, most) == expected
