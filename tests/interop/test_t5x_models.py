"""Our models under the real T5X: its trainer, its checkpoints, its commands.

Most of it is skipped where T5X is not installed (docs/how_to/t5x.md).
"""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL, SMALL_TOKENS, assert_params_equal, random_params

from mt3x.models import batch_norm, weights_file
from mt3x.models.features import LogMelConfig
from mt3x.models.objectives import TokensConfig, make_objective
from mt3x.models.stem import StemConfig
from mt3x.models.tokens_config import RollsConfig
from mt3x.training import partitioning
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.step import StepConfig, init_state, train_step

TESTS = Path(__file__).parents[1]
# A stem with batch norm, an end marker and heads for rolls; and convolution modules.
STEM, CONFORMER = (
    dataclasses.replace(
        SMALL_TOKENS,
        model=dataclasses.replace(
            SMALL_TOKENS.model,
            input_depth=64,
            stem=StemConfig(mode, channels=(2, 3, 4), kernel_frames=3),
            end_marker=mode == "before",
        ),
        features=LogMelConfig(num_bins=64, fft_samples=512),
        rolls=RollsConfig(channels=4) if mode == "before" else None,
    )
    for mode in ("before", "conformer")
)
CONFIGS = {
    "tokens": SMALL_TOKENS,
    "rolls": SMALL,
    "stem": STEM,
    "conformer": CONFORMER,
}


@pytest.fixture
def t5x_data():
    pytest.importorskip("t5x", reason="T5X is not installed: see docs/how_to/t5x.md")
    from mt3x.interop import t5x_data

    return t5x_data


@pytest.fixture
def t5x_models():
    """The module; with T5X's ways of mixing dtypes, which are JAX's default."""
    pytest.importorskip("t5x", reason="T5X is not installed: see docs/how_to/t5x.md")
    from mt3x.interop import t5x_models

    with jax.numpy_dtype_promotion("standard"):
        yield t5x_models


def tokens_batch(batch=4):
    rng = np.random.default_rng(0)
    config = SMALL_TOKENS
    frames, tokens = config.num_frames, config.max_tokens
    targets_BxL = rng.integers(3, 1000, (batch, tokens)).astype(np.int32)
    return {
        "encoder_input_tokens": rng.normal(size=(batch, frames, 128)).astype("f4"),
        "encoder_num_frames": np.array([frames] * (batch - 1) + [7], np.int32),
        "decoder_target_tokens": targets_BxL,
        "decoder_input_tokens": np.pad(targets_BxL, ((0, 0), (1, 0)))[:, :-1],
        "decoder_loss_weights": (np.arange(tokens) < [[9], [24], [1], [17]]).astype(
            np.int32
        ),
    }


def random_rolls(frames, batch=4):
    rolls = np.random.default_rng(1).random((4, batch, frames, 88)).astype(np.float32)
    onset, frame, offset = (rolls[:3] > 0.9).astype(np.float32)
    return {"onset": onset, "frame": frame, "offset": offset, "velocity": rolls[3]}


def rolls_batch(batch=4, frames=8):
    samples = np.random.default_rng(0).normal(size=(batch, frames * 320))
    return {"samples": samples.astype(np.float32), **random_rolls(frames)}


def t5x_variables(model, params):
    """What `get_initial_variables` gives, with these parameters."""
    shapes = jax.eval_shape(
        functools.partial(model.get_initial_variables, input_shapes={}),
        jax.random.key(0),
    )
    return {**shapes, **batch_norm.variables(params)}


def t5x_model(adapter, kind, optimizer_def):
    if kind != "rolls":
        rolls = random_rolls(SMALL_TOKENS.num_frames) if CONFIGS[kind].rolls else {}
        model = adapter.TokensModel(CONFIGS[kind], optimizer_def)
        return model, tokens_batch() | rolls
    lengths = {"inputs": 8, "targets": 8}
    model = adapter.PianoModel(SMALL, optimizer_def, lengths, batch_size=4)
    return model, rolls_batch()


def t5x_step(model, params, batch, learning_rate, microbatches=None, rng=None):
    """Parameters and metrics after one step of T5X's trainer."""
    from t5x import train_state, trainer

    state = train_state.FlaxOptimTrainState.create(
        model.optimizer_def, t5x_variables(model, params)
    )
    step = functools.partial(
        trainer.train_with_lr,
        learning_rate=learning_rate,
        dropout_rng=jax.random.PRNGKey(0) if rng is None else rng,
        model=model,
        num_microbatches=microbatches,
    )
    state, metrics = jax.jit(step)(state, batch)
    return batch_norm.join({"params": state.params, **state.flax_mutables}), metrics


