"""Whole HPPNet in JAX against the authors' PyTorch code: forward and training step.

    python bench/hppnet_vs_torch.py --reference HPPNET_CHECKOUT

needs PyTorch, nnAudio and a checkout of github.com/WX-Wei/HPPNet. Both start from audio
and the same weights; a training step is loss, gradients and Adam. A ratio above 1 says
that mt3x is faster.
"""

import argparse
import sys
import warnings
from pathlib import Path

from timing import THREADS, limit_threads, median_times, report

limit_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from mt3x.interop.hppnet_torch import import_hppnet  # noqa: E402
from mt3x.models.hppnet import SIZES  # noqa: E402
from mt3x.models.objectives import PianoConfig, PianoObjective  # noqa: E402
from mt3x.music.rolls import ROLL_NAMES  # noqa: E402

try:
    import torch
except ImportError:
    sys.exit("skipped: torch is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
import torch_hppnet  # noqa: E402

LEARNING_RATE = 6e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", required=True, help="the authors' checkout")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "base"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--frames", type=int, default=256, help="256 are 5.12 s")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"mt3x on {jax.devices()[0].device_kind}, PyTorch on {device}", flush=True)
    for size in args.sizes:
        for num_clips in args.batches:
            compare(args.reference, size, num_clips, args.frames, args.repeats, device)


def compare(
    checkout: str, size: str, num_clips: int, frames: int, repeats: int, device: str
) -> None:
    """Print the two lines of one size and batch."""
    model = torch_hppnet.build(checkout, SIZES[size].channels, sp=size == "sp")
    state = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    model.to(device).train()
    model.config["device"] = device
    model.frame_num = frames
    batch = made_up_batch(num_clips, frames)
    ours = jax_calls(size, state, batch)
    reference = torch_calls(model, batch, device)
    for name in ROLL_NAMES:
        ref_BxTxP, est_BxTxP = reference["rolls"]()[name], ours["rolls"]()[name]
        np.testing.assert_allclose(est_BxTxP, ref_BxTxP, atol=5e-3)
    for title, kind in (("forward", "rolls"), ("training step", "step")):
        calls = {"mt3x": ours[kind], "PyTorch": reference[kind]}
        times_s = median_times(calls, repeats)
        clips = f"{num_clips} x {frames / 50:.2f} s"
        report(f"{size} {clips} {title}", times_s, "mt3x", "PyTorch")


def made_up_batch(num_clips: int, frames: int) -> dict[str, np.ndarray]:
    """Return noise and sparse rolls; the time does not depend on the values."""
    rng = np.random.default_rng(0)
    batch = {"samples": rng.normal(scale=0.1, size=(num_clips, frames * 320))}
    for name in ROLL_NAMES:
        batch[name] = rng.random((num_clips, frames, 88)) < 0.02
    return {name: array.astype(np.float32) for name, array in batch.items()}


def jax_calls(size, state, batch):
    """Return the calls of mt3x: `rolls` and `step`."""
    model, tree = import_hppnet(state)
    objective = PianoObjective(PianoConfig(model=model))
    optimizer = optax.adam(LEARNING_RATE)
    params = jax.tree.map(jnp.asarray, tree)
    training = [params, optimizer.init(params)]
    arrays = jax.tree.map(jnp.asarray, batch)
    predict = jax.jit(objective.predict)

    def loss(params, arrays):
        total, weight, _, _ = objective.loss(params, arrays)
        return total / weight

    @jax.jit
    def update(params, opt_state, arrays):
        value, gradients = jax.value_and_grad(loss)(params, arrays)
        changes, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, changes), opt_state, value

    def step() -> float:
        training[0], training[1], value = update(*training, arrays)
        return float(value)

    def rolls() -> dict[str, np.ndarray]:
        return jax.device_get(predict(params, arrays["samples"]))

    return {"rolls": rolls, "step": step}


def torch_calls(model, batch, device):
    """Return the calls of the authors' code: `rolls` and `step`."""
    tensors = {name: torch.from_numpy(x).to(device) for name, x in batch.items()}
    tensors["audio"] = tensors.pop("samples")
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)

    def step() -> float:
        optimizer.zero_grad()
        _, losses = model.run_on_batch(tensors)
        losses["loss/all"].backward()
        optimizer.step()
        return losses["loss/all"].item()

    def rolls() -> dict[str, np.ndarray]:
        with torch.no_grad():
            rolls = model(tensors["audio"])
        return {name: roll[:, 0].cpu().numpy() for name, roll in rolls.items()}

    model.load_state_dict(weights)
    return {"rolls": rolls, "step": step}


if __name__ == "__main__":
    main()
