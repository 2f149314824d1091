"""A folder with a recording, and `mt3x transcribe` with small random weights."""

import dataclasses
import io
import sys

import pytest
import soundfile
from short_recordings import RATE, tone
from tiny_models import (
    SMALL_BAND,
    SMALL_PEDAL,
    SMALL_ROLLS,
    SMALL_TOKENS,
    save_small_weights,
)

from mt3x.cli.main import main
from mt3x.music.instrument_assignment import AssignmentConfig
from mt3x.music.pedal_decoder import PedalDecodingConfig


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def pedal_weights(tmp_path_factory):
    """The pedal's roll lies about a half throughout, as all of random weights do."""
    path = tmp_path_factory.mktemp("weights") / "pedal.safetensors"
    decoding = PedalDecodingConfig(
        pedal_threshold=0.1, release_threshold=1.0, key_threshold=0.9
    )
    config = dataclasses.replace(SMALL_PEDAL, pedal_decoding=decoding)
    return save_small_weights(path, config)


@pytest.fixture(scope="module")
def token_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tokens.safetensors"
    return save_small_weights(path, SMALL_TOKENS)


@pytest.fixture(scope="module")
def heads_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "heads.safetensors"
    return save_small_weights(path, SMALL_ROLLS)


@pytest.fixture(scope="module")
def band_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "band.safetensors"
    # What random weights say of instruments is much the same everywhere.
    assignment = AssignmentConfig(evidence=1.0, same_timbre=1.0, min_share=0.0)
    config = dataclasses.replace(SMALL_BAND, assignment=assignment)
    return save_small_weights(path, config)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with one second of sound, in a.wav."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", tone(), RATE)
    return tmp_path


@pytest.fixture
def run(weights, folder, monkeypatch, capsysbinary):
    """Runs the command; returns exit code, standard output and standard error."""

    def call(*args, stdin: bytes | None = b"", checkpoint=weights):
        argv = ["mt3x", "transcribe", *map(str, args)]
        if checkpoint is not None:
            argv += ["--checkpoint", str(checkpoint)]
        monkeypatch.setattr(sys, "argv", argv)
        given = None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", given)
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsysbinary.readouterr()
        return exit_.value.code or 0, out, err.decode()

    return call
