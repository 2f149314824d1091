"""What a whole recording of one piano tells of its notes, after they are decoded.

**Align.** Chords are struck at once and fall silent at once, most of all when the pedal
goes up, but are not heard so: a soft note begins some hundredths of a second early or
late, by the piano's action and by what can be made out of its first tones, and the end
of a long one is lost in its decay. So a note i heard at t_i within about s_i takes the
times of its neighbours for other hearings of its own, each by the odds that it is one:

    p_ij = N / (N + b),  N the normal density of t_j - t_i of variance s_i^2 + s_j^2
    t_i' = (t_i / s_i^2 + sum_j p_ij t_j / s_j^2) / (1 / s_i^2 + sum_j p_ij / s_j^2)

with b times a second by chance. Loud or short notes draw soft or long ones, and notes
in passing stay where they are; so do onsets that would hardly move, since hands strike
chords no more exactly than that. Then ends shortly before the next onset of any key go
half way to it: legato, and pedals that change with the notes, end notes there, but ends
are heard early.

**Even keys.** Struck alike, neighbouring keys of a real piano sound several dB apart:
strings, hammers, the soundboard and the microphone's place see to that. A model that
hears a key too loud hears it so all through the recording, and a player does not play
one key louder than those around it all the time. So the velocity v of note i is taken
as that of the notes around it, plus what is its key's own, plus a rest:

    v_i - mean of v around i = u_key(i) - mean of u around i + rest

Around are notes near in time and in pitch (Gaussian weights). Ridge regression finds
the u of the 88 keys and leaves keys of few notes nearly as they are. They are taken
off, and so is a share of the rest, which is an error of hearing.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.options import check_fields

__all__ = ["PianoPostprocessing"]

_REACH_S = 0.3
_SHORTEST_S = 0.02
_STEP_S = 0.25


@dataclass(frozen=True)
class PianoPostprocessing:
    """Moves onsets, ends and velocities of a piano recording to where they belong."""

    # Whether onsets of chords, and ends, move towards one another.
    align: bool = True
    # s of the onset of a note of velocity 40, and the velocities in which it falls to
    # 1/e.
    soft_onset_s: float = 0.025
    louder: float = 60.0
    # Onsets that would move less stay.
    least_move_s: float = 0.015
    # s of the end of a short note, and of a long one as a share of its length.
    least_end_s: float = 0.03
    end_of_length: float = 0.1
    # b of onsets and of ends.
    onsets_by_chance_hz: float = 4.0
    ends_by_chance_hz: float = 8.0
    # How long before an onset an end may belong to it.
    legato_s: float = 0.05

    # Whether the loudness of keys is evened out.
    even_keys: bool = True
    # Standard deviations of the weights of what is around, in time and in pitch.
    near_s: float = 1.0
    near_semitones: float = 3.0
    # The ridge: a key of so many notes loses about half of its u.
    prior_notes: float = 2.0
    # The share of the rest that is not the player's.
    noise: float = 0.15

    def __post_init__(self) -> None:
        check_fields(
            self,
            soft_onset_s=(1e-4, 1),
            louder=(1, 1000),
            least_move_s=(0, 1),
            least_end_s=(1e-4, 1),
            end_of_length=(0, 10),
            onsets_by_chance_hz=(1e-3, 1000),
            ends_by_chance_hz=(1e-3, 1000),
            legato_s=(0, 1),
            near_s=(0.01, 60),
            near_semitones=(0.01, 100),
            prior_notes=(1e-3, 1e6),
            noise=(0, 1),
        )

    def __call__(self, notes: Notes) -> Notes:
        """Return the same notes at other times and with other velocities.

        Args:
          notes: of one piano, no two of a key at the same time.

        Returns:
          The notes; no two of a key sound at the same time.
        """
        if not len(notes):
            return notes
        if self.align:
            notes = _align(notes, self)
        return _even_keys(notes, self) if self.even_keys else notes


def _align(notes: Notes, config: PianoPostprocessing) -> Notes:
    """Move onsets and ends towards those that they belong to."""
    order = np.lexsort((notes.onset_s, notes.pitch))
    onset_s, pitch = notes.onset_s[order], notes.pitch[order]
    velocity = notes.velocity[order]
    length_s = notes.offset_s[order] - onset_s

    spread_s = config.soft_onset_s * np.exp((40.0 - velocity) / config.louder)
    moved_s = _together(onset_s, spread_s, pitch, config.onsets_by_chance_hz)
    moved_s = np.where(
        np.abs(moved_s - onset_s) < config.least_move_s, onset_s, moved_s
    )
    # No further than a third of the way to another onset of the key.
    again = pitch[1:] == pitch[:-1]
    room_s = np.where(again, np.diff(onset_s) / 3, np.inf)
    moved_s[1:] = np.maximum(moved_s[1:], onset_s[1:] - room_s)
    moved_s[:-1] = np.minimum(moved_s[:-1], onset_s[:-1] + room_s)

    spread_s = np.maximum(config.end_of_length * length_s, config.least_end_s)
    end_s = _together(onset_s + length_s, spread_s, pitch, config.ends_by_chance_hz)
    starts_s = np.append(np.sort(moved_s), np.inf)
    rest_s = starts_s[np.searchsorted(starts_s, end_s)] - end_s
    end_s += np.where(rest_s < config.legato_s, rest_s / 2, 0.0)
    end_s = np.maximum(end_s, moved_s + _SHORTEST_S)
    next_s = np.where(again, moved_s[1:], np.inf)
    end_s[:-1] = np.minimum(end_s[:-1], next_s)
    return Notes(
        moved_s,
        end_s,
        pitch,
        velocity,
        notes.program[order],
        notes.is_drum[order],
        notes.confidence[order],
    )


def _together(
    time_s: np.ndarray, spread_s: np.ndarray, pitch: np.ndarray, by_chance_hz: float
) -> np.ndarray:
    """Return t' of the module's docstring, in the order of `time_s`."""
    order = np.argsort(time_s, kind="stable")
    t, s, key = time_s[order], spread_s[order], pitch[order]
    weight = 1 / s**2
    total_weight, total = weight.copy(), weight * t
    for step in itertools.count(1):
        apart_s = t[step:] - t[:-step]
        if not (apart_s < _REACH_S).any():
            break
        variance = s[step:] ** 2 + s[:-step] ** 2
        density = np.exp(-0.5 * apart_s**2 / variance) / np.sqrt(2 * np.pi * variance)
        odds = density / (density + by_chance_hz)
        odds[(apart_s >= _REACH_S) | (key[step:] == key[:-step])] = 0
        early, late = slice(None, -step), slice(step, None)
        for mine, other in ((early, late), (late, early)):
            total_weight[mine] += odds * weight[other]
            total[mine] += odds * weight[other] * t[other]
    moved_s = np.empty_like(t)
    moved_s[order] = total / total_weight
    return moved_s


def _even_keys(notes: Notes, config: PianoPostprocessing) -> Notes:
    """Take off what each key is louder than those around it, and some of the rest."""
    pitch_K, key_N = np.unique(notes.pitch, return_inverse=True)
    velocity_N = notes.velocity.astype(np.float64)
    step_N = np.floor((notes.onset_s - notes.onset_s.min()) / _STEP_S).astype(int)

    # Counts and sums of velocities on a grid, smoothed over time.
    grids_2xTxK = np.zeros((2, step_N.max() + 1, len(pitch_K)))
    np.add.at(grids_2xTxK[0], (step_N, key_N), 1.0)
    np.add.at(grids_2xTxK[1], (step_N, key_N), velocity_N)
    near_KxK = _gaussian((pitch_K[:, None] - pitch_K) / config.near_semitones)
    count_NxK, sum_NxK = (
        _smooth(grids_2xTxK, config.near_s)[:, step_N] * near_KxK[key_N]
    )
    weight_N = count_NxK.sum(axis=1)
    rest_N = velocity_N - sum_NxK.sum(axis=1) / weight_N

    design_NxK = -count_NxK / weight_N[:, None]
    design_NxK[np.arange(len(notes)), key_N] += 1.0
    normal_KxK = design_NxK.T @ design_NxK + config.prior_notes * np.eye(len(pitch_K))
    own_K = np.linalg.solve(normal_KxK, design_NxK.T @ rest_N)
    rest_N -= design_NxK @ own_K
    even_N = velocity_N - own_K[key_N] - config.noise * rest_N
    even_N = np.clip(np.round(even_N), 1, 127)
    return replace(notes, velocity=even_N.astype(np.int32))


def _gaussian(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x**2)


def _smooth(grids_2xTxK: np.ndarray, near_s: float) -> np.ndarray:
    """Weight by a Gaussian over time, zero outside."""
    reach = int(3 * near_s / _STEP_S)
    taps = _gaussian(np.arange(-reach, reach + 1) * _STEP_S / near_s)
    steps = grids_2xTxK.shape[1]
    padded = np.pad(grids_2xTxK, ((0, 0), (reach, reach), (0, 0)))
    parts = (tap * padded[:, t : t + steps] for t, tap in enumerate(taps))
    return sum(parts, start=np.zeros_like(grids_2xTxK))
