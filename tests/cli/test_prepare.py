"""`mt3x prepare` from a folder as published to records that a task reads."""

import json

import numpy as np
import pytest
import toy_data_sets as toys
from click.testing import CliRunner

from mt3x.cli.prepare import command
from mt3x.data.pipeline import TaskBatches
from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE


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
