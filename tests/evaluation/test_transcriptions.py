"""`mt3x evaluate`: options, and pieces that fail."""

import json
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import mido
import numpy as np
import pytest
from evaluated import REF, note_f1, write_tsv

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
def test_times_that_are_not_seconds_are_remarked(
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
