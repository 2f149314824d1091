"""MAESTRO as it is downloaded, made small here, and read into a corpus."""

import csv
import json

import numpy as np
import pytest
from toy_data_sets import write_tone

from mt3x.data.corpus import Corpus, write_corpus
from mt3x.data.published.maestro import find_maestro
from mt3x.data.published.source import ReadOptions
from mt3x.music.notes import Notes

NOTES = Notes([0.1, 0.5], [0.4, 0.9], [60, 64], [80, 50])
ROWS = [
    ("2004/a.midi", "2004/a.wav", "train", "Bach"),
    ("2006/b.midi", "2006/b.wav", "validation", "Liszt"),
    ("2006/c.v2.midi", "2006/c.v2.wav", "train", "Chopin"),
]


@pytest.fixture(params=["csv", "json rows", "json columns"])
def maestro(tmp_path, request):
    """Write the table as v1 to v3 come: CSV, JSON of rows, JSON of columns."""
    names = ["canonical_composer", "canonical_title", "split", "year"]
    names += ["midi_filename", "audio_filename", "duration"]
    rows = []
    for midi_name, audio_name, split, composer in ROWS:
        (tmp_path / midi_name).parent.mkdir(exist_ok=True)
        NOTES.to_midi(tmp_path / midi_name)
        write_tone(tmp_path / audio_name)
        values = [composer, "A, B", split, 2004, midi_name, audio_name, 1.0]
        rows.append(dict(zip(names, values, strict=True)))
    if request.param == "csv":
        with (tmp_path / "maestro-v3.0.0.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    elif request.param == "json rows":
        (tmp_path / "maestro-v2.0.0.json").write_text(json.dumps(rows))
    else:
        table = {n: {str(i): row[n] for i, row in enumerate(rows)} for n in names}
        (tmp_path / "maestro-v3.0.0.json").write_text(json.dumps(table))
    return tmp_path


def test_maestro(maestro):
    recordings = find_maestro(maestro)
    assert [r.id for r in recordings] == ["a", "b", "c.v2"]
    assert [r.split for r in recordings] == ["train", "validation", "train"]
    assert recordings[0].info["canonical_composer"] == "Bach"
    assert [r.id for r in find_maestro(maestro, "train")] == ["a", "c.v2"]
    np.testing.assert_allclose(recordings[2].notes().onset_s, NOTES.onset_s, atol=1e-3)


def test_maestro_errors(maestro, tmp_path_factory):
    with pytest.raises(ValueError, match="split must be one of"):
        find_maestro(maestro, "valid")
    folder = tmp_path_factory.mktemp("empty")
    with pytest.raises(FileNotFoundError, match=r"no maestro-v\*"):
        find_maestro(folder)
    (folder / "maestro-v3.0.0.json").write_text('[{"split": "train"}]')
    with pytest.raises(ValueError, match="no column audio_filename"):
        find_maestro(folder)


def test_maestro_without_audio(maestro):
    (maestro / "2004" / "a.wav").unlink()
    recordings = find_maestro(maestro)
    assert recordings[0].audio_path is None
    problems = [w.problem for w in write_corpus(recordings, maestro / "corpus")]
    assert "no audio beside it" in problems[0] and problems[1:] == ["", ""]


def test_what_a_table_names_and_is_missing_does_not_stop_the_rest(maestro):
    (maestro / "2006" / "b.midi").unlink()
    recordings = find_maestro(maestro)
    assert [r.id for r in recordings] == ["a", "b", "c.v2"]
    problems = [recording.read(ReadOptions()).problems for recording in recordings]
    assert [len(found) for found in problems] == [0, 1, 0]
    assert "b.midi" in problems[1][0].what


def test_write_corpus(maestro):
    recordings = find_maestro(maestro)
    with pytest.raises(RuntimeError, match="stopped"):
        for recording in write_corpus(recordings, maestro / "corpus"):
            if recording.piece.id == "b":
                raise RuntimeError("stopped")
    assert len(list(write_corpus(recordings, maestro / "corpus"))) == 3
    corpus = Corpus(maestro / "corpus")
    assert [piece.name for piece in corpus.pieces] == ["a", "b", "c.v2"]
    assert corpus.pieces[1].info["split"] == "validation"
    assert len(corpus.samples(0)) == 16000
    assert corpus.samples(0).max() == pytest.approx(0.25 * 32767, rel=0.02)
    assert corpus.notes(0).pitch.tolist() == [60, 64]
    with pytest.raises(FileExistsError):
        list(write_corpus(recordings, maestro / "corpus"))
