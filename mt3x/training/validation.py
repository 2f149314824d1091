"""Validation during training: transcribe clips with the model as it is, and score them.

Notes are those of `mt3x transcribe` with the same parameters, as the same code makes
them (`mt3x.inference`). Scores are those of `mt3x.music.metrics`, means over clips,
under flat names (`note_f1`, `note_precision`, `frame_f1`, `note_offset_f1`,
`note_offset_velocity_f1`, ...).

Scores move in steps of notes. The loss on validation pieces, and the accuracy of the
next token, move with every weight, and take much less time (`LossValidation`). What a
generator composes is shown (`MusicValidation`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.data.clips import Clip
from mt3x.inference.audio_to_rolls import AudioToRolls
from mt3x.inference.audio_to_tokens import AudioToTokens
from mt3x.inference.composer import Composer
from mt3x.models.band_objective import BAND_LOSSES
from mt3x.models.objectives import (
    ModelObjective,
    MusicConfig,
    PianoConfig,
    TokensConfig,
)
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
from mt3x.music.sonify import SAMPLE_RATE_HZ, sonify
from mt3x.training import processes
from mt3x.training.step import Batches, Objective

LOSSES = ("loss", "cross_entropy", "z_loss", *ROLL_NAMES, *BAND_LOSSES)
"""The values that are better when lower."""


class Validation(Protocol):
    """Scores of parameters by name, as `mt3x.training.train.train` takes it."""

    def __call__(self, params: Any) -> Mapping[str, Any]:
        """Return numbers; pictures HxWx3 (uint8) and sounds Sx2 are to be shown."""
        ...


def make_validation(objective: ModelObjective, clips: Sequence[Clip]) -> Validation:
    """Return the validation of a model.

    Args:
      objective: the model, of a kind in `NOTE_VALIDATIONS`.
      clips: pairs of samples_S (float32 or int16, at the features' rate) and the
        reference notes that begin in them.
    """
    return NOTE_VALIDATIONS[type(objective.config)](objective, clips)


class _NoteValidation(ABC):
    """What the validations of both kinds of models share.

    Several processes share the clips. The first clip that a process has is shown: a
    picture `rolls`, and a `sound` with the recording left and what was heard right.
    """

    # How much of a clip is shown and played.
    shown_s = 20.0

    def __init__(self, objective: Any, clips: Sequence[Clip]) -> None:
        # Needed for scores alone; better missed now than after a thousand steps.
        import mir_eval  # noqa: F401

        if not clips:
            raise ValueError("no clips to validate on; name a corpus with some audio")
        self._config = objective.config
        self._precision = str(jnp.dtype(objective.dtype))
        self._clips = clips
        self._device = jax.local_devices()[0]

    def __call__(self, params: Any) -> dict[str, Any]:
        model = self._model(params)
        rate_hz = self._config.features.sample_rate_hz
        scores, shown = [], {}
        for samples_S, ref in processes.share(self._clips):
            samples_S = from_int16(samples_S)
            est, rolls = self._transcribe(model, samples_S)
            scores.append(self._scores(ref, est, rolls))
            if not shown:
                shown_s = min(self.shown_s, len(samples_S) / rate_hz)
                shown = {
                    "rolls": draw_rolls(*self._shown_rolls(ref, est, rolls, shown_s)),
                    "sound": _side_by_side(samples_S, est, rate_hz, shown_s),
                }
        return {**processes.mean(scores, len(self._clips)), **shown}

    @abstractmethod
    def _model(self, params: Any) -> Any:
        """Return the model with these parameters; programs are compiled once."""

    @abstractmethod
    def _transcribe(self, model: Any, samples_S: np.ndarray) -> tuple[Notes, Any]:
        """Return the notes of a clip, and its rolls where there are some."""

    @abstractmethod
    def _scores(self, ref: Notes, est: Notes, rolls: Any) -> dict[str, float]:
        """Return the scores of a clip."""

    @abstractmethod
    def _shown_rolls(
        self, ref: Notes, est: Notes, rolls: Any, shown_s: float
    ) -> tuple[Rolls, Rolls]:
        """Return the rolls of reference and estimate to be shown."""


class RollValidation(_NoteValidation):
    """Scores of a piano model, and the rolls that it sees as a picture."""

    def _model(self, params: Any) -> AudioToRolls:
        return AudioToRolls(self._config, params, self._device, self._precision)

    def _transcribe(
        self, model: AudioToRolls, samples_S: np.ndarray
    ) -> tuple[Notes, Rolls]:
        rolls = Rolls.concatenate(list(model([samples_S])))
        return rolls_to_notes(rolls, self._config.decoding), rolls

    def _scores(self, ref: Notes, est: Notes, rolls: Rolls) -> dict[str, float]:
        del rolls
        return _note_scores(ref, est)

    def _shown_rolls(
        self, ref: Notes, est: Notes, rolls: Rolls, shown_s: float
    ) -> tuple[Rolls, Rolls]:
        del est
        rolls = rolls[: int(shown_s * rolls.frame_rate_hz)]
        return notes_to_rolls(ref, rolls.num_frames, self._config.labels), rolls


class TokenValidation(_NoteValidation):
    """Scores of a token model, and its notes as a picture.

    Besides the scores of all notes together there are `note_offset_program_f1` (onset,
    offset and program must be right, of drums the onset) and `drum_onset_f1`, of
    `mt3x.music.instrument_metrics` at full granularity. A model with heads for rolls
    also has the scores of the notes in the rolls (`rolls_note_f1`, ...), against what
    one keyboard would play (`mt3x.music.rolls.on_one_keyboard`).
    """

    def _model(self, params: Any) -> AudioToTokens:
        return AudioToTokens(self._config, params, self._device, self._precision)

    def _transcribe(
        self, model: AudioToTokens, samples_S: np.ndarray
    ) -> tuple[Notes, list[Rolls]]:
        parts: list[Rolls] = []
        on_rolls = parts.append if self._config.rolls else None
        return model.decode([samples_S], on_rolls=on_rolls).notes, parts

    def _scores(self, ref: Notes, est: Notes, rolls: list[Rolls]) -> dict[str, float]:
        from mt3x.music.instrument_metrics import instrument_scores

        instruments = instrument_scores(ref, est)
        scores = _note_scores(ref, est) | {
            "note_offset_program_f1": instruments["Onset + offset + program F1 (full)"],
            "drum_onset_f1": instruments["Drum onset F1 (full)"],
        }
        if self._config.rolls is None:
            return scores
        heard = rolls_to_notes(Rolls.concatenate(rolls), self._config.rolls.decoding)
        ref = on_one_keyboard(ref, self._config.features.frame_rate_hz)
        of_rolls = _note_scores(ref, heard)
        return scores | {f"rolls_{name}": x for name, x in of_rolls.items()}

    def _shown_rolls(
        self, ref: Notes, est: Notes, rolls: list[Rolls], shown_s: float
    ) -> tuple[Rolls, Rolls]:
        del rolls
        labels = RollLabelConfig()
        num_frames = int(shown_s * labels.frame_rate_hz)
        return (
            notes_to_rolls(ref, num_frames, labels),
            notes_to_rolls(est, num_frames, labels),
        )


NOTE_VALIDATIONS: Mapping[Any, Any] = {
    PianoConfig: RollValidation,
    TokensConfig: TokenValidation,
}
"""Validations by a model's configuration. Others have that of their loss alone."""


class LossValidation:
    """The loss and its parts by name, over the first few batches of other pieces.

    The batches are read once and kept. Several processes share them.
    """

    def __init__(self, objective: Objective, batches: Batches, count: int) -> None:
        """Read the batches.

        Args:
          objective: has the loss.
          batches: of validation pieces, the same in all processes.
          count: how many of them.
        """
        self._count = count
        self._batches = [batches.batch(step) for step in processes.share(range(count))]
        # Without dropout, and with running statistics.
        self._loss = jax.jit(lambda params, batch: objective.loss(params, batch, None))

    def __call__(self, params: Any) -> dict[str, float]:
        params = jax.device_put(params, jax.local_devices()[0])
        rows = [self._sums(params, batch) for batch in self._batches]
        mean = processes.mean(rows, self._count)
        names = [name for name in mean if f"{name}/weight" in mean]
        return {name: mean[name] / max(mean[f"{name}/weight"], 1e-9) for name in names}

    def _sums(self, params: Any, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return each part's sum and, as `<name>/weight`, what divides it."""
        total, weight, parts, _ = self._loss(params, batch)
        sums = {"loss": (total, weight), **parts}
        totals = {name: float(total) for name, (total, _) in sums.items()}
        weights = {
            f"{name}/weight": float(weight) for name, (_, weight) in sums.items()
        }
        return totals | weights


class MusicValidation(LossValidation):
    """The loss of a generator; and music of the four quadrants, one after the other.

    It is shown as a picture `music` and a `sound`, by the first process. The same seeds
    let one hear what training changes.
    """

    quadrants = ((0.8, 0.8), (-0.8, 0.8), (-0.8, -0.8), (0.8, -0.8))
    shown_s = 10.0  # of each

    def __init__(self, objective: Any, batches: Batches, count: int) -> None:
        super().__init__(objective, batches, count)
        self._model = objective.model

    def __call__(self, params: Any) -> dict[str, Any]:
        losses = super().__call__(params)
        if not processes.is_first():
            return losses
        composer = Composer.from_model(self._model, params["generator"])
        pieces = [
            composer(*mood, seconds=self.shown_s, seed=0) for mood in self.quadrants
        ]
        labels = RollLabelConfig()
        num_frames = int(self.shown_s * labels.frame_rate_hz)
        num_samples = int(self.shown_s * SAMPLE_RATE_HZ)
        rolls = (notes_to_rolls(notes, num_frames, labels) for notes in pieces)
        sound_S = np.concatenate(
            [sonify(notes, SAMPLE_RATE_HZ, num_samples) for notes in pieces]
        )
        sound_Sx2 = np.stack([sound_S, sound_S], axis=1)
        return {**losses, "music": draw_rolls(*rolls), "sound": sound_Sx2}


LOSS_VALIDATIONS: Mapping[Any, type[LossValidation]] = {MusicConfig: MusicValidation}
"""Validations of the loss by a model's configuration; of others `LossValidation`."""


def draw_rolls(*rolls: Rolls) -> np.ndarray:
    """Draw rolls, the first on top, HxWx3 (uint8): frames blue-grey, onsets yellow.

    Each key has two rows of pixels, high keys on top; white lines lie between the
    rolls.
    """
    pictures: list[np.ndarray] = []
    for one in rolls:
        frame_PxT = np.clip(one.frame_TxP, 0, 1).T[::-1, :, None]
        onset_PxT = np.clip(one.onset_TxP, 0, 1).T[::-1, :, None]
        picture = frame_PxT * np.array([70, 110, 160])
        picture = (1 - onset_PxT) * picture + onset_PxT * np.array([255, 220, 0])
        pictures.append(np.repeat(np.round(picture).astype(np.uint8), 2, axis=0))
        pictures.append(np.full((2, *picture.shape[1:]), 255, np.uint8))
    return np.concatenate(pictures[:-1])


def _side_by_side(
    samples_S: np.ndarray, est: Notes, sample_rate_hz: int, shown_s: float
) -> np.ndarray:
    """Return the recording left, the transcription right: samples_Sx2 in -1..1."""
    recording_S = samples_S[: int(shown_s * sample_rate_hz)]
    played_S = sonify(est, sample_rate_hz, len(recording_S))
    return np.clip(np.stack([recording_S, played_S], axis=1), -1, 1).astype(np.float32)


def _note_scores(ref: Notes, est: Notes) -> dict[str, float]:
    """Return the scores under flat names, `note_f1` first."""
    from mt3x.music import metrics

    scores = metrics.note_scores(ref, est).to_dict()
    flat = {f"{k}_{n}": value for k, one in scores.items() for n, value in one.items()}
    return {"note_f1": flat.pop("note_f1"), **flat}
