"""Published layouts to pieces, and what is wrong with them."""

import mido
import numpy as np
import pytest
import toy_data_sets as toys

from mt3x.data.pieces import mix_samples
from mt3x.data.published.catalogue import DATA_SETS, find_sources
from mt3x.data.published.guitarset import read_guitarset_notes
from mt3x.data.published.maestro import find_maestro
from mt3x.data.published.musicnet import read_musicnet_notes
from mt3x.data.published.slakh import read_metadata, slakh_class
from mt3x.data.published.source import ReadOptions
from mt3x.data.published.urmp import read_urmp_notes
from mt3x.music.audio import load_audio
from mt3x.music.notes import Notes

OPTIONS = ReadOptions()


def near(ours, theirs, tolerance_s=0.002):
    """Whether both hold the same notes at about the same times."""
    return (
        len(ours) == len(theirs)
        and np.array_equal(ours.pitch, theirs.pitch)
        and np.array_equal(ours.program, theirs.program)
        and np.allclose(ours.onset_s, theirs.onset_s, atol=tolerance_s)
        and np.allclose(ours.offset_s, theirs.offset_s, atol=tolerance_s)
    )


@pytest.mark.parametrize(
    ("name", "make", "splits"),
    [
        ("maestrov3", toys.maestro, "train validation test"),
        ("guitarset", toys.guitarset, "train validation"),
        ("musicnet", toys.musicnet, "train validation train test"),
        ("maps", toys.maps, "train test"),
    ],
)
def test_notes_and_audio_of_published_layouts(tmp_path, name, make, splits):
    notes = make(tmp_path)
    sources = find_sources(name, tmp_path)
    assert sorted(source.split for source in sources) == sorted(splits.split())
    for source in sources:
        piece, problems = source.read(OPTIONS)
        assert problems == []
        assert near(piece.notes, notes[source.id])
        assert len(piece.samples_S) == pytest.approx(toys.DURATION_S * 16000, abs=1)
        assert 0.05 < np.abs(piece.samples_S).max() <= 1


def test_musicnet_splits_are_mt3s_and_em_has_its_own_notes(tmp_path):
    toys.musicnet(tmp_path)
    splits = {s.id: s.split for s in find_sources("musicnet", tmp_path)}
    assert splits["1733"] == "validation" and splits["1729"] == "test"
    assert splits["1819"] == "train"
    (source,) = find_sources("musicnet_em", tmp_path)
    assert near(source.read(OPTIONS).piece.notes, toys.tune(9, program=41))


def test_urmp_has_stems_with_programs(tmp_path):
    toys.urmp(tmp_path)
    jupiter, dance = find_sources("urmp", tmp_path)
    assert (jupiter.split, dance.split) == ("validation", "train")
    piece, problems = jupiter.read(ReadOptions(stem_audio=True))
    assert problems == []
    assert [set(stem.notes.program) for stem in piece.stems] == [{40}, {42}]
    assert sorted(set(piece.notes.program)) == [40, 42]
    summed_S = mix_samples([stem.samples_S for stem in piece.stems])
    np.testing.assert_allclose(summed_S, piece.samples_S, atol=1e-3)


def test_slakh_programs_are_those_of_classes_or_of_midi(tmp_path):
    played = toys.slakh(tmp_path)
    source = find_sources("slakh", tmp_path)[0]
    piece, problems = source.read(OPTIONS)
    assert problems == []
    by_name = {stem.name: stem for stem in piece.stems}
    assert [stem.instrument for stem in piece.stems] == [
        "Distorted Electric Guitar",
        "Drums",
        "Electric Bass",
        "Electric Piano",
        "String Ensemble",
    ]
    assert set(by_name["S00"].notes.program) == {29}  # of its class
    assert by_name["S01"].notes.is_drum.all()
    for name, notes in played[source.id].items():
        np.testing.assert_array_equal(by_name[name].notes.pitch, notes.pitch)
    midi = source.read(ReadOptions(midi_programs=True)).piece
    assert [set(s.notes.program) for s in midi.stems] == [{30}, {0}, {35}, {2}, {49}]
    np.testing.assert_array_equal(
        piece.samples_S, load_audio(tmp_path / "train/Track00001/mix.flac")
    )


