"""`mt3x transcribe`: outputs and options. The weights are small and random."""

import json
import shutil
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from short_recordings import RATE, files, tone

from mt3x.music.note_files import read_notes, read_performance
from mt3x.music.notes import Notes


def test_midi_is_written_beside_the_input(run):
    code, out, err = run("a.wav")
    assert (code, out) == (0, b"")
    assert files() == ["a.mid", "a.wav"]
    assert "1 file, " in err and "1.0 s of audio" in err and "x realtime" in err
    assert any(m.type == "note_on" for m in mido.MidiFile("a.mid"))


def test_pedal_events_are_key_releases_and_controls(run, pedal_weights):
    options = ("-f", "midi,csv,json,musicxml", "--tempo", "120")
    for pedal in ("extend", "events"):
        args = ("a.wav", "-d", pedal, *options, "--pedal", pedal)
        code, _, err = run(*args, checkpoint=pedal_weights)
        assert code == 0, err
    heard = Notes.from_midi("extend/a.mid")
    played = read_performance("events/a.mid")
    # The pedal is down throughout, and no key is held for long.
    assert len(played.pedal_s) == 1 and len(heard) > 1
    np.testing.assert_allclose(played.keys.onset_s, heard.onset_s)
    assert (played.keys.offset_s <= heard.offset_s + 0.001).all()
    assert played.keys.offset_s.mean() < heard.offset_s.mean() - 0.01
    for name in ("csv", "json"):
        found = read_performance(f"events/a.{name}")
        for sustain_pedal in (False, True):
            # Ticks change the order of notes that begin nearly together.
            table_s, midi_s = (
                np.sort(read_notes(f"events/a.{ending}", sustain_pedal).offset_s)
                for ending in (name, "mid")
            )
            np.testing.assert_allclose(table_s, midi_s, atol=0.001)
    np.testing.assert_allclose(found.pedal_s, played.pedal_s, atol=0.001)
    assert b"<pedal" in Path("events/a.musicxml").read_bytes()
    assert b"<pedal" not in Path("extend/a.musicxml").read_bytes()
    assert json.loads(Path("events/a.json").read_text())["options"]["pedal"] == "events"


@pytest.mark.parametrize("model", ["weights", "band_weights", "token_weights"])
def test_pedal_events_need_a_model_that_hears_it(run, model, request):
    code, _, err = run(
        "a.wav", "--pedal", "events", checkpoint=request.getfixturevalue(model)
    )
    assert code == 1 and err.count("\n") == 1
    assert "--pedal events needs a piano model that hears the pedal" in err
    assert files() == ["a.wav"]


def test_pedal_is_one_of_two(run):
    code, _, err = run("a.wav", "--pedal", "half")
    assert code == 2 and "'extend', 'events'" in err and files() == ["a.wav"]


def test_all_formats_hold_the_same_notes(run):
    code, _, err = run(
        *("a.wav", "-d", "out", "-f"),
        "midi,csv,json,rolls,plot,svg-plot,sonify,musicxml,svg,pdf",
    )
    assert code == 0, err
    assert files(Path("out")) == [
        "a.csv",
        "a.json",
        "a.mid",
        "a.musicxml",
        "a.npz",
        "a.pdf",
        "a.plot.svg",
        "a.png",
        "a.svg",
        "a.transcribed.wav",
    ]
    assert b"<svg" in Path("out/a.plot.svg").read_bytes()
    assert b"<note" in Path("out/a.musicxml").read_bytes()
    assert b"Verovio" in Path("out/a.svg").read_bytes()
    assert Path("out/a.pdf").read_bytes()[:4] == b"%PDF"
    notes = Notes.from_csv("out/a.csv")
    assert len(notes) > 0 and Notes.from_json("out/a.json").equals(notes)
    assert Path("out/a.mid").read_bytes()[:4] == b"MThd"
    with np.load("out/a.npz") as rolls:
        assert rolls["onset"].shape == rolls["velocity"].shape == (50, 88)
        assert rolls["frame_rate_hz"] == 50 and rolls["lowest_pitch"] == 21
    assert Path("out/a.png").read_bytes()[:4] == b"\x89PNG"
    stereo, rate = soundfile.read("out/a.transcribed.wav")
    assert stereo.shape == (rate, 2) and np.abs(stereo).max(axis=0).min() > 0.01


