"""`mt3x evaluate`: pairing, options, outputs, bad input."""

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import mido
import numpy as np
import pytest

from mt3x.cli.main import main
from mt3x.evaluation.reports import read_mean
from mt3x.evaluation.transcriptions import (
    EvaluationConfig,
    FailedPiece,
    Pair,
    evaluate_pair,
    evaluate_pairs,
    pair_paths,
)
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes

REF = Notes(
    [0.5, 1.0, 2.0, 3.0], [0.9, 2.0, 3.0, 9.0], [60, 62, 64, 60], [20, 40, 80, 120]
)


def write_tsv(path, notes: Notes, key_up_s=None):
    key_up_s = notes.offset_s if key_up_s is None else key_up_s
    columns = [notes.onset_s, notes.offset_s, notes.pitch, notes.velocity, key_up_s]
    np.savetxt(path, np.stack(columns, axis=1), delimiter="\t", header="onset offset")


@pytest.fixture
def folders(tmp_path):
    """Three pieces as TSV, and estimates in three formats, one of them wrong."""
    ref, est = tmp_path / "ref", tmp_path / "est"
    ref.mkdir()
    est.mkdir()
    for name in "abc":
        write_tsv(ref / f"{name}.tsv", REF)
    REF.to_midi(est / "a.mid")
    REF[:2].to_csv(est / "b.csv")
    REF.shift(0.04).to_json(est / "c.json")
    return ref, est


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line; returns exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mt3x", "evaluate", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code
        return code or 0, *capfd.readouterr()

    return run


def note_f1(result):
    return result.scores.note.f1


# Pairing.


def test_folders_pair_by_name(folders):
    ref, est = folders
    (est / "c.json").unlink()
    (est / "d.mid").write_bytes(b"")
    (est / "README.md").write_text("no note file")
    pairing = pair_paths(ref, est)
    assert pairing.pairs == [
        Pair("a", ref / "a.tsv", est / "a.mid"),
        Pair("b", ref / "b.tsv", est / "b.csv"),
    ]
    assert pairing.ref_alone == [ref / "c.tsv"]
    assert pairing.est_alone == [est / "d.mid"]


def test_folders_are_searched_deeply_and_midi_comes_first(folders):
    ref, est = folders
    REF.to_csv(est / "a.csv")
    (ref / "2004").mkdir()
    (ref / "c.tsv").rename(ref / "2004" / "c.tsv")
    pairs = pair_paths(ref, est).pairs
    assert [pair.name for pair in pairs] == ["a", "b", "c"]
    assert pairs[0].est_path == est / "a.mid"
    assert pairs[2].ref_path == ref / "2004" / "c.tsv"


def test_file_of_a_folder(folders):
    ref, est = folders
    pairing = pair_paths(ref, est / "b.csv")
    assert [pair.name for pair in pairing.pairs] == ["b"]
    assert pairing.ref_alone == pairing.est_alone == []


def test_two_files_pair_whatever_their_names(folders):
    ref, est = folders
    (pair,) = pair_paths(ref / "a.tsv", est / "c.json").pairs
    assert pair == Pair("a", ref / "a.tsv", est / "c.json")


def test_names_that_occur_twice_pair_by_their_paths(folders):
    ref, est = folders
    for number in "12":
        for folder, suffix in ((ref, ".tsv"), (est, ".mid")):
            (folder / number).mkdir()
            write_tsv(folder / number / "take.tsv", REF)
            if suffix == ".mid":
                (folder / number / "take.tsv").unlink()
                REF.to_midi(folder / number / "take.mid")
    pairing = pair_paths(ref, est)
    assert [pair.name for pair in pairing.pairs] == ["1/take", "2/take", "a", "b", "c"]
    for pair in pairing.pairs[:2]:
        assert pair.ref_path == ref / f"{pair.name}.tsv"
        assert pair.est_path == est / f"{pair.name}.mid"
    # The path comes before the name.
    write_tsv(ref / "1" / "a.tsv", REF)
    pairing = pair_paths(ref, est)
    assert pairing.ref_alone == [ref / "1" / "a.tsv"]
    assert {pair.ref_path for pair in pairing.pairs if pair.name == "a"} == {
        ref / "a.tsv"
    }


