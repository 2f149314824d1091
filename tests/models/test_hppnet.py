"""HPPNet: parity with the authors' network, and what its fast layers must keep."""

from pathlib import Path
from typing import Any

import hppnet_inputs as inputs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.interop.hppnet_torch import import_hppnet, state_shapes
from mt3x.models.ablated_heads import DenseHeads, FlatHeads
from mt3x.models.hppnet import (
    SIZES,
    SP_SUBNETS,
    Conv,
    HarmonicConv,
    Heads,
    HPPNet,
    HPPNetConfig,
)
from mt3x.models.layers import (
    conv2d,
    even_shifts,
    harmonic_conv,
    harmonic_shifts,
    instance_norm,
)
from mt3x.models.lstm import lstm
from mt3x.music.rolls import ROLL_NAMES

GOLDEN = Path(__file__).parents[1] / "golden"
SEED, BATCH, NUM_FRAMES = 1, 2, 40  # as in golden/make_hppnet.py
SUBNETS = ("subnet_onset", "subnet_frame")
DILATIONS = (48, 76, 96, 111, 124, 135, 144, 152)
LAYERS = {
    "stem_0": "block_1",
    "stem_1": "block_2",
    "stem_2": "block_2_5",
    "harmonic": "conv_3",
    "octave": "block_4",
    "semitone": "block_5",
    "time_0": "block_6",
    "time_1": "block_7",
    "time_2": "block_8",
}


class Golden:
    """One size: the reference's outputs, and mt3x with the same weights."""

    def __init__(self, size: str) -> None:
        self.config = SIZES[size]
        with np.load(GOLDEN / f"hppnet_{size}.npz") as arrays:
            self.outputs = dict(arrays)
        state = inputs.weights(SEED, state_shapes(self.config))
        config, params = import_hppnet(state)
        assert config == self.config
        self.params = jax.tree.map(jnp.asarray, params)
        self.feats_BxTxF = jnp.asarray(inputs.features(SEED, BATCH, NUM_FRAMES))
        model = HPPNet(config)
        self.rolls, kept = jax.jit(
            lambda params, feats: model.apply(
                {"params": params}, feats, capture_intermediates=True
            )
        )(self.params, self.feats_BxTxF)
        self.subnets = kept["intermediates"]

    def layer(self, subnet: str, name: str) -> jax.Array:
        """A trunk's layer BxTxFxC; all but the harmonic one are normalised."""
        config, params = self.config, self.params[subnet]["trunk"].get(name)
        width, octave = config.channels, config.bins_per_octave
        if name == "harmonic":
            module = HarmonicConv(width, config.num_harmonics, octave)
            return module.apply({"params": params}, self.layer(subnet, "stem_2"))
        if name == "octave":
            module = Conv(width, (1, 3), octave, config.bins_per_pitch)
            x_BxTxFxC = module.apply({"params": params}, self.layer(subnet, "harmonic"))
        else:
            (x_BxTxFxC,) = self.subnets[subnet]["trunk"][name]["__call__"]
        return instance_norm(x_BxTxFxC)


@pytest.fixture(scope="module", params=["tiny", "base", "sp"])
def golden(request) -> Golden:
    return Golden(request.param)


def count(params) -> int:
    return sum(array.size for array in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("size", "num_parameters"), [("tiny", 150388), ("base", 818628), ("sp", 1239428)]
)
def test_parameter_counts(size, num_parameters):
    """151K, 820K and 1.24M as published; exactly those of the authors' code."""
    feats = jax.ShapeDtypeStruct((1, 8, 352), jnp.float32)
    variables = jax.eval_shape(HPPNet(SIZES[size]).init, jax.random.key(0), feats)
    assert count(variables["params"]) == num_parameters
    with np.load(GOLDEN / f"hppnet_{size}.npz") as arrays:
        assert arrays["num_parameters"] == num_parameters


