"""A program for 8 devices: one update on each mesh, and what its compiled form holds.

Prints JSON: model -> mesh -> what is in `measure`. `test_scale` runs it in a process of
its own, because the number of devices is set before JAX starts. Its arguments name the
cases, as `tokens:4:sharded` (model axis 4, fully sharded), `stem:2` or `piano:1`; `all`
are all.
With `train RUN_DIR STEPS MODEL` it trains the toy instead, on the devices that it has.
"""

import dataclasses
import json
import sys

import jax
import numpy as np
from small import SMALL, SMALL_TOKENS, random_params
from toy import ToyBatches, ToyObjective

from mt3x import collectives, partitioning
from mt3x.features import LogMelConfig
from mt3x.models import batch_norm
from mt3x.models.stem import StemConfig
from mt3x.objectives import PianoObjective, RollsConfig, TokensObjective
from mt3x.optimizers import OptimizerConfig
from mt3x.partitioning import MeshConfig
from mt3x.sharded_step import make_sharded_step
from mt3x.train import TrainConfig, train
from mt3x.train_step import StepConfig

BATCH = 16
# Adam's first moment after one update is a tenth of the clipped gradient.
CONFIG = StepConfig(
    steps=10,
    optimizer=OptimizerConfig(
        name="adamw",
        learning_rate=1e-2,
        schedule="constant",
        weight_decay=0.1,
        gradient_clip_norm=1.0,
    ),
    microbatches=2,
)
# Dropout would only take time to compile: it draws the same on each mesh.
TOKENS = dataclasses.replace(
    SMALL_TOKENS,
    model=dataclasses.replace(
        SMALL_TOKENS.model,
        emb_dim=32,
        num_heads=4,
        mlp_dim=64,
        dropout_rate=0.0,
        remat="minimal",
    ),
    num_frames=8,
    max_tokens=16,
)
# Batch norm, heads for rolls and an end marker; or convolution modules.
STEM, CONFORMER = (
    dataclasses.replace(
        TOKENS,
        model=dataclasses.replace(
            TOKENS.model,
            input_depth=64,
            stem=StemConfig(mode, channels=(4, 4, 8), kernel_frames=3),
            end_marker=mode == "parallel",
        ),
        features=LogMelConfig(num_bins=64, fft_samples=512),
        # Small weights: else the heads' gradient would hide the others'.
        rolls=RollsConfig(4, weights=(0.01,) * 4) if mode == "parallel" else None,
    )
    for mode in ("parallel", "conformer")
)
CONFIGS = {"tokens": TOKENS, "stem": STEM, "conformer": CONFORMER, "piano": SMALL}
ALL = [
    f"{model}:{parts}{full}"
    for model in CONFIGS
    for parts in (1, 2, 4)
    for full in ("", ":sharded")
]


