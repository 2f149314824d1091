"""How well a generator makes music of a wished mood, beside real clips.

- Likelihood: nats a token of real clips for validation, with their moods, with both
  signs of their moods turned, and without moods.
- Control: pieces for an even grid of moods, heard by judges (`MoodJudge`) that were
  fitted to clips of other pieces: correlations of what was wished with what is heard,
  and how often the quadrant is right. Real clips say how far a judge can be trusted;
  pieces made without a mood and held against the same wishes are chance.
- Likeness: `music_statistics`, and how far their distributions are from real clips'.
- Copies: the longest run of tokens, and of steps in pitch, that stands in training.

All clips are 30 s. Nobody listens: this does not say whether people would agree.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import wasserstein_distance

from mt3x.data.mood_pieces import MoodPiece, read_moods
from mt3x.evaluation.copies import longest_copies
from mt3x.evaluation.mood_judge import MoodJudge, cross_validated
from mt3x.evaluation.music_statistics import STATISTICS, music_statistics
from mt3x.inference.composer import Composer
from mt3x.inference.wish import Wish
from mt3x.models import weights_file
from mt3x.models.adversarial_objective import MusicConfig
from mt3x.models.generator import Generator
from mt3x.music.event_stream import EventStream
from mt3x.music.notes import Notes
from mt3x.music.options import check_fields
from mt3x.music.vocabulary import EOS_ID, PAD_ID

__all__ = [
    "Estimate",
    "MoodEvaluationConfig",
    "MoodReport",
    "SystemScores",
    "evaluate_moods",
]

SECONDS = 30.0
_LEVELS = (-0.75, -0.25, 0.25, 0.75)
MOODS = tuple(product(_LEVELS, _LEVELS))
"""Valence and arousal of the pieces: a grid that cuts the plane into equal parts."""

_RESAMPLES = 1000
_MOST_TOKENS = 2048  # of a clip whose likelihood is taken
_BATCH = 8

OnProgress = Callable[[int, int], None]
"""Told how many of how many steps are done."""


@dataclass(frozen=True)
class MoodEvaluationConfig:
    """How much music is made, and how."""

    num_seeds: int = 3
    pieces_per_mood: int = 4  # with each seed
    # How tokens are chosen; its mood, length and seed do not count.
    sampling: Wish = field(default_factory=Wish)

    def __post_init__(self) -> None:
        check_fields(self, num_seeds=(1, 1000), pieces_per_mood=(1, 16))


class Estimate(NamedTuple):
    """A score and the interval that holds 95 % of its bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SystemScores:
    """The scores of a set of pieces."""

    name: str
    num_pieces: int
    # What each judge hears against what was wished, or labelled.
    control: dict[str, dict[str, Estimate]]
    # The same with each seed of sampling.
    by_seed: dict[str, list[dict[str, float]]]
    medians: dict[str, float]
    # Between distributions and those of real clips, in standard deviations of these.
    distances: dict[str, float]
    # The longest run that stands in training: median and maximum over pieces.
    copies: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class MoodReport:
    """What `evaluate_moods` finds."""

    # Nats a token, and how much they rise with another mood.
    likelihood: dict[str, Estimate]
    # How each judge does on clips like those it was fitted to: cross-validated.
    judges: dict[str, dict[str, Estimate]]
    # Real clips, generated ones, and generated ones that know of no mood.
    systems: list[SystemScores]


class _Pieces(NamedTuple):
    """Pieces and the moods that they should have."""

    name: str
    notes: Sequence[Notes]
    wished_Nx2: np.ndarray
    group_N: np.ndarray  # what is resampled as one
    seed_N: np.ndarray


class _Judge(NamedTuple):
    """A judge, and how it does on its own clips."""

    hear: MoodJudge
    own: dict[str, Estimate]


