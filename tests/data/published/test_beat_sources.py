"""Published music with beats: POP909, Groove, and scores."""

import mido
import numpy as np
import pytest

from mt3x.data.published.beat_sources import read_groove, read_pop909, read_scores
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes


def fail(message):
    raise AssertionError(message)


def even_notes(num, step_s=0.5):
    onset_s = np.arange(num) * step_s
    return Notes(onset_s, onset_s + step_s / 2, np.full(num, 60))


@pytest.mark.parametrize("per_bar", [3, 4])
def test_pop909_has_bars_of_three_or_four(tmp_path, per_bar):
    folder = tmp_path / "007"
    folder.mkdir()
    even_notes(24).to_midi(folder / "007.mid")
    even_notes(24).to_midi(folder / "other.mid")
    beat = np.arange(24)
    # It has a downbeat every second beat of four, or every third.
    is_down = (beat - 1) % (3 if per_bar == 3 else 2) == 0
    is_long = (beat - 1) % (2 * 3 if per_bar == 3 else 4) == 0
    np.savetxt(folder / "beat_midi.txt", np.stack([beat / 2, is_down, is_long], axis=1))
    (piece,) = read_pop909(tmp_path, fail)
    assert (piece.name, piece.is_score) == ("pop909/007", False)
    assert piece.beats.meter == f"{per_bar}/4"
    assert piece.beats.position.tolist() == ((beat - 1) % per_bar + 1).tolist()


def test_groove_has_its_meter_in_its_names(tmp_path):
    even_notes(24).to_midi(tmp_path / "1_rock_120_beat_6-8.mid")
    even_notes(24).to_midi(tmp_path / "no-meter.mid")
    (piece,) = read_groove(tmp_path, fail)
    assert piece.beats.meter == "6/8"
    np.testing.assert_allclose(np.diff(piece.beats.time_s), 0.75)  # at 120 a minute


def test_midi_scores_have_a_piece_for_each_meter(tmp_path):
    signatures = [("3/4", 24, 0), ("6/8", 36, 24)]  # quarters, and where they begin
    track = mido.MidiTrack()
    for meter, _, start in signatures:
        numerator, denominator = map(int, meter.split("/"))
        signature = mido.MetaMessage(
            "time_signature", numerator=numerator, denominator=denominator
        )
        track.append(signature.copy(time=480 * start))
    notes = mido.MidiTrack()
    for _ in range(61):
        notes.append(mido.Message("note_on", note=60, velocity=64))
        notes.append(mido.Message("note_off", note=60, time=480))
    midi = mido.MidiFile(tracks=[track, notes], ticks_per_beat=480)
    midi.save(tmp_path / "a.mid")
    pieces = list(read_scores(tmp_path, fail))
    assert [(p.name, p.beats.meter) for p in pieces] == [
        ("a 0", "3/4"),
        ("a 24", "6/8"),
    ]
    assert [p.number for p in pieces] == [0, 0]  # of one score
    assert [len(p.notes) for p in pieces] == [24, 36]
    assert [p.beats.quarters_per_beat for p in pieces] == [1, 1.5]
    assert all(p.is_score for p in pieces)


@pytest.mark.filterwarnings("ignore:ignoring direction type")  # by partitura
def test_musicxml_scores_keep_their_pick_up(tmp_path):
    notes = even_notes(40)
    position = (np.arange(41) + 3) % 4 + 1  # the first beat is the bar's last
    notes.to_musicxml(tmp_path / "a.musicxml", Beats(np.arange(41) / 2, position, 4))
    (piece,) = read_scores(tmp_path, fail)
    assert len(piece.notes) == 40
    assert piece.beats.meter == "4/4"
    assert piece.beats.position[:6].tolist() == [4, 1, 2, 3, 4, 1]
    np.testing.assert_allclose(piece.beats.time_s[:40], piece.notes.onset_s)


@pytest.mark.filterwarnings("ignore:ignoring direction type")  # by partitura
def test_musicxml_scores_have_a_piece_for_each_meter(tmp_path):
    position = np.concatenate([np.arange(18) % 3 + 1, np.arange(33) % 4 + 1])
    notes = even_notes(50)
    notes.to_musicxml(tmp_path / "a.musicxml", Beats(np.arange(51) / 2, position, 4))
    three, four = read_scores(tmp_path, fail)
    assert (three.name, three.beats.meter, len(three.notes)) == ("a 0", "3/4", 18)
    assert (four.name, four.beats.meter, len(four.notes)) == ("a 18", "4/4", 32)
    assert four.beats.position[:5].tolist() == [1, 2, 3, 4, 1]
    assert three.number == four.number
    np.testing.assert_allclose(four.beats.time_s, four.notes.onset_s)


@pytest.mark.filterwarnings("ignore:ignoring direction type")  # by partitura
def test_scores_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "bad.musicxml").write_text("<score")
    beats = Beats(np.arange(41) / 2, np.arange(41) % 4 + 1, 4)
    even_notes(40).to_musicxml(tmp_path / "good.musicxml", beats)
    told = []
    (piece,) = read_scores(tmp_path, told.append)
    assert piece.number == 1  # it has its place among those that are there
    assert "bad.musicxml" in told[0]
