"""Our models under T5X (github google-research/t5x); see docs/how_to/t5x.md.

T5X launches, trains, saves and restores; `gin/t5x/` tells it to use what is here. Of
mt3x it gets objectives, so that the loss is that of `mt3x.training.train`, and the
tasks of `mt3x.data.pipeline` (`mt3x.interop.t5x_data`). No other modules import T5X,
which is not on PyPI.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from etils import epath
from flax.core import freeze
from flax.linen import partitioning as flax_partitioning
from t5x import (  # pyright: ignore[reportMissingImports]
    adafactor,
    gin_utils,
    models,
)
from t5x import metrics as t5x_metrics  # pyright: ignore[reportMissingImports]

from mt3x.data import pipeline
from mt3x.data.pipeline.converters import ROLL_NAMES
from mt3x.inference.decoding import generate
from mt3x.inference.token_choice import DecodingConfig
from mt3x.interop.t5x_bindings import check_bindings
from mt3x.interop.t5x_checkpoints import CONFIG_NAME
from mt3x.models import batch_norm
from mt3x.models.objectives import (
    ModelConfig,
    PianoConfig,
    PianoObjective,
    TokensConfig,
    TokensObjective,
)
from mt3x.models.weights_file import flatten, unflatten
from mt3x.music.rolls import NUM_PITCHES
from mt3x.training import partitioning


def axis_rules() -> list[tuple[str, str | None]]:
    """Return `partitioning.AXIS_RULES` for T5X's PjitPartitioner."""
    return list(partitioning.AXIS_RULES.items())


def factor_rules() -> dict[str | None, Any]:
    """Return T5X's rules for Adafactor, with those of our names that it lacks.

    They matter for arrays of more than two axes alone: others go by their size. None
    is the name of all axes of HPPNet and of stems; their arrays are not factored.
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

    Batch norm's running statistics, which lie among our parameters, are T5X's
    `flax_mutables`: a collection `batch_stats` beside `params`, which T5X gives to the
    functions of models that have one. A microbatch takes up those of the one before
    it (`mt3x train` takes the mean of what microbatches make of the step's).
    """

    objective: Any

    def __init__(
        self, optimizer_def: Any, loss_normalizing_factor: float | None = None
    ) -> None:
        check_bindings()  # of all of T5X's programs, before they work
        super().__init__(optimizer_def=optimizer_def)
        self.loss_normalizing_factor = loss_normalizing_factor or 1.0

    def get_initial_variables(
        self,
        rng: jax.Array,
        input_shapes: Mapping[str, Any],
        input_types: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return parameters, running statistics and their logical axes (`..._axes`)."""
        del input_shapes, input_types
        variables = batch_norm.variables(self.objective.init(rng))
        axes = {
            f"{collection}_axes": _axes(arrays)
            for collection, arrays in variables.items()
        }
        return {**variables, **axes}

    def loss_fn(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        dropout_rng: jax.Array | None,
        flax_mutables: Mapping[str, Any] | None = None,
    ) -> tuple[jax.Array, Any]:
        """Return the loss's sum, and what `mt3x train` logs as well.

        With `flax_mutables` the new ones follow the metrics.
        """
        total, weight, parts, statistics = self.objective.loss(
            _joined(params, flax_mutables), batch, dropout_rng
        )
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
        loss = total / self.loss_normalizing_factor
        if not flax_mutables:
            return loss, metrics
        new = batch_norm.updated(flax_mutables, {"batch_stats": statistics})
        return loss, (metrics, freeze(new))

    def eval_fn(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        flax_mutables: Mapping[str, Any] | None = None,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Return loss and metrics without dropout, by the running statistics."""
        return self.loss_fn(_joined(params, flax_mutables), batch, None)

    def predict_batch(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        rng: jax.Array | None = None,
        flax_mutables: Mapping[str, Any] | None = None,
    ) -> jax.Array:
        """Return the first of what `predict_batch_with_aux` gives."""
        params = _joined(params, flax_mutables)
        return self.predict_batch_with_aux(params, batch, rng)[0]

    def score_batch(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        return_intermediates: bool = False,
        flax_mutables: Mapping[str, Any] | None = None,
    ) -> jax.Array:
        """Return minus the loss of each example: of tokens, their log-likelihood.

        Raises:
          ValueError: for intermediate values, which objectives do not give.
        """
        if return_intermediates:
            raise ValueError(
                "return_intermediates=True: scores have no intermediate values; leave "
                "it out"
            )

        params = _joined(params, flax_mutables)

        def score(example: Mapping[str, jax.Array]) -> jax.Array:
            one = {name: value[None] for name, value in example.items()}
            return -self._score_objective.loss(params, one, None)[0]

        return jax.vmap(score)(dict(batch))

    @property
    def _score_objective(self) -> Any:
        return self.objective


def _axes(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the logical axes of a nested dict, as T5X takes them."""
    axes = {
        f"{name}_axes": flax_partitioning.AxisMetadata(
            names=partitioning.param_axes(name, param.ndim)
        )
        for name, param in flatten(params).items()
    }
    return unflatten(axes)


def _joined(params: Any, flax_mutables: Mapping[str, Any] | None) -> Any:
    """Return our parameters, which hold the running statistics."""
    return batch_norm.join({"params": params, **(flax_mutables or {})})


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
        """Make the objective.

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
        flax_mutables: Mapping[str, Any] | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return tokens BxL, and the `scores` B of the sequences."""
        params = _joined(params, flax_mutables)
        state = self.objective.start(
            params, batch["encoder_input_tokens"], batch["encoder_num_frames"]
        )
        step = jax.tree_util.Partial(self.objective.step, params)
        generated = generate(step, state, self.decoding, rng)
        return generated.tokens_BxL, {"scores": generated.scores_B}

    @property
    def _score_objective(self) -> TokensObjective:
        plain = dataclasses.replace(
            self.objective.config, z_loss=0.0, label_smoothing=0.0, rolls=None
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
        """Make the objective.

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
            pipeline.RollsFeatureConverter, **objective.converter_options()
        )

    def predict_batch_with_aux(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        rng: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return rolls BxTx4xP, as the tasks' targets, and nothing beside them."""
        del rng
        rolls = self.objective.predict(params, batch["samples"])
        return jnp.stack([rolls[name] for name in ROLL_NAMES], axis=2), {}


def summarize_config(
    model_dir: str,
    summary_writer: Any,
    step: int,
    objective: ModelConfig,
) -> None:
    """Write T5X's config.gin, and the model's config.json for mt3x."""
    gin_utils.summarize_gin_config(model_dir, summary_writer, step)
    if jax.process_index() == 0:
        text = json.dumps({"objective": objective.to_dict()}, indent=2) + "\n"
        epath.Path(model_dir, CONFIG_NAME).write_text(text)
