"""`mt3x evaluate --band` and `--confusion`: tables, JSON, CSV, the picture."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from mt3x.cli import evaluate
from mt3x.evaluation.reports import read_mean
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes

SOLO = Notes([0.5, 1.0, 2.0, 3.0], [0.9, 2.0, 3.0, 9.0], [60, 62, 64, 60])


def run(*arguments, fails=False):
    """Run the command; returns its output, and the message that it fails with."""
    result = CliRunner().invoke(evaluate.command, [str(a) for a in arguments])
    assert (result.exit_code != 0) == fails, result.output
    return result.output + str(result.exception or "")


@pytest.fixture
def band(tmp_path):
    """A piece of a violin and drums, transcribed as a piano's, and one of a piano."""
    band = Notes(
        [0.5, 1.0, 2.0], [0.9, 2.0, 2.1], [60, 62, 36], None, [40, 40, 0], [0, 0, 1]
    )
    as_piano = Notes(band.onset_s, band.offset_s, band.pitch, None, None, band.is_drum)
    for folder, notes in (("band_ref", band), ("band_est", as_piano)):
        (tmp_path / folder).mkdir()
        notes.to_midi(tmp_path / folder / "band.mid")
        SOLO.to_midi(tmp_path / folder / "solo.mid")
    return tmp_path / "band_ref", tmp_path / "band_est"


def test_bands_are_scored_where_asked_for(band, tmp_path):
    """The violin of the band is written as a piano, and the cowbell is of no class."""
    ref, est = band
    for folder, cowbell_s in ((ref, [4.0]), (est, [])):
        notes = Notes.concatenate(
            [
                read_notes(folder / "band.mid"),
                Notes(cowbell_s, cowbell_s, [56] * len(cowbell_s), is_drum=cowbell_s),
            ]
        )
        notes.to_midi(folder / "band.mid", overwrite=True)
    document = json.loads(run(*band, "--band", "--json", "-"))
    of_band, of_solo = (piece["band"] for piece in document["pieces"])
    assert of_band["note"]["f1"] == of_band["drums"]["f1"] == 1
    assert of_band["note_class"]["f1"] == of_band["note_family"]["f1"] == 0
    assert of_band["confusion"] == {"violin and viola": {"piano": 2}}
    assert of_band["num_drums_left_out"] == {"ref": 1, "est": 0}
    assert of_band["drum_classes"]["kick"]["num_ref"] == 1
    assert of_solo["note_class"]["matched"] == 4
    mean, pooled = document["mean"]["band"], document["pooled"]["band"]
    assert mean["note_class"]["f1"] == 1 / 2
    assert mean["drums"]["f1"] == 1  # of the band alone
    assert pooled["note_class"]["f1"] == pytest.approx(4 / 6)
    assert pooled["classes"]["piano"]["precision"] == pytest.approx(4 / 6)
    assert pooled["confusion"]["piano"] == {"piano": 4}
    # Nothing else changes.
    plain = json.loads(run(*band, "--json", "-"))
    del document["mean"]["band"], document["pooled"]
    for piece in document["pieces"]:
        del piece["band"]
    assert document == plain


def test_bands_in_csv_and_read_back(band, tmp_path):
    file = tmp_path / "s.json"
    run(*band, "--band", "--json", file, "--csv", tmp_path / "s.csv")
    with open(tmp_path / "s.csv", encoding="utf-8") as table:
        rows = {row["name"]: row for row in csv.DictReader(table)}
    assert list(rows) == ["band", "solo", "mean", "pooled"]
    assert rows["band"]["band_classes_violin and viola_f1"] == "0.000000"
    assert rows["solo"]["band_classes_violin and viola_f1"] == ""
    assert rows["mean"]["band_note_class_f1"] == "0.500000"
    assert rows["mean"]["band_classes_piano_f1"] == ""
    assert rows["pooled"]["band_classes_piano_num_ref"] == "4"
    assert rows["pooled"]["band_drum_classes_kick_f1"] == "1.000000"
    assert not any("confusion" in name for name in rows["band"])
    means = read_mean(file)
    assert means["band_note_class_f1"] == 0.5
    assert means["pooled_band_classes_piano_num_ref"] == 4
    for name, value in means.items():
        row = rows["pooled" if name.startswith("pooled_") else "mean"]
        assert float(row[name.removeprefix("pooled_")]) == pytest.approx(
            value, abs=1e-6
        )


def test_tables_of_bands(band):
    out = run(*band, "--band")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "note, whatever its instrument 100.00 100.00 100.00" in lines
    assert "note and class of 24 50.00 50.00 50.00" in lines
    assert "kick, snare, hats 100.00 100.00 100.00" in lines
    assert "By class: 2 pieces together, %" in lines
    assert "piano 4 6 66.67 100.00 80.00" in lines
    assert "strings 2 0 0.00 0.00 0.00" in lines
    assert "kick 1 1 100.00 100.00 100.00" in lines
    assert "violin and viola 0 0 piano 2" in lines
    assert "Left out" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert "By class" not in run(*band)


def test_tables_name_what_a_class_is_mostly_taken_for(tmp_path):
    """Of five kinds of mistakes the three most frequent; long names keep the width."""
    programs = [68] * 12 + [16] * 2
    written = [20, 20, 20, 53, 53, 46, 46, 42, 58, 68, 68, 68, 16, 16]
    onset_s = np.arange(14.0)
    for name, program in (("ref", programs), ("est", written)):
        notes = Notes(onset_s, onset_s + 0.5, [60] * 14, None, program)
        notes = notes[: 13 if name == "est" else 14]
        notes = Notes.concatenate([notes, Notes([20], [21], [60 + len(notes)])])
        notes.to_midi(tmp_path / f"{name}.mid")
    out = run(tmp_path / "ref.mid", tmp_path / "est.mid", "--band")
    text = " ".join(out.split())
    wanted = "organ 3, pizzicato and harp 2, voice 2, others 2"
    assert f"oboe and English horn 3 0 {wanted}" in text
    assert "organ 1 1" in text and "extra piano 1" in text
    assert max(map(len, out.splitlines())) <= 80


def test_drums_of_no_class_are_told_of(tmp_path):
    for name, keys in (("ref", [36, 56, 56]), ("est", [36, 56, 64])):
        drums = Notes([1, 2, 3], [1, 2, 3], keys, is_drum=[1, 1, 1])
        drums.to_midi(tmp_path / f"{name}.mid")
    out = run(tmp_path / "ref.mid", tmp_path / "est.mid", "--band")
    assert "Left out: 4 drums of no class, 2 of them in references." in out
    # There is no pitched note.
    assert "By class" not in out and "taken for" not in out


def test_confusion_is_drawn(band, tmp_path):
    file = tmp_path / "c.png"
    assert "taken for" in run(*band, "--confusion", file)
    assert file.read_bytes().startswith(b"\x89PNG")
    message = run(*band, "--confusion", file, "--json", "-", fails=True)
    # Before anything is scored.
    assert "c.png exists" in message and "pieces" not in message
    run(*band, "--confusion", file, "--overwrite")


def test_confusion_needs_matplotlib(band, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = run(*band, "--confusion", tmp_path / "c.png", fails=True)
    assert "mt3x[plot]" in message