def test_standard_input_and_output(run, folder):
    data = (folder / "a.wav").read_bytes()
    code, out, _ = run("-", stdin=data)
    assert code == 0 and out[:4] == b"MThd"
    code, out, _ = run("a.wav", "-o", "-", "-f", "json")
    assert code == 0 and json.loads(out)["notes"]
    again = json.loads(run("-", "-f", "json", "-o", "-", stdin=data)[1])
    assert again == json.loads(out) | {"file": "standard input"}
    code, out, _ = run("-", "-d", "out", "-f", "plot,sonify", stdin=data)
    assert code == 0 and files(Path("out")) == ["stdin.png", "stdin.transcribed.wav"]
    code, _, err = run("-", stdin=b"")
    assert code == 1 and "error: standard input" in err
    assert files() == ["a.wav", "out/stdin.png", "out/stdin.transcribed.wav"]


def test_existing_outputs_are_kept_unless_told(run):
    Path("a.mid").write_bytes(b"mine")
    code, _, err = run("a.wav")
    assert code == 0 and "kept a.mid" in err and "--overwrite" in err
    assert Path("a.mid").read_bytes() == b"mine"
    # Only the missing format is made.
    code, _, err = run("a.wav", "-f", "midi,csv")
    assert Path("a.mid").read_bytes() == b"mine" and Path("a.csv").exists()
    assert run("a.wav", "--overwrite")[0] == 0
    assert Path("a.mid").read_bytes()[:4] == b"MThd"


def test_kept_files_tell_of_other_options(run):
    run("a.wav", "-f", "midi,json,csv")
    for args, says in [
        ((), False),
        (("--device", "cpu"), False),
        (("--onset-threshold", "0.2"), True),
        (("--lowest", "C2"), True),
        (("--start", "0.5"), True),
        (("--tuning", "auto"), True),
    ]:
        err = run("a.wav", "-f", "midi,json,csv", *args)[2]
        kept = [line for line in err.splitlines() if line.startswith("kept a.")]
        # A table does not say what it was made with.
        told = [", made with other options" in line for line in kept]
        assert told == [says, says, False], args
        assert all(line.endswith("(--overwrite replaces it)") for line in kept)


def test_a_second_argument_with_an_ending_of_outputs_is_the_output(run):
    assert run("a.wav", "b.mid")[0] == 0 and files() == ["a.wav", "b.mid"]
    code, _, err = run("a.wav", "b.mid")
    assert code == 0 and "kept b.mid" in err
    assert run("a.wav", "b.csv")[0] == 0
    assert Path("b.csv").read_text().startswith("onset_s")
    # These may be recordings that are misspelt.
    code, _, err = run("a.wav", "c.wav", "--overwrite")
    assert code == 1 and "c.wav: no such file" in err
    code, _, err = run("a.wav", "b.mid", "a.wav", "--overwrite")
    assert code == 1 and "b.mid is a MIDI file" in err
    assert run("a.wav", "b.mid", "-d", "out")[0] == 2


def test_an_address_says_how_to_fetch_it(run):
    for address, tool in [
        ("https://example.com/watch?v=a&b", "yt-dlp -f bestaudio -o - 'https"),
        ("http://example.com/a.ogg", "curl -L http://example.com/a.ogg |"),
    ]:
        code, _, err = run(address)
        assert code == 1 and err.count("\n") == 1
        assert "links are not fetched" in err and tool in err
        assert "mt3x transcribe - -o out.mid" in err


