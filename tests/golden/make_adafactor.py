"""Write adafactor.npz: parameters after updates by T5X's own Adafactor, and its rates.

    python tests/golden/make_adafactor.py

Needs what make_t5x.py needs (made with the same commits and versions). The parameters
are those of MT3's network in T5X, and the optimizer is that of MT3's gin files.
"""

from pathlib import Path

import adafactor_inputs as inputs
import jax
import jax.numpy as jnp
import numpy as np
import t5x_inputs
from make_t5x import build_model, initial_state
from t5x import utils


def schedule(name: str):
    return utils.create_learning_rate_scheduler(
        factors=inputs.SCHEDULES[name],
        base_learning_rate=inputs.LEARNING_RATE,
        warmup_steps=inputs.WARMUP_STEPS,
    )


def make() -> dict[str, np.ndarray]:
    network = t5x_inputs.NETWORK | inputs.NETWORK
    state = initial_state(build_model(network))
    state = state.replace_params(inputs.arrays(state.params, seed=0))
    rate = schedule("rsqrt")
    for step in range(inputs.STEPS):
        gradients = inputs.arrays(state.params, seed=1 + step)
        state = state.apply_gradient(gradients, learning_rate=rate(jnp.asarray(step)))
    rates = {
        f"rate/{name}": np.stack([schedule(name)(n) for n in inputs.SCHEDULE_STEPS])
        for name in inputs.SCHEDULES
    }
    return inputs.some(jax.tree.map(np.asarray, state.params)) | rates


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).parent / "adafactor.npz", **make())
