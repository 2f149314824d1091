"""Tracks of a set: what is played is what is labelled. A stand-in plays."""

import numpy as np
import pytest
import soundfile
import yaml
from toy_songs import lead_tracks, write_groove, write_lead_sheet
from toy_soundfont import PRESETS, write_soundfont

import mt3x.data.synthesis.band_plan
import mt3x.data.synthesis.band_tracks
from mt3x.data.synthesis.band_plan import Material, SynthConfig, plan
from mt3x.data.synthesis.band_tracks import render_all, render_track
from mt3x.data.synthesis.songs import find_grooves, find_songs
from mt3x.data.synthesis.synthesizer import PLAY_RATE_HZ
from mt3x.music.notes import Notes
from mt3x.music.sonify import sonify

RATE_HZ = 16000
BAND = {"drums": (0,), "bass": (33,), "chords": (0, 25), "melody": (40, 73)}
CONFIG = SynthConfig(
    *(3, 1, 1), seconds=6, sample_rate_hz=RATE_HZ, programs=BAND, max_semitones=2
)


@pytest.fixture
def played(monkeypatch):
    """Return what the stand-in was given: (notes, soundfont)."""
    calls = []

    def play(notes, soundfont):
        calls.append((notes, soundfont))
        piano = Notes(notes.onset_s, notes.offset_s, notes.pitch, notes.velocity)
        return sonify(piano, PLAY_RATE_HZ)

    monkeypatch.setattr(mt3x.data.synthesis.band_tracks, "play", play)
    mt3x.data.synthesis.band_plan.presets_of.cache_clear()
    return calls


@pytest.fixture
def material(tmp_path):
    for index in range(5):
        tracks = lead_tracks(8, melody_step=index)
        write_lead_sheet(tmp_path / "leads" / f"{index}" / f"{index}.mid", tracks)
    for index in range(5):
        name = f"{index}_rock_{110 + index}_beat_4-4.mid"
        write_groove(tmp_path / "grooves" / name, num_bars=8 + index)
    fonts = [tmp_path / f"{name}.sf2" for name in "abc"]
    for index, font in enumerate(fonts):
        write_soundfont(font, [*PRESETS, (0, 120)], overtone=0.1 * index)
    songs = find_songs(tmp_path / "leads", is_lead=True)
    return Material(songs, find_grooves(tmp_path / "grooves"), fonts[:2], fonts[2:])


def whole_song(tmp_path, notes, fonts):
    (tmp_path / "whole").mkdir()
    notes.to_midi(tmp_path / "whole" / "a.mid")
    songs = find_songs(tmp_path / "whole", is_lead=False)
    config = SynthConfig(1, 0, 0, seconds=6, sample_rate_hz=RATE_HZ)
    (tmp_path / "out" / "train").mkdir(parents=True)
    return plan(config, Material(songs, [], fonts, []))[0], config


def folders(out):
    for split in ("train", "validation", "test"):
        (out / split).mkdir(parents=True)
    return out


