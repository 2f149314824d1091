"""NoteSequence protos, as MT3's records hold them -> notes."""

import warnings
from collections.abc import Sequence

from mt3x.music.notes import Notes

with warnings.catch_warnings():
    # Of ffmpeg and audioop, which note_seq's audio would need.
    warnings.simplefilter("ignore")
    from note_seq import sequences_lib
    from note_seq.protobuf import music_pb2


def read_sequences(
    sequences: Sequence[bytes], instruments: Sequence[tuple[int, bool]] | None
) -> Notes:
    """Return the notes of serialized NoteSequences, with the sustain pedal applied.

    Pitch bends have no effect, and notes that last no time or have velocity 0 are left
    out (MT3 stops at both in some data sets).

    Args:
      sequences: one per track.
      instruments: program and is_drum of each track; None: as its notes say.
    """
    rows: list[tuple[float, float, int, int, int, bool]] = []
    for index, data in enumerate(sequences):
        sequence = music_pb2.NoteSequence.FromString(data)
        if any(change.control_number == 64 for change in sequence.control_changes):
            sequence = sequences_lib.apply_sustain_control_changes(sequence)
        for note in sequence.notes:
            if instruments is None:
                program, is_drum = note.program, note.is_drum
            else:
                program, is_drum = instruments[index]
            if note.start_time < note.end_time and note.velocity > 0:
                times = note.start_time, note.end_time
                rows.append((*times, note.pitch, note.velocity, program, is_drum))
    return Notes(*zip(*rows, strict=True)) if rows else Notes.empty()