def test_a_part_is_transcribed_as_if_it_were_the_recording(run):
    soundfile.write("long.wav", np.concatenate([np.zeros(RATE), tone(2)]), RATE)
    soundfile.write("part.wav", tone(2)[: RATE + RATE // 2], RATE)
    assert run("part.wav", "-f", "csv")[0] == 0
    args = (
        "long.wav",
        "--start",
        "1",
        "--end",
        "0:02.5",
        "-f",
        "csv,json,rolls,sonify",
    )
    code, _, err = run(*args)
    assert code == 0 and "1.5 s of audio" in err
    part, whole = Notes.from_csv("part.csv"), Notes.from_csv("long.csv")
    np.testing.assert_array_equal(whole.pitch, part.pitch)
    np.testing.assert_allclose(whole.onset_s, part.onset_s, atol=1e-3)
    found = json.loads(Path("long.json").read_text())
    assert found["duration_s"] == 1.5
    assert found["options"] == {"checkpoint": found["options"]["checkpoint"]} | {
        "start_s": 1.0,
        "end_s": 2.5,
    }
    assert abs(soundfile.info("long.transcribed.wav").duration - 1.5) < 0.5
    for args, message in [
        (("--start", "3.5"), "long.wav ends at 3.0 s, before the part"),
        (("--start", "2", "--end", "1"), "give an --end after the --start"),
        (("--start", "x"), "'x' is not a time"),
    ]:
        code, _, err = run("long.wav", "--overwrite", *args)
        assert code in (1, 2) and message in err


def test_midi_has_the_beats_that_are_asked_for(run):
    def events(kind, *options):
        code, _, err = run("a.wav", "-o", "b.mid", "--overwrite", *options)
        assert code == 0, err
        return [
            event for event in mido.MidiFile("b.mid").tracks[0] if event.type == kind
        ]

    Path("beats.txt").write_text("0.0 1\n0.5 2\n0.8 3\n1.2 1\n")
    assert len(events("time_signature")) >= 1
    assert len(events("time_signature", "--tempo", "none")) == 0
    assert {e.tempo for e in events("set_tempo", "--tempo", "none")} == {500_000}
    *_, even = events("set_tempo", "--tempo", "100")
    assert even.tempo == pytest.approx(600_000, abs=2)
    given = [e.tempo for e in events("set_tempo", "--beats", "beats.txt")]
    assert given == [500_000, 300_000, 400_000]
    *_, bar = events("time_signature", "--meter", "3/4")
    assert (bar.numerator, bar.denominator) == (3, 4)


def test_beats_count_from_the_start_of_the_recording(run):
    Path("beats.txt").write_text("0.2 1\n0.5 2\n0.9 1\n")
    code, _, err = run("a.wav", "--beats", "beats.txt", "--start", "0.5")
    assert code == 0, err
    tempos = [
        e.tempo for e in mido.MidiFile("a.mid").tracks[0] if e.type == "set_tempo"
    ]
    assert tempos == [400_000]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tempo", "none", "--meter", "3/4"], "meter 3/4 needs beats"),
        (["--meter", "3"], "'3' is not a meter"),
        (["--beats", "bad.txt"], "bad.txt, line 1: 'hello' is not a beat"),
        (["--beats", "bad.txt", "--tempo", "90"], "leave out one"),
    ],
)
def test_beats_that_cannot_be_stop_before_work_starts(run, options, message):
    Path("bad.txt").write_text("hello\n")
    code, _, err = run("a.wav", *options)
    assert code == 1 and message in err and err.count("\n") == 1
    assert files() == ["a.wav", "bad.txt"]


def test_notes_are_filtered(run):
    run("a.wav", "-f", "csv")
    notes = Notes.from_csv("a.csv")
    middle = int(np.median(notes.pitch))
    length_s = float(np.median(notes.offset_s - notes.onset_s))
    loud = int(np.median(notes.velocity))
    for args, kept in [
        (("--lowest", middle), notes.pitch >= middle),
        (("--highest", middle), notes.pitch <= middle),
        (
            ("--min-duration", length_s),
            notes.offset_s - notes.onset_s > length_s - 1e-6,
        ),
        (("--min-velocity", loud), notes.velocity >= loud),
    ]:
        assert run("a.wav", "-f", "csv", "--overwrite", *args)[0] == 0
        assert 0 < kept.sum() <= len(notes)
        assert Notes.from_csv("a.csv").equals(notes[kept])
    code, _, err = run("a.wav", "--lowest", "C5", "--highest", "C4")
    assert code == 1 and "the lowest pitch, 72, is above the highest, 60" in err


