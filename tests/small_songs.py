"""Songs as `mt3x prepare synth` takes them: lead sheets, grooves, whole songs."""

import mido
import numpy as np

from mt3x.notes import Notes

BEAT_S = 0.5
# Lowest keys of C, A minor, F and G, a bar each.
ROOTS = (48, 45, 41, 43)
CHORDS = ((60, 64, 67), (57, 60, 64), (53, 57, 60), (55, 59, 62))


def lead_tracks(num_bars=8, late_s=0.05, melody_step=0):
    """MELODY, BRIDGE and PIANO of a song of 4 x 0.5 s a bar that begins late."""
    piano, melody, bridge = [], [], []
    for bar in range(num_bars):
        start_s = late_s + 4 * BEAT_S * bar
        piano.append((start_s, start_s + 1.9, ROOTS[bar % 4], 70))
        for beat in (0, 1, 2, 3):
            at_s = start_s + BEAT_S * beat
            piano += [(at_s, at_s + 0.4, key, 60) for key in CHORDS[bar % 4]]
        # The melody rests in every other bar, where the bridge plays.
        voice = melody if bar % 2 == 0 else bridge
        for n in range(4):
            at_s = start_s + BEAT_S * n
            voice.append((at_s, at_s + 0.45, 72 + melody_step + (bar + n) % 5, 90))
    return {
        "MELODY": _notes(melody),
        "BRIDGE": _notes(bridge),
        "PIANO": _notes(piano),
    }


def write_lead_sheet(path, tracks=None, beats=True, late_s=0.05):
    """A lead sheet in POP909's layout, at 120 beats a minute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tracks = lead_tracks(late_s=late_s) if tracks is None else tracks
    midi = mido.MidiFile(type=1, ticks_per_beat=480)
    midi.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)]))
    for channel, (name, notes) in enumerate(tracks.items()):
        midi.tracks.append(_track(name, notes, channel))
    midi.save(path)
    if beats:
        end_s = max(float(notes.offset_s.max()) for notes in tracks.values())
        rows = [
            f"{late_s + BEAT_S * i:.6f} {float(i % 2 == 0)} {float(i % 4 == 0)}\n"
            for i in range(int(end_s / BEAT_S) + 1)
        ]
        path.with_name("beat_midi.txt").write_text("".join(rows))


def groove_notes(num_bars=4):
    """Kick, snare and hats at 120 beats a minute; each bar has a tom of its own."""
    hits = []
    for bar in range(num_bars):
        for beat in range(4):
            at_s = 2 * bar + 0.5 * beat
            hits.append((at_s + 0.01, 36 if beat % 2 == 0 else 38, 100 - beat))
            hits.append((at_s + 0.25, 22, 50))
        hits.append((2 * bar + 1.75, 43 + bar, 80))
    onset_s, pitch, velocity = np.array(hits).T
    drums = np.ones(len(hits), bool)
    return Notes(onset_s, onset_s + 0.05, pitch, velocity, None, drums)


def write_groove(path, num_bars=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    groove_notes(num_bars).to_midi(path)


def _notes(rows):
    onset_s, offset_s, pitch, velocity = np.array(rows).reshape(-1, 4).T
    return Notes(onset_s, offset_s, pitch, velocity)


def _track(name, notes, channel):
    ticks = [
        (round(at_s * 960), kind, int(key), int(velocity))
        for kind, times_s in (("note_off", notes.offset_s), ("note_on", notes.onset_s))
        for at_s, key, velocity in zip(
            times_s, notes.pitch, notes.velocity, strict=True
        )
    ]
    track, now = mido.MidiTrack([mido.MetaMessage("track_name", name=name)]), 0
    for tick, kind, key, velocity in sorted(ticks, key=lambda event: event[0]):
        track.append(
            mido.Message(
                kind, channel=channel, note=key, velocity=velocity, time=tick - now
            )
        )
        now = tick
    return track
