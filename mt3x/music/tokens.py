"""Notes <-> event tokens, as MT3 writes them (Gardner et al. 2022, arXiv:2111.03017).

A recording is cut into segments of frames, and each segment has its own tokens, here
as codec ids (see `mt3x.music.vocabulary`):

- Note ends and note beginnings are events at times rounded to steps. Events of one
  time are ordered: ends first, then by is_drum, program and pitch.
- Events at steps from the segment's first frame (rounded down to a step) until before
  the next segment's belong to it; the last segment has all that follow.
- An event is `program`, `velocity`, `pitch`, with velocity 0 where a note ends; of a
  drum it is `velocity`, `drum`, and drums have no end. Where only onsets are wanted
  it is `pitch`, for drums too.
- Before it stands a `shift` with the steps since the segment's beginning, unless the
  event before it was at the same step. What one shift cannot hold takes several that
  add up. With `relative_shifts` it has the steps since the event before.
- A velocity or program equal to the one in force is left out.
- With ties, a segment begins with `program`, `pitch` of each note that still sounds,
  ordered by them, and `tie`. A note sounds from the step after its beginning; an
  end or a new beginning of its program and pitch ends it.
- `flat` granularity leaves programs out, `midi_class` takes the first of a family of
  eight, both after all ordering.

The ids are MT3's, with these exceptions, where MT3's own tokens do not decode to the
notes they were made of:

- After the last event of the recording MT3's tie sections go on to list the notes
  that sounded before it. Here they are empty.
- Tie sections of a sub-mix are merged into one, where MT3 leaves each in the midst of
  the events. (`mt3_ties` in the config gives MT3's ids in these two cases.)
- Shifts of several tokens are added up when a sub-mix is merged; MT3 loses some.

Notes that tokens cannot represent:

- Notes of zero length are left out (MT3 refuses them), except drums and where only
  onsets are wanted.
- A note that sounds at time 0 begins at step 0; notes that end before it, and drums
  and single onsets before it, are left out.
- Of overlapping notes of one program and pitch, each new one ends the one before, and
  the first end ends what sounds. `trim_overlaps` resolves them beforehand.

Decoding accepts any ids: `mt3x.music.token_decoder` says what becomes of wrong ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mt3x.music.notes import Notes
from mt3x.music.token_decoder import Decoded, TokenDecoder, start_step
from mt3x.music.vocabulary import (
    DRUM,
    EOS_ID,
    NUM_SPECIAL_IDS,
    PITCH,
    PROGRAM,
    SHIFT,
    TIE,
    VELOCITY,
    Codec,
    Event,
    TokenizerConfig,
)

__all__ = [
    "INVALID_ID",
    "Decoded",
    "Events",
    "TokenDecoder",
    "Tokenizer",
    "trim_overlaps",
]

INVALID_ID = -2
"""What `Tokenizer.from_model_ids` makes of ids that are not codec ids."""
NONE = -1


class _Rows(NamedTuple):
    """R events and the ids of their tokens, NONE where one has no such token."""

    step_R: np.ndarray
    program_R: np.ndarray
    velocity_R: np.ndarray
    head_R: np.ndarray  # pitch, drum or tie

    def take(self, index: Any) -> "_Rows":
        return _Rows(*(column_R[index] for column_R in self))

    @staticmethod
    def concatenate(parts: Sequence["_Rows"]) -> "_Rows":
        return _Rows(*map(np.concatenate, zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class Events:
    """A whole recording's events, from which `Tokenizer.segment` takes its own."""

    num_frames: int
    frame_rate_hz: float
    rows: _Rows  # by time
    # The notes that sound in first < step <= last, by (program, pitch): spans of them
    # and the rows that begin them.
    span_first: np.ndarray
    span_last: np.ndarray
    span_row: np.ndarray


