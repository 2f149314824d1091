"""Validation during training: transcribe clips with the model as it is, and score them.

Scores are those of `mt3x.music.metrics`, means over clips, under flat names (`note_f1`,
`note_precision`, `frame_f1`, `note_offset_f1`, `note_offset_velocity_f1`, ...). Where
mir_eval is not installed, as on a machine that only trains, the note scores alone are
computed here: same pitch, onsets within 50 ms, matched from left to right, which is a
largest matching since all intervals are of one width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.data.clips import Clip
from mt3x.inference.audio_to_tokens import AudioToTokens
from mt3x.models.objectives import TokensObjective
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import rolls_to_notes
from mt3x.music.rolls import (
    ROLL_NAMES,
    RollLabelConfig,
    Rolls,
    notes_to_rolls,
    on_one_keyboard,
)
from mt3x.music.samples import from_int16
from mt3x.music.sonify import sonify
from mt3x.training import processes

ONSET_TOLERANCE_S = 0.05
LOSSES = ("loss", "cross_entropy", "z_loss", *ROLL_NAMES)
"""What is the better the lower."""


class Objective(Protocol):
    """The part of `mt3x.models.objectives.PianoObjective` that validation uses."""

    @property
    def config(self) -> Any:
        """With `features`, `labels` and `decoding`."""
        ...

    def predict(self, params: Any, samples_BxS: Any, num_samples_B: Any) -> dict:
        """Rolls BxTxP by name."""
        ...


class RollValidation:
    """Of piano models: `validation(params)` -> scores by name.

    Beside the scores there are, of the first clip, the picture `rolls` (HxWx3, uint8)
    and the `sound` (Sx2): the recording left, what was transcribed right.

    All clips are padded to the longest, so that prediction compiles once.
    """

    def __init__(
        self, objective: Objective, clips: Sequence[Clip], shown_s: float = 20.0
    ) -> None:
        """
        Args:
          objective: predicts rolls and knows how they are decoded.
          clips: pairs of samples_S (float32 or int16, at the features' rate) and the
            reference notes that begin in them.
          shown_s: how much of the first clip is shown and played.
        """
        if not clips:
            raise ValueError("no clips to validate on; name a corpus with some audio")
        self._config = objective.config
        self._clips = clips
        hop_samples = self._config.features.hop_samples
        longest = max(len(samples_S) for samples_S, _ in clips)
        self._length = -(-longest // hop_samples) * hop_samples
        self._shown_s = shown_s
        self._predict = jax.jit(objective.predict)

    def __call__(self, params: Any) -> dict[str, Any]:
        scores, shown = [], {}
        for samples_S, ref in processes.share(self._clips):
            rolls = self.rolls(params, samples_S)
            est = rolls_to_notes(rolls, self._config.decoding)
            scores.append(_score(ref, est))
            if not shown:
                rolls = rolls[: int(self._shown_s * self._config.labels.frame_rate_hz)]
                target = notes_to_rolls(ref, rolls.num_frames, self._config.labels)
                rate_hz = self._config.features.sample_rate_hz
                shown = {
                    "rolls": draw_rolls(target, rolls),
                    "sound": _side_by_side(samples_S, est, rate_hz, self._shown_s),
                }
        return {**processes.mean(scores, len(self._clips)), **shown}

    def rolls(self, params: Any, samples_S: np.ndarray) -> Rolls:
        """What the model sees in one clip."""
        padded_S = np.zeros(self._length, np.float32)
        padded_S[: len(samples_S)] = from_int16(samples_S)
        predicted = self._predict(
            params, padded_S[None], np.array([len(samples_S)], np.int32)
        )
        hop_samples = self._config.features.hop_samples
        num_frames = -(-len(samples_S) // hop_samples)
        onset, frame, offset, velocity = (
            np.asarray(predicted[name][0, :num_frames], np.float32)
            for name in ("onset", "frame", "offset", "velocity")
        )
        return Rolls(onset, frame, offset, velocity, self._config.labels.frame_rate_hz)


class TokenValidation:
    """Of token models: `validation(params)` -> scores, picture and sound.

    Beside the scores of all notes together there are `note_offset_program_f1` (onset,
    offset and program must be right, of drums the onset) and `drum_onset_f1`, of
    `mt3x.music.instrument_metrics` at full granularity. Of models with heads for rolls
    there are also those of the notes in the rolls (`rolls_note_f1`, ...), against what
    the rolls are of: all pitched instruments on one keyboard.
    """

    def __init__(
        self,
        objective: TokensObjective,
        clips: Sequence[Clip],
        device: Any = None,
        shown_s: float = 20.0,
    ) -> None:
        """
        Args:
          objective: of the model.
          clips: pairs of samples_S (float32, at the features' rate) and the reference
            notes that begin in them.
          device: where to transcribe; by default JAX's first.
          shown_s: how much of the first clip is shown and played.
        """
        self._config = objective.config
        self._precision = str(jnp.dtype(objective.dtype))
        self._clips = clips
        self._device = device or jax.local_devices()[0]
        self._shown_s = shown_s

    def __call__(self, params: Any) -> dict[str, Any]:
        model = AudioToTokens(self._config, params, self._device, self._precision)
        rate_hz = self._config.features.sample_rate_hz
        scores, shown = [], {}
        for samples_S, ref in processes.share(self._clips):
            parts: list[Rolls] = []
            on_rolls = parts.append if self._config.rolls else None
            est = model.decode([samples_S], on_rolls=on_rolls).notes
            scores.append(
                _score(ref, est)
                | _program_score(ref, est)
                | self._rolls_score(ref, parts)
            )
            if not shown:
                labels = RollLabelConfig()
                shown_s = min(self._shown_s, len(samples_S) / rate_hz)
                num_frames = int(shown_s * labels.frame_rate_hz)
                rolls = [notes_to_rolls(n, num_frames, labels) for n in (ref, est)]
                shown = {
                    "rolls": draw_rolls(*rolls),
                    "sound": _side_by_side(samples_S, est, rate_hz, shown_s),
                }
        return {**processes.mean(scores, len(self._clips)), **shown}

    def _rolls_score(self, ref: Notes, parts: Sequence[Rolls]) -> dict[str, float]:
        """The scores of a clip's rolls; none without heads."""
        if self._config.rolls is None:
            return {}
        est = rolls_to_notes(Rolls.concatenate(parts), self._config.rolls.decoding)
        ref = on_one_keyboard(ref, self._config.features.frame_rate_hz)
        return {f"rolls_{name}": x for name, x in _score(ref, est).items()}


def draw_rolls(ref: Rolls, est: Rolls) -> np.ndarray:
    """Reference over estimate, HxWx3 (uint8): frames in blue-grey, onsets in yellow.

    Two rows of pixels per key, high keys on top; a white line lies between the two.
    """
    pictures = []
    for rolls in (ref, est):
        frame_PxT = np.clip(rolls.frame_TxP, 0, 1).T[::-1, :, None]
        onset_PxT = np.clip(rolls.onset_TxP, 0, 1).T[::-1, :, None]
        picture = frame_PxT * np.array([70, 110, 160])
        picture = (1 - onset_PxT) * picture + onset_PxT * np.array([255, 220, 0])
        pictures.append(np.repeat(np.round(picture).astype(np.uint8), 2, axis=0))
    line = np.full((2, *pictures[0].shape[1:]), 255, np.uint8)
    return np.concatenate([pictures[0], line, pictures[1]])


def _side_by_side(
    samples_S: np.ndarray, est: Notes, sample_rate_hz: int, shown_s: float
) -> np.ndarray:
    """The recording left, the transcription right: samples_Sx2 in -1..1."""
    recording_S = samples_S[: int(shown_s * sample_rate_hz)]
    recording_S = from_int16(recording_S)
    played_S = sonify(est, sample_rate_hz, len(recording_S))
    return np.clip(np.stack([recording_S, played_S], axis=1), -1, 1).astype(np.float32)


def note_scores(ref: Notes, est: Notes) -> dict[str, float]:
    """Note precision, recall and F1 without mir_eval (see the module's docstring)."""
    matched = 0
    for pitch in np.intersect1d(ref.pitch, est.pitch):
        # mir_eval compares differences rounded to 0.1 ms.
        ref_s = np.sort(ref.onset_s[ref.pitch == pitch])
        est_s = np.sort(est.onset_s[est.pitch == pitch])
        i = j = 0
        while i < len(ref_s) and j < len(est_s):
            late_s = np.round(est_s[j] - ref_s[i], 4)
            if abs(late_s) <= ONSET_TOLERANCE_S:
                matched, i, j = matched + 1, i + 1, j + 1
            elif late_s > 0:
                i += 1
            else:
                j += 1
    precision = matched / len(est) if len(est) else 0.0
    recall = matched / len(ref) if len(ref) else 0.0
    total = len(ref) + len(est)
    f1 = 2 * matched / total if total else 0.0
    return {"note_f1": f1, "note_precision": precision, "note_recall": recall}


def _score(ref: Notes, est: Notes) -> dict[str, float]:
    try:
        from mt3x.music import metrics
    except ModuleNotFoundError as error:
        if error.name not in ("mir_eval", "scipy"):
            raise
        return note_scores(ref, est)
    scores = metrics.note_scores(ref, est).to_dict()
    flat = {f"{k}_{n}": value for k, one in scores.items() for n, value in one.items()}
    return {"note_f1": flat.pop("note_f1"), **flat}


def _program_score(ref: Notes, est: Notes) -> dict[str, float]:
    try:
        from mt3x.music.instrument_metrics import instrument_scores
    except ModuleNotFoundError as error:
        if error.name not in ("mir_eval", "scipy"):
            raise
        return {}
    scores = instrument_scores(ref, est)
    return {
        "note_offset_program_f1": scores["Onset + offset + program F1 (full)"],
        "drum_onset_f1": scores["Drum onset F1 (full)"],
    }


class LossValidation:
    """`loss(params)` -> the loss and its parts by name, over the first few batches.

    They are read once and kept. Several processes share them.
    """

    def __init__(self, objective: Any, batches: Any, count: int) -> None:
        """
        Args:
          objective: has a loss.
          batches: of validation pieces, the same in all processes.
          count: how many of them.
        """
        self._count = count
        self._batches = [batches.batch(step) for step in processes.share(range(count))]
        self._loss = jax.jit(lambda params, batch: objective.loss(params, batch, None))

    def __call__(self, params: Any) -> dict[str, float]:
        params = jax.device_put(params, jax.local_devices()[0])
        rows = [self._sums(params, batch) for batch in self._batches]
        mean = processes.mean(rows, self._count)
        names = [name for name in mean if f"{name}/weight" in mean]
        return {name: mean[name] / max(mean[f"{name}/weight"], 1e-9) for name in names}

    def _sums(self, params: Any, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Of one batch each part's sum and, as `<name>/weight`, what divides it."""
        total, weight, parts, _ = self._loss(params, batch)
        sums = {"loss": (total, weight), **parts}
        totals = {name: float(total) for name, (total, _) in sums.items()}
        weights = {
            f"{name}/weight": float(weight) for name, (_, weight) in sums.items()
        }
        return totals | weights