def test_initialised_tree_is_the_imported_one(golden):
    feats = jax.ShapeDtypeStruct((1, 8, 352), jnp.float32)
    variables = jax.eval_shape(HPPNet(golden.config).init, jax.random.key(0), feats)
    shapes = jax.tree.map(lambda array: array.shape, variables["params"])
    assert shapes == jax.tree.map(lambda array: array.shape, golden.params)


def test_layers_equal_reference(golden):
    for n, subnet in enumerate(SUBNETS[: len(golden.config.subnets)]):
        for layer, reference in LAYERS.items():
            ref_BxCxTxF = golden.outputs[f"layer/{subnet}.trunk.{reference}"]
            x_BxTxFxC = np.asarray(golden.layer(f"subnet_{n}", layer))
            est_BxCxTxF = x_BxTxFxC.transpose(0, 3, 1, 2)[:, ::7, ::9, ::13]
            assert est_BxCxTxF.shape == ref_BxCxTxF.shape
            np.testing.assert_allclose(
                est_BxCxTxF, ref_BxCxTxF, atol=1e-4, err_msg=f"{subnet} {layer}"
            )


def test_recurrent_layers_equal_reference(golden):
    for n, subnet in enumerate(golden.config.subnets):
        name = SUBNETS[n]
        x_BxTxPxC = golden.layer(f"subnet_{n}", "time_2")
        frames, channels = x_BxTxPxC.shape[1], x_BxTxPxC.shape[3]
        x_TxCxN = x_BxTxPxC.transpose(1, 3, 0, 2).reshape(frames, channels, -1)
        heads = golden.params[f"subnet_{n}"]["heads"]
        hidden_TxDxGxHxN = np.asarray(
            lstm(
                jnp.stack([x_TxCxN, x_TxCxN[::-1]], axis=1),
                heads["input_kernel"],
                heads["recurrent_kernel"],
                heads["input_bias"] + heads["recurrent_bias"],
                jnp.ones((frames, 2, x_TxCxN.shape[2])),
            )
        )
        for g, head in enumerate(subnet.heads):
            up_TxHxN = hidden_TxDxGxHxN[:, 0, g]
            down_TxHxN = hidden_TxDxGxHxN[::-1, 1, g]
            est_NxTxD = np.concatenate([up_TxHxN, down_TxHxN], 1).transpose(2, 0, 1)
            ref_NxTxD = golden.outputs[f"layer/{name}.heads.{head}.head.lstm.rnn"]
            np.testing.assert_allclose(
                est_NxTxD[::17, ::5, ::3], ref_NxTxD, atol=1e-4, err_msg=head
            )


def test_rolls_equal_reference(golden):
    for head in ROLL_NAMES:
        ref_BxTxP = golden.outputs[f"roll/{head}"]
        est_BxTxP = np.asarray(golden.rolls[head])
        assert est_BxTxP.shape == (BATCH, NUM_FRAMES, 88)
        np.testing.assert_allclose(est_BxTxP[:, :, ::5], ref_BxTxP, atol=1e-4)


@pytest.mark.parametrize("golden", ["sp"], indirect=True)
def test_odd_number_of_frames_equals_reference(golden):
    feats = jnp.asarray(inputs.features(SEED, BATCH, NUM_FRAMES + 1))
    apply = jax.jit(HPPNet(golden.config).apply)
    rolls = apply({"params": golden.params}, feats)
    for head in ROLL_NAMES:
        ref_BxTxP = golden.outputs[f"odd_roll/{head}"]
        est_BxTxP = np.asarray(rolls[head])[:, :, ::8]
        np.testing.assert_allclose(est_BxTxP, ref_BxTxP, atol=1e-4, err_msg=head)


