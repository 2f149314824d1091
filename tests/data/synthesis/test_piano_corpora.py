"""Recipes and `mt3x corpus`: the same recipe gives the same corpora."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from toy_pianos import write_tone

from mt3x.cli.corpus import command
from mt3x.data.corpus import Corpus
from mt3x.data.synthesis.compose import compose
from mt3x.data.synthesis.piano_corpora import (
    PEDAL_EARLY_S,
    PEDAL_JITTER_S,
    CorpusSpec,
    RenderedPiece,
    find_midi,
    read_recipe,
    render_unit,
)
from mt3x.data.synthesis.render import render_many
from mt3x.music.notes import Notes
from mt3x.music.performance import Performance

RECIPE = {
    "seed": 3,
    "pianos": {"toy": {"path": "toy/p.sfz"}},
    "corpora": [
        {"name": "toy-random", "piano": "toy", "music": "random", "hours": 0.005},
        {"name": "toy-midi", "piano": "toy", "music": "midi", "hours": 0.005},
        {"name": "toy-score", "piano": "toy", "music": "score", "hours": 0.005},
    ],
}
SHORT = {"min_piece_s": 4.0, "max_piece_s": 6.0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write_tone(folder / "toy" / "60.wav", 60, seconds=1.0)
    (folder / "toy" / "p.sfz").write_text("<region> lokey=21 hikey=108 sample=60.wav")
    (folder / "midi").mkdir()
    for seed in (0, 1):
        notes = compose(np.random.default_rng(seed), 30.0).notes()
        notes.to_midi(folder / "midi" / f"{seed}.mid")
    recipe = {
        **RECIPE,
        "corpora": [{**entry, **SHORT} for entry in RECIPE["corpora"]],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


def played(piece: RenderedPiece) -> Performance:
    assert isinstance(piece.notes, Performance)
    return piece.notes


def test_units_are_repeatable(sources):
    recipe = sources / "recipe.json"
    for spec in read_recipe(recipe, sources, sources / "midi", sources / "midi"):
        once, again = render_unit(spec, 4), render_unit(spec, 4)
        assert [p.name for p in once] == [f"{spec.name}-00008", f"{spec.name}-00009"]
        for a, b in zip(once, again, strict=True):
            np.testing.assert_array_equal(a.samples_S, b.samples_S)
            assert played(a).notes().equals(played(b).notes())
            assert a.samples_S.dtype == np.int16
            assert 0.2 < np.abs(a.samples_S).max() / 32768 < 0.95
            assert len(a.samples_S) >= played(a).notes().offset_s.max() * 16000
        for other in (render_unit(spec, 5), render_unit(replace(spec, name="b"), 4)):
            assert len(other[0].samples_S) != len(once[0].samples_S)


def test_dampers_move_before_the_labels_do(sources, monkeypatch):
    sounding = []

    def listen(scores, *rest):
        sounding.extend(scores)
        return render_many(scores, *rest)

    monkeypatch.setattr("mt3x.data.synthesis.piano_corpora.render_many", listen)
    midi = sources / "midi"
    spec = read_recipe(sources / "recipe.json", sources, midi, midi)[0]
    pieces = [piece for unit in range(8) for piece in render_unit(spec, unit)]
    labels = [played(piece).notes() for piece in pieces]
    early_s = [a.offset_s - b.offset_s for a, b in zip(labels, sounding, strict=True)]
    # Of the notes that the pedal ends; others are caught and sound longer.
    medians = [np.median(e[e > 1e-9]) for e in early_s if e.max() > 1e-9]
    assert len(medians) > 8
    assert abs(np.mean(medians) - PEDAL_EARLY_S) < 0.007
    # Pieces of few notes at few releases.
    np.testing.assert_allclose(medians, PEDAL_EARLY_S, atol=3 * PEDAL_JITTER_S)


def test_strings_sound_along_where_a_recipe_says_so(sources):
    midi = sources / "midi"
    spec = read_recipe(sources / "recipe.json", sources, midi, midi)[0]
    plain, along = (
        render_unit(replace(spec, strings_prob=prob), 0)[0] for prob in (0.0, 1.0)
    )
    assert played(plain).notes().equals(played(along).notes())
    assert len(played(plain).pedal_s) and (plain.samples_S != along.samples_S).any()


def test_recipe_command(sources, tmp_path):
    out, names = tmp_path / "corpora", ["toy-random", "toy-midi", "toy-score"]
    arguments = ["recipe", sources / "recipe.json", out, "--pianos", sources]
    for option in ("--midi", "--scores"):
        arguments += [option, sources / "midi"]
    arguments += ["--jobs", "1"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert (out / "READY").read_text().split() == names
    corpus = Corpus(out / "toy-midi")
    assert corpus.duration_s >= 0.005 * 3600
    assert {p.info["origin"].split()[0] for p in corpus.pieces} <= {"0", "1"}
    assert corpus.has_pedal
    # A second run has nothing to do.
    assert run(*arguments).exit_code == 0
    assert (out / "READY").read_text().split() == names
    table = run("info", out / "toy-midi", out / "toy-random")
    assert "toy-midi" in table.output and table.exit_code == 0


def test_recipe_errors(sources, tmp_path):
    path = tmp_path / "r.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"r\.json: not valid JSON"):
        read_recipe(path, sources)
    path.write_text("{}")
    with pytest.raises(ValueError, match="lists no corpora"):
        read_recipe(path, sources)
    path.write_text(json.dumps({**RECIPE, "pianos": {}}))
    with pytest.raises(ValueError, match="'toy-random': unknown piano"):
        read_recipe(path, sources)
    path.write_text(json.dumps(RECIPE))
    with pytest.raises(ValueError, match=r"toy-midi: no \.mid files.* --midi"):
        read_recipe(path, sources)
    with pytest.raises(ValueError, match=r"toy-score: no \.mid files.* --scores"):
        read_recipe(path, sources, sources / "midi")
    with pytest.raises(ValueError, match="music must be one of"):
        CorpusSpec("a", "p.sfz", "jazz", 1.0, 0)
    with pytest.raises(ValueError, match="hours must be above 0"):
        CorpusSpec("a", "p.sfz", "random", 0.0, 0)


def test_find_midi(tmp_path):
    for name in ("b/2.MID", "a.midi", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = [path.split("/")[-1] for path in find_midi(tmp_path)]
    assert found == ["a.midi", "2.MID"]


def test_read_commands(sources, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_tone(data / "x.wav", 60)
    Notes([0.1], [0.4], [60]).to_midi(data / "x.mid")
    for name in ("maps", "pairs"):
        result = run(name, data, tmp_path / name)
        assert result.exit_code == 0, result.output
        assert Corpus(tmp_path / name).notes(0).pitch.tolist() == [60]
    assert run("maestro", data, tmp_path / "m").exit_code != 0


def broken_midi(sources, folder):
    """Music that mostly cannot be read, or is not for a piano."""
    folder.mkdir()
    (folder / "good.mid").write_bytes((sources / "midi" / "0.mid").read_bytes())
    for number in range(8):
        (folder / f"broken{number}.mid").write_bytes(b"MThd junk")
    Notes.empty().to_midi(folder / "empty.mid")
    drums = Notes([0.0], [1.0], [40], is_drum=[True])
    drums.to_midi(folder / "drums.mid")


@pytest.mark.parametrize("jobs", [1, 2])
def test_music_that_cannot_be_read_is_left_out_and_told(sources, tmp_path, jobs):
    broken_midi(sources, tmp_path / "midi")
    arguments = ["--piano", sources / "toy" / "p.sfz", "--hours", 0.04, "--jobs", jobs]
    done = run("render", tmp_path / "midi", tmp_path / "out", *arguments)
    assert done.exit_code == 0, done.output
    told = [line for line in done.output.splitlines() if line.startswith("left out: ")]
    assert len(told) == len(set(told)) > 3
    assert all("broken" in x or "empty" in x or "drums" in x for x in told)
    corpus = Corpus(tmp_path / "out")
    assert {piece.info["origin"].split()[0] for piece in corpus.pieces} == {"good"}


def test_music_of_which_nothing_can_be_read_is_an_error(sources, tmp_path):
    broken_midi(sources, tmp_path / "midi")
    (tmp_path / "midi" / "good.mid").unlink()
    arguments = ["--piano", sources / "toy" / "p.sfz", "--hours", 0.01, "--jobs", 1]
    done = run("render", tmp_path / "midi", tmp_path / "out", *arguments)
    assert isinstance(done.exception, ValueError)
    assert "none of 10 MIDI files can be used: " in str(done.exception)


def test_what_can_be_read_of_pairs_is_and_the_rest_is_told(sources, tmp_path):
    data = tmp_path / "[data]"
    for name in ("1/x", "2/x", "3/x"):
        write_tone(data / f"{name}.wav", 60)
        Notes([0.1], [0.4], [60]).to_midi(data / f"{name}.mid")
    (data / "2/x.wav").write_bytes(b"RIFFjunk")
    (data / "3/x.mid").write_bytes(b"MThd junk")
    out = tmp_path / "[out]"
    done = run("pairs", data, out)
    assert done.exit_code == 0, done.output
    assert done.output.count("left out: ") == 2
    assert f"{out}: 2 of 3 recordings are left out; repair" in done.output
    assert run("pairs", data, out, "--strict").exit_code == 1
    for name in ("2/x.wav", "3/x.mid"):
        (data / name).write_bytes((data / "1" / name[2:]).read_bytes())
    done = run("pairs", data, out, "--strict")
    assert done.exit_code == 0 and "left out" not in done.output
    assert [piece.name for piece in Corpus(out).pieces] == ["1/x", "2/x", "3/x"]
    assert "[out]" in run("info", out).output
