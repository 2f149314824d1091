"""Writes mt3_chunks.npz: records in MT3's layouts and the tokens MT3 makes of them.

Runs where the `mt3` package is installed: python tests/golden/make_mt3_chunks.py
"""

import functools
import io
from pathlib import Path

import mt3.mixing
import mt3.preprocessors
import mt3.run_length_encoding
import mt3.spectrograms
import mt3.tasks
import mt3.vocabularies
import note_seq
import numpy as np
import scipy.io.wavfile
import tensorflow as tf
from mt3.event_codec import Event

BLOCK_FRAMES = 2000
SLAKH_NAMES = ["Acoustic Piano", "Drums", "Electric Bass", "Synth Pad"]


def sequence(rng, duration_s, num_notes, program=0, is_drum=False, pedal=False):
    """Random notes on few keys, so that many overlap, touch, or end late."""
    notes = note_seq.NoteSequence(ticks_per_quarter=220)
    for _ in range(num_notes):
        start_s = rng.uniform(0, duration_s)
        length_s = rng.choice([0.02, 0.3, 2.0, 9.0]) * rng.uniform(0.5, 1.5)
        if rng.random() < 0.3:  # on the grid: events at one time, at frames' edges
            start_s = round(start_s * 25) / 25
            length_s = max(round(length_s * 25), 1) / 25
        notes.notes.add(
            start_time=start_s,
            end_time=start_s + length_s,
            pitch=int(rng.integers(58, 64)),
            velocity=int(rng.integers(1, 128)),
            program=program,
            is_drum=is_drum,
        )
    for time_s in np.arange(0.0, duration_s * pedal, 1.3):
        for delay_s, value in [(0.1, 100), (0.9, 20)]:
            notes.control_changes.add(
                time=time_s + delay_s, control_number=64, control_value=value
            )
    notes.total_time = max(note.end_time for note in notes.notes)
    return notes.SerializeToString()


