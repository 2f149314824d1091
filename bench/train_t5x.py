"""Training steps: mt3x against the real T5X trainer, at equal weights and batches.

    PYTHONPATH=. python bench/train_t5x.py [--size small] [--batch 4]

needs mt3 and t5x (their main branches). T5X's side is `t5x.trainer.Trainer` with its
PjitPartitioner, MT3's own network and model and T5X's Adafactor; ours is `train_step`
as the trainer compiles it. Both get the same random tokens and features of 256 frames
(MT3 computes these in its input pipeline; with `--audio` ours gets audio, and computes
them in the step) and train on 2 CPU cores, taking turns. First the losses of both
are compared, with two layers and without dropout, then the time of a step is taken.
"""

import argparse
import dataclasses
import functools
import os
import sys
import time

from timing import limit_threads

limit_threads()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.models.objectives import TokensConfig, TokensObjective  # noqa: E402
from mt3x.models.seq2seq import SIZES, Seq2SeqConfig  # noqa: E402
from mt3x.training.optimizers import OptimizerConfig  # noqa: E402
from mt3x.training.step import StepConfig, init_state, train_step  # noqa: E402

try:
    import seqio
    from flax.core import freeze
    from mt3 import models, network, vocabularies
    from t5x import adafactor, partitioning, train_state, trainer, utils
except ImportError as error:
    sys.exit(f"skipped: {error}")

OURS, OTHER = "mt3x", "T5X"
LEARNING_RATE = 1e-3
TINY = Seq2SeqConfig(
    emb_dim=128, num_heads=2, num_encoder_layers=2, num_decoder_layers=2, mlp_dim=256
)


class Features(TokensObjective):
    """Trains on features, as MT3 does."""

    def features(self, frames_BxTxW: jax.Array, num_frames_B: jax.Array) -> jax.Array:
        return frames_BxTxW


class Ours:
    def __init__(self, config: TokensConfig, params, batch, args) -> None:
        kind = TokensObjective if args.audio else Features
        optimizer = OptimizerConfig(
            name="adafactor",
            learning_rate=LEARNING_RATE,
            schedule="constant",
            gradient_clip_norm=None,
        )
        step_config = StepConfig(optimizer=optimizer, microbatches=args.microbatches)
        objective = kind(config)
        self.state = init_state(step_config, objective, params)
        self.update = jax.jit(
            functools.partial(train_step, step_config, objective), donate_argnums=0
        )
        self.batch = batch

    def __call__(self) -> float:
        """A step; the loss of a token before it."""
        self.state, scalars = self.update(self.state, self.batch)
        return float(scalars["loss"])


class T5X:
    def __init__(self, config: TokensConfig, params, batch, args) -> None:
        names = {field.name for field in dataclasses.fields(network.T5Config)}
        size = dataclasses.asdict(config.model)
        codec = vocabularies.build_codec(
            vocabularies.VocabularyConfig(num_velocity_bins=1)
        )
        model = models.ContinuousInputsEncoderDecoderModel(
            module=network.Transformer(
                network.T5Config(**{k: v for k, v in size.items() if k in names})
            ),
            input_vocabulary=seqio.PassThroughVocabulary(size=0),
            output_vocabulary=vocabularies.vocabulary_from_codec(codec),
            optimizer_def=adafactor.Adafactor(
                decay_rate=0.8,
                step_offset=0,
                logical_factor_rules=adafactor.standard_logical_factor_rules(),
            ),
            input_depth=config.model.input_depth,
            z_loss=config.z_loss,
        )
        partitioner = partitioning.PjitPartitioner(num_partitions=1)
        shapes = {name: array.shape for name, array in batch.items()}
        types = {name: array.dtype for name, array in batch.items()}
        initializer = utils.TrainStateInitializer(
            optimizer_def=model.optimizer_def,
            init_fn=model.get_initial_variables,
            input_shapes=shapes,
            input_types=types,
            partitioner=partitioner,
        )
        state = initializer.from_scratch(jax.random.PRNGKey(0))
        assert isinstance(state, train_state.FlaxOptimTrainState)
        state = state.replace_params(freeze(jax.tree.map(jnp.array, params)))
        self.trainer = trainer.Trainer(
            model=model,
            train_state=state,
            partitioner=partitioner,
            eval_names=[],
            summary_dir=None,
            train_state_axes=initializer.train_state_axes,
            rng=jax.random.PRNGKey(0),
            learning_rate_fn=utils.create_learning_rate_scheduler(
                factors="constant", base_learning_rate=LEARNING_RATE
            ),
            num_microbatches=args.microbatches,
        )
        self.trainer.compile_train(batch)
        self.batch = batch
        self.tokens = float(np.sum(batch["decoder_loss_weights"]))

    def __call__(self) -> float:
        summary = self.trainer.train(iter([self.batch]), 1).result()
        return float(summary["loss"].value) / self.tokens  # a sum over the batch


def batch_of(config: TokensConfig, size: int, audio: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    depth = config.features.hop_samples if audio else config.model.input_depth
    inputs = rng.normal(0.0, 0.1 if audio else 2.0, (size, config.num_frames, depth))
    targets = rng.integers(3, 1388, (size, config.max_tokens), dtype=np.int32)
    return {
        "encoder_input_tokens": inputs.astype(np.float32),
        "decoder_input_tokens": np.roll(targets, 1, axis=1),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": np.ones_like(targets),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"tiny": TINY, **SIZES}
    parser.add_argument("--size", choices=sizes, default="small")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--microbatches", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="of each")
    parser.add_argument("--audio", action="store_true", help="ours computes features")
    args = parser.parse_args()
    config = TokensConfig(model=sizes[args.size], max_tokens=args.tokens)
    features = batch_of(config, args.batch, audio=False)
    inputs = batch_of(config, args.batch, args.audio)
    inputs["encoder_num_frames"] = np.full(args.batch, config.num_frames, np.int32)

    def calls(**changes):
        model = dataclasses.replace(config.model, **changes)
        changed = dataclasses.replace(config, model=model)
        params = TokensObjective(changed).init(jax.random.key(0))
        return {
            OURS: Ours(changed, jax.tree.map(jnp.array, params), inputs, args),
            OTHER: T5X(changed, params, features, args),
        }

    if not args.audio:
        check(calls(dropout_rate=0.0, num_encoder_layers=1, num_decoder_layers=1))
    measure(calls(), args.steps)


def check(calls) -> None:
    losses = {name: [call() for _ in range(3)] for name, call in calls.items()}
    for name, values in losses.items():
        print(f"{name:5s}losses of three steps: {', '.join(map(str, values))}")
    np.testing.assert_allclose(losses[OURS], losses[OTHER], rtol=1e-4)


def measure(calls, steps: int) -> None:
    """Medians by the clock and of CPU time, which other work disturbs less."""
    clock = {name: [] for name in calls}
    cpu = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(steps):
        for name, call in calls.items():
            begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
            call()
            clock[name].append(time.perf_counter() - begin_s)
            cpu[name].append(time.process_time() - begin_cpu_s)
    for kind, times in (("clock", clock), ("CPU", cpu)):
        medians = {name: float(np.median(values)) for name, values in times.items()}
        line = ", ".join(f"{name} {value:.2f} s" for name, value in medians.items())
        print(
            f"{kind:6s}{line} a step; {1 / medians[OURS]:.3f} against "
            f"{1 / medians[OTHER]:.3f} steps/s, ratio "
            f"{medians[OTHER] / medians[OURS]:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
