"""What a run folder says of a config that is not the one it was begun with."""

import dataclasses
import json
import os

import pytest
from tiny_models import SMALL_TOKENS

from mt3x.models.objectives import RollsConfig
from mt3x.training.experiment import Experiment, TaskConfig, ValidationConfig
from mt3x.training.run_folder import RunFolder, write_config
from mt3x.training.train import TrainConfig

EXPERIMENT = Experiment(SMALL_TOKENS, TaskConfig(task="a"), TrainConfig(steps=2))


def write(folder, experiment):
    write_config(
        folder,
        experiment.to_dict(),
        read=lambda config: Experiment.from_dict(config).to_dict(),
    )


@pytest.fixture
def older(tmp_path):
    """A folder that was begun before there were stems, heads and validation losses."""
    config = json.loads(json.dumps(EXPERIMENT.to_dict()))
    del config["train"]["init_partial"]
    del config["data"]["validation"]["loss_batches"]
    for name in ("stem", "end_marker"):
        del config["objective"]["model"][name]
    for name in ("rolls", "stem_features", "band"):
        del config["objective"][name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_settings_that_an_older_version_lacks_are_defaults(older):
    write(older, EXPERIMENT)
    now = json.loads((older / "config.json").read_text())
    assert now == json.loads(json.dumps(EXPERIMENT.to_dict()))


def test_settings_that_differ_from_those_defaults_are_told(older):
    validation = ValidationConfig(loss_batches=3)
    labels = dataclasses.replace(
        RollsConfig().labels, frame_rate_hz=SMALL_TOKENS.features.frame_rate_hz
    )
    with_heads = dataclasses.replace(SMALL_TOKENS, rolls=RollsConfig(labels=labels))
    for change, told in (
        ({"validation": validation}, r"data.validation.loss_batches 0 -> 3"),
        ({"objective": with_heads}, r"objective.rolls.channels None -> 48"),
    ):
        with pytest.raises(ValueError, match=told):
            write(older, dataclasses.replace(EXPERIMENT, **change))


def test_a_config_of_no_run_is_told(older):
    (older / "config.json").write_text('{"train": {}}')
    with pytest.raises(ValueError, match=r"does not fit this version .*'data'"):
        write(older, EXPERIMENT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"train": ',
        "[" * 5000,
        '{"data": [], "objective": {}, "train": {}}',
        '{"data": {"validation": 5}, "objective": {}, "train": {}}',
    ],
)
def test_a_damaged_config_is_told_by_its_file(older, text):
    (older / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: ") as error:
        write(older, EXPERIMENT)
    assert "\n" not in str(error.value)
    if not text.startswith('{"data"'):
        with pytest.raises(ValueError, match=r"config\.json: "):
            _ = RunFolder(older).config


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
    """The lock goes with the block; the message names the process that holds it."""
    folder = RunFolder(tmp_path / "run")
    assert not folder.has_run
    with folder.claimed({"a": 1}, gin_text="# gin"):
        assert folder.config == {"a": 1}
        with pytest.raises(OSError, match=f"in use by another run .*{os.getpid()}"):
            with folder.claimed({"a": 1}):
                pass
    with pytest.raises(ValueError, match="a 1 -> 2"):
        with folder.claimed({"a": 2}):
            pass
    with folder.claimed({"a": 2}, free=["a"]):
        assert folder.config == {"a": 2}
    assert (folder.path / "operative_config.gin").read_text() == "# gin"


def test_no_run_yet(tmp_path):
    with pytest.raises(ValueError, match="holds no run yet; name a --gin_file"):
        _ = RunFolder(tmp_path).config