def test_every_program_of_slakh_has_its_class():
    assert slakh_class(0) == slakh_class(6) == "Acoustic Piano"
    assert slakh_class(32) == "Acoustic Bass" and slakh_class(39) == "Electric Bass"
    assert slakh_class(44) == "String Ensemble" and slakh_class(54) == "Choir and Voice"
    assert slakh_class(59) == "Trumpet" and slakh_class(72) == "Pipe"
    assert slakh_class(65) == "Soprano/Alto Sax" and slakh_class(95) == "Synth Pad"
    for program in (-1, 96, 128):
        with pytest.raises(ValueError, match="no class"):
            slakh_class(program)


def test_cerberus4_is_four_parts_of_slakh(tmp_path):
    toys.slakh_track(tmp_path / "train" / "Track00001", 1)
    toys.slakh_track(tmp_path / "train" / "Track00002", 2, toys.BAND[1:])  # no guitar
    (source,) = find_sources("cerberus4", tmp_path)
    piece, problems = source.read(ReadOptions(stem_audio=True))
    assert problems == []
    assert set(piece.notes.program[~piece.notes.is_drum]) == {0, 24, 32}
    assert {stem.instrument for stem in piece.stems} == {
        *("Bass", "Drums", "Guitar", "Piano")
    }
    summed_S = mix_samples([stem.samples_S for stem in piece.stems])
    np.testing.assert_array_equal(piece.samples_S, summed_S)


def test_what_is_wrong_with_stems_is_left_out_of_audio_and_notes(tmp_path):
    track = tmp_path / "train" / "Track00001"
    toys.slakh_track(track, 1)
    (track / "stems" / "S00.flac").unlink()
    (track / "MIDI" / "S02.mid").write_bytes(Notes.empty().to_midi())
    (track / "stems" / "S03.flac").write_bytes(b"fLaC no more")
    bent = mido.MidiFile(track / "MIDI" / "S04.mid")
    bent.tracks[1].insert(0, mido.Message("pitchwheel", channel=0, pitch=100))
    bent.save(track / "MIDI" / "S04.mid")
    (source,) = find_sources("slakh", tmp_path)
    piece, problems = source.read(OPTIONS)
    kinds = [problem.kind for problem in problems]
    assert sorted(kinds) == [
        "broken stem",
        "missing stem",
        "missing stem",
        "pitch bends",
    ]
    assert "S00.flac is missing" in problems[0].what
    assert [stem.name for stem in piece.stems] == ["S01", "S04"]
    assert set(piece.notes.program) == {0, 48}
    left = [load_audio(track / "stems" / f"{name}.flac") for name in ("S01", "S04")]
    np.testing.assert_array_equal(piece.samples_S, mix_samples(left))


def test_pieces_that_can_not_be_read_are_problems(tmp_path):
    toys.maestro(tmp_path)
    names = sorted(tmp_path.glob("2018/*.wav"))
    names[0].unlink()
    names[1].write_bytes(b"RIFF")
    names[2].with_suffix(".midi").write_bytes(Notes.empty().to_midi())
    results = [source.read(OPTIONS) for source in find_sources("maestrov3", tmp_path)]
    assert [result.piece for result in results] == [None] * 3
    kinds = [result.problems[0].kind for result in results]
    assert kinds == ["unreadable", "unreadable", "no notes"]


