"""Our models and tasks under T5X (github google-research/t5x); see docs/t5x.md.

T5X launches, trains, saves and restores; `gin/t5x/` tells it to use what is here. Of
mt3x it gets objectives, so that the loss is that of `mt3x.train`, and the tasks of
`mt3x.pipeline`. The only module that imports T5X, which is not on PyPI.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
from clu import metrics as clu_metrics
from clu.data import dataset_iterator
from etils import epath
from flax.linen import partitioning as flax_partitioning
from jax.experimental import multihost_utils
from t5x import (  # pyright: ignore[reportMissingImports]
    adafactor,
    gin_utils,
    models,
    utils,
)
from t5x import metrics as t5x_metrics  # pyright: ignore[reportMissingImports]

from mt3x import partitioning, pipeline
from mt3x.checkpoints import flatten, unflatten
from mt3x.converters import ROLLS
from mt3x.decoding import generate
from mt3x.experiment import TaskConfig
from mt3x.objectives import PianoConfig, PianoObjective, TokensConfig, TokensObjective
from mt3x.rolls import NUM_PITCHES
from mt3x.search import DecodingConfig
from mt3x.t5x_checkpoints import CONFIG_NAME
from mt3x.task_registry import check_data

OWN_TASKS = "mt3x.tasks"


def axis_rules() -> list[tuple[str, str | None]]:
    """`partitioning.AXIS_RULES` for T5X's PjitPartitioner."""
    return list(partitioning.AXIS_RULES.items())


def factor_rules() -> dict[str | None, Any]:
    """T5X's rules for Adafactor, with those of our names that it lacks.

    They matter for arrays of more than two axes alone: others go by their size. None
    is the name of all axes of HPPNet, whose arrays are not factored.
    """
    return {
        **adafactor.standard_logical_factor_rules(),
        "bins": adafactor.FactorDim.COLUMN,
        None: adafactor.FactorDim.NONE,
    }


