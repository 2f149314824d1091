"""Makes pedal.mid and pedal.json: the sustain pedal as note-seq applies it.

    pip install note-seq mido
    python tests/golden/make_midi.py

A random performance on two instruments with a pedal each, and drums, over tempo
changes; note-seq reads it and applies the pedal (`apply_sustain_control_changes`).
Left out is what note-seq handles by the order of its own lists rather than the
file's: overlapping strokes of one key, and two pedal changes of a channel in a tick.
"""

import json
from pathlib import Path

import mido
import note_seq
import numpy as np

FOLDER = Path(__file__).parent
NUM_TICKS = 4000
GRID_TICKS = 5  # coarse, so that strokes and pedal changes often coincide


def performance(rng: np.random.Generator, channel: int, program: int) -> mido.MidiTrack:
    """One instrument: strokes of a few keys, and its pedal."""
    events = []
    for pitch in rng.choice(np.arange(30, 90), size=6, replace=False).tolist():
        tick = int(rng.integers(40)) * GRID_TICKS
        while True:
            end = tick + int(rng.integers(1, 40)) * GRID_TICKS
            if end > NUM_TICKS:
                break
            velocity = int(rng.integers(1, 128))
            events.append((tick, 2, "note_on", {"note": pitch, "velocity": velocity}))
            events.append((end, 1, "note_off", {"note": pitch, "velocity": 64}))
            tick = end + int(rng.integers(0, 60)) * GRID_TICKS
    pedal_ticks = GRID_TICKS * rng.choice(
        np.arange(1, NUM_TICKS // GRID_TICKS), size=60, replace=False
    )
    for tick in sorted(pedal_ticks.tolist()):
        value = int(rng.choice([0, 30, 63, 64, 100, 127]))
        events.append((tick, 0, "control_change", {"control": 64, "value": value}))
    # Down at the end, so that some notes end with the file.
    last = {"control": 64, "value": 127}
    events.append((NUM_TICKS - 200, 0, "control_change", last))
    track = mido.MidiTrack(
        [mido.Message("program_change", channel=channel, program=program)]
    )
    now = 0
    for tick, _, kind, values in sorted(events, key=lambda event: event[:2]):
        track.append(mido.Message(kind, channel=channel, time=tick - now, **values))
        now = tick
    return track


def main() -> None:
    """Write both files."""
    rng = np.random.default_rng(0)
    midi = mido.MidiFile(type=1, ticks_per_beat=100)
    tempos = mido.MidiTrack()
    for delta, tempo in [(0, 500_000), (777, 400_000), (1003, 700_000)]:
        tempos.append(mido.MetaMessage("set_tempo", tempo=tempo, time=delta))
    midi.tracks += [tempos, *(performance(rng, *part) for part in PARTS)]
    # One last stroke ends the file for every part.
    end = NUM_TICKS + 50 * GRID_TICKS
    last = midi.tracks[1]
    delta = end - sum(message.time for message in last)
    last.append(mido.Message("control_change", control=64, value=127, time=delta))
    path = FOLDER / "pedal.mid"
    midi.save(path)

    sequence = note_seq.midi_file_to_note_sequence(str(path))
    sequence = note_seq.apply_sustain_control_changes(sequence)
    notes = [
        [
            round(note.start_time, 7),
            round(note.end_time, 7),
            note.pitch,
            note.velocity,
            note.program,
            int(note.is_drum),
        ]
        for note in sequence.notes
    ]
    lines = ",\n".join(json.dumps(note) for note in sorted(notes))
    (FOLDER / "pedal.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(notes)} notes")


PARTS = [(0, 0), (3, 40), (9, 0)]
"""(channel, program) of each track."""

if __name__ == "__main__":
    main()
