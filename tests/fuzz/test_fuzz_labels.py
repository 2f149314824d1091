"""Damaged tables of notes: notes, or one line that names the file."""

import json

import mutations
import numpy as np
import pytest

from mt3x.data.published.guitarset import read_guitarset_notes
from mt3x.data.published.maestro import find_maestro
from mt3x.data.published.musicnet import read_musicnet_notes
from mt3x.data.published.slakh import read_metadata
from mt3x.data.published.urmp import read_urmp_notes
from mt3x.evaluation.transcriptions import EvaluationConfig, Pair, evaluate_pair
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes

NOTES = Notes(
    np.arange(20) * 0.25,
    np.arange(20) * 0.25 + 0.3,
    60 + np.arange(20) % 3,
    np.arange(20) + 50,
    np.arange(20) % 2 * 40,
    np.arange(20) % 5 == 0,
)
TSV = "# onset\toffset\tpitch\tvelocity\tkey_up\n" + "0.5\t6.7\t62\t74\t0.9\n" * 20
PARTS = "onset offset pitch velocity program is_drum\n" + "0.5 6.7 62 74 40 1\n" * 20
COMMAS = NOTES.to_csv().replace(",", ";").replace(".", ",")
TABLES = {
    "csv": [NOTES.to_csv(), COMMAS, NOTES.to_csv().encode("utf-16")],
    "json": [NOTES.to_json()],
    "tsv": [TSV, PARTS, TSV.replace("\t", ",")],
}
NOTE = {"time": 0.5, "duration": 1.0, "value": 60.1}
JAMS = {"annotations": [{"namespace": "note_midi", "data": [NOTE] * 5}] * 3}
STEM = "  S0{}:\n    program_num: 40\n    is_drum: false\n    inst_class: Strings\n"
MAESTRO_CSV = "canonical_title,split,midi_filename,audio_filename\n" + "".join(
    f'"A, B",train,{i}.mid,{i}.wav\n' for i in range(9)
)
PUBLISHED = {
    "a.jams": (read_guitarset_notes, [json.dumps(JAMS)]),
    "a.csv": (
        read_musicnet_notes,
        [
            "start_time,end_time,instrument,note,end_beat\n"
            + "9182,77801,1,60,0.5\n" * 9
        ],
    ),
    "a.txt": (lambda path: read_urmp_notes(path, 40), ["0.5\t440.0\t0.25\n" * 20]),
    "a.yaml": (read_metadata, ["stems:\n" + "".join(map(STEM.format, range(5)))]),
    "maestro-v3.0.0.csv": (lambda path: find_maestro(path.parent), [MAESTRO_CSV]),
}


def as_bytes(texts):
    return [text if isinstance(text, bytes) else text.encode() for text in texts]


@pytest.mark.parametrize("ending", TABLES)
def test_damaged_tables(tmp_path, ending):
    counts = mutations.try_all(
        read_notes, tmp_path / f"damaged.{ending}", as_bytes(TABLES[ending])
    )
    assert counts["read"] and counts["refused"]


@pytest.mark.parametrize("align", [False, True])
def test_damaged_estimates_are_scored_or_named(tmp_path, align):
    NOTES.to_csv(tmp_path / "good.csv")

    def score(path):
        pair = Pair("a", tmp_path / "good.csv", path)
        evaluate_pair(pair, EvaluationConfig(align=align), full=True, band=True)

    counts = mutations.try_all(
        score, tmp_path / "damaged.csv", as_bytes(TABLES["csv"][:2])
    )
    assert counts["read"] and counts["refused"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_damaged_labels_of_data_sets(tmp_path, name):
    for index in range(9):
        (tmp_path / f"{index}.mid").write_bytes(b"")
    read, texts = PUBLISHED[name]
    counts = mutations.try_all(read, tmp_path / name, as_bytes(texts))
    assert counts["read"] and counts["refused"]