def test_every_form_and_ending_of_a_name_pairs_and_hidden_files_do_not(tmp_path):
    for folder, form, ending in (("ref", "NFC", ".MID"), ("est", "NFD", ".mid")):
        name = unicodedata.normalize(form, "Étude") + ending
        (tmp_path / folder).mkdir()
        for path in (tmp_path / folder / name, tmp_path / folder / f"._{name}"):
            REF.to_midi(path)
    (pair,) = pair_paths(tmp_path / "ref", tmp_path / "est").pairs
    assert pair.name == unicodedata.normalize("NFC", "Étude")
    REF.to_midi(tmp_path / "est" / (unicodedata.normalize("NFC", "Étude") + ".mid"))
    with pytest.raises(ValueError, match="have one name; rename one"):
        pair_paths(tmp_path / "ref", tmp_path / "est")


def test_names_that_are_not_utf8_are_reported_everywhere(tmp_path, run):
    for folder in ("ref", "est"):
        (tmp_path / folder).mkdir()
        REF.to_midi(tmp_path / folder / os.fsdecode(b"caf\xe9.mid"))
    table = tmp_path / "scores.csv"
    code, out, err = run(tmp_path / "ref", tmp_path / "est", "--csv", table)
    assert (code, err) == (0, "") and "caf\\xe9" in out
    assert "caf\\xe9" in table.read_text()
    assert "caf" in run(tmp_path / "ref", tmp_path / "est", "--json", "-")[1]


def test_bad_paths(folders, tmp_path):
    ref, est = folders
    (tmp_path / "x.wav").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (ref / "deep").mkdir()
    for paths, message in [
        ((ref, tmp_path / "none"), "none does not exist"),
        ((tmp_path / "x.wav", est / "a.mid"), r"x\.wav is not a note file"),
        ((ref, tmp_path / "empty"), "no note file of .*empty"),
    ]:
        with pytest.raises((ValueError, OSError), match=message):
            pair_paths(*paths)
    write_tsv(ref / "deep" / "a.tsv", REF)
    (est / "other").mkdir()
    (est / "a.mid").rename(est / "other" / "a.mid")
    with pytest.raises(ValueError, match="have one name"):
        pair_paths(ref, est)


# Options.


def test_pedal_of_midi_and_of_tables(tmp_path):
    midi = mido.MidiFile(ticks_per_beat=500)  # 1 tick is 1 ms
    track = mido.MidiTrack(
        [
            mido.Message("control_change", control=64, value=127),
            mido.Message("note_on", note=60, velocity=80, time=100),
            mido.Message("note_off", note=60, time=200),
            mido.Message("control_change", control=64, value=0, time=700),
        ]
    )
    midi.tracks.append(track)
    midi.save(tmp_path / "a.mid")
    write_tsv(tmp_path / "a.tsv", Notes([0.1], [1.0], [60], [80]), key_up_s=[0.3])
    pair = Pair("a", tmp_path / "a.tsv", tmp_path / "a.mid")
    for pedal, offset_s in ((True, 1.0), (False, 0.3)):
        result = evaluate_pair(pair, EvaluationConfig(sustain_pedal=pedal))
        assert result.scores.note_offset_velocity.f1 == 1
        for path in (pair.ref_path, pair.est_path):
            assert read_notes(path, pedal).offset_s == pytest.approx(offset_s)


def test_align_removes_and_reports_the_shift(tmp_path):
    write_tsv(tmp_path / "a.tsv", REF)
    write_tsv(tmp_path / "b.tsv", REF.shift(0.08))
    pair = Pair("a", tmp_path / "a.tsv", tmp_path / "b.tsv")
    plain = evaluate_pair(pair, EvaluationConfig())
    aligned = evaluate_pair(pair, EvaluationConfig(align=True))
    assert (note_f1(plain), plain.shift_s) == (0, None)
    assert (note_f1(aligned), aligned.shift_s) == (1, pytest.approx(0.08))


def test_no_shift_is_said_to_be_none(run, folders):
    """Of three pieces one has other notes; the others are aligned all the same."""
    ref, est = folders
    (est / "b.csv").unlink()
    REF.transposed(5).to_csv(est / "b.csv")
    code, out, err = run(ref, est, "--align")
    assert code == 0
    assert err == ""
    assert out.splitlines()[-1].startswith("warning: ")
    assert "b.csv: no shift is found, and none is taken off" in out
    rows = [line.split() for line in out.splitlines()]
    shifts = {row[0]: row[-1] for row in rows if row and row[0] in "abc"}
    assert shifts == {"a": "+0.0", "b": "none", "c": "+40.0"}
    _, out, _ = run(ref, est, "--align", "--json", "-")
    pieces = json.loads(out)["pieces"]
    assert pieces[1]["shift_s"] is None
    assert pieces[2]["note"]["f1"] == 1


