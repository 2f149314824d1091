"""`mt3x evaluate`: tables, files, and the command."""

import csv
import io
import json
import subprocess
import sys

import pytest
from evaluated import REF, write_tsv

from mt3x.evaluation.reports import read_mean
from mt3x.evaluation.transcriptions import (
    EvaluationConfig,
    Pair,
    evaluate_pair,
)
from mt3x.music.notes import Notes


def test_tables(run, folders):
    code, out, err = run(*folders)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["a", "4", "100.00", "100.00", "100.00", "100.00"] in rows
    assert ["note", "100.00", "83.33", "88.89"] in rows
    assert max(map(len, out.splitlines())) <= 80


def test_json_and_csv_agree(run, folders):
    code, out, _ = run(*folders, "--json", "-")
    document = json.loads(out)
    assert code == 0
    assert [piece["name"] for piece in document["pieces"]] == ["a", "b", "c"]
    assert document["pieces"][1]["note"]["recall"] == 0.5
    assert document["mean"]["note"]["f1"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert document["config"] == {
        "sustain_pedal": True,
        "align": False,
        "start_s": 0.0,
        "end_s": None,
        "integrated_frame_rate_hz": None,
    }
    code, out, _ = run(*folders, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["name"] for row in rows] == ["a", "b", "c", "mean"]
    assert float(rows[3]["note_f1"]) == pytest.approx(8 / 9, abs=1e-6)
    assert rows[0]["shift_s"] == "" and rows[1]["num_est"] == "2"


def test_options_reach_the_scores(run, folders):
    ref, est = folders
    for path in ref.iterdir():  # keys go up at once, offsets as they were
        write_tsv(path, REF, key_up_s=REF.onset_s)
    options = ["--no-pedal", "--align", "--start", "0.7", "--end", "2.5"]
    code, out, _ = run(ref, est, *options, "--json", "-")
    document = json.loads(out)
    assert code == 0
    assert document["config"] == {
        "sustain_pedal": False,
        "align": True,
        "start_s": 0.7,
        "end_s": 2.5,
        "integrated_frame_rate_hz": None,
    }
    piece = document["pieces"][2]
    assert (piece["num_ref"], piece["num_est"]) == (2, 2)
    assert (piece["note"]["f1"], piece["note_offset"]["f1"]) == (1, 0)


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
        REF.to_midi(tmp_path / folder / "solo.mid")
    return tmp_path / "band_ref", tmp_path / "band_est"


PROGRAM_F1 = "Onset + offset + program F1 (full)"


def test_instruments_add_scores_of_all_pieces(run, band):
    """The solo piece too: its scores belong to the mean."""
    code, out, _ = run(*band, "--json", "-")
    document = json.loads(out)
    assert code == 0
    of_band, of_solo = (piece["instruments"] for piece in document["pieces"])
    assert of_band[PROGRAM_F1] == pytest.approx(1 / 3)
    assert of_band["Drum onset F1 (full)"] == of_band["Onset F1"] == 1
    assert of_solo[PROGRAM_F1] == 1
    assert document["mean"]["instruments"][PROGRAM_F1] == pytest.approx(2 / 3)

    _, out, _ = run(*band, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [float(row[PROGRAM_F1]) for row in rows] == pytest.approx(
        [1 / 3, 1, 2 / 3], abs=1e-6
    )

    _, out, _ = run(*band)
    rows = [line.split() for line in out.splitlines()]
    assert ["band", "3", "100.00", "100.00", "100.00", "100.00", "33.33"] in rows
    assert ["Drum", "onset", "(full)", "50.00", "50.00", "50.00"] in rows
    assert not any("(flat)" in row and "Drum" in row for row in rows)
    assert max(map(len, out.splitlines())) <= 80


def test_several_programs_of_either_side_count(tmp_path):
    two = Notes([0.5, 1.0], [0.9, 2.0], [60, 62], None, [0, 40])
    one = Notes(two.onset_s, two.offset_s, two.pitch)
    for name, notes in (("one", one), ("two", two)):
        notes.to_midi(tmp_path / f"{name}.mid")
    for ref, est in (("one", "two"), ("two", "one"), ("one", "one")):
        pair = Pair("a", tmp_path / f"{ref}.mid", tmp_path / f"{est}.mid")
        result = evaluate_pair(pair, EvaluationConfig())
        assert (result.instruments is not None) == (ref != est)


def test_full_adds_them_to_one_program(run, folders):
    _, plain, _ = run(*folders, "--json", "-")
    assert "instruments" not in plain
    code, full, _ = run(*folders, "--json", "-", "--full")
    document = json.loads(full)
    assert code == 0
    for piece in [document["mean"], *document["pieces"]]:
        assert piece.pop("instruments")
    assert document == json.loads(plain)
    assert "MT3's scores" in run(*folders, "--full")[1]


def test_integrated_is_in_tables_and_files(run, band):
    """Both pitched notes of the band are found, the drum has no cell; plus the solo."""
    code, out, _ = run(*band, "--integrated")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["band", "100.00", "100.00", "100.00", "70", "0", "0"] in rows
    assert ["pooled", "100.00", "100.00", "100.00", "490", "0", "0"] in rows
    assert "roll, 50 frames/s" in out
    assert max(map(len, out.splitlines())) <= 80


def test_integrated_mean_and_pooled_figure_differ(run, folders):
    """Estimates: all, two of four notes, and all 40 ms late."""
    ref, est = folders
    options = ["--integrated", "--frame-rate", "25"]
    code, out, _ = run(ref, est, *options, "--json", "-")
    document = json.loads(out)
    assert code == 0
    assert document["config"]["integrated_frame_rate_hz"] == 25
    counts = ["true_positives", "false_positives", "false_negatives"]
    a, b, c = (piece["integrated"] for piece in document["pieces"])
    # 10 + 25 + 25 + 150 frames (halves to even); the second has two notes.
    assert [a[name] for name in counts] == [210, 0, 0]
    assert [b[name] for name in counts] == [35, 0, 175]
    assert [c[name] for name in counts] == [205, 5, 5]
    mean, pooled = document["mean"]["integrated"], document["pooled"]["integrated"]
    assert mean["recall"] == pytest.approx((1 + 35 / 210 + 205 / 210) / 3)
    assert pooled["recall"] == pytest.approx(450 / 630)
    assert [pooled[name] for name in counts] == [450, 5, 180]
    _, out, _ = run(ref, est, *options, "--csv", "-")
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(out))}
    assert list(rows) == ["a", "b", "c", "mean", "pooled"]
    assert rows["b"]["integrated_false_negatives"] == "175"
    assert rows["mean"]["integrated_false_negatives"] == ""
    assert rows["pooled"]["integrated_f1"] == f"{pooled['f1']:.6f}"
    assert rows["pooled"]["note_f1"] == ""


