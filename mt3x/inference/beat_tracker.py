"""Notes in, beats out: `beats`, and `BeatTracker` for more than one piece."""

import os
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from mt3x.models import weights_file
from mt3x.models.beat_objective import BeatConfig, BeatObjective
from mt3x.models.platform import use_compilation_cache
from mt3x.music.beat_decoder import (
    BeatDecodingConfig,
    beat_candidates,
    candidate_score,
    find_bars,
    find_even_beats,
)
from mt3x.music.beat_frames import (
    BEAT_RATE_HZ,
    loudness,
    notes_to_frames,
    notes_to_slots,
)
from mt3x.music.beats import Beats, read_meter
from mt3x.music.notes import Notes

__all__ = ["BeatTracker", "beats"]

_WINDOW = 4096  # frames: 82 s
DEFAULT_BPM = 120.0


def beats(notes: Notes, meter: str | None = None, bpm: float | None = None) -> Beats:
    """Return where the beats and bars of transcribed or played notes fall.

    Without notes, and where all begin at once, beats are even, 120 a minute.

    Args:
      notes: of one piece, drums included.
      meter: the time signature, such as 3/4, where it is known.
      bpm: beats a minute, where they are known to be even.

    Raises:
      ValueError: `meter` or `bpm` is none.
    """
    return _packaged()(notes, meter, bpm)


class BeatTracker:
    """Finds the beats of notes with a beat model."""

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        decoding: BeatDecodingConfig | None = None,
    ) -> None:
        """Load a model.

        Args:
          checkpoint: a weights file or run folder; by default the package's weights.
          decoding: how probabilities become beats; by default as the model says.

        Raises:
          OSError: the checkpoint cannot be read.
          ValueError: it is not that of a beat model.
        """
        use_compilation_cache()
        source = weights_file.packaged("beats") if checkpoint is None else checkpoint
        weights = weights_file.load(source)
        try:
            config = BeatConfig.from_dict(weights.config)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        self._decoding = decoding or config.decoding
        self._reach = config.model.reach_frames
        self._device = jax.devices("cpu")[0]
        self._params = jax.device_put(weights.params, self._device)
        objective = BeatObjective(config)
        self._predict = jax.jit(objective.predict)
        self._predict_bars = jax.jit(objective.predict_bars)

    def __call__(
        self, notes: Notes, meter: str | None = None, bpm: float | None = None
    ) -> Beats:
        """Return the beats of a piece; see `beats`."""
        notes = notes[notes.onset_s >= 0]
        if not len(notes) or notes.onset_s[-1] == notes.onset_s[0]:
            start_s = float(notes.onset_s[0]) if len(notes) else 0.0
            end_s = float(notes.offset_s.max()) if len(notes) else 0.0
            of_meter = read_meter("4/4" if meter is None else meter)
            bpm = DEFAULT_BPM if bpm is None else bpm
            return Beats.from_bpm(bpm, start_s, end_s, *of_meter)
        p_T = self.probabilities(notes)[:, 0]
        if bpm is not None:
            beat_s = find_even_beats(p_T, notes, bpm)
            down_N, _ = self.bar_probabilities(notes, beat_s)
            return find_bars(beat_s, down_N, notes, self._decoding, meter)
        scored = []
        for beat_s, score in beat_candidates(p_T, notes, self._decoding):
            down_N, right_N = self.bar_probabilities(notes, beat_s)
            found = find_bars(beat_s, down_N, notes, self._decoding, meter)
            score = candidate_score(found, score, down_N, right_N, self._decoding)
            scored.append((score, found))
        return max(scored, key=lambda pair: pair[0])[1]

    def probabilities(self, notes: Notes) -> np.ndarray:
        """Return the probabilities of beats and downbeats: T x 2, 50 frames a second.

        Notes are read in overlapping windows, so that memory is bounded but for the
        result, which reaches one second beyond the last onset.
        """
        num_frames = int(notes.onset_s[-1] * BEAT_RATE_HZ) + BEAT_RATE_HZ
        loud_N = loudness(notes.velocity)
        context = min(self._reach, _WINDOW // 4) // 2 * 2
        step = _WINDOW - 2 * context
        found = []
        for start in range(0, num_frames, step):
            begin = start - context
            near = slice(
                *np.searchsorted(
                    notes.onset_s * BEAT_RATE_HZ, (begin - 1, begin + _WINDOW)
                )
            )
            frames_TxF = notes_to_frames(notes[near], begin, _WINDOW, loud_N[near])
            found.append(self._run(frames_TxF)[context : context + step])
        return np.concatenate(found)[:num_frames]

    def bar_probabilities(
        self, notes: Notes, beat_s: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how likely each of N beats is a downbeat, and a beat at all."""
        slots_NxSxF = notes_to_slots(notes, beat_s, loudness(notes.velocity))
        # Few sizes: each is compiled.
        size = max(1 << (len(beat_s) - 1).bit_length(), 128)
        padding = [(0, size - len(beat_s)), (0, 0), (0, 0)]
        slots: Any = jax.device_put(np.pad(slots_NxSxF, padding)[None], self._device)
        found_KxC = np.asarray(self._predict_bars(self._params, slots))[0]
        return found_KxC[: len(beat_s), 0], found_KxC[: len(beat_s), 1]

    def _run(self, frames_TxF: np.ndarray) -> np.ndarray:
        frames: Any = jax.device_put(frames_TxF[None], self._device)
        return np.asarray(self._predict(self._params, frames))[0]


@lru_cache(maxsize=1)
def _packaged() -> BeatTracker:
    return BeatTracker()