def test_json_and_csv_tell_how_sure_the_model_is(run):
    run("a.wav", "-f", "json,jsonl", "--onset-threshold", "0.45")
    found = json.loads(Path("a.json").read_text())
    assert found["model"] == "piano model" and found["file"] == "a.wav"
    assert found["duration_s"] == 1.0 and found["mt3x"]
    assert found["options"]["onset_threshold"] == 0.45
    sure = [note["confidence"] for note in found["notes"]]
    assert sure and all(0.45 < value <= 1 for value in sure)
    lines = Path("a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found["notes"]


def test_messages_for_programs(run):
    Path("b.wav").write_bytes(b"MThd")
    code, _, err = run("a.wav", "b.wav", "nothing.wav", "--log", "json")
    events = [json.loads(line) for line in err.splitlines()]
    # Progress comes at times, which a slow machine may reach.
    events = [event for event in events if event["event"] != "progress"]
    names = [event["event"] for event in events]
    assert code == 1 and names == ["error", "error", "start", "done", "summary"]
    assert events[0]["file"] == "b.wav" and "MIDI file" in events[0]["message"]
    assert events[3]["outputs"] == ["a.mid"] and events[3]["notes"] > 0
    assert events[4]["files"] == 1 and events[4]["failed"] == 2
    (kept, _) = map(json.loads, run("a.wav", "--log", "json")[2].splitlines())
    assert kept["event"] == "kept" and kept["other_options"] is False
    code, _, err = run("https://example.com", "--log", "json")
    assert code == 1 and json.loads(err)["event"] == "error"


def test_own_defaults_yield_to_the_command_line(run, tmp_path, monkeypatch):
    path = tmp_path / "own.toml"
    path.write_text("[transcribe]\nformat = 'csv,json'\nout-dir = 'out'\n")
    monkeypatch.setenv("MT3X_CONFIG", str(path))
    assert run("a.wav")[0] == 0 and files(Path("out")) == ["a.csv", "a.json"]
    assert run("a.wav", "b.mid")[0] == 0 and Path("b.mid").exists()
    assert run("a.wav", "-f", "mid", "-d", "more")[0] == 0
    assert files(Path("more")) == ["a.mid"]
    path.write_text("[transcribe]\nformat = 'json'\nmodel = 'piano'\ntempo = 'none'\n")
    run("a.wav", "-d", "other")
    options = json.loads(Path("other/a.json").read_text())["options"]
    assert options.items() >= {"model": "piano", "tempo": "none"}.items()
    path.write_text("[transcribe]\nbeams = 'many'\n")
    code, _, err = run("a.wav")
    assert code == 1 and f"error: {path}, [transcribe]: beams: 'many'" in err


def test_a_watched_folder(run, monkeypatch):
    from mt3x.cli import watch

    Path("in").mkdir()
    shutil.copy("a.wav", "in/a.wav")
    Path("in/b.wav").write_bytes(b"no sound")
    times = [[Path("in/a.wav")], [Path("in/b.wav")], [Path("in/a.wav")]]
    monkeypatch.setattr(watch, "watch", lambda folder: iter(times))
    code, _, err = run("--watch", "in", "-d", "out")
    assert code == 1 and files(Path("out")) == ["a.mid"]
    assert "watching in; Ctrl-C ends it" in err and "kept out/a.mid" in err
    assert err.count("realtime") == 1 and "1 output kept, 1 failed" in err
    assert run("--watch", "in", "a.wav")[0] == run()[0] == 2


def test_a_device_that_is_not_there(run):
    code, _, err = run("a.wav", "--device", "cpu:99")
    assert code == 1 and "there is no device cpu:99: give cpu:0 to cpu:" in err
    assert run("a.wav", "--device", "cpu:0")[0] == 0


def test_folders_keep_their_structure(run):
    Path("in/sub").mkdir(parents=True)
    shutil.copy("a.wav", "in/sub/b.wav")
    shutil.copy("a.wav", "in/c.wav")
    code, _, err = run("in", "--out-dir", "out")
    assert code == 0 and files(Path("out")) == ["c.mid", "sub/b.mid"]
    assert "2 files" in err


def test_collisions_stop_before_work_starts(run):
    soundfile.write("a.flac", tone(), RATE)
    code, _, err = run("a.wav", "a.flac")
    assert code == 1 and err == (
        "error: a.wav and a.flac would both write a.mid: rename one, or transcribe "
        "them one at a time with different --out-dir\n"
    )
    assert files() == ["a.flac", "a.wav"]


def test_quiet_prints_nothing(run):
    assert run("a.wav", "-q") == (0, b"", "")
    assert run("a.wav", "-q") == (0, b"", "")


def test_options_take_effect(run):
    def count(*options):
        code, out, err = run("a.wav", "-o", "-", "-f", "json", *options)
        assert code == 0, err
        return len(json.loads(out)["notes"])

    assert count("--onset-threshold", "1") == 0
    assert count("--onset-threshold", "0.2", "--device", "cpu") >= count() > 0
    assert count("--precision", "bfloat16") > 0
    assert count("--decoder", "rolls") == count()
    assert run("a.wav", "--onset-threshold", "2")[0] == 2
    code, _, err = run("a.wav", "-f", "midi,docx")
    assert code == 2 and "'docx' is not one of midi, csv" in err
    code, _, err = run("a.wav", "--device", "tpu")
    assert code == 1 and err.startswith("error: JAX finds no tpu")