@pytest.mark.parametrize("golden", ["tiny"], indirect=True)
def test_gradients_equal_reference(golden):
    shape = (BATCH, NUM_FRAMES, 88)
    weights_BxTxP = [jnp.asarray(inputs.cotangent(i, shape)) for i in range(4)]

    @jax.jit
    @jax.grad
    def gradient(params):
        rolls = HPPNet(golden.config).apply({"params": params}, golden.feats_BxTxF)
        pairs = zip(ROLL_NAMES, weights_BxTxP, strict=True)
        return sum((rolls[head] * weight).sum() for head, weight in pairs)

    est = gradient(golden.params)
    for n, name in enumerate(SUBNETS[: len(est)]):
        trunk = est[f"subnet_{n}"]["trunk"]
        for layer, reference in LAYERS.items():
            if layer == "harmonic":
                continue
            est_kernel = np.asarray(trunk[layer]["kernel"]).transpose(3, 2, 0, 1)
            path = f"gradient/{name}.trunk.{reference}.0.weight"
            check_gradient(est_kernel, golden.outputs[path], path)
        for k, kernel_3xCxD in enumerate(np.asarray(trunk["harmonic"]["kernel"])):
            path = f"gradient/{name}.trunk.conv_3.conv_{k + 1}.weight"
            est_kernel = kernel_3xCxD.transpose(2, 1, 0)[:, :, None]
            check_gradient(est_kernel, golden.outputs[path], path)
        heads = est[f"subnet_{n}"]["heads"]
        for g, head in enumerate(golden.config.subnets[n].heads):
            for d, suffix in enumerate(("_l0", "_l0_reverse")):
                for kind, reference in (
                    ("input_kernel", "weight_ih"),
                    ("recurrent_kernel", "weight_hh"),
                    ("input_bias", "bias_ih"),
                    ("recurrent_bias", "bias_hh"),
                ):
                    path = f"gradient/{name}.heads.{head}.head.lstm.rnn."
                    path += reference + suffix
                    est_gradient = np.asarray(heads[kind][d, g])
                    check_gradient(est_gradient, golden.outputs[path], path)
            dense = np.asarray(heads["dense_kernel"][:, g]).reshape(1, -1)
            path = f"gradient/{name}.heads.{head}.head.linear.weight"
            check_gradient(dense, golden.outputs[path], path)


def check_gradient(gradient: np.ndarray, reference: np.ndarray, name: str) -> None:
    """Compare the gradient's length and its product with a seeded array.

    Below the heads a few units near ReLU's kink fall on the other side in single
    precision; PyTorch's own gradients then differ by up to 5e-3 from double precision.
    """
    dot, norm = reference
    tolerance = 1e-4 if ".heads." in name else 3e-2
    probe = inputs.cotangent(5, gradient.shape)
    limit = tolerance * max(norm, 1e-3)
    assert abs(np.linalg.norm(gradient) - norm) < limit, name
    assert abs((gradient * probe).sum() - dot) < limit, name


def test_harmonic_shifts_are_the_papers():
    shifts = harmonic_shifts(48, 8)
    assert shifts == (0, *(s for d in DILATIONS for s in (-d, d)))


