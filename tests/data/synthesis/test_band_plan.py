"""What goes into which split, and that a set is of one making."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toy_soundfont import PRESETS, write_soundfont

import mt3x.data.synthesis.band_plan
from mt3x.data.synthesis.band_plan import Material, SynthConfig, begin, plan
from mt3x.data.synthesis.songs import SongFile

BAND = {"drums": (0,), "bass": (33,), "chords": (0, 25), "melody": (40, 73)}
SMALL = SynthConfig(train=6, validation=2, test=2, programs=BAND)


@pytest.fixture
def material(tmp_path, monkeypatch):
    monkeypatch.setattr(
        mt3x.data.synthesis.band_plan, "synthesizer_version", lambda: "stand-in 1"
    )
    fonts = [tmp_path / f"{name}.sf2" for name in "abc"]
    for index, font in enumerate(fonts):
        write_soundfont(font, overtone=0.1 * index)
    songs, grooves = (
        [
            SongFile(f"{n}.mid", Path(what, f"{n}.mid"), f"{n:032x}", True)
            for n in range(20)
        ]
        for what in ("songs", "grooves")
    )
    return Material(songs, grooves, fonts[:2], fonts[2:])


def test_splits_share_nothing(material):
    tracks = plan(SMALL, material)
    assert [t.name for t in tracks] == [f"Track{n:05d}" for n in range(1, 11)]
    splits = [t.split for t in tracks]
    assert splits == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    for attribute in ("song", "grooves"):
        of = {split: set() for split in splits}
        for track in tracks:
            value = getattr(track, attribute)
            of[track.split] |= set(value) if isinstance(value, tuple) else {value}
        assert not of["train"] & of["validation"]
        assert not of["train"] & of["test"] and not of["validation"] & of["test"]
        assert all(of.values())
    # No song twice while there are others.
    assert len({track.song for track in tracks}) == len(tracks)
    for track in tracks:
        is_test = track.split == "test"
        fonts = material.test_soundfonts if is_test else material.soundfonts
        assert track.soundfonts == tuple(fonts)
    assert len({track.seed for track in tracks}) == len(tracks)


def test_songs_come_again_when_there_are_too_few(material):
    few = replace(material, songs=material.songs[:3], grooves=[])
    tracks = plan(SMALL, few)
    songs = {s: {t.song for t in tracks if t.split == s} for s in ("train", "test")}
    assert len(songs["train"]) == len(songs["test"]) == 1
    assert songs["train"] != songs["test"]
    assert tracks[0].grooves == ()
    with pytest.raises(ValueError, match="2 songs for 3 splits"):
        plan(SMALL, replace(few, songs=few.songs[:2]))
    assert len(plan(replace(SMALL, validation=0), replace(few, songs=few.songs[:2])))
    with pytest.raises(ValueError, match="2 grooves for 3 splits"):
        plan(SMALL, replace(material, grooves=material.grooves[:2]))


def test_the_seed_decides_which_song_is_where(material):
    def order(config):
        return [track.song for track in plan(config, material)]

    assert order(SMALL) == order(SMALL)
    assert order(SMALL) != order(replace(SMALL, seed=1))


def test_soundfonts_are_kept_apart(material, tmp_path):
    with pytest.raises(ValueError, match="give --soundfont"):
        plan(SMALL, replace(material, soundfonts=[]))
    with pytest.raises(ValueError, match="give --test-soundfont"):
        plan(SMALL, replace(material, test_soundfonts=[]))
    assert plan(replace(SMALL, test=0), replace(material, test_soundfonts=[]))
    same = tmp_path / "same.sf2"
    same.write_bytes(material.soundfonts[1].read_bytes())
    with pytest.raises(ValueError, match=r"same\.sf2 is .*b\.sf2, which training has"):
        plan(SMALL, replace(material, test_soundfonts=[same]))
    with pytest.raises(FileNotFoundError, match=r"none\.sf2: no such soundfont"):
        plan(SMALL, replace(material, soundfonts=[tmp_path / "none.sf2"]))


def test_every_program_can_be_played(material, tmp_path):
    poor = tmp_path / "poor.sf2"
    write_soundfont(poor, [preset for preset in PRESETS if preset != (0, 73)])
    plan(SMALL, replace(material, soundfonts=[poor, *material.soundfonts]))
    with pytest.raises(ValueError, match=r"poor\.sf2: no preset for melody 73"):
        plan(SMALL, replace(material, test_soundfonts=[poor]))
    # Whole songs name their programs themselves.
    whole = [replace(song, is_lead=False) for song in material.songs]
    assert plan(SMALL, replace(material, songs=whole, test_soundfonts=[poor]))


def test_another_configuration_is_refused(material, tmp_path):
    out = tmp_path / "out"
    begin(out, SMALL, material)
    assert {path.name for path in out.iterdir()} == {
        *("synth.json", "train", "validation", "test")
    }
    begin(out, SMALL, material)
    unordered = replace(SMALL, programs=dict(reversed(BAND.items())))
    assert list(unordered.programs) == list(BAND)  # random choices follow the order
    begin(out, unordered, material)
    for config, key in (
        (replace(SMALL, seconds=20), "seconds 60.0, not 20"),
        (replace(SMALL, seed=2), "seed 0, not 2"),
        (replace(SMALL, programs={"bass": (33,)}), "programs"),
    ):
        with pytest.raises(ValueError, match=f"was begun with {key}"):
            begin(out, config, material)
    with pytest.raises(ValueError, match="begun with songs"):
        begin(out, SMALL, replace(material, songs=material.songs[1:]))
    material.soundfonts[0].write_bytes(material.test_soundfonts[0].read_bytes())
    mt3x.data.synthesis.band_plan._digest.cache_clear()
    with pytest.raises(ValueError, match="begun with soundfonts"):
        begin(out, SMALL, material)


def test_folders_of_others_are_left_alone(material, tmp_path):
    (tmp_path / "mine").write_text("notes")
    with pytest.raises(ValueError, match="is not a set of mt3x"):
        begin(tmp_path, SMALL, material)
    out = tmp_path / "out"
    out.mkdir()
    begin(out, SMALL, material)  # empty
    record = out / "synth.json"
    assert json.loads(record.read_text())["synthesizer"] == "stand-in 1"
    record.write_text("{")
    with pytest.raises(ValueError, match=r"synth\.json: damaged"):
        begin(out, SMALL, material)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": -1}, "numbers of tracks"),
        ({"train": 0, "validation": 0, "test": 0}, "nor all 0"),
        ({"seconds": 0.5}, "seconds must be 1 or more: 0.5"),
        ({"seconds": float("nan")}, "seconds must be"),
        ({"sample_rate_hz": 48000}, "8000..44100: 48000"),
        ({"programs": {"voice": (52,)}}, "unknown part 'voice'"),
        ({"programs": {"bass": (96,)}}, "programs of bass"),
        ({"programs": {"bass": ()}}, "programs of bass"),
        ({"programs": {}}, "no parts"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        SynthConfig(**options)
