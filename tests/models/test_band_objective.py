"""The objective of band models: its losses, and a tiny model that learns one clip."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL, SMALL_BAND, SMALL_PAIR, random_params

from mt3x.models.band_losses import class_loss, timbre_loss
from mt3x.models.band_objective import HPPNET
from mt3x.models.features import centred_log_mel
from mt3x.models.objectives import (
    BandConfig,
    BandObjective,
    PianoConfig,
    PianoObjective,
    config_from_dict,
)
from mt3x.models.roll_mean import mean_rolls
from mt3x.models.weights_file import flatten
from mt3x.music.notes import Notes
from mt3x.music.rolls import notes_to_rolls
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.step import StepConfig, init_state, train_step

FRAMES = 24
PIANO, CLARINET = 0, 18  # of CLASSES
PARTS = {
    PIANO: Notes([0.1, 0.1, 0.4], [0.35, 0.3, 0.7], [60, 55, 64], [90, 70, 100]),
    CLARINET: Notes([0.15, 0.45], [0.4, 0.7], [72, 67], [60, 80]),
}
DRUMS = ((0, 0.1, 100), (1, 0.3, 60), (0, 0.5, 80))  # class, onset_s, velocity


def clip():
    """One clip of two parts and drums as a batch: sounds with their targets."""
    config, rng = SMALL_BAND, np.random.default_rng(0)
    batch = {
        name: np.zeros(spec.shape, spec.dtype)
        for name, spec in config.batch_spec(1, FRAMES).items()
    }
    samples_S = batch["samples"][0]
    time_s = np.arange(len(samples_S)) / 16000
    for part, (k, notes) in enumerate(PARTS.items(), start=1):
        rolls = notes_to_rolls(notes, FRAMES, config.labels)
        for name, roll_TxP in rolls.by_name().items():
            batch[name][0] = np.maximum(batch[name][0], roll_TxP)
        batch["classes"][0] |= rolls.frame_TxP.astype(np.int32) << k
        batch["parts"][0][rolls.frame_TxP > 0] = part
        harmonics = range(1, 8) if k == PIANO else (1, 3, 5)
        for onset_s, offset_s, pitch, velocity in zip(
            notes.onset_s, notes.offset_s, notes.pitch, notes.velocity, strict=True
        ):
            hz = 440 * 2 ** ((pitch - 69) / 12)
            sounds = (time_s >= onset_s) & (time_s < offset_s)
            for n in harmonics:
                wave = np.sin(2 * np.pi * n * hz * time_s) / n
                samples_S += 0.1 * velocity / 127 * sounds * wave
    step_U = np.arange(FRAMES * 4)
    for k, onset_s, velocity in DRUMS:
        near = np.maximum(0, 1 - np.abs(step_U - onset_s * 125) / 3)
        batch["drums"][0, :, k] = np.maximum(batch["drums"][0, :, k], near)
        batch["drum_velocity"][0, near > 0, k] = velocity / 128
        noise = rng.normal(size=len(time_s)) if k else np.sin(400 * time_s)
        decay = np.exp(-np.maximum(time_s - onset_s, 0) * 40) * (time_s >= onset_s)
        samples_S += 0.3 * velocity / 127 * decay * noise
    return batch


BATCH = clip()


def random_batch(batch=2, frames=8, seed=0):
    rng = np.random.default_rng(seed)
    values = {}
    for name, spec in SMALL_BAND.batch_spec(batch, frames).items():
        values[name] = rng.random(spec.shape).astype(spec.dtype)
    values["samples"] = rng.normal(size=values["samples"].shape).astype(np.float32)
    values["frame"] = (values["frame"] < 0.1).astype(np.float32)
    bits = 1 << rng.integers(0, 24, values["frame"].shape)
    values["classes"] = (bits * values["frame"]).astype(np.int32)
    parts = rng.integers(0, 4, values["frame"].shape)
    values["parts"] = (parts * values["frame"]).astype(np.int8)
    return values


@pytest.fixture(scope="module")
def loss():
    return jax.jit(BandObjective(SMALL_BAND).loss)


def test_json_is_a_config():
    for config in (SMALL_BAND, SMALL_PAIR, BandConfig()):
        values = json.loads(json.dumps(config.to_dict()))
        assert config_from_dict(values) == config
    with pytest.raises(ValueError, match="'piano' instead of 'band'"):
        BandConfig.from_dict(PianoConfig().to_dict())
    with pytest.raises(ValueError, match=r"does not fit this version.*wrong"):
        BandConfig.from_dict(BandConfig().to_dict() | {"wrong": 1})


def test_a_band_model_has_no_tasks():
    with pytest.raises(ValueError, match="cannot train on SeqIO tasks"):
        BandConfig().train_options()


def test_steps_of_drums_are_centred():
    config = BandConfig().drum_features
    samples_S = np.zeros(32 * 128, np.float32)
    samples_S[10 * 128] = 1
    mel_1xUxM = centred_log_mel(jnp.asarray(samples_S[None]), config, 80.0)
    level_U = np.asarray(mel_1xUxM[0].mean(axis=-1))
    assert len(level_U) == 32
    assert level_U.argmax() == 10
    np.testing.assert_allclose(level_U[10 - 3 : 10], level_U[13:10:-1], atol=1e-3)
    assert mel_1xUxM.max() - mel_1xUxM.min() == pytest.approx(4 * np.log(10), abs=1e-4)


def test_classes_are_spread_over_the_bits():
    rng = np.random.default_rng(0)
    log_p = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(1, 1, 4, 24))))
    log_p = log_p.astype(jnp.float32)
    # Two classes in unison; one; a note of no class; a class where no note sounds.
    bits = jnp.array([[[(1 << 3) | (1 << 23), 1 << 7, 0, 1 << 2]]], jnp.int32)
    frame = jnp.array([[[1.0, 1.0, 1.0, 0.0]]])
    total, weight = class_loss(log_p, bits, frame)
    # Half a cell each of two classes that have no more, and a cell of another.
    assert weight == 2
    unison = -(log_p[0, 0, 0, 3] + log_p[0, 0, 0, 23]) / 2 - np.log(2)
    np.testing.assert_allclose(total, unison - log_p[0, 0, 1, 7], rtol=1e-5)
    best = jnp.full(24, -30.0).at[jnp.array([3, 23])].set(-np.log(2))
    assert class_loss(log_p.at[0, 0, 0].set(best), bits, frame)[0] == pytest.approx(
        -float(log_p[0, 0, 1, 7]), rel=1e-5
    )


def test_classes_of_a_clip_weigh_the_same():
    rng = np.random.default_rng(0)
    log_p = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(1, 2, 3, 24))))
    log_p = log_p.astype(jnp.float32)
    bits = jnp.array([[[1, 1, 1], [1, 0, 2]]], jnp.int32)
    total, weight = class_loss(log_p, bits, jnp.ones((1, 2, 3)))
    chords = -(log_p[0, 0, :, 0].sum() + log_p[0, 1, 0, 0]) / 4
    np.testing.assert_allclose(total, chords - log_p[0, 1, 2, 1], rtol=1e-5)
    assert weight == 2


def test_timbres_are_compared_within_a_clip():
    rng = np.random.default_rng(0)
    timbre = rng.normal(size=(2, 3, 88, 4))
    timbre = jnp.asarray(timbre / np.linalg.norm(timbre, axis=-1, keepdims=True))
    timbre = timbre.astype(jnp.float32)
    parts = np.zeros((2, 3, 88), np.int8)
    # Two parts of three and two cells, and a cell of a part that has no other.
    cells = [(0, 5), (1, 5), (2, 9), (0, 7), (1, 80), (2, 3)]
    numbers = [1, 1, 1, 2, 2, 3]
    for (t, p), number in zip(cells, numbers, strict=True):
        parts[0, t, p] = number
    total, weight = timbre_loss(timbre, jnp.asarray(parts), jax.random.key(0), 20, 0.5)
    vectors = np.stack([timbre[0, t, p] for t, p in cells])
    expected = 0.0
    for i, number in enumerate(numbers):
        others = [j for j in range(6) if j != i]
        norm = np.log(sum(np.exp(vectors[i] @ vectors[j] / 0.5) for j in others))
        same = [j for j in others if numbers[j] == number]
        if same:
            expected += np.mean([norm - vectors[i] @ vectors[j] / 0.5 for j in same])
    assert weight == 5
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_the_key_draws_the_cells_of_timbres(loss):
    params, batch = random_params(SMALL_BAND), random_batch()
    keys = (None, None, jax.random.key(1), jax.random.key(2))
    drawn = [float(loss(params, batch, key).parts["timbre"][0]) for key in keys]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_loss_of_a_batch_is_that_of_its_examples(loss):
    params, batch = random_params(SMALL_BAND), random_batch()
    key = jax.random.key(1)
    both = loss(params, batch, key)
    rows = [
        loss(params, {name: array[b : b + 1] for name, array in batch.items()}, key)
        for b in (0, 1)
    ]
    assert both.weight == sum(row.weight for row in rows)
    assert set(both.parts) == set(rows[0].parts)
    for name, (total, weight) in both.parts.items():
        for n, value in enumerate((total, weight)):
            expected = sum(row.parts[name][n] for row in rows)
            np.testing.assert_allclose(value, expected, rtol=1e-4, err_msg=name)


def test_weights_are_what_the_config_says():
    weights = {
        "onset": 2.0,
        "velocity": 30.0,
        "classes": 0.5,
        "timbre": 0.7,
        "drums": 1.5,
        "drum_velocity": 40.0,
    }
    changes = {f"{name}_weight": value for name, value in weights.items()}
    config = dataclasses.replace(SMALL_BAND, **changes)
    batch = random_batch()
    total, num_cells, parts, _ = jax.jit(BandObjective(config).loss)(
        random_params(SMALL_BAND), batch
    )
    assert num_cells == batch["onset"].size
    means = {name: float(part / weight) for name, (part, weight) in parts.items()}
    # Classes and timbres count where notes sound.
    weights |= {"frame": 1.0, "offset": 1.0}
    for name in ("classes", "timbre"):
        weights[name] *= float(batch["frame"].mean())
    terms = {name: weight * means[name] for name, weight in weights.items()}
    assert min(terms.values()) > 0.02
    np.testing.assert_allclose(total / num_cells, sum(terms.values()), rtol=1e-4)


def test_bfloat16_is_for_arithmetic_alone():
    """Traced alone: outputs and losses stay float32."""
    params = random_params(SMALL_BAND)
    objective = BandObjective(SMALL_BAND, jnp.bfloat16)
    outputs = jax.eval_shape(objective.predict, params, BATCH["samples"])
    assert {str(array.dtype) for array in outputs.values()} == {"float32"}
    gradient = jax.grad(lambda p: objective.loss(p, BATCH).total)
    jaxpr = str(jax.make_jaxpr(gradient)(params))
    assert "bf16" in jaxpr
    exact = BandObjective(SMALL_BAND)
    gradient = jax.grad(lambda p: exact.loss(p, BATCH).total)
    assert "bf16" not in str(jax.make_jaxpr(gradient)(params))


def test_prediction_is_zero_in_padding():
    objective = BandObjective(SMALL_BAND)
    params = random_params(SMALL_BAND)
    outputs = jax.jit(objective.predict)(
        params, BATCH["samples"], jnp.array([9 * 512], jnp.int32)
    )
    for name, array in outputs.items():
        frames = 36 if "drum" in name else 9
        assert np.abs(array[0, :frames]).max() > 0, name
        assert not np.any(array[0, frames:]), name


def test_an_hppnet_hears_the_notes_too():
    params = random_params(SMALL_PAIR)
    own_params = {name: part for name, part in params.items() if name != HPPNET}
    arguments = BATCH["samples"], jnp.array([9 * 512], jnp.int32)
    found = jax.jit(BandObjective(SMALL_PAIR).predict)(params, *arguments)
    own = jax.jit(BandObjective(SMALL_BAND).predict)(own_params, *arguments)
    other = jax.jit(PianoObjective(SMALL).predict)(params[HPPNET], *arguments)
    means = mean_rolls(own, other, step_frames=512 / 320, share=0.5)
    for name, array in (own | means).items():
        frames = 36 if "drum" in name else 9
        np.testing.assert_allclose(
            found[name][:, :frames], array[:, :frames], atol=2e-5, err_msg=name
        )
        assert not np.any(found[name][:, frames:]), name
    assert np.abs(found["onset"] - own["onset"])[:, :9].max() > 0.01


def test_an_hppnet_does_not_learn(loss):
    """It takes no part in the loss, and an update leaves it as it was."""
    params, batch = random_params(SMALL_PAIR), random_batch()
    own_params = {name: part for name, part in params.items() if name != HPPNET}
    found = jax.jit(BandObjective(SMALL_PAIR).loss)(params, batch)
    np.testing.assert_allclose(found.total, loss(own_params, batch).total, rtol=1e-6)
    assert found.statistics.keys() == {HPPNET}
    jax.tree.map(
        np.testing.assert_array_equal, found.statistics[HPPNET], params[HPPNET]
    )


def test_an_hppnet_hears_at_the_same_rate():
    features = dataclasses.replace(
        SMALL.features, sample_rate_hz=22050, hop_samples=441
    )
    other = dataclasses.replace(SMALL, features=features)
    with pytest.raises(ValueError, match="16000 Hz and those of hppnet of 22050"):
        dataclasses.replace(SMALL_BAND, hppnet=other)


@pytest.mark.by_hand
def test_a_tiny_model_learns_one_clip():
    objective = BandObjective(SMALL_BAND)
    config = StepConfig(
        steps=400,
        optimizer=OptimizerConfig(
            name="adam", learning_rate=2e-2, schedule="constant", warmup_steps=20
        ),
    )
    state = init_state(config, objective, random_params(SMALL_BAND))
    step = jax.jit(lambda state, batch: train_step(config, objective, state, batch))
    predict = jax.jit(objective.predict)
    wrong = ["all"]
    while wrong and state["optimizer"]["step"] < config.steps:
        for _ in range(20):
            state, scalars = step(state, BATCH)
        outputs = predict(state["weights"]["params"], BATCH["samples"])
        wrong = not_learned({name: np.asarray(x) for name, x in outputs.items()})
    assert not wrong, scalars


def not_learned(outputs):
    wrong = []
    for name in ("onset", "frame", "drums"):
        found, target = outputs[name] > 0.5, BATCH[name]
        if not found[target > 0.8].all() or found[target == 0].any():
            wrong.append(name)
    for name, where in (("velocity", "onset"), ("drum_velocity", "drums")):
        error = np.abs(outputs[name] - BATCH[name])[BATCH[where] > 0.8]
        if error.max() > 0.1:
            wrong.append(name)
    best = outputs["classes"].argmax(axis=-1)
    for k in PARTS:
        if not (best[BATCH["classes"] == 1 << k] == k).all():
            wrong.append(f"class {k}")
    piano, clarinet = (outputs["timbre"][BATCH["parts"] == part] for part in (1, 2))
    within = min((piano @ piano.T).mean(), (clarinet @ clarinet.T).mean())
    if within < (piano @ clarinet.T).mean() + 0.5:
        wrong.append("timbre")
    return wrong


def test_gradients_reach_all_parameters():
    objective, params = BandObjective(SMALL_BAND), random_params(SMALL_BAND)
    gradient = jax.jit(jax.grad(lambda p: objective.loss(p, BATCH).total))(params)
    for name, array in flatten(gradient).items():
        assert np.abs(array).max() > 0, name
