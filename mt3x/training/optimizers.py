"""Learning rates and optimizers, as optax's gradient transformations."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib


@dataclass(frozen=True)
class OptimizerConfig:
    """Options of the optimizer: how a gradient changes the parameters."""

    # adam, adamw, adafactor or muon.
    name: str = "adam"
    # Of adafactor: relative to the size of each parameter.
    learning_rate: float = 6e-4
    # constant; exponential: x decay_rate every decay_steps, in stairs; cosine: to 0;
    # rsqrt: / sqrt(max(step, warmup_steps)).
    schedule: str = "exponential"
    decay_rate: float = 0.98
    decay_steps: int = 10_000
    # Linear rise of the learning rate from 0, before the schedule; of rsqrt, which
    # needs it: the steps before the rate falls.
    warmup_steps: int = 0
    # Of adamw and adafactor: the part of each parameter that is taken away in a step, x
    # learning rate; vectors (biases, norms) are spared.
    weight_decay: float = 0.0
    # Clips the gradient's global norm before the update; None: not at all.
    gradient_clip_norm: float | None = 3.0
    # Of several networks, the top of the parameters: factors of the learning rate by
    # name, 1 for those left out. Each network's gradient is then clipped by its own
    # norm.
    network_rates: dict[str, float] | None = None
    # Beginnings of the paths of the parameters that learn, such as "notes/players"; all
    # others stay as they are, at less cost. None: all learn.
    only: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.only is not None:  # gin and JSON give lists
            object.__setattr__(self, "only", tuple(self.only))
            if not self.only:
                raise ValueError("only=() lets nothing learn: name paths, or give None")
        allowed = {
            "schedule": ("constant", "exponential", "cosine", "rsqrt"),
            "name": ("adam", "adamw", "adafactor", "muon"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is none of {', '.join(values)}"
                )
        if self.network_rates and min(self.network_rates.values()) < 0:
            raise ValueError(f"network_rates={self.network_rates} must not be negative")
        if self.decay_steps < 1:
            raise ValueError(f"decay_steps={self.decay_steps} must be at least 1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps={self.warmup_steps} must not be negative")
        if self.schedule == "rsqrt" and not self.warmup_steps:
            raise ValueError(
                "warmup_steps=0 does not fit schedule='rsqrt', which begins at "
                "learning_rate / sqrt(warmup_steps): give warmup_steps (T5: 10000)"
            )


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Return the learning rate after a number of updates, of `steps` in all.

    In T5X's words `constant` is "constant * linear_warmup" and `rsqrt` "constant *
    rsqrt_decay". (T5X has 1e-8 where a rise begins at 0.)
    """
    rate = config.learning_rate
    if config.schedule == "rsqrt":
        return lambda step: rate / jnp.sqrt(jnp.maximum(step, config.warmup_steps))
    if config.schedule == "constant":
        schedule = optax.constant_schedule(rate)
    elif config.schedule == "exponential":
        schedule = optax.exponential_decay(
            init_value=rate,
            transition_steps=config.decay_steps,
            decay_rate=config.decay_rate,
            staircase=True,
        )
    else:
        schedule = optax.cosine_decay_schedule(
            init_value=rate, decay_steps=steps - config.warmup_steps
        )
    if not config.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(
        init_value=0.0, end_value=rate, transition_steps=config.warmup_steps
    )
    return optax.join_schedules([warmup, schedule], boundaries=[config.warmup_steps])


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Return the optimizer; it sees the clipped gradient."""
    schedule = make_schedule(config, steps)
    if config.name == "adam":
        update = optax.adam(learning_rate=schedule)
    elif config.name == "adamw":
        update = optax.adamw(
            learning_rate=schedule, weight_decay=config.weight_decay, mask=_is_decayed
        )
    elif config.name == "muon":
        update = _muon(schedule)
    else:
        update = _adafactor(schedule, config.weight_decay)
    if config.network_rates is not None:
        update = _by_network(config, update)
    elif config.gradient_clip_norm is not None:
        clip = optax.clip_by_global_norm(config.gradient_clip_norm)
        update = optax.chain(clip, update)
    if config.only is None:
        return update
    only = config.only

    def kept(updates: Any, params: Any) -> Any:
        """Take away what decay does without a gradient."""
        return _changed_but(only, jnp.zeros_like, updates)

    return optax.chain(update, optax.stateless(kept))


def held(config: OptimizerConfig, params: Any) -> Any:
    """Return parameters without gradients for those that do not learn.

    Raises:
      ValueError: `config.only` has a path that is not in `params`.
    """
    if config.only is None:
        return params
    paths = {_path(keys) for keys, _ in jax.tree.leaves_with_path(params)}
    for beginning in config.only:
        if not any(path.startswith(beginning) for path in paths):
            tops = ", ".join(sorted({path.rpartition("/")[0] for path in paths}))
            raise ValueError(
                f"only={beginning!r} is the beginning of no parameter's path: they are "
                f"below {tops}"
            )
    return _changed_but(config.only, jax.lax.stop_gradient, params)


def _changed_but(
    only: tuple[str, ...], function: Callable[[Any], Any], tree: Any
) -> Any:
    """Apply a function to the leaves of a tree whose paths do not begin so."""
    return jax.tree.map_with_path(
        lambda keys, leaf: leaf if _path(keys).startswith(only) else function(leaf),
        tree,
    )


def _path(keys: Sequence[Any]) -> str:
    return "/".join(str(key.key) for key in keys)


def _by_network(
    config: OptimizerConfig, update: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Return an optimizer that clips each network, and changes it at its own rate.

    Raises (when it updates):
      ValueError: a rate is that of no network.
    """
    rates, norm = config.network_rates or {}, config.gradient_clip_norm

    def clipped(gradient: Any, params: Any) -> Any:
        if unknown := rates.keys() - gradient.keys():
            raise ValueError(
                f"network_rates names {', '.join(sorted(unknown))}, but the model's "
                f"networks are {', '.join(sorted(gradient))}"
            )
        if norm is None:
            return gradient
        clip = optax.clip_by_global_norm(norm)
        return {k: clip.update(g, clip.init(g))[0] for k, g in gradient.items()}

    def scaled(updates: Any, params: Any) -> Any:
        found = {}
        for name, part in updates.items():
            times = functools.partial(jnp.multiply, rates.get(name, 1.0))
            found[name] = jax.tree.map(times, part)
        return found

    return optax.chain(optax.stateless(clipped), update, optax.stateless(scaled))


