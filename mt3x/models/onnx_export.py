"""Piano models as ONNX files, for programs without JAX and for browsers.

The graph is built node by node from the parameters: HPPNet's layers are ONNX operators,
and what a converter makes of the loops in `mt3x.models.layers` and `mt3x.models.lstm`
runs slower than these.

In: `feats`, the log CQT BxTxF. Out: the rolls BxTxP by their names, T the same. Any
number of clips and of frames fits; clips are not padded. The file's metadata hold the
model's config as JSON, as a weights file's header does.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mt3x.files import write_whole
from mt3x.models.hppnet import HPPNetConfig, SubnetConfig
from mt3x.models.layers import harmonic_shifts
from mt3x.models.objectives import PianoConfig, PianoObjective, config_from_dict
from mt3x.models.weights_file import Source, Weights, check_params
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES

# What onnxruntime has understood since 1.12.
OPSET, IR_VERSION = 17, 8
EPSILON = 1e-5


def export(
    path: str | os.PathLike[str],
    weights: Weights,
    source: Source,
    overwrite: bool = False,
) -> None:
    """Write a piano model to an ONNX file, whole or not at all.

    Args:
      path: file to write, by custom `NAME.onnx`.
      weights: the model's parameters, config and metadata.
      source: where they come from, for messages.
      overwrite: replace an existing file.

    Raises:
      ValueError: they are those of another kind of model.
      OSError: the file exists already or cannot be written.
    """
    model = build(weights, source)
    with write_whole(path, overwrite=overwrite) as file:
        file.write(model.SerializeToString(deterministic=True))


def build(weights: Weights, source: Source) -> onnx.ModelProto:
    """Return what `export` writes."""
    config = _piano_config(weights, source)
    params = weights.params
    shapes = jax.eval_shape(lambda: PianoObjective(config).init(jax.random.key(0)))
    check_params(params, shapes, source)
    # Engines that run such files do not know the pedal's heads.
    config = config.without_pedal()
    graph = _Graph()
    for n, subnet in enumerate(config.model.subnets):
        _subnet(graph, params[f"subnet_{n}"], config.model, subnet)

    def value(name: str, last: int) -> onnx.ValueInfoProto:
        shape = ["clips", "frames", last]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "hppnet",
            inputs=[value("feats", config.features.num_bins)],
            outputs=[value(name, NUM_PITCHES) for name in ROLL_NAMES],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mt3x",
    )
    texts = {
        "config": json.dumps(config.to_dict(), sort_keys=True),
        "metadata": json.dumps(weights.metadata, sort_keys=True),
    }
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model


def _piano_config(weights: Weights, source: Source) -> PianoConfig:
    """Return the configuration of a piano model.

    Raises:
      ValueError: it is that of another kind, or of another version of mt3x.
    """
    try:
        config = config_from_dict(weights.config)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if not isinstance(config, PianoConfig):
        raise ValueError(f"{source} is a {config.kind}: give a piano model")
    model = config.model
    if (model.distances, model.recurrence) != ("harmonic", "grouped"):
        raise ValueError(
            f"{source} has distances {model.distances!r} and recurrence "
            f"{model.recurrence!r}: ONNX files are written of HPPNet as published"
        )
    return config


class _Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: Any, out: str = "", **options: Any) -> str:
        """Add a node and return its output's name; arrays become constants."""
        out = out or f"{kind.lower()}_{len(self.nodes)}"
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        self.nodes.append(helper.make_node(kind, names, [out], **options))
        return out

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def _subnet(
    graph: _Graph, params: Mapping[str, Any], config: HPPNetConfig, subnet: SubnetConfig
) -> None:
    """Add a trunk and its heads; activations are channels first, BxCxTxF."""
    x, pool = graph.add("Unsqueeze", "feats", np.array([1])), subnet.time_pool
    if pool > 1:
        x = graph.add("MaxPool", x, kernel_shape=[pool, 1], strides=[pool, 1])
    x = _trunk(graph, params["trunk"], x, config)
    # All pitches share the LSTMs: TxBxPxC, then TxNxC.
    x = graph.add("Transpose", x, perm=[2, 0, 3, 1])
    x = graph.add("Reshape", x, np.array([0, -1, config.channels]))
    for cell, head in enumerate(subnet.heads):
        roll_TxBxP = _head(graph, params["heads"], x, cell)
        roll_BxTxP = graph.add("Transpose", roll_TxBxP, perm=[1, 0, 2])
        if pool > 1:
            roll_BxTxP = _unpooled(graph, roll_BxTxP)
        graph.add("Clip", roll_BxTxP, np.float32(1e-7), np.float32(1 - 1e-7), out=head)