def feature(value):
    if isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    if isinstance(value[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def wav(samples_S):
    file = io.BytesIO()
    scipy.io.wavfile.write(file, 16000, np.int16(samples_S * 32767))
    return file.getvalue()


def records(seed, duration_s=34.0, noise=0.0):
    """Layout's name -> features of one record."""
    rng = np.random.default_rng(seed)

    def samples(rate_hz):
        num_samples = int(duration_s * rate_hz) // 128 * 128  # whole frames
        noise_S = rng.standard_normal(num_samples) if noise else np.zeros(num_samples)
        return (noise * noise_S).astype(np.float32)

    def notes(number, **options):
        return sequence(rng, duration_s, number, **options)

    return {
        "maestro": {
            "audio": [wav(samples(16000))],
            "sequence": [notes(200, pedal=True)],
            "id": [b"piece"],
        },
        "guitarset": {
            "audio": [wav(samples(16000)[:-40])],
            "sequence": [notes(80)],
            "velocity_range": [b""],
            "id": [b"piece"],
        },
        "urmp": {
            "audio": [wav(samples(16000))],
            "sequence": [b""],
            "instrument_sequences": [notes(60), notes(60)],
            "inst_names": [b"vn", b"tba"],
            "tracks": [1, 2],
            "id": [b"piece"],
        },
        "musicnet": {
            # Not 44100 Hz: today's librosa refuses the call by which MT3 resamples.
            "audio": list(map(float, samples(16000))),
            "sample_rate": [16000.0],
            "sequence": [notes(100, program=41)],
            "id": [b"piece"],
        },
        "slakh": {
            "mix": list(map(float, samples(16000))),
            "audio_sample_rate": [16000],
            "note_sequences": [
                notes(60, pedal=name == "Acoustic Piano") for name in SLAKH_NAMES
            ],
            "inst_names": [name.encode() for name in SLAKH_NAMES],
            "track_id": [b"piece"],
        },
    }


def mt3_piece(name, features, codec, spectrogram_config):
    """MT3's own tokenization of a record: frames, events and their indices."""
    functions = {
        "maestro": functools.partial(
            mt3.preprocessors.tokenize_transcription_example,
            audio_is_samples=False,
            id_feature_key="id",
        ),
        "guitarset": mt3.preprocessors.tokenize_guitarset_example,
        "urmp": functools.partial(
            mt3.preprocessors.tokenize_example_with_program_lookup,
            inst_name_to_program_fn=mt3.preprocessors.urmp_instrument_to_program,
            id_feature_key="id",
        ),
        "musicnet": functools.partial(
            mt3.preprocessors.tokenize_transcription_example,
            audio_is_samples=True,
            id_feature_key="id",
        ),
        "slakh": functools.partial(
            mt3.preprocessors.tokenize_slakh_example,
            track_specs=None,
            ignore_pitch_bends=True,
        ),
    }
    lists = {"inst_names", "instrument_sequences", "note_sequences", "tracks", "mix"}
    if name == "musicnet":
        lists.add("audio")
    tensors = {
        key: tf.constant(value if key in lists else value[0])
        for key, value in features.items()
    }
    if name == "slakh":
        tensors["stems"] = tf.zeros([1])
    dataset = functions[name](
        tf.data.Dataset.from_tensors(tensors),
        spectrogram_config=spectrogram_config,
        codec=codec,
        is_training_data=True,
        onsets_only=False,
        include_ties=True,
    )
    return next(iter(dataset))


def mt3_chunk(piece, first, end, codec):
    """MT3's run-length encoded tokens of frames [first, end) of one block.

    As they are before its mixing, and at the end.
    """
    chunk = {name: piece[name] for name in ("targets", "state_events")}
    for name in ("start", "end"):
        key = f"input_event_{name}_indices"
        chunk[key] = piece[key][first:end]
    key = "input_state_event_indices"
    chunk[key] = piece[key][first:end]
    tie = codec.encode_event(Event("tie", 0))
    dataset = tf.data.Dataset.from_tensors(chunk)
    dataset = mt3.run_length_encoding.extract_target_sequence_with_indices(
        dataset, state_events_end_token=tie
    )
    dataset = mt3.preprocessors.map_midi_programs(dataset, codec=codec)
    encode = mt3.run_length_encoding.run_length_encode_shifts_fn(codec)
    (encoded,) = encode(dataset)
    return encoded["targets"].numpy(), finish(encoded["targets"], codec)


def finish(targets, codec):
    drop = mt3.run_length_encoding.remove_redundant_state_changes_fn(
        codec, state_change_event_types=["velocity", "program"]
    )
    (dropped,) = drop(tf.data.Dataset.from_tensors({"targets": targets}))
    return dropped["targets"].numpy()


def make(seed, noise=0.0, num_velocity_bins=1, chunks_per_piece=4):
    """A flat mapping of arrays: records, chunks of them and their tokens."""
    codec = mt3.vocabularies.build_codec(
        mt3.vocabularies.VocabularyConfig(num_velocity_bins=num_velocity_bins)
    )
    spectrogram_config = mt3.spectrograms.SpectrogramConfig()
    rng = np.random.default_rng(seed)
    arrays = {}
    mixed = []
    for name, features in records(seed, noise=noise).items():
        example = tf.train.Example(
            features=tf.train.Features(
                feature={key: feature(value) for key, value in features.items()}
            )
        )
        serialized = np.frombuffer(example.SerializeToString(), np.uint8)
        arrays[f"{name}/record"] = serialized
        piece = mt3_piece(name, features, codec, spectrogram_config)
        num_frames = len(piece["inputs"])
        arrays[f"{name}/num_frames"] = np.array(num_frames)
        blocks = [
            (block, min(block + BLOCK_FRAMES, num_frames))
            for block in range(0, num_frames, BLOCK_FRAMES)
        ]
        chunks = []
        for number in range(chunks_per_piece):
            # The first and last of each block, and any.
            begin, end = blocks[number % len(blocks)]
            first = int(rng.integers(begin, max(end - 256, begin) + 1))
            if number < len(blocks):
                first = max(end - 256, begin)
            chunks.append((first, min(first + 256, end)))
            raw, ids = mt3_chunk(piece, *chunks[-1], codec)
            arrays[f"{name}/ids/{number}"] = ids
            if noise:
                frames_TxW = piece["inputs"][slice(*chunks[-1])]
                arrays[f"{name}/frames/{number}"] = frames_TxW.numpy()
        mixed.append((raw, frames_TxW.numpy() if noise else None))
        arrays[f"{name}/chunks"] = np.array(chunks)
    # The last chunks of all pieces but the first, mixed.
    rows = [raw for raw, _ in mixed[1:]]
    targets = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for row, raw in zip(targets, rows, strict=True):
        row[: len(raw)] = raw
    merge = tf.function(mt3.run_length_encoding.merge_run_length_encoded_targets)
    merged = merge(tf.constant(targets), codec)
    arrays["mixed/ids"] = finish(merged, codec)
    return arrays


if __name__ == "__main__":
    path = Path(__file__).with_name("mt3_chunks.npz")
    np.savez_compressed(path, allow_pickle=False, **make(seed=0))
    print(path, path.stat().st_size)
