"""Small data sets in the layouts that their owners publish, with real audio."""

import json

import numpy as np
import soundfile
import yaml

from mt3x.notes import Notes
from mt3x.sonify import sonify

DURATION_S = 3.0


def tune(seed, number=12, program=0, is_drum=False):
    """Random notes within DURATION_S, none overlapping another of its pitch."""
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0.05, DURATION_S - 0.5, number)).round(3)
    return Notes(
        onset_s,
        onset_s + rng.uniform(0.1, 0.4, number).round(3),
        48 + rng.permutation(36)[:number],
        rng.integers(40, 110, number),
        np.full(number, program),
        np.full(number, is_drum),
    )


def sound(notes, sample_rate_hz=44100):
    """Its audio; drums sound like a piano here."""
    pitched = Notes(notes.onset_s, notes.offset_s, notes.pitch, notes.velocity)
    return sonify(pitched, sample_rate_hz, int(DURATION_S * sample_rate_hz))


def write_sound(path, samples_S, sample_rate_hz=44100):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples_S, sample_rate_hz, subtype="PCM_16")


def write_midi(path, notes):
    path.parent.mkdir(parents=True, exist_ok=True)
    notes.to_midi(path)


# Name, Slakh's family, program as in metadata.yaml, drums.
BAND = [
    ("S00", "Guitar", 30, False),
    ("S01", "Drums", 128, True),
    ("S02", "Bass", 35, False),
    ("S03", "Piano", 2, False),
    ("S04", "Strings (continued)", 49, False),
]


def slakh_track(folder, seed, band=BAND):
    """One track of Slakh2100-redux; returns the notes of its stems as played."""
    stems, mix_S, played = {}, 0.0, {}
    for number, (name, family, program, is_drum) in enumerate(band):
        notes = tune([seed, number], 8, 0 if is_drum else program, is_drum)
        samples_S = 0.1 * sound(notes)
        mix_S = mix_S + samples_S
        write_sound(folder / "stems" / f"{name}.flac", samples_S)
        write_midi(folder / "MIDI" / f"{name}.mid", notes)
        played[name] = notes
        stems[name] = {
            "audio_rendered": True,
            "inst_class": family,
            "integrated_loudness": -13.0,
            "is_drum": is_drum,
            "midi_program_name": "any",
            "midi_saved": True,
            "plugin_name": "any.nkm",
            "program_num": program,
        }
    write_sound(folder / "mix.flac", mix_S)
    write_midi(folder / "all_src.mid", Notes.concatenate(list(played.values())))
    metadata = {
        "UUID": "0" * 32,
        "audio_dir": "stems",
        "midi_dir": "MIDI",
        "normalization_factor": -13.0,
        "normalized": True,
        "overall_gain": 0.1,
        "stems": stems,
        "target_peak": -1.0,
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return played


def slakh(folder):
    """Three tracks; returns the stems' notes of each."""
    tracks = {"train": ["Track00001", "Track00002"], "test": ["Track01876"]}
    return {
        track: slakh_track(folder / split / track, int(track[5:]))
        for split, names in tracks.items()
        for track in names
    }


def maestro(folder):
    rows = [["canonical_composer", "canonical_title", "split", "year"]]
    rows[0] += ["midi_filename", "audio_filename", "duration"]
    notes = {}
    for seed, split in enumerate(["train", "validation", "test"]):
        name = f"2018/MIDI-Unprocessed_{seed}"
        notes[name[5:]] = tune(seed)
        write_sound(folder / f"{name}.wav", sound(notes[name[5:]]))
        write_midi(folder / f"{name}.midi", notes[name[5:]])
        rows.append(["A", "B", split, "2018", f"{name}.midi", f"{name}.wav", "3.0"])
    table = "".join(",".join(row) + "\n" for row in rows)
    (folder / "maestro-v3.0.0.csv").write_text(table)
    return notes


def musicnet(folder):
    """A training, a validation and a test piece, and one aligned anew."""
    notes = {}
    for seed, (id, split) in enumerate(
        [("1727", "train"), ("1733", "train"), ("1819", "test"), ("1729", "train")]
    ):
        tuned = tune(seed, program=40 + seed)
        start = np.rint(tuned.onset_s * 44100).astype(int)
        end = np.rint(tuned.offset_s * 44100).astype(int)
        lines = ["start_time,end_time,instrument,note,start_beat,end_beat,note_value"]
        for n in range(len(tuned)):
            instrument, pitch = tuned.program[n] + 1, tuned.pitch[n]
            lines.append(f"{start[n]},{end[n]},{instrument},{pitch},0,1,Quarter")
        write_sound(folder / f"{split}_data" / f"{id}.wav", sound(tuned))
        path = folder / f"{split}_labels" / f"{id}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        notes[id] = Notes(
            start / 44100, end / 44100, tuned.pitch, program=tuned.program
        )
    write_midi(folder / "musicnet_em" / "1727.mid", tune(9, program=41))
    return notes


def guitarset(folder):
    notes = {}
    for seed, id in enumerate(["00_BN1-129-Eb_comp", "05_Funk3-112-C#_solo"]):
        tuned = tune(seed, program=24)
        strings = [{"namespace": "note_midi", "data": []} for _ in range(6)]
        for n in range(len(tuned)):
            strings[n % 6]["data"].append(
                {
                    "time": tuned.onset_s[n],
                    "duration": tuned.offset_s[n] - tuned.onset_s[n],
                    "value": tuned.pitch[n] + 0.3,
                    "confidence": None,
                }
            )
        jams = {"annotations": [{"namespace": "chord", "data": []}, *strings]}
        path = folder / "annotation" / f"{id}.jams"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(jams))
        write_sound(folder / "audio_mono-mic" / f"{id}_mic.wav", sound(tuned))
        notes[id] = tuned
    return notes


def urmp(folder):
    notes = {}
    for name in ["01_Jupiter_vn_vc", "03_Dance_fl_cl"]:
        number, title, *codes = name.split("_")
        piece, mix_S, parts = folder / "Dataset" / name, 0.0, []
        for index, code in enumerate(codes, start=1):
            tuned = tune([int(number), index])
            samples_S = 0.3 * sound(tuned, 48000)
            mix_S = mix_S + samples_S
            part = f"{index}_{code}_{number}_{title}"
            write_sound(piece / f"AuSep_{part}.wav", samples_S, 48000)
            frequency_hz = 440 * 2 ** ((tuned.pitch - 69) / 12)
            rows = zip(
                tuned.onset_s, frequency_hz, tuned.offset_s - tuned.onset_s, strict=True
            )
            text = "".join(f"{a:.3f}\t{f:.3f}\t{d:.3f}\n" for a, f, d in rows)
            (piece / f"Notes_{part}.txt").write_text(text)
            parts.append(tuned)
        write_sound(piece / f"AuMix_{name}.wav", mix_S, 48000)
        notes[name] = Notes.concatenate(parts)
    return notes


def maps(folder):
    notes = {}
    for seed, piano in enumerate(["ENSTDkCl", "AkPnBcht"]):
        name = f"MAPS_MUS-alb_se3_{piano}"
        notes[name] = tune(seed)
        write_sound(folder / piano / "MUS" / f"{name}.wav", sound(notes[name]))
        write_midi(folder / piano / "MUS" / f"{name}.mid", notes[name])
    return notes