class Tokenizer:
    """Notes <-> tokens of segments, by one config."""

    def __init__(self, config: TokenizerConfig) -> None:
        self.config = config
        self.codec = Codec(config.vocab)
        self._tie_id = self.codec.encode(Event("tie", 0))

    def events(
        self, notes: Notes, num_frames: int, frame_rate_hz: float = 125.0
    ) -> Events:
        """Order and encode the notes of a recording, once for all its segments.

        Args:
          notes: with the sustain pedal applied; see the module's docstring for those
            that tokens cannot represent.
          num_frames: length of the recording; the segment with its last frame has all
            later events.
          frame_rate_hz: frames per second.

        Raises:
          ValueError: `num_frames` is 0.
        """
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}; a recording has 1 or more")
        onsets_only = self.config.onsets_only
        has_end = ~notes.is_drum & (not onsets_only)
        notes = notes[
            np.where(
                has_end,
                notes.offset_s > np.maximum(notes.onset_s, 0),
                notes.onset_s >= 0,
            )
        ]
        program, is_drum = notes.program, notes.is_drum
        if onsets_only:
            program, is_drum = np.zeros_like(program), np.zeros_like(is_drum)
        beginning = np.lexsort((notes.pitch, program, is_drum))
        if self.config.by_pitch:
            beginning = np.lexsort((program, notes.pitch, is_drum))
        ending = beginning[~is_drum[beginning]] if not onsets_only else beginning[:0]

        note_R = np.concatenate([ending, beginning])
        is_onset_R = np.arange(len(note_R)) >= len(ending)
        time_s_R = np.where(is_onset_R, notes.onset_s[note_R], notes.offset_s[note_R])
        by_time = np.argsort(time_s_R, kind="stable")
        note_R, is_onset_R = note_R[by_time], is_onset_R[by_time]
        step_R = np.rint(time_s_R[by_time] * self.config.vocab.steps_per_second)
        step_R = np.maximum(step_R, 0).astype(np.int64)

        pitch_R, program_R = notes.pitch[note_R], program[note_R]
        is_drum_R = is_drum[note_R]
        velocity_R = np.where(is_onset_R, notes.velocity[note_R], 0)
        rows = self._rows(step_R, pitch_R, velocity_R, program_R, is_drum_R)
        if self.config.use_ties:
            spans = _spans(step_R, is_onset_R, is_drum_R, program_R * 128 + pitch_R)
        else:
            spans = np.zeros((3, 0), np.int64)
        return Events(num_frames, frame_rate_hz, rows, *spans)

    def segment(self, events: Events, first_frame: int, num_frames: int) -> np.ndarray:
        """Return the codec ids [L] int32 of the segment that begins at `first_frame`.

        It ends with the recording where `num_frames` reaches beyond it.

        Raises:
          ValueError: the segment has no frame of the recording.
        """
        end_frame = first_frame + num_frames
        if not 0 <= first_frame < min(end_frame, events.num_frames):
            raise ValueError(
                f"no segment of {num_frames} frames begins at frame {first_frame}; the "
                f"recording has {events.num_frames}"
            )
        rows, rate = events.rows, self.config.vocab.steps_per_second
        first_step = start_step(first_frame / events.frame_rate_hz, rate)
        end_step = start_step(end_frame / events.frame_rate_hz, rate)
        begin, end = np.searchsorted(rows.step_R, [first_step, end_step])
        if end_frame >= events.num_frames:
            end = len(rows.step_R)
        segment = rows.take(slice(begin, end))
        segment = segment._replace(step_R=segment.step_R - first_step)
        if not self.config.use_ties:
            return self._write(segment)
        if self.config.mt3_ties and len(rows.step_R):
            first_step = min(first_step, rows.step_R[-1])
        tied = events.span_row[
            (events.span_first < first_step) & (first_step <= events.span_last)
        ]
        if self.config.by_pitch:
            tied = np.sort(tied)
        section = self._tie_section(rows.program_R[tied], rows.head_R[tied])
        return self._write(_Rows.concatenate([section, segment]))

    def merge(self, segments: Sequence[npt.ArrayLike]) -> np.ndarray:
        """Return the codec ids of segments that sound together, of a sub-mix.

        Events of one step stay in the order of the segments, at step 0 in the reverse
        order, as MT3 has them. Of notes of one program and pitch that sound in several
        segments the tokens can hold but one: each beginning and end counts for all.

        Raises:
          ValueError: `segments` is empty, or an id does not exist.
        """
        if not len(segments):
            raise ValueError("no segments to merge; give one or more")
        parts = [self._read(ids_L) for ids_L in segments]
        track_R = np.repeat(np.arange(len(parts)), [len(part.step_R) for part in parts])
        rows = _Rows.concatenate(parts)
        track_R = np.where(rows.step_R == 0, -track_R, track_R)
        rows = rows.take(np.lexsort((track_R, rows.step_R)))
        if self.config.use_ties and not self.config.mt3_ties:
            is_tied = rows.velocity_R == NONE  # no velocity comes before `tie`
            tied = rows.take(is_tied & (rows.head_R != self._tie_id))
            notes = np.unique(np.stack([tied.program_R, tied.head_R]), axis=1)
            section = self._tie_section(*notes)
            rows = _Rows.concatenate([section, rows.take(~is_tied)])
        return self._write(rows)

    def to_model_ids(
        self, ids_L: npt.ArrayLike, max_tokens: int | None = None
    ) -> np.ndarray:
        """Turn codec ids into model ids [L + 1] int32 with EOS.

        What is longer than `max_tokens` is cut there and then has no EOS (MT3 stops
        with an error).

        Raises:
          ValueError: an id does not exist.
        """
        self._check(ids_L)
        ids = np.append(np.asarray(ids_L, np.int32) + NUM_SPECIAL_IDS, EOS_ID)
        return ids[:max_tokens].astype(np.int32)

    def from_model_ids(self, ids_L: npt.ArrayLike) -> np.ndarray:
        """Turn model ids into codec ids up to EOS; others become INVALID_ID.

        Without EOS, as where the model ran out of tokens, all ids count.
        """
        ids_L = np.asarray(ids_L, dtype=np.int64)
        is_end = ids_L == EOS_ID
        if is_end.any():
            ids_L = ids_L[: np.argmax(is_end)]
        ids_L = ids_L - NUM_SPECIAL_IDS
        is_event = (ids_L >= 0) & (ids_L < self.codec.num_classes)
        return np.where(is_event, ids_L, INVALID_ID).astype(np.int32)

    def decode(self, segments: Iterable[tuple[float, npt.ArrayLike]]) -> Decoded:
        """Join the segments of a recording: each its start in seconds and codec ids.

        Segments are taken in the order of their starts. See `TokenDecoder` for what
        becomes of ids that make no sense.
        """
        ordered = sorted(segments, key=lambda segment: segment[0])
        decoder = TokenDecoder(self.config)
        for index, (start_s, ids_L) in enumerate(ordered):
            is_last = index + 1 == len(ordered)
            decoder.push(start_s, ids_L, None if is_last else ordered[index + 1][0])
        return decoder.finish()

    def _rows(
        self,
        step_R: np.ndarray,
        pitch_R: np.ndarray,
        velocity_R: np.ndarray,
        program_R: np.ndarray,
        is_drum_R: np.ndarray,
    ) -> _Rows:
        """Return rows of notes, with the ids of the configured tokens."""
        ranges, config = self.codec.ranges, self.config
        head_R = pitch_R + np.where(is_drum_R, ranges["drum"][0], ranges["pitch"][0])
        none_R = np.full(len(step_R), NONE)
        if config.onsets_only:
            return _Rows(step_R, none_R, none_R, head_R)
        velocity_R = self.codec.velocity_to_bin(velocity_R) + ranges["velocity"][0]
        if config.program_granularity == "flat":
            return _Rows(step_R, none_R, velocity_R, head_R)
        if config.program_granularity == "midi_class":
            program_R = program_R // 8 * 8
        program_R = np.where(is_drum_R, NONE, program_R + ranges["program"][0])
        return _Rows(step_R, program_R, velocity_R, head_R)

    def _tie_section(self, program_N: np.ndarray, head_N: np.ndarray) -> _Rows:
        """Return rows of the notes that still sound, by their tokens, and `tie`."""
        program_R = np.append(program_N, NONE)
        zeros_R = np.zeros_like(program_R)
        head_R = np.append(head_N, self._tie_id)
        return _Rows(zeros_R, program_R, zeros_R + NONE, head_R)

    def _write(self, rows: _Rows) -> np.ndarray:
        """Turn rows into ids: shifts where steps change, without what is in force."""
        max_shift = self.config.vocab.max_shift_steps
        step_R = rows.step_R
        passed_R = np.diff(step_R, prepend=0)
        if self.config.relative_shifts:
            total_R = passed_R
        else:
            total_R = np.where(passed_R != 0, step_R, 0)
        num_shifts = -(-total_R.max(initial=0) // max_shift)
        # Whole shifts first, then the rest: what is left of the total at each token.
        left_RxK = total_R[:, None] - max_shift * np.arange(num_shifts)
        shift_RxK = np.where(left_RxK > 0, np.minimum(left_RxK, max_shift), NONE)
        program_R = rows.program_R
        table = np.column_stack(
            [
                shift_RxK,
                program_R if self.config.by_pitch else _without_repeats(program_R),
                _without_repeats(rows.velocity_R),
                rows.head_R,
            ]
        )
        return table[table != NONE].astype(np.int32)

    def _read(self, ids_L: npt.ArrayLike) -> _Rows:
        """Return the rows that `_write` read, velocities and programs filled in."""
        self._check(ids_L)
        ids_L = np.asarray(ids_L, np.int64)
        type_L, value_L = self.codec.split(ids_L)
        total_L = np.cumsum(np.where(type_L == SHIFT, value_L, 0))
        is_event = type_L != SHIFT
        ids_L, type_L = ids_L[is_event], type_L[is_event]
        step_L = total_L[is_event]
        if not self.config.relative_shifts:
            shift_L = np.diff(step_L, prepend=0)
            step_L = np.maximum(_latest(shift_L, shift_L > 0), 0)
        is_pitch = type_L == PITCH
        rows = _Rows(
            step_L,
            np.where(is_pitch, _latest(ids_L, type_L == PROGRAM), NONE),
            _latest(ids_L, type_L == VELOCITY),
            ids_L,
        )
        return rows.take(is_pitch | (type_L == DRUM) | (type_L == TIE))

    def _check(self, ids_L: npt.ArrayLike) -> None:
        ids_L = np.asarray(ids_L)
        wrong = np.flatnonzero((ids_L < 0) | (ids_L >= self.codec.num_classes))
        if len(wrong):
            raise ValueError(
                f"token {wrong[0]} is {ids_L[wrong[0]]}; codec ids are 0 to "
                f"{self.codec.num_classes - 1}"
            )


def _spans(
    step_R: np.ndarray, is_onset_R: np.ndarray, is_drum_R: np.ndarray, key_R: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spans from each beginning to the next row of its key: first, last, row."""
    row_R = np.flatnonzero(~is_drum_R)
    row_R = row_R[np.argsort(key_R[row_R], kind="stable")]
    # There is a next row of the key: the note's own end, if no other comes before it.
    onset = np.flatnonzero(is_onset_R[row_R])
    return step_R[row_R[onset]], step_R[row_R[onset + 1]], row_R[onset]


def _without_repeats(ids_R: np.ndarray) -> np.ndarray:
    """Return `ids_R`, NONE where one equals the one before it that is not NONE."""
    some = np.flatnonzero(ids_R != NONE)
    ids = ids_R[some]
    ids_R = ids_R.copy()
    ids_R[some[1:][ids[1:] == ids[:-1]]] = NONE
    return ids_R


def _latest(values_L: np.ndarray, is_one_L: np.ndarray) -> np.ndarray:
    """Return at each place the last marked value so far, NONE before the first."""
    index_L = np.maximum.accumulate(np.where(is_one_L, np.arange(len(values_L)), NONE))
    return np.where(index_L == NONE, NONE, values_L[index_L])


def trim_overlaps(notes: Notes) -> Notes:
    """End each note where the next of its program and pitch begins, as MT3 does.

    For training labels: tokens cannot hold overlapping notes. Notes that have no
    length, or none is left of, are dropped; of notes that begin together the last one
    stays. Drums are trimmed among drums.
    """
    offset_s = np.minimum(notes.offset_s, notes.next_onsets())
    kept = offset_s > notes.onset_s
    return replace(notes[kept], offset_s=offset_s[kept])