OPTIMIZERS = {
    "adafactor": OptimizerConfig(
        name="adafactor",
        learning_rate=1e-2,
        schedule="constant",
        gradient_clip_norm=None,
    ),
    "adam": OptimizerConfig(
        name="adam", learning_rate=1e-2, schedule="constant", gradient_clip_norm=0.5
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("name", ["adafactor", "adam"])
def test_a_step_is_that_of_our_trainer(t5x_models, kind, name):
    """Loss, parameters and running statistics; dropout is drawn from the same key."""
    from t5x import adafactor, optimizers

    ours = OPTIMIZERS[name]
    if name == "adafactor":
        optimizer_def = adafactor.Adafactor(
            decay_rate=0.8, logical_factor_rules=t5x_models.factor_rules()
        )
    else:
        from mt3x.training.optimizers import make_optimizer

        optimizer_def = optimizers.OptaxWrapper(make_optimizer(ours, steps=1))
    model, batch = t5x_model(t5x_models, kind, optimizer_def)
    if name == "adam" and kind != "rolls":
        # The optimizer that looks at a gradient's size gets the mean's.
        model.loss_normalizing_factor = float(batch["decoder_loss_weights"].sum())
    params = random_params(CONFIGS[kind])
    step_config = StepConfig(steps=1, optimizer=ours, seed=0)
    rng = jax.random.fold_in(jax.random.key(0), 0)  # what our step draws from
    state, scalars = jax.jit(
        functools.partial(train_step, step_config, model.objective)
    )(init_state(step_config, model.objective, params), batch)
    found, metrics = t5x_step(model, params, batch, 1e-2, rng=rng)
    expected = state["weights"]["params"]
    if name == "adam":
        # It makes the rounding of gradients near 0 as large as their sign: 1e-4 is 1 %
        # of a step, and holds for nearly all parameters on every processor.
        off = jax.tree.map(lambda a, b: np.abs(a - b).ravel(), found, expected)
        assert np.mean(np.concatenate(jax.tree.leaves(off)) > 1e-4) < 1e-3
    else:
        assert_params_equal(found, expected)
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), found, params)
    assert min(jax.tree.leaves(moved)) > 1e-6
    for name in scalars.keys() & {"loss", "cross_entropy", "accuracy", "onset"}:
        np.testing.assert_allclose(metrics[name].compute(), scalars[name], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "microbatches"),
    [("tokens", None), ("tokens", 2), ("rolls", None), ("conformer", None)],
)
def test_gradients_are_those_of_our_objective(t5x_models, kind, microbatches):
    """Without dropout; T5X adds up what microbatches give."""
    from t5x import train_state, trainer

    model, batch = t5x_model(t5x_models, kind, None)
    params = random_params(CONFIGS[kind])
    model.objective = without_dropout(model.objective)
    expected = jax.jit(jax.grad(lambda p: model.objective.loss(p, batch, None)[0]))
    state = train_state.InferenceState.create(t5x_variables(model, params))
    found, *_ = jax.jit(
        lambda batch: trainer.accumulate_grads_microbatched(
            model, state, batch, jax.random.PRNGKey(0), microbatches
        )
    )(batch)
    expected = expected(params)
    scale = max(float(abs(g).max()) for g in jax.tree.leaves(expected))
    found = jax.tree.map(lambda g: g * model.loss_normalizing_factor, found)
    assert_params_equal(found, expected, atol=1e-6 * scale)


def without_dropout(objective):
    config = objective.config
    if isinstance(config, TokensConfig):
        model = dataclasses.replace(config.model, dropout_rate=0.0)
        config = dataclasses.replace(config, model=model)
    return make_objective(config)


def test_params_have_the_axes_of_our_table(t5x_models):
    for kind, described in CONFIGS.items():
        model, _ = t5x_model(t5x_models, kind, None)
        variables = t5x_variables(model, random_params(described))
        assert ("batch_stats" in variables) == (kind == "stem")
        axes = {n: tree for n, tree in variables.items() if n.endswith("_axes")}
        named = weights_file.flatten(
            batch_norm.join({k[:-5]: t for k, t in axes.items()})
        )
        for name, param in weights_file.flatten(random_params(described)).items():
            ours = partitioning.param_axes(name, param.ndim)
            assert tuple(named[f"{name}_axes"].names) == ours
        rules = {None: None, **dict(t5x_models.axis_rules())}
        for axis in {axis for value in named.values() for axis in value.names}:
            assert axis in rules and axis in t5x_models.factor_rules()