def eight_convolutions(x_BxTxFxC, kernels_8x3xCxD):
    """HPPNet's harmonic convolution as it is written: eight, summed."""
    return sum(
        jax.lax.conv_general_dilated(
            x_BxTxFxC,
            kernel_3xCxD[None],
            window_strides=(1, 1),
            padding="SAME",
            rhs_dilation=(1, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for kernel_3xCxD, dilation in zip(kernels_8x3xCxD, DILATIONS, strict=True)
    )


def fused(x_BxTxFxC, kernels_8x3xCxD):
    centre = kernels_8x3xCxD[:, 1].sum(axis=0)[None]
    outer = kernels_8x3xCxD[:, ::2].reshape(-1, *kernels_8x3xCxD.shape[2:])
    kernel_KxCxD = jnp.concatenate([centre, outer])
    return harmonic_conv(x_BxTxFxC, kernel_KxCxD, harmonic_shifts(48, 8))


@pytest.mark.parametrize("shape", [(1, 1, 352, 3), (2, 5, 352, 4), (1, 3, 176, 2)])
def test_harmonic_convolution_equals_eight(shape):
    rng = np.random.default_rng(0)
    x_BxTxFxC = jnp.asarray(rng.normal(size=shape), jnp.float32)
    bound = (3 * 8 * shape[-1]) ** -0.5
    kernels = rng.uniform(-bound, bound, (8, 3, shape[-1], 6))
    kernels = jnp.asarray(kernels, jnp.float32)
    ref, ref_pullback = jax.vjp(jax.jit(eight_convolutions), x_BxTxFxC, kernels)
    est, est_pullback = jax.vjp(jax.jit(fused), x_BxTxFxC, kernels)
    np.testing.assert_allclose(est, ref, atol=1e-5)
    g = jnp.asarray(rng.normal(size=ref.shape), jnp.float32)
    (ref_x, ref_k), (est_x, est_k) = ref_pullback(g), est_pullback(g)
    np.testing.assert_allclose(est_x, ref_x, atol=1e-5)
    np.testing.assert_allclose(est_k, ref_k, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "dilation", "c_in", "c_out"),
    [
        ((7, 7), 1, 1, 16),
        ((7, 7), 1, 16, 16),
        ((7, 7), 1, 8, 16),  # blocks of three frames: the last is filled up
        ((1, 3), 48, 32, 32),
        ((1, 3), 12, 40, 32),
        ((5, 1), 1, 32, 48),
    ],
)
def test_convolution_and_gradients_equal_naive(kernel, dilation, c_in, c_out):
    rng = np.random.default_rng(1)
    x_BxTxFxC = jnp.asarray(rng.normal(size=(2, 7, 100, c_in)), jnp.float32)
    weight = rng.normal(size=(*kernel, c_in, c_out)) / np.sqrt(np.prod(kernel) * c_in)
    weight = jnp.asarray(weight, jnp.float32)
    fast = jax.jit(lambda *a: conv2d(*a, dilation))
    naive = jax.jit(lambda *a: naive_convolution(*a, dilation))
    est, est_pullback = jax.vjp(fast, x_BxTxFxC, weight)
    ref, ref_pullback = jax.vjp(naive, x_BxTxFxC, weight)
    np.testing.assert_allclose(est, ref, atol=1e-5)
    g = jnp.asarray(rng.normal(size=ref.shape), jnp.float32)
    (est_x, est_k), (ref_x, ref_k) = est_pullback(g), ref_pullback(g)
    np.testing.assert_allclose(est_x, ref_x, atol=1e-5)
    np.testing.assert_allclose(est_k, ref_k, atol=2e-4)


def naive_convolution(x_BxTxFxC, weight_HxWxCxD, dilation):
    height, width = weight_HxWxCxD.shape[:2]
    rows, columns = height // 2, width // 2 * dilation
    padded = jnp.pad(x_BxTxFxC, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    frames, bins = x_BxTxFxC.shape[1:3]
    return sum(
        padded[:, i : i + frames, j * dilation : j * dilation + bins]
        @ weight_HxWxCxD[i, j]
        for i in range(height)
        for j in range(width)
    )


def test_lstm_and_gradients_equal_naive():
    rng = np.random.default_rng(3)
    steps, directions, cells, width, inputs_, sequences = 4, 2, 2, 3, 5, 6

    def draw(*shape):
        return jnp.asarray(rng.normal(scale=0.5, size=shape), jnp.float32)

    x_TxDxCxN = draw(steps, directions, inputs_, sequences)
    weights = (
        draw(directions, cells, 4 * width, inputs_),
        draw(directions, cells, 4 * width, width),
        draw(directions, cells, 4 * width),
    )
    # Direction 0 ends early in some sequences, direction 1 starts late.
    keep_TxDxN = np.ones((steps, directions, sequences), np.float32)
    keep_TxDxN[3:, 0, 2:] = keep_TxDxN[:1, 1, 2:] = 0.0
    keep_TxDxN = jnp.asarray(keep_TxDxN)

    naive = jax.jit(lambda *a: naive_lstm(*a, keep_TxDxN))
    ref = naive(x_TxDxCxN, *weights)
    fast = jax.jit(lambda *a: lstm(*a, keep_TxDxN))
    est, pullback = jax.vjp(fast, x_TxDxCxN, *weights)
    np.testing.assert_allclose(est, ref, atol=1e-6)
    g = draw(*ref.shape)
    ref_gradients = jax.vjp(naive, x_TxDxCxN, *weights)[1](g)
    for est_gradient, ref_gradient in zip(pullback(g), ref_gradients, strict=True):
        np.testing.assert_allclose(est_gradient, ref_gradient, atol=2e-5)


def naive_lstm(x_TxDxCxN, input_kernel, recurrent_kernel, bias, keep_TxDxN):
    """Every direction and cell by itself, step by step."""
    steps, directions, _, sequences = x_TxDxCxN.shape
    cells, width = recurrent_kernel.shape[1], recurrent_kernel.shape[3]
    rows = []
    for d in range(directions):
        for g in range(cells):
            h = c = jnp.zeros((width, sequences))
            for t in range(steps):
                gates = input_kernel[d, g] @ x_TxDxCxN[t, d]
                gates += recurrent_kernel[d, g] @ h + bias[d, g][:, None]
                i, f, new, o = gates.reshape(4, width, sequences)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(new)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                h, c = h * keep_TxDxN[t, d], c * keep_TxDxN[t, d]
                rows.append(h)
    stacked = jnp.stack(rows).reshape(directions, cells, steps, width, sequences)
    return stacked.transpose(2, 0, 1, 3, 4)


def test_instance_norm_of_masked_equals_dropped():
    rng = np.random.default_rng(2)
    x_BxTxFxC = jnp.asarray(rng.normal(3.0, 2.0, size=(2, 9, 5, 3)), jnp.float32)
    mask_BxT = jnp.arange(9)[None] < jnp.array([[9], [4]])
    normed = instance_norm(x_BxTxFxC, mask_BxT)
    np.testing.assert_allclose(normed[0], instance_norm(x_BxTxFxC[:1])[0], atol=1e-5)
    short = instance_norm(x_BxTxFxC[1:, :4])[0]
    np.testing.assert_allclose(normed[1, :4], short, atol=1e-5)
    assert not normed[1, 4:].any()
    np.testing.assert_allclose(short.mean(axis=(0, 1)), 0.0, atol=1e-5)
    np.testing.assert_allclose(short.var(axis=(0, 1)), 1.0, atol=1e-4)


SMALL = {
    "one": HPPNetConfig(channels=8, stem_channels=4),
    "sp": HPPNetConfig(channels=8, stem_channels=4, subnets=SP_SUBNETS),
    "flat": HPPNetConfig(channels=4, stem_channels=4, recurrence="flat"),
    "none": HPPNetConfig(
        channels=4, stem_channels=4, recurrence="none", distances="even"
    ),
}


def random_params(model, *inputs):
    """Draw parameters by NumPy: compiling `init` would take longer than the tests."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(-0.3, 0.3, leaf.shape), leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), *inputs),
    )


@pytest.mark.parametrize("size", SMALL)
def test_padding_changes_nothing(size):
    model = HPPNet(SMALL[size])
    feats_BxTxF = jnp.asarray(inputs.features(5, 2, 26))
    params = random_params(model, feats_BxTxF)
    mask_BxT = jnp.arange(26)[None] < jnp.array([[26], [14]])
    # What lies in the padding must not matter, whatever it is.
    filled = jnp.where(mask_BxT[..., None], feats_BxTxF, 1e4)
    apply = jax.jit(model.apply)
    rolls = apply(params, filled, mask_BxT)
    whole = apply(params, feats_BxTxF, mask_BxT | True)
    alone = apply(params, feats_BxTxF[1:, :14])
    for head in ROLL_NAMES:
        np.testing.assert_allclose(rolls[head][0], whole[head][0], atol=1e-5)
        np.testing.assert_allclose(rolls[head][1, :14], alone[head][0], atol=1e-5)


def test_padding_has_no_gradient():
    model = HPPNet(SMALL["one"])
    feats_BxTxF = jnp.asarray(inputs.features(5, 1, 12))
    params = random_params(model, feats_BxTxF)
    mask_BxT = jnp.arange(12)[None] < 9

    @jax.jit
    @jax.grad
    def gradient(feats_BxTxF):
        rolls = model.apply(params, feats_BxTxF, mask_BxT)
        return sum(roll[:, :9].sum() for roll in rolls.values())

    gradient_BxTxF = gradient(feats_BxTxF)
    assert (jnp.abs(gradient_BxTxF[:, :9]).max(axis=2) > 0).all()
    assert not gradient_BxTxF[:, 9:].any()


@pytest.mark.parametrize("subnets", [SIZES["tiny"].subnets, SP_SUBNETS])
def test_heads_of_keys_and_pedal(subnets):
    config = HPPNetConfig(
        channels=4, stem_channels=2, subnets=subnets, pedal_channels=2
    )
    model, feats_BxTxF = HPPNet(config), jnp.zeros((2, 10, 352))
    shapes = jax.eval_shape(model.init, jax.random.key(0), feats_BxTxF)
    found: Any = jax.eval_shape(model.apply, shapes, feats_BxTxF)
    assert found.keys() == {*ROLL_NAMES, "key", "pedal"}
    assert found["key"].shape == (2, 10, 88) and found["pedal"].shape == (2, 10, 3)
    # Beside the trunk of the frames' head, and nowhere else.
    holders = [name for name, subnet in shapes["params"].items() if len(subnet) == 3]
    assert holders == [f"subnet_{len(subnets) - 1}"]


def test_computes_in_bfloat16():
    model = HPPNet(SMALL["one"])
    feats_BxTxF = jnp.asarray(inputs.features(5, 1, 12))
    params = random_params(model, feats_BxTxF)
    apply = jax.jit(model.apply)
    exact = apply(params, feats_BxTxF)
    rolls = apply(params, feats_BxTxF.astype(jnp.bfloat16))
    for head in ROLL_NAMES:
        assert rolls[head].dtype == jnp.float32
        np.testing.assert_allclose(rolls[head], exact[head], atol=0.1)


def test_flat_heads_of_one_pitch_are_grouped_ones():
    """With half as many units: the grouped LSTM splits them between its directions."""
    x_BxTxPxC = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 1, 3)))
    mask_BxT = jnp.arange(9)[None] < jnp.array([[9], [5]])
    grouped = Heads(8, 2)
    params = random_params(grouped, x_BxTxPxC, mask_BxT)
    flat = {**params["params"]}
    flat["dense_kernel"] = flat["dense_kernel"][..., None]
    flat["dense_bias"] = flat["dense_bias"][..., None]
    np.testing.assert_allclose(
        FlatHeads(4, 2).apply({"params": flat}, x_BxTxPxC, mask_BxT),
        grouped.apply(params, x_BxTxPxC, mask_BxT),
        atol=1e-6,
    )


def test_flat_heads_read_other_pitches_and_frames_dense_ones_neither():
    x_BxTxPxC = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4, 3)))
    other = x_BxTxPxC.at[0, 2, 1].add(1)
    for heads, reach in ((FlatHeads(3, 2), (5, 4)), (DenseHeads(2), (1, 1))):
        params = random_params(heads, x_BxTxPxC, None)
        apply = heads.apply
        before, after = (apply(params, x, None) for x in (x_BxTxPxC, other))
        moved_TxP = jnp.abs(after - before)[:, 0].max(axis=0) > 0
        assert (moved_TxP.any(axis=1).sum(), moved_TxP.any(axis=0).sum()) == reach


def test_even_shifts_are_half_octaves():
    assert even_shifts(48, 2) == (0, -24, 24, -48, 48)


def test_configs_name_what_is_wrong():
    with pytest.raises(ValueError, match="recurrence='gru' is none of grouped"):
        HPPNetConfig(recurrence="gru")
    with pytest.raises(ValueError, match="each head"):
        HPPNetConfig(subnets=SP_SUBNETS[:1])
    with pytest.raises(ValueError, match="even"):
        HPPNetConfig(channels=7)
