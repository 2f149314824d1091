"""Stems of a recipe: who plays, groups that sound together, labels, resumption."""

import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from toy_pianos import write_tone
from toy_songs import lead_tracks, write_groove, write_lead_sheet
from toy_soundfont import write_soundfont
from toy_voice import syllable

from mt3x.data.corpus import Corpus
from mt3x.data.synthesis import stem_players, stems
from mt3x.data.synthesis.stem_corpora import write_stems
from mt3x.data.synthesis.stem_players import (
    _PROBE_S,
    Probe,
    _as_it_sounds,
    _measure,
    _probe,
)
from mt3x.data.synthesis.stems import KINDS, MusicSpec, read_stem_recipe, render_stems
from mt3x.data.synthesis.synthesizer import PLAY_RATE_HZ
from mt3x.music.notes import Notes

pytestmark = pytest.mark.skipif(
    not shutil.which("fluidsynth") and not importlib.util.find_spec("midirenderer"),
    reason="no synthesiser: neither fluidsynth nor midirenderer is installed",
)
FONT = [(0, program) for program in range(96)] + [(128, 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A soundfont, a sampled saxophone, lead sheets and grooves."""
    folder = tmp_path_factory.mktemp("stems")
    write_soundfont(folder / "gm.sf2", FONT, overtone=0.2)
    write_tone(folder / "sax.wav", 60, seconds=3.0)
    (folder / "sax.sfz").write_text(
        "<region> sample=sax.wav lokey=30 hikey=100 pitch_keycenter=60\n"
    )
    write_lead_sheet(folder / "leads" / "a" / "a.mid", lead_tracks(6))
    write_groove(folder / "grooves" / "1_rock_120_beat_4-4.mid", num_bars=8)
    (folder / "midi").mkdir()
    for name, notes in lead_tracks(8).items():
        notes.to_midi(folder / "midi" / f"{name}.mid")
    return folder


def _recipe(folder, *music, **changes):
    recipe = {
        "seed": 3,
        "sounds": {
            "gm": {"path": "gm.sf2"},
            "sax": {"path": "sax.sfz", "program": 65},
        },
        "music": [{"hours": 0.01, "excerpt_s": 8.0, **entry} for entry in music],
        **changes,
    }
    path = folder / "recipe.json"
    path.write_text(json.dumps(recipe))
    notes = {"leads": folder / "leads", "grooves": folder / "grooves"}
    return read_stem_recipe(path, folder, {**notes, "midi": folder / "midi"})


SOURCES = {
    "songs": ["leads", "grooves"],
    "drums": ["grooves"],
    "bands": ["midi"],
    "scores": ["midi"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_music_gives_stems(folder, kind):
    entry = {"name": kind, "kind": kind, "sources": SOURCES.get(kind, [])}
    recipe = _recipe(folder, entry)
    pieces = render_stems(recipe, recipe.music[0], 0)
    assert pieces
    assert len({piece.info["group"] for piece in pieces}) == 1
    for piece in pieces:
        assert piece.samples_S.dtype == np.int16 and len(piece.samples_S) == 8 * 16000
        assert np.abs(piece.samples_S).max() > 3000
        assert len(piece.notes) and piece.notes.onset_s.max() < 8
        # There is sound where the notes are.
        first, end = (int(t * 16000) for t in (piece.notes.onset_s[0], 8))
        assert np.abs(piece.samples_S[first:end]).max() > 3000
    assert any(piece.info["is_drum"] for piece in pieces) == (
        kind in ("songs", "drums")
    )


def test_a_unit_is_a_function_of_seed_name_and_number(folder):
    recipe = _recipe(folder, {"name": "v", "kind": "voices"})
    one, again = (render_stems(recipe, recipe.music[0], 4) for _ in range(2))
    other = render_stems(recipe, recipe.music[0], 5)
    assert [p.samples_S.tobytes() for p in one] == [
        p.samples_S.tobytes() for p in again
    ]
    assert one[0].samples_S.tobytes() != other[0].samples_S.tobytes()


def test_a_corpus_resumes_after_the_last_unit(folder, tmp_path):
    recipe = _recipe(folder, {"name": "m", "kind": "melody"})
    spec = recipe.music[0]
    for _ in write_stems(recipe, spec, tmp_path / "whole", 1):
        pass
    with pytest.raises(KeyboardInterrupt):
        for seconds in write_stems(recipe, spec, tmp_path / "parts", 1):
            if seconds > 10:
                raise KeyboardInterrupt
    for _ in write_stems(recipe, spec, tmp_path / "parts", 1):
        pass
    whole, parts = Corpus(tmp_path / "whole"), Corpus(tmp_path / "parts")
    assert [p.name for p in whole.pieces] == [p.name for p in parts.pieces]
    assert whole.samples(2).tobytes() == parts.samples(2).tobytes()
    assert whole.duration_s >= 36


def test_songs_that_cannot_be_read_are_told_and_others_taken(folder, tmp_path):
    (tmp_path / "midi").mkdir()
    (tmp_path / "broken").mkdir()
    good = next((folder / "midi").iterdir())
    (tmp_path / "midi" / "good.mid").write_bytes(good.read_bytes())
    for number in range(5):
        for name in ("midi", "broken"):
            path = tmp_path / name / f"broken{number}.mid"
            path.write_bytes(b"MThd junk %d" % number)
    for kind in ("bands", "scores"):
        recipe = _recipe(folder, {"name": kind, "kind": kind, "sources": ["midi"]})
        recipe = replace(recipe, notes={"midi": tmp_path / "midi"})
        told = []
        out = tmp_path / kind
        for _ in write_stems(recipe, recipe.music[0], out, 1, told.append):
            pass
        assert len(told) == len(set(told)) > 0 and all("broken" in x for x in told)
        origins = {piece.info["origin"] for piece in Corpus(out).pieces}
        assert origins == {"good.mid"}
        recipe = replace(recipe, notes={"midi": tmp_path / "broken"})
        with pytest.raises(ValueError, match="broken"):
            render_stems(recipe, recipe.music[0], 0)


def test_labels_move_to_the_sound():
    notes = Notes(
        np.array([1.0, 2.0]), np.array([1.5, 5.0]), np.array([50, 70]), np.full(2, 80)
    )
    keys, held_s = np.array([50, 70]), np.array([np.inf, 0.8])
    probe = Probe(keys, np.array([0.02, 0.1]), held_s, np.array([0.05, 0.0]))
    moved = _as_it_sounds(notes, probe)
    np.testing.assert_allclose(moved.onset_s, [1.02, 2.1])
    np.testing.assert_allclose(moved.offset_s, [1.55, 2.8])


def test_a_soundfont_is_measured(folder):
    probe = _probe(folder / "gm.sf2", 40)
    # A tone that stays and is cut: no delay but the synthesiser's.
    assert probe.delay_s.max() < 0.02
    assert np.isinf(probe.audible_s).all()
    assert (probe.release_s < 0.1).all()


def test_a_release_is_measured_to_10_db():
    hold, fade = (round(s * PLAY_RATE_HZ) for s in (_PROBE_S, 0.3))
    level_db_S = np.concatenate([np.zeros(hold), np.linspace(0, -60, fade)])
    _, heard_s, release_s = _measure(10 ** (level_db_S / 20))
    assert heard_s == np.inf
    assert release_s == pytest.approx(0.05, abs=0.003)


def test_voices_that_speak_sing_the_parts_of_their_program(folder, monkeypatch):
    monkeypatch.setattr(stems, "check_voice", lambda voice: None)
    monkeypatch.setattr(stem_players, "read_syllables", lambda voice: [syllable()])
    sounds = {"singer": {"path": "flite:slt", "program": 53}}
    recipe = _recipe(folder, {"name": "m", "kind": "melody"}, sounds=sounds)
    units = (render_stems(recipe, recipe.music[0], number) for number in range(200))
    (piece,) = next(pieces for pieces in units if pieces)
    assert (piece.info["sound"], piece.info["program"]) == ("singer", 53)
    assert len(piece.notes) and np.abs(piece.samples_S).max() > 3000


def test_what_is_wrong_with_a_recipe(folder):
    with pytest.raises(ValueError, match=r"recipe\.json: x: unknown voice 'nobody'"):
        _recipe(folder, sounds={"x": {"path": "flite:nobody"}})
    with pytest.raises(ValueError, match="--notes elsewhere=FOLDER"):
        _recipe(folder, {"name": "s", "kind": "songs", "sources": ["elsewhere"]})
    with pytest.raises(ValueError, match="kind must be one of"):
        _recipe(folder, {"name": "s", "kind": "symphony"})
    with pytest.raises(ValueError, match='"hour"'):
        _recipe(folder, {"name": "s", "kind": "voices", "hour": 1})
    with pytest.raises(FileNotFoundError, match=r"missing\.sfz: no such sound"):
        _recipe(folder, sounds={"x": {"path": "missing.sfz"}})
    with pytest.raises(ValueError, match="hours must be above 0"):
        MusicSpec("x", "voices", 0.0)
