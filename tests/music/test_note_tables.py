"""Tables of notes as strangers write them: notes, or a line that names the file."""

import json
import tracemalloc

import numpy as np
import pytest

from mt3x.music import label_files
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes

WANTED = Notes([0.5, 1.0], [1.0, 2.25], [60, 64], [70, 80])
HEAD = "onset_s,offset_s,pitch,velocity\n"
CSV = HEAD + "0.5,1,60,70\n1.0,2.25,64,80\n"
TSV = "0.5\t1\t60\t70\n1.0\t2.25\t64\t80\n"

READABLE = {
    "UTF-8 with a mark": ("csv", CSV.encode("utf-8-sig")),
    "UTF-16": ("csv", CSV.encode("utf-16")),
    "UTF-16, big-endian": ("csv", b"\xfe\xff" + CSV.encode("utf-16-be")),
    "a Mac's line ends": ("csv", CSV.replace("\n", "\r").encode()),
    "DOS's line ends": ("csv", CSV.replace("\n", "\r\n").encode()),
    "Latin-1 in another column": (
        "csv",
        CSV.replace("velocity", "velocity,who").replace("70", "70,Andr\xe9").encode(
            "latin-1"
        ),
    ),
    "semicolons and decimal commas": (
        "csv",
        CSV.replace(",", ";").replace(".", ",").encode(),
    ),
    "tabs": ("csv", CSV.replace(",", "\t").encode()),
    "other names, spaces and upper case": (
        "csv",
        CSV.replace(HEAD, "Onset, Offset, Pitch, Velocity\n").encode(),
    ),
    "empty cells at line ends": ("csv", CSV.replace("70\n", "70,,\n\n,,\n").encode()),
    "commas in TSV": ("tsv", TSV.replace("\t", ",").encode()),
    "commas and spaces in TSV": ("tsv", TSV.replace("\t", ", ").encode()),
    "semicolons in TSV": ("tsv", TSV.replace("\t", ";").encode()),
    "decimal commas in TSV": ("tsv", TSV.replace(".", ",").encode()),
    "mixed separators in TSV": ("tsv", TSV.replace("\t", " ;\t", 3).encode()),
    "UTF-16 in TSV": ("txt", TSV.encode("utf-16")),
    "names with commas in TSV": (
        "tsv",
        CSV.replace("_s", "").replace("velocity", "velocity,program")
        .replace("70", "70,0").replace("80", "80,0").encode(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_separators_and_encodings(tmp_path, name):
    ending, data = READABLE[name]
    (tmp_path / f"a.{ending}").write_bytes(data)
    assert read_notes(tmp_path / f"a.{ending}").equals(WANTED)


def json_note(**changes) -> str:
    note = {"onset_s": 0, "offset_s": 1, "pitch": 60} | changes
    return json.dumps({"notes": [note]})


REFUSED = {
    "nested": ("json", "[" * 100_000),
    "notes by name": ("json", '{"notes": {}}'),
    "no object": ("json", '{"notes": [[1, 2, 60]]}'),
    "second is not an object": ("json", json_note().replace("}]", "}, 5]")),
    "long number": ("json", json_note(pitch=10**400)),
    "longer number": ("json", json_note().replace("60", "9" * 5000)),
    "not a number": ("json", json_note(onset_s=float("nan"))),
    "a list for a number": ("json", json_note(onset_s=[0])),
    "UTF-16 without a mark": ("json", json_note().encode("utf-16-le")),
    "half of UTF-16": ("json", json_note().encode("utf-16")[:-1]),
    "stray quote": ("csv", HEAD + '0,1,"60,1\n' + "0,1,60,1\n" * 30_000),
    "decimal commas and commas": ("csv", HEAD + "0,5,1,1,60,70\n"),
    "too few cells": ("csv", HEAD + "0.5,1\n"),
    "empty cell": ("csv", HEAD + "0.5,,60,70\n"),
    "late": ("csv", HEAD + "1e10,1e11,60,70\n"),
    "infinite": ("csv", HEAD + "0,1e999,60,70\n"),
    "binary": ("csv", bytes(range(256))),
    "binary, without zeros": ("tsv", bytes(range(1, 256)) * 3),
    "prose": ("txt", "All of this\nis not\na table.\n"),
    "names twice": ("tsv", "onset offset pitch\nonset offset pitch\n1 2 60\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_line_names_the_file(tmp_path, name):
    ending, data = REFUSED[name]
    path = tmp_path / f"bad.{ending}"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ValueError, match=rf"bad\.{ending}") as caught:
        read_notes(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_wrong_line_is_named(tmp_path):
    (tmp_path / "bad.csv").write_text(CSV + "\n0.5,x,60,70\n")
    with pytest.raises(ValueError, match=r"bad\.csv, line 5: no valid offset_s"):
        read_notes(tmp_path / "bad.csv")


@pytest.mark.parametrize("ending", ["csv", "tsv", "json"])
def test_large_files_are_not_read(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(label_files, "MOST_TEXT_BYTES", 20)
    (tmp_path / f"large.{ending}").write_text(CSV)
    with pytest.raises(ValueError, match=r"large.* more than .* MB"):
        read_notes(tmp_path / f"large.{ending}")


def test_many_notes_take_little_memory(tmp_path):
    rows = "".join(f"{n / 8},{n / 8 + 0.1},42,90\n" for n in range(20_000))
    (tmp_path / "a.csv").write_text(HEAD + rows)
    tracemalloc.start()
    notes = read_notes(tmp_path / "a.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(notes.onset_s, np.arange(20_000) / 8)
    assert peak < 400 * len(notes)