def evaluate_moods(
    checkpoint: str | os.PathLike[str],
    clips: str | os.PathLike[str],
    judge_clips: Sequence[str | os.PathLike[str]] = (),
    training_clips: Sequence[str | os.PathLike[str]] = (),
    config: MoodEvaluationConfig | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> MoodReport:
    """Evaluate a generator.

    Args:
      checkpoint: its weights file or run folder.
      clips: file of `mt3x corpus moods`: training clips, and those to compare with.
      judge_clips: more such files, each for a judge beside the one that is fitted to
        the clips for validation and test. Pieces of `clips` are left out of them.
      training_clips: more such files whose training clips are known to the
        generator, where copies are looked for.
      config: how much music is made.
      on_progress: told of it.

    Raises:
      OSError: a file cannot be read.
      ValueError: it is not what it should be, or has too few clips.
      ModuleNotFoundError: scikit-learn is missing.
    """
    config = config or MoodEvaluationConfig()
    weights = weights_file.load(checkpoint)
    try:
        model = Generator(MusicConfig.from_dict(weights.config).model)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    params = weights.params["generator"]
    composer = Composer.from_model(model, params)
    held_out = read_moods(clips, "validation")
    likelihood = _likelihood(model, params, held_out)
    held_out = held_out + read_moods(clips, "test")
    copied = _Copies(
        composer.stream,
        [
            clip.notes
            for path in (clips, *training_clips)
            for clip in read_moods(path, "train")
        ],
    )
    real, heard, judges = _judges(held_out, read_moods(clips), judge_clips)
    reference = _statistics(real.notes)
    systems = [_scores(real, heard, reference, copied)]
    for pieces in _generated(composer, config, on_progress):
        heard = {name: judge.hear(pieces.notes) for name, judge in judges.items()}
        systems.append(_scores(pieces, heard, reference, copied))
    own = {name: judge.own for name, judge in judges.items()}
    return MoodReport(likelihood, own, systems)


def _judges(
    held_out: Sequence[MoodPiece],
    known: Sequence[MoodPiece],
    judge_clips: Sequence[str | os.PathLike[str]],
) -> tuple[_Pieces, dict[str, np.ndarray], dict[str, _Judge]]:
    """Return real clips, what each judge hears in them, and the judges by name."""
    real, labels_Nx2, heard_Nx2 = cross_validated(held_out)
    own = _control(labels_Nx2, heard_Nx2, _groups(real))
    judges = {"held-out clips": _Judge(MoodJudge(real), own)}
    heard = {"held-out clips": heard_Nx2}
    notes = [clip.notes for clip in real]
    known_pieces = {clip.piece for clip in known}
    for path in judge_clips:
        others = [c for c in read_moods(path) if c.piece not in known_pieces]
        judge = MoodJudge(others)
        others, labels_Nx2, heard_Nx2 = cross_validated(others)
        own = _control(labels_Nx2, heard_Nx2, _groups(others))
        judges[Path(path).stem] = _Judge(judge, own)
        heard[Path(path).stem] = judge(notes)
    labels_Nx2 = np.array([(clip.valence, clip.arousal) for clip in real])
    seed_N = np.zeros(len(real), int)
    return (
        _Pieces("real clips", notes, labels_Nx2, _groups(real), seed_N),
        heard,
        judges,
    )


def _generated(
    composer: Composer, config: MoodEvaluationConfig, on_progress: OnProgress
) -> Iterator[_Pieces]:
    """Yield pieces of the wished moods, and pieces that know of none."""
    num, per_mood = config.num_seeds, config.pieces_per_mood
    wished_Nx2 = np.tile(np.repeat(MOODS, per_mood, axis=0), (num, 1))
    per_seed = len(MOODS) * per_mood
    seed_N = np.repeat(np.arange(num), per_seed)
    group_N = np.arange(len(wished_Nx2))
    total = num * (len(MOODS) + per_mood)
    done = 0
    for name, wishes, count in (
        ("generated", MOODS, per_mood),
        ("mood ignored", [(None, None)] * per_mood, len(MOODS)),
    ):
        notes: list[Notes] = []
        for valence, arousal in list(wishes) * num:
            wish = replace(
                config.sampling,
                valence=valence,
                arousal=arousal,
                seconds=SECONDS,
                seed=len(notes),
            )
            notes += composer.compose(wish, num_pieces=count)
            done += 1
            on_progress(done, total)
        yield _Pieces(name, notes, wished_Nx2, group_N, seed_N)


def _scores(
    pieces: _Pieces,
    heard: dict[str, np.ndarray],
    real_NxS: np.ndarray,
    copied: "_Copies",
) -> SystemScores:
    found_NxS = _statistics(pieces.notes)
    scale_S = real_NxS.std(axis=0) + 1e-9
    wished_Nx2, seeds = pieces.wished_Nx2, np.unique(pieces.seed_N)
    return SystemScores(
        pieces.name,
        len(pieces.notes),
        {
            name: _control(wished_Nx2, heard_Nx2, pieces.group_N)
            for name, heard_Nx2 in heard.items()
        },
        {
            name: [
                _control_once(wished_Nx2[rows], heard_Nx2[rows])
                for rows in (pieces.seed_N == seed for seed in seeds)
            ]
            for name, heard_Nx2 in heard.items()
        },
        dict(zip(STATISTICS, np.median(found_NxS, axis=0).tolist(), strict=True)),
        {
            name: float(wasserstein_distance(found_NxS[:, s], real_NxS[:, s]))
            / float(scale_S[s])
            for s, name in enumerate(STATISTICS)
        },
        {
            kind: (float(np.median(longest_N)), float(longest_N.max()))
            for kind, longest_N in copied(pieces.notes).items()
        },
    )


def _statistics(pieces: Sequence[Notes]) -> np.ndarray:
    """Return `STATISTICS` of the pieces that have notes [N, S]."""
    return np.array([music_statistics(notes) for notes in pieces if len(notes)])


class _Copies:
    """Finds what is copied from training clips."""

    def __init__(self, stream: EventStream, training: Sequence[Notes]) -> None:
        self._stream = stream
        self._known = self._sequences(training)

    def __call__(self, pieces: Sequence[Notes]) -> dict[str, np.ndarray]:
        """Return the longest copy in each piece [N], by kind."""
        return {
            kind: longest_copies(sequences, self._known[kind])
            for kind, sequences in self._sequences(pieces).items()
        }

    def _sequences(self, pieces: Sequence[Notes]) -> dict[str, list[np.ndarray]]:
        return {
            "tokens": [self._stream.encode(notes)[:-1] for notes in pieces],
            # In any key and at any tempo.
            "steps in pitch": [np.diff(notes.pitch) for notes in pieces],
        }


def _likelihood(
    model: Generator, params: Any, clips: Sequence[MoodPiece]
) -> dict[str, Estimate]:
    """Return nats a token with the right moods, and the rise with others."""
    mood_Nx2 = np.array([(c.valence, c.arousal) for c in clips], np.float32)
    encoded = [model.config.stream.encode(c.notes)[:-1][:_MOST_TOKENS] for c in clips]
    length_N = np.array([len(tokens) for tokens in encoded])

    @jax.jit
    def nats(tokens_BxT: jax.Array, mood_Bx2: jax.Array) -> jax.Array:
        inputs_BxT = jnp.pad(tokens_BxT[:, :-1], ((0, 0), (1, 0)))
        logits_BxTxV: Any = model.apply({"params": params}, inputs_BxT, mood_Bx2)
        log_BxTxV = jax.nn.log_softmax(logits_BxTxV)
        of_BxT = jnp.take_along_axis(log_BxTxV, tokens_BxT[..., None], -1)[..., 0]
        return -jnp.where(tokens_BxT > EOS_ID, of_BxT, 0).sum(axis=1)

    nats_3xN = np.zeros((3, len(clips)))
    order = np.argsort(length_N)
    for rows in np.split(order, range(_BATCH, len(order), _BATCH)):
        longest = -(-length_N[rows].max() // 256) * 256
        tokens_BxT = np.full((len(rows), longest), PAD_ID, np.int32)
        for tokens_T, row in zip(tokens_BxT, rows, strict=True):
            tokens_T[: length_N[row]] = encoded[row]
        for condition, sign in enumerate((1, -1, np.nan)):
            nats_3xN[condition, rows] = nats(tokens_BxT, sign * mood_Nx2[rows])
    rise_3xN = nats_3xN - np.stack([0 * nats_3xN[0], nats_3xN[0], nats_3xN[0]])
    names = ("right mood", "rise, signs turned", "rise, no mood")
    return {
        name: _bootstrap(
            lambda rows, of_N=of_N: {"": of_N[rows].sum() / length_N[rows].sum()},
            _groups(clips),
        )[""]
        for name, of_N in zip(names, rise_3xN, strict=True)
    }


def _control(
    wished_Nx2: np.ndarray, heard_Nx2: np.ndarray, group_N: np.ndarray
) -> dict[str, Estimate]:
    return _bootstrap(
        lambda rows: _control_once(wished_Nx2[rows], heard_Nx2[rows]), group_N
    )


def _control_once(wished_Nx2: np.ndarray, heard_Nx2: np.ndarray) -> dict[str, float]:
    right_Nx2 = (wished_Nx2 >= 0) == (heard_Nx2 >= 0)
    correlations = {
        f"{name} correlation": _correlation(wished_Nx2[:, axis], heard_Nx2[:, axis])
        for axis, name in enumerate(("valence", "arousal"))
    }
    return {**correlations, "quadrant accuracy": float(right_Nx2.all(axis=1).mean())}


def _correlation(x_N: np.ndarray, y_N: np.ndarray) -> float:
    if np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return 0.0
    return float(np.corrcoef(x_N, y_N)[0, 1])


def _bootstrap(
    score: Callable[[np.ndarray], dict[str, float]], group_N: np.ndarray
) -> dict[str, Estimate]:
    """Return scores of all rows, with intervals by drawing groups of rows anew."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(group_N == group) for group in np.unique(group_N)]
    drawn = [
        score(
            np.concatenate(
                [members[g] for g in rng.integers(len(members), size=len(members))]
            )
        )
        for _ in range(_RESAMPLES)
    ]
    return {
        name: Estimate(
            float(value),
            *map(float, np.percentile([d[name] for d in drawn], (2.5, 97.5))),
        )
        for name, value in score(np.arange(len(group_N))).items()
    }


def _groups(clips: Sequence[MoodPiece]) -> np.ndarray:
    return np.unique([clip.piece for clip in clips], return_inverse=True)[1]