def tokens_batch(config):
    rng = np.random.default_rng(0)
    tokens_BxL = rng.integers(3, 1000, (BATCH, 16)).astype(np.int32)
    return {
        "encoder_input_tokens": rng.normal(size=(BATCH, 8, 128)).astype(np.float32),
        "encoder_num_frames": np.full(BATCH, 8, np.int32),
        "decoder_input_tokens": np.pad(tokens_BxL[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": tokens_BxL,
        # Rows of unequal weight: a mean of means would differ.
        "decoder_loss_weights": (rng.random((BATCH, 16)) < 0.7).astype(np.float32),
        **(random_rolls(rng, 8) if config.rolls else {}),
    }


def piano_batch():
    rng = np.random.default_rng(0)
    rolls = random_rolls(rng, 4)
    return {"samples": rng.normal(size=(BATCH, 4 * 320)).astype(np.float32), **rolls}


def random_rolls(rng, frames):
    return {
        name: (rng.random((BATCH, frames, 88)) < 0.1).astype(np.float32)
        for name in ("onset", "frame", "offset", "velocity")
    }


def update(model, mesh_config, devices, dtype="float32"):
    """One update: the state before it, after it, scalars and the compiled program."""
    config = CONFIGS[model]
    if model == "piano":
        objective, batch = PianoObjective(config, dtype), piano_batch()
    else:
        objective, batch = TokensObjective(config, dtype), tokens_batch(config)
    mesh = partitioning.make_mesh(mesh_config, devices)
    step = make_sharded_step(
        dataclasses.replace(CONFIG, dtype=dtype), mesh_config, objective, mesh
    )
    # As `init` has it, but drawn by NumPy: that is compiled once below.
    state = jax.tree.map(
        lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding),
        step.state,
    )
    state["weights"]["params"] = jax.tree.map(
        lambda value, leaf: jax.device_put(value, leaf.sharding),
        random_params(objective.config),
        step.state["weights"]["params"],
    )
    flags = partitioning.on_each_device(mesh, False)
    placed = partitioning.shard_batch(mesh, batch)
    compiled = step.update.lower(step.state, placed, flags).compile()
    after, scalars = compiled(state, placed, flags)
    return step, jax.device_get(after), jax.device_get(scalars), compiled


def measure(reference, step, after, scalars, compiled):
    """Differences from one device, sizes and traffic."""
    _, after_1, scalars_1, _ = reference
    mu, mu_1 = (moments(tree) for tree in (after, after_1))
    largest = max(np.max(np.abs(m)) for m in mu_1)
    # Adam's first step has the gradient's sign: rounding decides it where that is 0.
    firm = [np.abs(m) > 1e-3 * largest for m in mu_1]
    params, params_1 = (
        jax.tree.leaves(tree["weights"]["params"]) for tree in (after, after_1)
    )
    statistics, statistics_1 = (
        jax.tree.leaves(
            batch_norm.variables(tree["weights"]["params"]).get("batch_stats", {})
        )
        for tree in (after, after_1)
    )
    exchanges = collectives.collectives(compiled.as_text())
    return {
        "loss": float(scalars["loss"] / scalars_1["loss"] - 1),
        "gradient_norm": float(
            scalars["gradient_norm"] / scalars_1["gradient_norm"] - 1
        ),
        "gradient": max(
            float(np.max(np.abs(a - b))) for a, b in zip(mu, mu_1, strict=True)
        )
        / float(largest),
        "params": max(
            float(np.max(np.abs(a - b), where=f, initial=0.0))
            for a, b, f in zip(params, params_1, firm, strict=True)
        )
        / CONFIG.optimizer.learning_rate,
        "firm": sum(int(f.sum()) for f in firm),
        "statistics": [
            float(np.max(np.abs(a - b)))
            for a, b in zip(statistics, statistics_1, strict=True)
        ],
        "state_bytes": sum(
            int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(step.state)
        ),
        "kinds": {k: count for k, (count, _) in collectives.by_kind(exchanges).items()},
        # Shape, devices of a group, how often: of all arrays sent.
        **{
            kind: [
                [list(shape), c.group, c.count]
                for c in exchanges
                if c.kind == kind
                for shape in c.shapes
            ]
            for kind in ("all-gather", "all-reduce")
        },
    }


def moments(state):
    paths = jax.tree_util.tree_leaves_with_path(state["optimizer"]["opt_state"])
    return [leaf for path, leaf in paths if ".mu" in jax.tree_util.keystr(path)]


def created(mesh_config):
    """Shapes of the parts of parameters that one device makes in `init`."""
    mesh = partitioning.make_mesh(mesh_config)
    step = make_sharded_step(CONFIG, mesh_config, TokensObjective(TOKENS), mesh)
    decoder = step.init(None)["weights"]["params"]["decoder"]
    layer = decoder["layers_0"]
    arrays = {
        "embedding": decoder["token_embedder"]["embedding"],
        "logits": decoder["logits_dense"]["kernel"],
        "query": layer["self_attention"]["query"]["kernel"],
        "wo": layer["mlp"]["wo"]["kernel"],
        "norm": decoder["decoder_norm"]["scale"],
    }
    return {name: a.addressable_shards[0].data.shape for name, a in arrays.items()}


def train_toy(run_dir, steps, parts):
    config = TrainConfig(
        steps=int(steps),
        optimizer=OptimizerConfig(learning_rate=1e-2, schedule="constant"),
        mesh=MeshConfig(int(parts), fully_sharded=True),
        log_interval=1,
    )
    train(config, ToyObjective(), ToyBatches(), run_dir)


def main(cases):
    results = {"created": created(MeshConfig(model=2, fully_sharded=True))}
    references = {}
    for case in ALL if cases == ["all"] else cases:
        model, parts, *options = case.split(":")
        dtype = "bfloat16" if "bfloat16" in options else "float32"
        if (model, dtype) not in references:
            references[model, dtype] = update(
                model, MeshConfig(), jax.devices()[:1], dtype
            )
        mesh = MeshConfig(int(parts), "sharded" in options)
        found = update(model, mesh, jax.devices(), dtype)
        results[case] = measure(references[model, dtype], *found)
    results["params_bytes"] = {
        model: sum(leaf.size * 4 for leaf in jax.tree.leaves(random_params(config)))
        for model, config in CONFIGS.items()
    }
    print(json.dumps(results))


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train_toy(*sys.argv[2:])
    else:
        main(sys.argv[1:])