def _is_decayed(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _muon(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Return Muon for matrices and kernels of convolutions, NAdam for all else.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/): the momentum's
    singular values are all made one. Updates are as large as Adam's (RMS 0.2, Liu et
    al. 2025, arXiv:2502.16982), so that the same learning rates fit.
    """
    return optax.contrib.muon(
        learning_rate=schedule,
        muon_weight_dimension_numbers=_as_matrices,
        consistent_rms=0.2,
    )


def _as_matrices(params: Any) -> Any:
    """Return the input and output axes of each parameter; None: not a matrix.

    Layers that are stacked (`scan_layers`) are one matrix.
    """

    def axes(path, param):
        name = path[-1].key
        if "kernel" not in name or param.ndim < 2:
            return None
        if name in ("input_kernel", "recurrent_kernel"):  # cells of LSTMs side by side
            return optax.contrib.MuonDimensionNumbers(3, 2)
        return optax.contrib.MuonDimensionNumbers(tuple(range(param.ndim - 1)), -1)

    return jax.tree_util.tree_map_with_path(axes, params)


def _adafactor(
    schedule: optax.Schedule, weight_decay: float
) -> optax.GradientTransformation:
    """Return Adafactor with the numbers of T5X, as MT3 was trained.

    Shazeer and Stern 2018 (arXiv:1804.04235), algorithms 4 and 5, with beta2 of step t
    1 - t ** -0.8 and no momentum: the mean of squares is kept as that of rows and that
    of columns, the update's RMS is clipped at 1, and the step is relative to the
    parameter's RMS (1e-3 at least).

    T5X factors by logical axes (`embed` is a row, others are columns) only arrays of
    more than two axes, and all others by size: a matrix with both axes of at least 128.
    MT3's parameters have two axes at most, so that size alone decides, embeddings
    included. Arrays of more axes and no names, which T5X refuses (HPPNet's convolutions
    have four) are factored over their two largest axes where both are at least 128; the
    RMS is that of the whole array.
    """
    return optax.chain(
        optax.scale_by_factored_rms(decay_rate=0.8, min_dim_size_to_factor=128),
        optax.clip_by_block_rms(threshold=1.0),
        optax.scale_by_param_block_rms(min_scale=1e-3),
        optax.add_decayed_weights(weight_decay=weight_decay, mask=_is_decayed),
        optax.scale_by_learning_rate(schedule),
    )