def test_scores_are_read_back_by_the_names_of_the_csv(run, band, tmp_path):
    file = tmp_path / "s.json"
    run(*band, "--integrated", "--json", file, "--csv", tmp_path / "s.csv")
    means = read_mean(file)
    with open(tmp_path / "s.csv", encoding="utf-8") as table:
        *_, mean, pooled = csv.DictReader(table)
    for name, value in means.items():
        row = pooled if name.startswith("pooled_") else mean
        assert float(row[name.removeprefix("pooled_")]) == pytest.approx(
            value, abs=1e-6
        )
    assert {PROGRAM_F1, "note_f1", "pooled_integrated_true_positives"} <= set(means)
    for text in ("{", "[]", "{}", '{"mean": null}'):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"s\.json: no scores"):
            read_mean(file)


def test_writes_files_and_keeps_them(run, folders, tmp_path):
    ref, est = folders
    options = ["--json", tmp_path / "s.json", "--csv", tmp_path / "s.csv"]
    code, out, _ = run(ref, est, *options)
    assert code == 0 and "Mean of 3 pieces" in out
    first = (tmp_path / "s.json").read_text()
    code, out, err = run(ref, est, *options, "--align")
    assert code == 1 and out == ""
    assert err.startswith("error: ") and "s.json exists" in err and "--overwrite" in err
    assert (tmp_path / "s.json").read_text() == first
    code, _, _ = run(ref, est, *options, "--align", "--overwrite")
    assert code == 0
    pieces = json.loads((tmp_path / "s.json").read_text())["pieces"]
    assert pieces[2]["shift_s"] == pytest.approx(0.04)


def test_failures_and_missing_partners_are_reported(run, folders):
    ref, est = folders
    (est / "a.mid").write_bytes(b"no MIDI")
    (est / "b.csv").unlink()
    REF.to_midi(est / "z.mid")
    code, out, err = run(ref, est)
    assert code == 1
    assert "Mean of 1 piece," in out
    lines = err.splitlines()
    assert lines[0] == "note: not scored, no estimate for b.tsv"
    assert lines[1] == "note: not scored, no reference for z.mid"
    assert lines[2].startswith("error: ") and "a.mid: not a readable MIDI" in lines[2]
    assert len(lines) == 3
    code, out, _ = run(ref, est, "--json", "-")
    document = json.loads(out)
    assert code == 1
    assert [piece["name"] for piece in document["failed"]] == ["a"]
    assert document["references_without_estimate"] == [str(ref / "b.tsv")]


@pytest.mark.parametrize("output", [[], ["--json", "-"], ["--csv", "-"]])
def test_nothing_but_failures(run, tmp_path, output):
    (tmp_path / "a.mid").write_bytes(b"no MIDI")
    code, out, err = run(tmp_path / "a.mid", tmp_path / "a.mid", *output)
    assert code == 1 and err.count("\n") == 1
    if "--json" in output:
        assert json.loads(out)["mean"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--json", "{tmp}/none/s.json"], "create it first"),
        (["--start", "5", "--end", "4"], "range 5.0 s to 4.0 s is empty"),
        (["--start", "nan"], "is empty"),
        (["--integrated", "--frame-rate", "0"], "0.0 frames per second"),
        (["--integrated", "--frame-rate", "1e300"], "1e+300 frames per second"),
    ],
)
def test_bad_options_are_one_line(run, folders, tmp_path, arguments, message):
    code, out, err = run(*folders, *(a.format(tmp=tmp_path) for a in arguments))
    assert (code, out) == (1, "")
    assert message in err and err.count("\n") == 1


def test_both_on_standard_output_is_a_usage_error(run, folders):
    code, _, err = run(*folders, "--json", "-", "--csv", "-")
    assert code == 2 and "only one" in err


def test_a_frame_rate_alone_is_a_usage_error(run, folders):
    code, _, err = run(*folders, "--frame-rate", "50")
    assert code == 2 and "--integrated" in err


def test_imports_no_jax():
    code = (
        "import sys, mt3x.evaluation.transcriptions; "
        "print({'jax', 'flax'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "set()\n"