def contents(out):
    files = [path for path in out.rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_a_track_is_the_same_whatever_was_made_before(tmp_path, material, played):
    tracks = plan(CONFIG, material)
    one, other = folders(tmp_path / "one"), folders(tmp_path / "other")
    outcomes = list(render_all(tracks, CONFIG, one, workers=1))
    assert [outcome.problem for outcome in outcomes] == [""] * 5
    assert [outcome.seconds for outcome in outcomes] == [6.0] * 5
    render_track(tracks[3], CONFIG, other)
    kept = (other / "validation" / "Track00004" / "mix.flac").stat().st_mtime_ns
    number = len(played)
    outcomes = list(render_all(tracks[::-1], CONFIG, other, workers=1))
    assert len(outcomes) == 4 and len(played) > number
    assert (other / "validation/Track00004/mix.flac").stat().st_mtime_ns == kept
    assert contents(one) == contents(other)
    assert not list(render_all(tracks, CONFIG, other, workers=1))  # all are there


def test_stems_are_played_as_labelled(tmp_path, material, played):
    track = plan(CONFIG, material)[0]
    out = folders(tmp_path / "out")
    assert render_track(track, CONFIG, out).problem == ""
    folder = track.folder(out)
    stems = yaml.safe_load((folder / "metadata.yaml").read_text())["stems"]
    assert [about["is_drum"] for about in stems.values()] == [True] + [False] * 3
    assert stems["S01"]["program_num"] == 33
    assert {about["plugin_name"] for about in stems.values()} <= {"a.sf2", "b.sf2"}
    given = Notes.concatenate([notes for notes, _ in played])
    num_labels = 0
    for name, about in stems.items():
        labels = Notes.from_midi(folder / "MIDI" / f"{name}.mid")
        num_labels += len(labels)
        samples_S, _ = soundfile.read(folder / "stems" / f"{name}.flac")
        assert len(samples_S) == 6 * RATE_HZ
        own = given[given.is_drum] if about["is_drum"] else given[~given.is_drum]
        assert set(labels.velocity) <= set(own.velocity)
        if about["is_drum"]:
            continue
        # Loud where a note begins, and silent before the first one.
        first = round(labels.onset_s[0] * RATE_HZ)
        assert np.abs(samples_S[: max(0, first - 80)]).max(initial=0) < 1e-3
        assert np.abs(samples_S[first : first + 800]).max() > 1e-2
    assert num_labels == len(given)


def test_parts_and_transposition_follow_the_configuration(tmp_path, material, played):
    config = SynthConfig(
        *(3, 1, 1), seconds=6, sample_rate_hz=RATE_HZ, programs={"chords": (25,)}
    )
    out = folders(tmp_path / "out")
    tonics = set()
    for track in plan(config, material):
        render_track(track, config, out)
        notes = Notes.from_midi(track.folder(out) / "MIDI" / "S00.mid")
        assert set(notes.program) == {25}
        assert not (track.folder(out) / "MIDI" / "S01.mid").exists()
        scale = {(degree % 12) for degree in notes.pitch}
        tonics |= {t for t in range(12) if {(t + d) % 12 for d in (0, 4, 7)} <= scale}
    assert len(tonics) > 3  # C, F and G alone would be untransposed


def test_whole_songs_are_used_as_they_are(tmp_path, material, played):
    number = 40
    onset_s = 0.5 + 0.25 * np.arange(number)
    song = Notes(
        *(onset_s, onset_s + 0.2, 40 + np.arange(number), 30 + np.arange(number)),
        program=np.tile([0, 40, 120, 3], 10),
        is_drum=np.tile([False, False, False, True], 10),
    )
    track, config = whole_song(tmp_path, song, material.soundfonts)
    out = tmp_path / "out"
    assert render_track(track, config, out).problem == ""
    folder = track.folder(out)
    stems = yaml.safe_load((folder / "metadata.yaml").read_text())["stems"]
    programs = [about["program_num"] for about in stems.values()]
    assert programs == [0, 40, 120, 128]
    rendered = [about["audio_rendered"] for about in stems.values()]
    assert rendered == [True, True, False, True]  # Slakh renders none from 96 on
    labels = Notes.from_midi(folder / "all_src.mid")
    assert 20 <= len(labels) <= 24 and labels.offset_s.max() <= 6
    # An excerpt from just before a note on: velocities are the song's, in its order.
    start = int(np.flatnonzero(song.pitch == labels.pitch[0])[0])
    np.testing.assert_array_equal(labels.velocity, song.velocity[start:][: len(labels)])
    assert labels.onset_s[0] == pytest.approx(0.1, abs=1e-3)
    # The soundfonts have no kit 3: the standard one plays.
    drums = Notes.from_midi(folder / "MIDI" / "S03.mid")
    assert set(drums.program) == {0} and drums.is_drum.all()


def test_more_programs_than_channels(tmp_path, played):
    font = tmp_path / "many.sf2"
    write_soundfont(font, [(0, program) for program in range(40)] + PRESETS[-1:])
    onset_s = 0.1 * np.arange(40)
    song = Notes(onset_s, onset_s + 0.1, np.full(40, 60), None, np.arange(40))
    track, config = whole_song(tmp_path, song, [font])
    assert render_track(track, config, tmp_path / "out").problem == ""
    assert [len(set(notes.program)) for notes, _ in played] == [15, 15, 10]


def test_a_short_song_gives_a_short_track(tmp_path, material, played):
    onset_s = 0.2 * np.arange(10)
    song = Notes(onset_s, onset_s + 0.1, np.full(10, 60))
    track, config = whole_song(tmp_path, song, material.soundfonts)
    outcome = render_track(track, config, tmp_path / "out")
    assert outcome.seconds == pytest.approx(0.1 + 1.9 + 2.0)


@pytest.mark.parametrize("what", ["damaged", "few", "empty", "unheard"])
def test_what_can_not_be_used_is_left_out(tmp_path, material, played, what):
    onset_s = 0.2 * np.arange(4 if what == "few" else 10)
    program = np.full(len(onset_s), 120 if what == "unheard" else 0)
    song = Notes(onset_s, onset_s + 0.1, np.full(len(onset_s), 60), None, program)
    if what == "empty":
        song = Notes.empty()
    track, config = whole_song(tmp_path, song, material.soundfonts)
    if what == "damaged":
        (tmp_path / "whole" / "a.mid").write_bytes(b"MThd no")
    outcome = render_track(track, config, tmp_path / "out")
    assert outcome.problem.startswith("Track00001: a.mid: ")
    reason = {"damaged": "not a readable MIDI file", "unheard": "no instrument"}
    assert reason.get(what, "less than 8 notes") in outcome.problem
    assert not list((tmp_path / "out" / "train").iterdir())