def _trunk(
    graph: _Graph, params: Mapping[str, Any], x: str, config: HPPNetConfig
) -> str:
    octave, semitone = config.bins_per_octave, config.bins_per_octave // 12

    def block(x: str, name: str, dilation: int = 1) -> str:
        x = graph.add("Relu", _conv(graph, x, **params[name], dilation=dilation))
        return _normed(graph, x, params[name]["bias"])

    for n in range(3):
        x = block(x, f"stem_{n}")
    x = _harmonic(graph, x, params["harmonic"], config)
    x = _conv(graph, x, **params["octave"], dilation=octave)
    pool = [1, config.bins_per_pitch]
    x = graph.add("MaxPool", x, kernel_shape=pool, strides=pool)
    x = _normed(graph, graph.add("Relu", x), params["octave"]["bias"])
    x = block(x, "semitone", 3 * semitone)
    for n in range(3):
        x = block(x, f"time_{n}")
    return x


def _conv(graph: _Graph, x: str, kernel: Any, bias: Any, dilation: int) -> str:
    """Add a same-padded convolution of kernel HxWxCxD and bias D."""
    kernel_DxCxHxW = np.transpose(kernel, (3, 2, 0, 1))
    height, width = kernel_DxCxHxW.shape[2] // 2, kernel_DxCxHxW.shape[3] // 2
    return graph.add(
        "Conv",
        x,
        kernel_DxCxHxW,
        bias,
        dilations=[1, dilation],
        pads=[height, width * dilation] * 2,
    )


def _normed(graph: _Graph, x: str, like_D: Any) -> str:
    ones_D = np.ones_like(like_D)
    return graph.add(
        "InstanceNormalization", x, ones_D, np.zeros_like(ones_D), epsilon=EPSILON
    )


def _harmonic(
    graph: _Graph, x: str, params: Mapping[str, Any], config: HPPNetConfig
) -> str:
    """Add the parallel convolutions, one after the other: sums need less memory."""
    shifts = harmonic_shifts(config.bins_per_octave, config.num_harmonics)[2::2]
    kernel_Nx3xCxD, bias_NxD = params["kernel"], params["bias"]
    total = ""
    for dilation, kernel_3xCxD, bias_D in zip(
        shifts, kernel_Nx3xCxD, bias_NxD, strict=True
    ):
        part = _conv(graph, x, kernel_3xCxD[None], bias_D, dilation)
        total = graph.add("Add", part, total) if total else part
    return graph.add("Relu", total)


def _head(graph: _Graph, params: Mapping[str, Any], x: str, cell: int) -> str:
    """Add a bidirectional LSTM, a dense layer and a sigmoid: TxNxC to TxBxP."""
    biases = [
        _gates(params[name][:, cell]) for name in ("input_bias", "recurrent_bias")
    ]
    dense_2xH = params["dense_kernel"][:, cell]
    width = dense_2xH.shape[1]
    y_Tx2xNxH = graph.add(
        "LSTM",
        x,
        _gates(params["input_kernel"][:, cell]),
        _gates(params["recurrent_kernel"][:, cell]),
        np.concatenate(biases, axis=1),
        direction="bidirectional",
        hidden_size=width,
    )
    y_TxNx2xH = graph.add("Transpose", y_Tx2xNxH, perm=[0, 2, 1, 3])
    y_TxNxH = graph.add("Reshape", y_TxNx2xH, np.array([0, 0, 2 * width]))
    logits = graph.add("MatMul", y_TxNxH, dense_2xH.reshape(-1, 1))
    logits = graph.add("Add", logits, params["dense_bias"][cell])
    logits_TxBxP = graph.add("Reshape", logits, np.array([0, -1, NUM_PITCHES]))
    return graph.add("Sigmoid", logits_TxBxP)


def _gates(weights_2xK: Any) -> np.ndarray:
    """Return weights of the gates i, f, g, o in ONNX's order: i, o, f, g."""
    i, f, g, o = np.split(np.asarray(weights_2xK), 4, axis=1)
    return np.concatenate([i, o, f, g], axis=1)


def _unpooled(graph: _Graph, roll_BxTxP: str) -> str:
    """Add the interpolation back to as many frames as there are in `feats`."""
    frames_1 = graph.add("Shape", "feats", start=1, end=2)
    clips_1 = graph.add("Shape", "feats", start=0, end=1)
    sizes_3 = graph.add("Concat", clips_1, frames_1, np.array([NUM_PITCHES]), axis=0)
    return graph.add(
        "Resize",
        roll_BxTxP,
        "",
        "",
        sizes_3,
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
