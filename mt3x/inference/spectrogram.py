"""The constant-Q spectrogram of a recording of any length, as a background of plots."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from mt3x.inference.windows import WindowConfig, cut_windows
from mt3x.models.features import CQTConfig, cqt
from mt3x.music.plot import Spectrogram

# A picture of a long recording has no more frames than this.
MAX_FRAMES = 8192
# The lowest magnitude that is told from silence.
FLOOR = 1e-4

_cqt = jax.jit(cqt, static_argnames="config")


def spectrogram(
    blocks: Iterable[np.ndarray],
    features: CQTConfig,
    window: WindowConfig,
    device: Any = None,
) -> Spectrogram:
    """Return the levels of a stream of samples.

    Args:
      blocks: consecutive samples_S at the features' rate.
      features: of the spectrogram.
      window: how the stream is cut.
      device: where to compute; by default JAX's choice.
    """
    parts: list[np.ndarray] = []
    num_done = 0
    for cut in cut_windows(blocks, features.hop_samples, window):
        samples_1xS = jax.device_put(cut.samples_S[None], device)
        end = cut.num_frames - (0 if cut.is_last else window.context_frames)
        mags_TxF = np.asarray(_cqt(samples_1xS, config=features)[0])
        mags_TxF = mags_TxF[num_done - cut.first_frame : end]
        level_db_TxF = 20 * np.log10(np.maximum(mags_TxF, FLOOR))
        # Half precision is enough for a picture: 130 MB an hour.
        parts.append(level_db_TxF.astype(np.float16))
        num_done = cut.first_frame + end
    level_db_TxF = np.concatenate(parts)
    pool = -(-num_done // MAX_FRAMES)
    starts = np.arange(0, num_done, pool)
    level_db_TxF = np.maximum.reduceat(level_db_TxF, starts, axis=0)
    return Spectrogram(
        level_db_TxF.astype(np.float32),
        frame_rate_hz=features.frame_rate_hz / pool,
        lowest_pitch=69 + 12 * math.log2(features.fmin_hz / 440),
        bins_per_semitone=features.bins_per_octave / 12,
    )