def test_range(tmp_path):
    write_tsv(tmp_path / "a.tsv", REF)
    write_tsv(tmp_path / "b.tsv", REF[1:])
    pair = Pair("a", tmp_path / "a.tsv", tmp_path / "b.tsv")
    result = evaluate_pair(pair, EvaluationConfig(start_s=1, end_s=3))
    assert (result.num_ref, result.num_est, note_f1(result)) == (2, 2, 1)
    with pytest.raises(ValueError, match="range 3 s to 3 s is empty"):
        EvaluationConfig(start_s=3, end_s=3)


def test_a_failing_piece_leaves_the_others(folders):
    ref, est = folders
    (est / "b.csv").write_text("garbage")
    outcomes = list(evaluate_pairs(pair_paths(ref, est).pairs, EvaluationConfig()))
    assert [note_f1(outcomes[0]), note_f1(outcomes[2])] == [1, 1]
    assert isinstance(outcomes[1], FailedPiece)
    assert "b.csv: no column" in outcomes[1].error


BAD_ESTIMATES = {
    "nested": ("json", b"[" * 100_000, "not a note file"),
    "late": (
        "json",
        b'{"notes": [{"onset_s": 0, "offset_s": 1e300, "pitch": 60}]}',
        "",
    ),
    "no MIDI": ("mid", b"RIFF", "no MThd header"),
    "dense": (
        "csv",
        b"onset_s,offset_s,pitch\n" + b"0,1,60\n" * 3000,
        "check that onsets are in seconds",
    ),
}


@pytest.mark.parametrize("name", BAD_ESTIMATES)
def test_one_bad_piece_is_one_line_and_the_others_are_scored(run, tmp_path, name):
    ending, data, message = BAD_ESTIMATES[name]
    for folder in ("ref", "est"):
        (tmp_path / folder).mkdir()
        for piece in ("bad", "good"):
            notes = Notes(np.zeros(3000), np.ones(3000), [60] * 3000)
            (REF if piece == "good" else notes).to_csv(
                tmp_path / folder / f"{piece}.csv"
            )
    (tmp_path / "est" / "bad.csv").unlink()
    (tmp_path / "est" / f"bad.{ending}").write_bytes(data)
    code, out, err = run(tmp_path / "ref", tmp_path / "est")
    assert code == 1
    assert "Mean of 1 piece," in out
    assert err.startswith("error: ") and f"bad.{ending}" in err and message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "ref_unit, est_unit, named",
    [(1, 1000, "est"), (44100, 1, "ref"), (44100, 44100, "both"), (1, 2, "none")],
)
def test_times_that_are_no_seconds_are_remarked(
    run, tmp_path, ref_unit, est_unit, named
):
    """Milliseconds and samples; the piece is of 9 s."""
    REF.stretched(ref_unit).to_csv(tmp_path / "ref.csv")
    REF.stretched(est_unit).to_csv(tmp_path / "est.csv")
    code, out, err = run(tmp_path / "ref.csv", tmp_path / "est.csv", "--json", "-")
    assert (code, err) == (0, "")
    remarks = " ".join(json.loads(out)["pieces"][0]["remarks"])
    for name, unit in (("ref", ref_unit), ("est", est_unit)):
        remark = (
            f"{name}.csv: its notes reach to {9 * unit} s; are its times in seconds?"
        )
        assert (remark in remarks) == (named in (name, "both"))


def test_what_readers_warn_of_is_remarked(run, tmp_path):
    data = bytearray(REF.to_midi())
    data[11] = 9  # tracks, by the header
    (tmp_path / "a.mid").write_bytes(data)
    code, out, err = run(tmp_path / "a.mid", tmp_path / "a.mid", "--csv", "-")
    assert code == 0 and "1.000000" in out and "warning" not in out
    assert err.startswith("warning: ") and "a.mid: its header counts 9 tracks" in err
    assert err.count("\n") == 1


def test_a_process_that_is_killed_is_one_line(run, folders, monkeypatch):
    def broken(*_, **__):
        raise BrokenProcessPool("ended")

    monkeypatch.setattr(ProcessPoolExecutor, "map", broken)
    code, _, err = run(*folders, "--workers", "2")
    assert code == 1 and "try --workers 1" in err and err.count("\n") == 1


def test_processes_change_nothing(folders):
    pairs = pair_paths(*folders).pairs
    config = EvaluationConfig(align=True)
    alone, shared = (list(evaluate_pairs(pairs, config, n, band=True)) for n in (1, 2))
    assert alone == shared
    assert len(alone) == 3


# The command.


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