def test_wrong_label_files_name_themselves(tmp_path):
    toys.musicnet(tmp_path), toys.guitarset(tmp_path), toys.urmp(tmp_path)
    broken = [
        *tmp_path.glob("train_labels/1727.csv"),
        *tmp_path.glob("annotation/00*.jams"),
        *tmp_path.glob("Dataset/03*/Notes_1*.txt"),
    ]
    for path in broken:
        path.write_text("1 2\nx,y\n")
    for name, path in zip(["musicnet", "guitarset", "urmp"], broken, strict=True):
        problems = [
            problem
            for source in find_sources(name, tmp_path)
            for problem in source.read(OPTIONS).problems
        ]
        assert len(problems) == 1
        assert path.name in problems[0].what


BAD_LABELS = {
    "nested JAMS": (read_guitarset_notes, b'{"annotations": ' + b"[" * 100_000),
    "JAMS with a long number": (
        read_guitarset_notes,
        b'{"annotations": [{"namespace": "note_midi", "data": [{"time": 0, '
        b'"duration": 1, "value": ' + b"9" * 400 + b"}]}]}",
    ),
    "JAMS with a text": (
        read_guitarset_notes,
        b'{"annotations": [{"namespace": "note_midi", "data": [{"time": "a", '
        b'"duration": "b", "value": 60}]}]}',
    ),
    "binary MusicNet": (read_musicnet_notes, b"\xff\xfe\0\xff"),
    "MusicNet with a long field": (
        read_musicnet_notes,
        b'start_time,end_time,instrument,note\n0,1,1,"60' + b"9" * 200_000,
    ),
    "MusicNet with a long number": (
        read_musicnet_notes,
        b"start_time,end_time,instrument,note\n0," + b"9" * 400 + b",1,60\n",
    ),
    "URMP at infinite frequency": (lambda p: read_urmp_notes(p, 40), b"0 inf 1\n"),
    "URMP with a negative duration": (
        lambda p: read_urmp_notes(p, 40),
        b"1 440 -2\n",
    ),
    "nested metadata": (read_metadata, b"[" * 10_000),
    "metadata of infinity": (
        read_metadata,
        b"stems: {S00: {program_num: .inf, is_drum: no}}",
    ),
    "MAESTRO's table cut in a row": (
        lambda p: find_maestro(p.parent),
        b"split,midi_filename,audio_filename\ntrain,a.mid\n",
    ),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_damaged_labels_are_one_line_that_names_the_file(tmp_path, name):
    read, data = BAD_LABELS[name]
    path = tmp_path / "maestro-v9.csv"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"maestro-v9\.csv") as caught:
        read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_strange_files_are_problems_of_their_own(tmp_path):
    toys.guitarset(tmp_path)
    (tmp_path / "annotation" / "strange.jams").write_text("{}")
    (tmp_path / "annotation" / "._00_BN1-129-Eb_comp.jams").write_bytes(b"\0")
    sources = find_sources("guitarset", tmp_path)
    problems = {source.id: source.read(OPTIONS).problems for source in sources}
    assert len(problems) == 3
    assert "strange.jams: not the name" in problems.pop("strange")[0].what
    assert list(problems.values()) == [[], []]


def test_a_damaged_track_does_not_stop_the_rest(tmp_path):
    for number in (1, 2):
        toys.slakh_track(tmp_path / "train" / f"Track0000{number}", number)
    (tmp_path / "train" / "Track00001" / "metadata.yaml").write_text("stems: [")
    for name in ("slakh", "cerberus4"):
        broken, whole = find_sources(name, tmp_path)
        assert "metadata.yaml" in broken.read(OPTIONS).problems[0].what
        assert whole.read(OPTIONS).piece is not None


def test_unknown_data_set():
    with pytest.raises(ValueError, match="slakh, cerberus4"):
        find_sources("nothing", ".")


@pytest.mark.parametrize("name", DATA_SETS)
def test_empty_folder_says_what_is_expected(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"expected|no maestro-v|no audio"):
        find_sources(name, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_sources(name, tmp_path / "nowhere")
