"""`mt3x evaluate`: which files are compared."""

import os
import unicodedata

import pytest
from evaluated import REF, write_tsv

from mt3x.evaluation.transcriptions import (
    Pair,
    pair_paths,
)


def test_folders_pair_by_name(folders):
    ref, est = folders
    (est / "c.json").unlink()
    (est / "d.mid").write_bytes(b"")
    (est / "README.md").write_text("no note file")
    pairing = pair_paths(ref, est)
    assert pairing.pairs == [
        Pair("a", ref / "a.tsv", est / "a.mid"),
        Pair("b", ref / "b.tsv", est / "b.csv"),
    ]
    assert pairing.ref_alone == [ref / "c.tsv"]
    assert pairing.est_alone == [est / "d.mid"]


def test_folders_are_searched_deeply_and_midi_comes_first(folders):
    ref, est = folders
    REF.to_csv(est / "a.csv")
    (ref / "2004").mkdir()
    (ref / "c.tsv").rename(ref / "2004" / "c.tsv")
    pairs = pair_paths(ref, est).pairs
    assert [pair.name for pair in pairs] == ["a", "b", "c"]
    assert pairs[0].est_path == est / "a.mid"
    assert pairs[2].ref_path == ref / "2004" / "c.tsv"


def test_file_of_a_folder(folders):
    ref, est = folders
    pairing = pair_paths(ref, est / "b.csv")
    assert [pair.name for pair in pairing.pairs] == ["b"]
    assert pairing.ref_alone == pairing.est_alone == []


def test_two_files_pair_whatever_their_names(folders):
    ref, est = folders
    (pair,) = pair_paths(ref / "a.tsv", est / "c.json").pairs
    assert pair == Pair("a", ref / "a.tsv", est / "c.json")


def test_names_that_occur_twice_pair_by_their_paths(folders):
    ref, est = folders
    for number in "12":
        for folder, suffix in ((ref, ".tsv"), (est, ".mid")):
            (folder / number).mkdir()
            write_tsv(folder / number / "take.tsv", REF)
            if suffix == ".mid":
                (folder / number / "take.tsv").unlink()
                REF.to_midi(folder / number / "take.mid")
    pairing = pair_paths(ref, est)
    assert [pair.name for pair in pairing.pairs] == ["1/take", "2/take", "a", "b", "c"]
    for pair in pairing.pairs[:2]:
        assert pair.ref_path == ref / f"{pair.name}.tsv"
        assert pair.est_path == est / f"{pair.name}.mid"
    # The path comes before the name.
    write_tsv(ref / "1" / "a.tsv", REF)
    pairing = pair_paths(ref, est)
    assert pairing.ref_alone == [ref / "1" / "a.tsv"]
    assert {pair.ref_path for pair in pairing.pairs if pair.name == "a"} == {
        ref / "a.tsv"
    }


def test_every_form_and_ending_of_a_name_pairs_and_hidden_files_do_not(tmp_path):
    for folder, form, ending in (("ref", "NFC", ".MID"), ("est", "NFD", ".mid")):
        name = unicodedata.normalize(form, "Étude") + ending
        (tmp_path / folder).mkdir()
        for path in (tmp_path / folder / name, tmp_path / folder / f"._{name}"):
            REF.to_midi(path)
    (pair,) = pair_paths(tmp_path / "ref", tmp_path / "est").pairs
    assert pair.name == unicodedata.normalize("NFC", "Étude")
    REF.to_midi(tmp_path / "est" / (unicodedata.normalize("NFC", "Étude") + ".mid"))
    with pytest.raises(ValueError, match="have one name; rename one"):
        pair_paths(tmp_path / "ref", tmp_path / "est")


def test_names_that_are_not_utf8_are_reported_everywhere(tmp_path, run):
    for folder in ("ref", "est"):
        (tmp_path / folder).mkdir()
        REF.to_midi(tmp_path / folder / os.fsdecode(b"caf\xe9.mid"))
    table = tmp_path / "scores.csv"
    code, out, err = run(tmp_path / "ref", tmp_path / "est", "--csv", table)
    assert (code, err) == (0, "") and "caf\\xe9" in out
    assert "caf\\xe9" in table.read_text()
    assert "caf" in run(tmp_path / "ref", tmp_path / "est", "--json", "-")[1]


def test_bad_paths(folders, tmp_path):
    ref, est = folders
    (tmp_path / "x.wav").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (ref / "deep").mkdir()
    for paths, message in [
        ((ref, tmp_path / "none"), "none does not exist"),
        ((tmp_path / "x.wav", est / "a.mid"), r"x\.wav is not a note file"),
        ((ref, tmp_path / "empty"), "no note file of .*empty"),
    ]:
        with pytest.raises((ValueError, OSError), match=message):
            pair_paths(*paths)
    write_tsv(ref / "deep" / "a.tsv", REF)
    (est / "other").mkdir()
    (est / "a.mid").rename(est / "other" / "a.mid")
    with pytest.raises(ValueError, match="have one name"):
        pair_paths(ref, est)