class ObjectiveModel(models.BaseModel):
    """An objective as T5X sees a model: sums of losses, with CLU metrics beside them.

    T5X does not divide by the loss's weight: its Adafactor does not see the scale of a
    gradient. `loss_normalizing_factor` divides by a constant where an optimizer does.
    """

    objective: Any

    def __init__(
        self, optimizer_def: Any, loss_normalizing_factor: float | None = None
    ) -> None:
        super().__init__(optimizer_def=optimizer_def)
        self.loss_normalizing_factor = loss_normalizing_factor or 1.0

    def get_initial_variables(
        self,
        rng: jax.Array,
        input_shapes: Mapping[str, Any],
        input_types: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Parameters and, as `params_axes`, their logical axes."""
        del input_shapes, input_types
        params = self.objective.init(rng)
        axes = {
            f"{name}_axes": flax_partitioning.AxisMetadata(
                names=partitioning.param_axes(name, param.ndim)
            )
            for name, param in flatten(params).items()
        }
        return {"params": params, "params_axes": unflatten(axes)}

    def loss_fn(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        dropout_rng: jax.Array | None,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """The loss's sum, and what `mt3x train` logs as well."""
        total, weight, parts, _ = self.objective.loss(params, batch, dropout_rng)
        average: Any = clu_metrics.Average  # a dataclass, which checkers do not see
        metrics: dict[str, Any] = {
            name: average(total=part, count=count)
            for name, (part, count) in {"loss": (total, weight), **parts}.items()
        }
        size = len(next(iter(batch.values())))
        metrics |= {
            "timing/steps_per_second": t5x_metrics.StepsPerTime.from_model_output(),
            "timing/examples_per_second": t5x_metrics.TimeRate.from_model_output(
                numerator=jnp.float32(size)
            ),
        }
        return total / self.loss_normalizing_factor, metrics

    def score_batch(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        return_intermediates: bool = False,
    ) -> jax.Array:
        """Minus the loss of each example: of tokens, their log-likelihood.

        Raises:
          ValueError: for intermediate values, which objectives do not give.
        """
        if return_intermediates:
            raise ValueError(
                "return_intermediates=True: scores have no intermediate values; leave "
                "it out"
            )

        def score(example: Mapping[str, jax.Array]) -> jax.Array:
            one = {name: value[None] for name, value in example.items()}
            return -self._score_objective.loss(params, one, None)[0]

        return jax.vmap(score)(dict(batch))

    @property
    def _score_objective(self) -> Any:
        return self.objective


class TokensModel(ObjectiveModel):
    """MT3: audio frames to event tokens."""

    FEATURE_CONVERTER_CLS = pipeline.TokensFeatureConverter

    def __init__(
        self,
        objective: TokensConfig,
        optimizer_def: Any,
        decoding: DecodingConfig | None = None,
        dtype: str = "float32",
        loss_normalizing_factor: float | None = None,
    ) -> None:
        """
        Args:
          objective: what to train.
          optimizer_def: T5X's optimizer.
          decoding: how tokens are chosen; by default the likeliest ones.
          dtype: of the network's arithmetic; parameters are float32.
          loss_normalizing_factor: see above.
        """
        super().__init__(optimizer_def, loss_normalizing_factor)
        self.objective = TokensObjective(objective, jnp.dtype(dtype))
        self.decoding = dataclasses.replace(
            decoding or DecodingConfig(), max_tokens=objective.max_tokens
        )

    def predict_batch_with_aux(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        rng: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Tokens BxL, and the `scores` B of the sequences."""
        state = self.objective.start(
            params, batch["encoder_input_tokens"], batch["encoder_num_frames"]
        )
        step = jax.tree_util.Partial(self.objective.step, params)
        generated = generate(step, state, self.decoding, rng)
        return generated.tokens_BxL, {"scores": generated.scores_B}

    @property
    def _score_objective(self) -> TokensObjective:
        plain = dataclasses.replace(
            self.objective.config, z_loss=0.0, label_smoothing=0.0
        )
        return TokensObjective(plain, self.objective.dtype)


class PianoModel(ObjectiveModel):
    """HPPNet: samples to rolls."""

    def __init__(
        self,
        objective: PianoConfig,
        optimizer_def: Any,
        task_feature_lengths: Mapping[str, int],
        batch_size: int = 1,
        dtype: str = "float32",
    ) -> None:
        """
        Args:
          objective: what to train.
          optimizer_def: T5X's optimizer.
          task_feature_lengths: frames of a clip (`inputs`).
          batch_size: clips in a batch; the optimizer gets the mean's gradient.
          dtype: of the network's arithmetic; parameters are float32.
        """
        super().__init__(
            optimizer_def, batch_size * task_feature_lengths["inputs"] * NUM_PITCHES
        )
        self.objective = PianoObjective(objective, jnp.dtype(dtype))
        self.FEATURE_CONVERTER_CLS = functools.partial(
            pipeline.RollsFeatureConverter, hop_samples=objective.features.hop_samples
        )

    def predict_batch_with_aux(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        rng: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Rolls BxTx4xP, as the tasks' targets; nothing beside them."""
        del rng
        rolls = self.objective.predict(params, batch["samples"])
        return jnp.stack([rolls[name] for name in ROLLS], axis=2), {}


def checked_task(
    task: str,
    objective: TokensConfig | PianoConfig,
    split: str,
    use_cached: bool = False,
    module: str | None = None,
) -> str:
    """The name of a task, once all is there that a run will ask of it.

    Args:
      task: name of a task or mixture.
      objective: what the model reads and writes.
      split: the split that is to be read.
      use_cached: whether SeqIO's cache is read, not the records.
      module: registers the task when it is imported; None for mt3x's own.

    Raises:
      ValueError: there is no such task, or it does not fit the model.
      OSError: its records are missing.
    """
    module, features = module or OWN_TASKS, objective.features
    found = pipeline.find_task(task, module)
    if isinstance(objective, TokensConfig):
        pipeline.check_tokens(task, module, objective.tokens)
    else:
        frames = pipeline.FrameConfig(features.sample_rate_hz, features.hop_samples)
        pipeline.check_rolls(task, module, frames)
    check_data(found, split, use_cached)
    return task


def get_dataset(
    cfg: Any,
    shard_id: int,
    num_shards: int,
    feature_converter_cls: Callable[..., Any],
    *unused: Any,
    objective: TokensConfig | PianoConfig,
    max_examples_per_mix: int | None = None,
) -> "StepBatches":
    """The `get_dataset_fn` of T5X's training: the batches of `mt3x train`.

    Args:
      cfg: T5X's DatasetConfig; `seed` None is a new one in each run.
      shard_id, num_shards: this process's part of each batch.
      feature_converter_cls: the model's.
      unused: what T5X has defaults for.
      objective: what the model reads and writes.
      max_examples_per_mix: train on mixes of 1 to this many examples; None: of one.
    """
    with pipeline.train_options(_options(objective, max_examples_per_mix)):
        dataset = utils.get_dataset(cfg, shard_id, num_shards, feature_converter_cls)
    seed = cfg.seed
    if seed is None:
        seed = int(multihost_utils.broadcast_one_to_all(np.int32(time.time())))
    task = TaskConfig(
        task=cfg.mixture_or_task_name,
        module=cfg.module or OWN_TASKS,
        batch_size=cfg.batch_size,
        clip_frames=cfg.task_feature_lengths["inputs"],
        max_examples_per_mix=max_examples_per_mix,
        use_cached=cfg.use_cached,
        seed=seed,
    )
    batches = task.make_batches(objective, (shard_id, num_shards))
    return StepBatches(batches.batch, dataset.element_spec)


def get_training_eval_datasets(
    *args: Any,
    objective: TokensConfig | PianoConfig,
    max_examples_per_mix: int | None = None,
    **kwargs: Any,
) -> Any:
    """T5X's own, with the options of our training tasks."""
    with pipeline.train_options(_options(objective, max_examples_per_mix)):
        return utils.get_training_eval_datasets(*args, **kwargs)


class StepBatches(dataset_iterator.DatasetIterator):
    """Batches as T5X takes them; a checkpoint holds the number of the next one."""

    def __init__(
        self, batch: Callable[[int], Any], spec: Mapping[str, tf.TensorSpec]
    ) -> None:
        self._batch, self._spec = batch, spec
        self._next_step = 0
        # T5X looks at a batch in advance and saves before its first step, in any order.
        self._is_new = True

    def __next__(self) -> dict[str, np.ndarray]:
        self._next_step += 1
        return self._batch(self._next_step - 1)

    def reset(self) -> None:
        self._next_step = 0

    @property
    def element_spec(self) -> dict[str, dataset_iterator.ArraySpec]:
        return {
            name: dataset_iterator.ArraySpec(
                dtype=spec.dtype.as_numpy_dtype, shape=tuple(spec.shape)
            )
            for name, spec in self._spec.items()
        }

    def save(self, filename: Any) -> None:
        epath.Path(filename).write_text(str(0 if self._is_new else self._next_step))
        self._is_new = False

    def restore(self, filename: Any) -> None:
        self._next_step = int(epath.Path(filename).read_text())
        self._is_new = False


def _options(
    objective: TokensConfig | PianoConfig, max_examples_per_mix: int | None
) -> pipeline.TrainOptions:
    if isinstance(objective, PianoConfig):
        return pipeline.TrainOptions(labels=objective.labels)
    return pipeline.TrainOptions(
        max_examples_per_mix, objective.tokens.program_granularity
    )


def summarize_config(
    model_dir: str,
    summary_writer: Any,
    step: int,
    objective: TokensConfig | PianoConfig,
) -> None:
    """T5X's `summarize_config_fn`: config.gin, and the model's config.json for mt3x."""
    gin_utils.summarize_gin_config(model_dir, summary_writer, step)
    if jax.process_index() == 0:
        text = json.dumps({"objective": objective.to_dict()}, indent=2) + "\n"
        epath.Path(model_dir, CONFIG_NAME).write_text(text)
