"""Pieces to records and a manifest, in several runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import toy_data_sets as toys

from mt3x.data.pieces import Piece
from mt3x.data.pipeline import write_records
from mt3x.data.pipeline.record_format import (
    RecordLayout,
    encode_piece,
    parse_record,
    unpack_notes,
)
from mt3x.data.pipeline.write_records import RecordOptions, num_left_out, prepare
from mt3x.data.published.catalogue import find_sources
from mt3x.data.published.source import ReadOptions
from mt3x.music.audio import decode_audio, load_audio


def read_records(folder, split):
    """Return example protos of a split by id."""
    found = {}
    for path in sorted(folder.glob(f"{split}-*.tfrecord")):
        for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(data).features.feature
            found[features["id"].bytes_list.value[0].decode()] = features
    return found


def record_notes(features):
    return unpack_notes(features["mt3x/notes"].bytes_list.value[0])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Slakh as records, made in two runs."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("out")
    notes = toys.slakh(raw)
    sources = find_sources("slakh", raw)
    options = RecordOptions(ReadOptions(midi_programs=True))
    shards = write_records.plan_shards(sources, str(out), 1)
    write_records.write_shard(shards[0], options)
    first = (out / shards[0].path).stat().st_mtime_ns
    manifest = prepare("slakh", sources, out, options, pieces_per_shard=1)
    assert (out / shards[0].path).stat().st_mtime_ns == first  # kept
    return notes, raw, sources, options, out, manifest


def test_records_hold_pieces(prepared):
    notes, tracks, _, _, out, _ = prepared
    found = read_records(out, "train")
    assert sorted(found) == ["Track00001", "Track00002"]
    for track, features in found.items():
        parts = list(notes[track].values())
        assert len(record_notes(features)) == sum(map(len, parts))
        (audio,) = features["mt3x/audio"].bytes_list.value
        assert len(decode_audio(audio, 16000)) == toys.DURATION_S * 16000
        mix_S = load_audio(tracks / "train" / track / "mix.flac")
        np.testing.assert_allclose(decode_audio(audio, 16000), mix_S, atol=1e-4)
        assert set(features) == {"id", "mt3x/audio", "mt3x/notes"}


def test_records_of_before_with_stems_are_read():
    """A note had the number of its stem, and records had fields of stems."""
    notes = toys.tune(1)
    names = ["onset_s", "offset_s", "pitch", "velocity", "program", "is_drum"]
    formats = ["<f8", "<f8", "u1", "u1", "u1", "u1"]
    rows = np.zeros(len(notes), [*zip(names, formats, strict=True), ("stem", "<u2")])
    for name in names:
        rows[name] = getattr(notes, name)
    rows["stem"] = np.arange(len(notes)) % 3
    piece = Piece("a", np.zeros(1000, np.float32), 16000, notes)
    example = tf.train.Example.FromString(encode_piece(piece, "WAV"))
    feature = example.features.feature
    feature["mt3x/notes"].bytes_list.value[:] = [rows.tobytes()]
    feature["mt3x/stem_names"].bytes_list.value.extend([b"S00", b"S01", b"S02"])
    feature["mt3x/stem_drums"].int64_list.value.extend([0, 0, 1])
    parsed = parse_record(RecordLayout())(example.SerializeToString())
    assert parsed["id"].numpy() == b"a"
    assert unpack_notes(parsed["packed"].numpy()[0]).equals(notes)


def test_manifest_counts(prepared):
    *_, out, manifest = prepared
    assert manifest == json.loads((out / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert (train["pieces"], train["notes"], train["blocks"]) == (2, 80, 2)
    assert train["hours"] == pytest.approx(2 * toys.DURATION_S / 3600)
    assert manifest["problem_counts"] == {} and num_left_out(manifest) == 0
    assert set(manifest["files"]) == {path.name for path in out.glob("*.tfrecord")}
    name, about = next(iter(manifest["files"].items()))
    assert about["sha256"] == write_records._sha256(str(out / name))


def test_other_options_refuse_the_folder(prepared):
    _, _, sources, options, out, _ = prepared
    with pytest.raises(ValueError, match="made with other options"):
        prepare("slakh", sources, out, RecordOptions(), pieces_per_shard=1)
    other = [replace(sources[0], id="Track00003"), *sources[1:]]
    with pytest.raises(ValueError, match="made with other sources"):
        prepare("slakh", other, out, options, pieces_per_shard=1)
    with pytest.raises(ValueError, match=r"tfrecord is not one of the files"):
        prepare("slakh", sources, out, options, pieces_per_shard=2)


def test_wrong_options():
    with pytest.raises(ValueError, match="FLAC or WAV"):
        RecordOptions(form="MP3")
    with pytest.raises(ValueError, match="not be negative"):
        RecordOptions(num_submixes=-1)
    with pytest.raises(ValueError, match="at least 1"):
        write_records.plan_shards([], "x", 0)


def test_what_was_left_out_is_added_once_it_is_repaired(tmp_path, monkeypatch):
    raw, out = tmp_path / "raw", tmp_path / "out"
    toys.maestro(raw)
    wav = raw / "2018" / "MIDI-Unprocessed_0.wav"
    whole = wav.read_bytes()
    wav.write_bytes(b"RIFF")
    sources = find_sources("maestrov3", raw)
    manifest = prepare("maestrov3", sources, out)
    assert manifest["splits"]["train"]["pieces"] == 0
    assert manifest["problems"][0]["piece"] == "MIDI-Unprocessed_0"
    shards = {path: path.stat().st_mtime_ns for path in out.glob("*.tfrecord")}

    # A killed run has left parts of files.
    (out / "train-00000-of-00001.tfrecord.part-7").touch()
    (out / "train-00000-of-00001.tfrecord.json.part-7").touch()
    prepare("maestrov3", sources, out)
    assert shards == {path: path.stat().st_mtime_ns for path in shards}
    wav.write_bytes(whole)
    manifest = prepare("maestrov3", sources, out)
    assert manifest["splits"]["train"]["pieces"] == 1
    assert manifest["problems"] == []
    assert list(read_records(out, "train")) == ["MIDI-Unprocessed_0"]
    changed = [p.name for p, time in shards.items() if p.stat().st_mtime_ns != time]
    assert changed == ["train-00000-of-00001.tfrecord"]
    assert not list(out.glob("*.part-*"))
