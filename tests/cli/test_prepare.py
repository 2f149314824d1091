"""`mt3x prepare` from a folder as published to records that a task reads."""

import json

import numpy as np
import pytest
import toy_data_sets as toys
from click.testing import CliRunner

from mt3x.cli.prepare import command
from mt3x.data.pipeline import TaskBatches, TrainOptions
from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE
from mt3x.data.pipeline.record_format import NOTE_DTYPE, pack_notes
from mt3x.music.band_rolls import num_columns
from mt3x.music.notes import Notes


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_prepared_records_train_and_problems_are_strict(tmp_path, monkeypatch):
    raw, out = tmp_path / "raw", tmp_path / "out"
    toys.slakh_track(raw / "train" / "Track00001", 1)
    toys.slakh_track(raw / "validation" / "Track01501", 2)
    broken = raw / "train" / "Track00001" / "stems" / "S00.flac"
    whole = broken.read_bytes()
    arguments = ["slakh", "--raw", raw, "--submixes", 3, "--audio", "wav"]

    done = run(*arguments, "--out", out, "--strict")
    assert done.exit_code == 0, done.output
    assert "2 files" in done.output
    manifest = json.loads((out / "slakh" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["pieces"] == 3
    assert manifest["splits"]["validation"]["pieces"] == 1
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(out))
    batches = TaskBatches("slakh_notes_ties_vb1_train", 2, 128, 256, shuffle_buffer=4)
    batch = batches.batch(0)
    assert np.abs(batch["encoder_input_tokens"]).max() > 0.01
    assert (batch["decoder_target_tokens"] > 3).any()

    broken.write_bytes(whole[: len(whole) // 2])
    done = run(*arguments, "--out", tmp_path / "other", "--", "--runner=DirectRunner")
    assert done.exit_code == 0, done.output
    assert "broken stem: 1" in done.output
    done = run(*arguments, "--out", tmp_path / "other", "--strict")
    assert done.exit_code == 1


def test_what_the_band_model_hears_lies_beside_the_records(tmp_path, monkeypatch):
    """Training reads the rows of a segment's own frames, and says where none are."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    toys.slakh_track(raw / "train" / "Track00001", 1)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(out))
    arguments = ["slakh", "--raw", raw, "--out", out]
    assert run(*arguments).exit_code == 0
    width = num_columns(drum_steps=4)

    def batch():
        return TaskBatches(
            "slakh_notes_ties_hw512_vb1_train",
            4,
            16,
            256,
            options=TrainOptions(band_columns=width),
            shuffle_buffer=1,
        ).batch(0)["encoder_input_tokens"]

    with pytest.raises(ValueError, match=r"band_rolls/Track00001.npy.*--band-rolls"):
        batch()
    done = run(*arguments, "--band-rolls")
    assert done.exit_code == 0, done.output
    columns_TxH = np.load(out / "slakh" / "band_rolls" / "Track00001.npy")
    assert columns_TxH.shape[1] == width
    padded = np.concatenate([columns_TxH, np.zeros((16, width), np.float16)])
    frames_BxTxW = batch()
    assert frames_BxTxW.shape == (4, 16, 512 + width)
    for frames_TxW in frames_BxTxW:
        rows_TxH = frames_TxW[frames_TxW[:, 512:].any(axis=1), 512:]
        first = int(np.argmin(np.abs(padded - rows_TxH[0]).sum(axis=1)))
        np.testing.assert_array_equal(rows_TxH, padded[first : first + len(rows_TxH)])
        assert len(rows_TxH)

    (out / "slakh" / "band_rolls" / "model.txt").write_text("an older one")
    done = run(*arguments, "--band-rolls")
    assert "holds what other weights heard" in str(done.exception)
    np.save(out / "slakh" / "band_rolls" / "Track00001.npy", columns_TxH[:, 1:])
    with pytest.raises(ValueError, match=f"reads {width} columns"):
        batch()


def test_drafts_lie_beside_the_records(tmp_path, monkeypatch):
    """Training reads the tokens of what was heard, each segment its own."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    toys.slakh_track(raw / "train" / "Track00001", 1)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(out))
    arguments = ["slakh", "--raw", raw, "--out", out, "--programs", "midi"]
    assert run(*arguments).exit_code == 0

    def batch():
        return TaskBatches(
            "slakh_notes_ties_hw512_vb1_train",
            4,
            16,
            64,
            options=TrainOptions(draft_columns=4),
            shuffle_buffer=1,
        ).batch(0)

    with pytest.raises(ValueError, match=r"drafts/Track00001.npy.*--drafts"):
        batch()
    done = run(*arguments, "--drafts")
    assert done.exit_code == 0, done.output
    # What was heard is replaced by the truth: drafts are then the targets.
    path = out / "slakh" / "drafts" / "Track00001.npy"
    assert np.load(path).dtype == NOTE_DTYPE
    notes = Notes.from_midi(raw / "train" / "Track00001" / "all_src.mid")
    np.save(path, np.frombuffer(pack_notes(notes), NOTE_DTYPE))
    found = batch()
    draft_BxM = found["encoder_input_tokens"][..., 512:].reshape(4, -1)
    np.testing.assert_array_equal(draft_BxM, found["decoder_target_tokens"])
    assert len(np.unique(draft_BxM, axis=0)) > 1


def test_what_is_not_there_is_named(tmp_path):
    done = run("slakh", "--raw", tmp_path, "--out", tmp_path / "out")
    assert isinstance(done.exception, FileNotFoundError)
    assert "metadata.yaml" in str(done.exception)
    done = run("slack", "--raw", tmp_path, "--out", tmp_path / "out")
    assert "unknown data set 'slack'" in str(done.exception)


def test_sub_mixes_need_stems(tmp_path):
    toys.maestro(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="no stems"):
        done = run("maestrov3", "--raw", tmp_path, "--out", out, "--submixes", 2)
        raise done.exception