def test_scores_are_log_likelihoods(t5x_models):
    """Of a token model: those of the tokens, without z-loss; of each row by itself."""
    model, batch = t5x_model(t5x_models, "tokens", None)
    params = random_params(SMALL_TOKENS)
    scores_B = jax.jit(model.score_batch)(params, batch)
    for row in range(2):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        parts = model.objective.loss(params, one, None).parts
        np.testing.assert_allclose(scores_B[row], -parts["cross_entropy"][0], rtol=1e-5)


def test_inference_is_by_running_statistics(t5x_models):
    """Evaluation, scores and predictions; a row by itself gives the same."""
    model, batch = t5x_model(t5x_models, "stem", None)
    params = random_params(STEM)
    variables = batch_norm.variables(params)
    given = variables.pop("params")
    loss, metrics = jax.jit(model.eval_fn)(given, batch, variables)
    sums = jax.jit(model.objective.loss)(params, batch)
    np.testing.assert_allclose(loss, sums.total, rtol=1e-5)
    onset, weight = sums.parts["onset"]
    np.testing.assert_allclose(metrics["onset"].compute(), onset / weight, rtol=1e-5)
    tokens = {n: v for n, v in batch.items() if n.startswith(("encoder", "decoder"))}
    score = functools.partial(model.score_batch, flax_mutables=variables)
    predict = functools.partial(model.predict_batch, flax_mutables=variables)
    for function in (jax.jit(score), jax.jit(predict)):
        whole = function(given, tokens)
        one = function(given, {name: value[1:2] for name, value in tokens.items()})
        np.testing.assert_allclose(one[0], whole[1], rtol=1e-5)
    ref, _ = model.predict_batch_with_aux(params, tokens)
    np.testing.assert_array_equal(whole, ref)


def test_predictions_are_those_of_transcription(t5x_models):
    """Inside one program, as T5X calls it, and outside."""
    model, batch = t5x_model(t5x_models, "tokens", None)
    params = random_params(SMALL_TOKENS)
    tokens_BxL, aux = jax.jit(model.predict_batch_with_aux)(params, batch)
    assert tokens_BxL.shape == (4, SMALL_TOKENS.max_tokens)
    ref_BxL, ref = model.predict_batch_with_aux(params, batch)
    np.testing.assert_array_equal(tokens_BxL, ref_BxL)
    np.testing.assert_allclose(aux["scores"], ref["scores"], rtol=1e-5)
    model, batch = t5x_model(t5x_models, "rolls", None)
    params = random_params(SMALL)
    rolls_BxTx4xP, aux = jax.jit(model.predict_batch_with_aux)(params, batch)
    assert rolls_BxTx4xP.shape == (4, 8, 4, 88) and aux == {}
    ref = model.objective.predict(params, jnp.asarray(batch["samples"]))
    np.testing.assert_allclose(rolls_BxTx4xP[:, :, 2], ref["offset"], atol=1e-5)


def test_positions_of_the_data(t5x_data, tmp_path):
    """T5X looks at the first batch in advance, before or after it saves."""
    batches = t5x_data.StepBatches(lambda step: {"x": step}, {})
    assert next(batches) == {"x": 0}
    batches.save(tmp_path / "first")
    assert next(batches) == {"x": 1}
    batches.save(tmp_path / "second")
    for name, step in (("first", 0), ("second", 2)):
        resumed = t5x_data.StepBatches(lambda step: {"x": step}, {})
        resumed.restore(tmp_path / name)
        assert next(resumed) == {"x": step}
        resumed.save(tmp_path / "third")
        assert (tmp_path / "third").read_text() == str(step + 1)


@pytest.mark.parametrize(
    ("task", "described", "error", "message"),
    [
        ("slakh_notes_ties_vb1_trein", TokensConfig(), ValueError, "vb1_train"),
        ("maestrov3_notes_train", TokensConfig(), ValueError, "is made for"),
        ("maestrov3_rolls_train", TokensConfig(), ValueError, "writes rolls"),
        ("maestrov3_notes_train", SMALL, ValueError, "writes tokens"),
        ("maestrov3_rolls_train", SMALL, FileNotFoundError, "mt3x prepare maestrov3"),
    ],
)
def test_bad_tasks(t5x_data, tmp_path, monkeypatch, task, described, error, message):
    monkeypatch.setenv("MT3X_DATA_DIR", str(tmp_path))
    with pytest.raises(error, match=message):
        t5x_data.checked_task(task, described, "train")
