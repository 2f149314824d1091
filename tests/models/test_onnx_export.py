"""Exported piano models: parity with the authors' network, and with the weights."""

import json
from pathlib import Path

import hppnet_inputs as inputs
import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_models import SMALL, SMALL_BAND, random_params

from mt3x.interop.hppnet_torch import import_hppnet, state_shapes
from mt3x.models import onnx_export, weights_file
from mt3x.models.hppnet import SIZES
from mt3x.models.objectives import PianoConfig
from mt3x.models.weights_file import Weights
from mt3x.music.rolls import ROLL_NAMES

GOLDEN = Path(__file__).parents[1] / "golden"
SEED, BATCH, NUM_FRAMES = 1, 2, 40  # as in golden/make_hppnet.py
SMALL_WEIGHTS = Weights(random_params(SMALL), SMALL.to_dict(), {"step": "3"})


def run(model: onnx.ModelProto, feats_BxTxF: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(
        zip(ROLL_NAMES, session.run(ROLL_NAMES, {"feats": feats_BxTxF}), strict=True)
    )


@pytest.mark.parametrize("size", SIZES)
def test_rolls_are_those_of_the_reference(size):
    _, params = import_hppnet(inputs.weights(SEED, state_shapes(SIZES[size])))
    config = PianoConfig(model=SIZES[size])
    model = onnx_export.build(Weights(params, config.to_dict(), {}), size)
    with np.load(GOLDEN / f"hppnet_{size}.npz") as golden:
        for prefix, num_frames, step in ("roll", NUM_FRAMES, 5), ("odd_roll", 41, 8):
            if f"{prefix}/onset" not in golden:
                continue
            rolls = run(model, inputs.features(SEED, BATCH, num_frames))
            for head, roll_BxTxP in rolls.items():
                ref_BxTxP = golden[f"{prefix}/{head}"]
                np.testing.assert_allclose(
                    roll_BxTxP[:, :, ::step], ref_BxTxP, atol=1e-4, err_msg=head
                )


def test_the_package_has_its_weights_as_onnx():
    source = weights_file.packaged("piano")
    model = onnx.load(source.with_suffix(".onnx"))
    assert model == onnx_export.build(weights_file.load(source), source)


def test_metadata_say_what_the_model_is(tmp_path):
    path = tmp_path / "small.onnx"
    onnx_export.export(path, SMALL_WEIGHTS, "small")
    found = {
        each.key: json.loads(each.value) for each in onnx.load(path).metadata_props
    }
    assert PianoConfig.from_dict(found["config"]) == SMALL
    assert found["metadata"] == {"step": "3"}
    with pytest.raises(FileExistsError, match="--overwrite"):
        onnx_export.export(path, SMALL_WEIGHTS, "small")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (SMALL_WEIGHTS._replace(config=SMALL_BAND.to_dict()), "W is a band model"),
        (SMALL_WEIGHTS._replace(config={"objective": "x"}), "W: .*objective 'x'"),
        (SMALL_WEIGHTS._replace(params={}), "W: a checkpoint of another model"),
    ],
    ids=["band", "unknown", "empty"],
)
def test_other_models_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        onnx_export.build(weights, "W")
