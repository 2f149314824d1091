"""CQT in JAX against nnAudio's (PyTorch), the same 20.48 s of audio.

    python bench/cqt_vs_nnaudio.py

needs PyTorch and nnAudio. A ratio above 1 says that mt3x is faster.
"""

import argparse
import sys
import warnings

from timing import THREADS, limit_threads, median_times, report

limit_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.models.features import CQTConfig, cqt  # noqa: E402

try:
    import torch
    from nnAudio.features import CQT1992v2
except ImportError as error:
    sys.exit(f"skipped: {error.name} is not installed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.12, 20.48])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = CQTConfig()
    reference = CQT1992v2(
        sr=config.sample_rate_hz,
        hop_length=config.hop_samples,
        fmin=config.fmin_hz,
        n_bins=config.num_bins,
        bins_per_octave=config.bins_per_octave,
        output_format="Magnitude",
        verbose=False,
    ).to(device)
    ours = jax.jit(lambda samples_BxS: cqt(samples_BxS, config))
    print(f"mt3x on {jax.devices()[0].device_kind}, nnAudio on {device}")
    for seconds in args.seconds:
        shape = (args.batch, int(seconds * config.sample_rate_hz))
        samples_BxS = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        samples = jnp.asarray(samples_BxS)
        tensor = torch.from_numpy(samples_BxS).to(device)

        def run_reference(tensor=tensor) -> torch.Tensor:
            with torch.no_grad():
                return reference(tensor).cpu()

        def run_ours(samples=samples) -> np.ndarray:
            return np.asarray(ours(samples))

        ref_BxTxF = run_reference().numpy().transpose(0, 2, 1)
        difference = np.abs(run_ours() - ref_BxTxF).max() / ref_BxTxF.max()
        calls = {"mt3x": run_ours, "nnAudio": run_reference}
        times_s = median_times(calls, args.repeats)
        title = f"{args.batch} x {seconds} s, differs by {difference:.0e}"
        report(title, times_s, "mt3x", "nnAudio")


if __name__ == "__main__":
    main()
