"""Notes from tokens, with onsets and velocities from rolls: `OnsetRefiner`.

Tokens tell notes and instruments apart, but in steps of 10 ms and in few loudnesses;
an onset roll has a peak for each onset, and can be placed between its frames, and a
velocity there. Both hear the same recording, so the one is read in the other.

What changes: the onset, velocity and confidence of a note, where the onset roll of its
pitch has a local maximum above the threshold within the tolerance; the highest counts,
of several instruments' notes the same one. An offset changes only where it would lie
less than 10 ms after the onset, or after the next onset of its pitch and program.

What does not: notes without such a peak, drums, pitches off the piano, the number of
notes, their pitches and programs, and the order of notes of one pitch and program. Two
of these keep 10 ms between their onsets, or what they had: where they would not, as
when both find one peak, the one that was to move farther stays as it is.
"""

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import RollDecodingConfig, onset_shift, roll_velocity
from mt3x.music.rolls import LOWEST_PITCH, NUM_PITCHES, Rolls
from mt3x.music.token_decoder import MIN_DURATION_S

TOLERANCE_S = 0.05
"""How far from a note its onset is looked for."""


class OnsetRefiner:
    """Rolls in, in blocks of any length; then notes in, and refined notes out.

    Of the rolls the peaks alone are kept, so that memory grows with the notes only.
    """

    def __init__(
        self,
        config: RollDecodingConfig,
        frame_rate_hz: float,
        tolerance_s: float = TOLERANCE_S,
    ) -> None:
        """Start with an empty recording.

        Args:
          config: onset threshold, refinement between frames, and latency.
          frame_rate_hz: of the rolls.
          tolerance_s: the farthest that an onset is moved.
        """
        self._config = config
        self._frame_rate_hz = frame_rate_hz
        self._tolerance_s = tolerance_s
        # The last two rows: one that is done and one that waits for its neighbour.
        # Before the first comes a row below everything.
        self._onset_TxP = _NOTHING_1xP
        self._velocity_TxP = _NOTHING_1xP
        self._num_done = 0
        # Of the peaks: seconds, key, height and velocity.
        self._peaks: list[tuple[np.ndarray, ...]] = []

    def push(self, rolls: Rolls) -> None:
        """Take the next frames."""
        self._take(rolls.onset_TxP, rolls.velocity_TxP)

    def finish(self, notes: Notes) -> Notes:
        """End the recording and refine its notes (see the module's docstring)."""
        self._take(_NOTHING_1xP, _NOTHING_1xP)
        time_s, key_K, height_K, velocity_K = map(
            np.concatenate, zip(*self._peaks, strict=True)
        )
        peak_N = np.full(len(notes), -1)
        for key in np.unique(key_K):
            of_key_K = np.flatnonzero(key_K == key)
            found_N = (notes.pitch == key + LOWEST_PITCH) & ~notes.is_drum
            peak_N[found_N] = _highest(
                time_s[of_key_K],
                height_K[of_key_K],
                notes.onset_s[found_N],
                self._tolerance_s,
                of_key_K,
            )
        peak_N = _in_order(notes, peak_N, time_s)
        has_peak_N = peak_N >= 0
        velocity_N = notes.velocity.copy()
        velocity_N[has_peak_N] = velocity_K[peak_N[has_peak_N]]
        confidence_N = notes.confidence.copy()
        confidence_N[has_peak_N] = height_K[peak_N[has_peak_N]]
        onset_N = _moved(notes, peak_N, time_s)
        return Notes(
            onset_N,
            _offsets(notes, onset_N, has_peak_N),
            notes.pitch,
            velocity_N,
            notes.program,
            notes.is_drum,
            confidence_N,
        )

    def _take(self, onset_TxP: np.ndarray, velocity_TxP: np.ndarray) -> None:
        """Find the peaks of the rows that now have both neighbours."""
        onset_TxP = np.concatenate([self._onset_TxP, onset_TxP])
        velocity_TxP = np.concatenate([self._velocity_TxP, velocity_TxP])
        before_TxP, here_TxP, after_TxP = onset_TxP[:-2], onset_TxP[1:-1], onset_TxP[2:]
        is_peak_TxP = (here_TxP > before_TxP) & (here_TxP >= after_TxP)
        is_peak_TxP &= here_TxP > self._config.onset_threshold
        frame_K, key_K = at = np.nonzero(is_peak_TxP)
        around = (x[at].astype(np.float64) for x in (before_TxP, here_TxP, after_TxP))
        shift_K = onset_shift(self._config.onset_refinement, *around)
        time_s = (self._num_done + frame_K + shift_K) / self._frame_rate_hz
        time_s = np.maximum(time_s - self._config.latency_s, 0.0)
        velocity_K = roll_velocity(velocity_TxP[1:-1][at])
        self._peaks.append((time_s, key_K, here_TxP[at], velocity_K))
        self._num_done += len(here_TxP)
        self._onset_TxP, self._velocity_TxP = onset_TxP[-2:], velocity_TxP[-2:]


_NOTHING_1xP = np.full((1, NUM_PITCHES), -1, np.float32)


def _highest(
    time_s: np.ndarray,
    height_K: np.ndarray,
    onset_s: np.ndarray,
    tolerance_s: float,
    peak_K: np.ndarray,
) -> list[int]:
    """Return for each onset the highest peak within the tolerance, or -1."""
    first_N = np.searchsorted(time_s, onset_s - tolerance_s, side="left")
    last_N = np.searchsorted(time_s, onset_s + tolerance_s, side="right")
    return [
        int(peak_K[first + np.argmax(height_K[first:last])]) if first < last else -1
        for first, last in zip(first_N, last_N, strict=True)
    ]


def _moved(notes: Notes, peak_N: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Return the notes' onsets, at their peaks where they have one."""
    onset_N = notes.onset_s.copy()
    onset_N[peak_N >= 0] = time_s[peak_N[peak_N >= 0]]
    return onset_N


def _successors(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of notes of one pitch and program that follow one another."""
    kind = notes.program, notes.pitch, notes.is_drum
    order_N = np.lexsort(kind)  # stable: notes of one kind stay sorted by onset
    same = np.all([np.diff(x[order_N].astype(int)) == 0 for x in kind], axis=0)
    return order_N[:-1][same], order_N[1:][same]


def _in_order(notes: Notes, peak_N: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Return the peaks, less those that would bring notes of one kind too near."""
    first, then = _successors(notes)
    wanted_s = np.minimum(notes.onset_s[then] - notes.onset_s[first], MIN_DURATION_S)
    peak_N = peak_N.copy()
    while True:
        onset_N = _moved(notes, peak_N, time_s)
        near = onset_N[then] - onset_N[first] < wanted_s
        if not near.any():
            return peak_N
        way_N = np.abs(onset_N - notes.onset_s)
        peak_N[np.where(way_N[first] > way_N[then], first, then)[near]] = -1


def _offsets(notes: Notes, onset_N: np.ndarray, has_peak_N: np.ndarray) -> np.ndarray:
    """Return offsets after the notes' new onsets, and still before the next ones."""
    earliest_N = np.where(has_peak_N, onset_N + MIN_DURATION_S, 0.0)
    offset_N = np.maximum(notes.offset_s, earliest_N)
    first, then = _successors(notes)
    apart = notes.offset_s[first] <= notes.onset_s[then]
    first, then = first[apart], then[apart]
    offset_N[first] = np.minimum(offset_N[first], onset_N[then])
    return offset_N
