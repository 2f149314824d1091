"""Learning rates and optimizers, as optax's gradient transformations."""

from dataclasses import dataclass

import jax
import optax


@dataclass(frozen=True)
class OptimizerConfig:
    """How a gradient changes the parameters."""

    # adam, or adamw: decoupled weight decay on arrays of two axes and more.
    name: str = "adam"
    learning_rate: float = 6e-4
    # constant; exponential: x decay_rate every decay_steps, in stairs; cosine: to 0.
    schedule: str = "exponential"
    decay_rate: float = 0.98
    decay_steps: int = 10_000
    # Linear rise of the learning rate from 0, in front of the schedule.
    warmup_steps: int = 0
    weight_decay: float = 0.01
    # Clips the gradient's global norm before the update; None: not at all.
    gradient_clip_norm: float | None = 3.0

    def __post_init__(self) -> None:
        allowed = {
            "schedule": ("constant", "exponential", "cosine"),
            "name": ("adam", "adamw"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is none of {', '.join(values)}"
                )
        if self.decay_steps < 1:
            raise ValueError(f"decay_steps={self.decay_steps} must be at least 1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps={self.warmup_steps} must not be negative")


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate of the update that follows `step` updates, of `steps` in all."""
    rate = config.learning_rate
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
    """Clip first, then update: the clipped gradient is what the optimizer sees."""
    schedule = make_schedule(config, steps)
    if config.name == "adam":
        update = optax.adam(learning_rate=schedule)
    else:
        update = optax.adamw(
            learning_rate=schedule,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        )
    if config.gradient_clip_norm is None:
        return update
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip_norm), update)
