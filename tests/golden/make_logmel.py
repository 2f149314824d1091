"""Write logmel.npz: log-mel spectrograms of ddsp, with the settings of MT3.

    python tests/golden/make_logmel.py

Needs ddsp 3.7.0, which requires old versions of TensorFlow and NumPy and therefore an
environment of its own:

    pip install --no-deps ddsp==3.7.0
    pip install tensorflow-cpu==2.15.1 tensorflow-probability==0.23.0 numpy==1.24.3
    pip install librosa==0.10.1 scipy==1.10.1 gin-config

The file was made with these versions on Python 3.11 (ddsp asks for older ones yet; the
FFT of TensorFlow before 2.15 is less exact). ddsp imports crepe, a pitch
tracker that its spectrograms do not use: an empty module stands in for it.
"""

import sys
from pathlib import Path
from types import ModuleType

import logmel_inputs as inputs
import numpy as np

sys.modules["crepe"] = ModuleType("crepe")
from ddsp import spectral_ops  # noqa: E402


def main() -> None:
    feats_BxTxF = spectral_ops.compute_logmel(
        inputs.signals(),
        lo_hz=20.0,
        hi_hz=7600.0,
        bins=512,
        fft_size=2048,
        overlap=1 - 128 / 2048,
        pad_end=True,
        sample_rate=16000,
    ).numpy()
    some_BxTxF = feats_BxTxF[:, :: inputs.FRAMES, :: inputs.BINS]
    path = Path(__file__).parent / "logmel.npz"
    np.savez_compressed(path, feats=some_BxTxF)


if __name__ == "__main__":
    main()
