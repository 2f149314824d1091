"""MT3's own code (github.com/magenta/mt3) on mt3x's types, for parity tests.

Needs `mt3` with tensorflow, seqio and note-seq, in an environment of their own:

    PYTHONPATH=. python -m pytest tests/music/test_{tokens_parity,metrics}.py
"""

import warnings
from unittest import mock

import note_seq
import numpy as np
import tensorflow as tf
from mt3 import (
    event_codec,
    metrics,
    metrics_utils,
    note_sequences,
    preprocessors,
    run_length_encoding,
    summaries,
)

from mt3x.music.notes import Notes
from mt3x.music.vocabulary import TokenizerConfig


def build_codec(config: TokenizerConfig) -> event_codec.Codec:
    """As mt3.vocabularies.build_codec, for any number of shifts."""
    ranges = [
        ("pitch", 127),
        ("velocity", config.vocab.num_velocity_bins),
        ("tie", 0),
        ("program", 127),
        ("drum", 127),
    ]
    return event_codec.Codec(
        max_shift_steps=config.vocab.max_shift_steps,
        steps_per_second=config.vocab.steps_per_second,
        event_ranges=[event_codec.EventRange(type, 0, last) for type, last in ranges],
    )


def to_note_sequence(notes: Notes) -> note_seq.NoteSequence:
    sequence = note_seq.NoteSequence(ticks_per_quarter=220)
    for i in range(len(notes)):
        sequence.notes.add(
            start_time=notes.onset_s[i],
            end_time=notes.offset_s[i],
            pitch=notes.pitch[i],
            velocity=notes.velocity[i],
            program=notes.program[i],
            is_drum=notes.is_drum[i],
        )
    note_sequences.assign_instruments(sequence)
    sequence.total_time = max((note.end_time for note in sequence.notes), default=0)
    return sequence


def to_notes(sequence: note_seq.NoteSequence) -> Notes:
    names = ("start_time", "end_time", "pitch", "velocity", "program", "is_drum")
    return Notes(*([getattr(n, name) for n in sequence.notes] for name in names))


def trim_overlaps(notes: Notes) -> Notes:
    return to_notes(note_sequences.trim_overlapping_notes(to_note_sequence(notes)))


def encode(notes: Notes, num_frames: int, config: TokenizerConfig) -> dict:
    """A whole recording by mt3's preprocessor up to the split into segments."""
    sequence = to_note_sequence(notes)
    if config.onsets_only:
        times, values = note_sequences.note_sequence_to_onsets(sequence)
    else:
        times, values = note_sequences.note_sequence_to_onsets_and_offsets_and_programs(
            sequence
        )
    with_ties = config.use_ties
    names = "targets", "starts", "ends", "state_events", "state_starts"
    arrays = run_length_encoding.encode_and_index_events(
        state=note_sequences.NoteEncodingState() if with_ties else None,
        event_times=times,
        event_values=values,
        encode_event_fn=note_sequences.note_event_data_to_events,
        codec=build_codec(config),
        frame_times=np.arange(num_frames) / 125,
        encoding_state_to_events_fn=(
            note_sequences.note_encoding_state_to_events if with_ties else None
        ),
    )
    return {n: np.array(a, np.int32) for n, a in zip(names, arrays, strict=True)}


def extract(encoded, spans, config: TokenizerConfig) -> tf.data.Dataset:
    """The targets of segments, before their run-length encoding.

    Args:
      encoded: what `encode` made of each recording.
      spans: for each recording its segments (first frame, frames).
    """
    codec = build_codec(config)
    keys = "input_event_start_indices", "input_event_end_indices"

    def generate():
        for recording, segments in zip(encoded, spans, strict=True):
            for first, num_frames in segments:
                frames = slice(first, first + num_frames)
                yield {
                    "targets": recording["targets"],
                    "state_events": recording["state_events"],
                    keys[0]: recording["starts"][frames],
                    keys[1]: recording["ends"][frames],
                    "input_state_event_indices": recording["state_starts"][frames],
                }

    names = (*keys, "targets", "state_events", "input_state_event_indices")
    signature = {name: tf.TensorSpec([None], tf.int32) for name in names}
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    dataset = run_length_encoding.extract_target_sequence_with_indices(
        dataset,
        codec.event_type_range("tie")[0] if config.use_ties else None,
    )
    return preprocessors.map_midi_programs(
        dataset, codec=codec, granularity_type=config.program_granularity
    )


def run_length(dataset: tf.data.Dataset, config: TokenizerConfig) -> tf.data.Dataset:
    return run_length_encoding.run_length_encode_shifts_fn(build_codec(config))(dataset)


def merge(dataset: tf.data.Dataset, config: TokenizerConfig) -> tf.data.Dataset:
    codec = build_codec(config)
    return dataset.map(
        lambda example: {
            "targets": run_length_encoding.merge_run_length_encoded_targets(
                targets=example["targets"], codec=codec
            )
        }
    )


def without_repeats(
    dataset: tf.data.Dataset, config: TokenizerConfig
) -> tf.data.Dataset:
    return run_length_encoding.remove_redundant_state_changes_fn(
        codec=build_codec(config), state_change_event_types=["velocity", "program"]
    )(dataset)


def to_arrays(dataset: tf.data.Dataset) -> list[np.ndarray]:
    return [example["targets"] for example in dataset.as_numpy_iterator()]


def to_dataset(arrays: list[np.ndarray]) -> tf.data.Dataset:
    """The opposite of `to_arrays`."""
    signature = {"targets": tf.TensorSpec([None] * arrays[0].ndim, tf.int32)}
    return tf.data.Dataset.from_generator(
        lambda: ({"targets": array} for array in arrays), output_signature=signature
    )


def segment_ids(recordings, spans, config: TokenizerConfig) -> list[np.ndarray]:
    """The ids of all segments of `recordings`, pairs of notes and number of frames."""
    encoded = [encode(notes, num_frames, config) for notes, num_frames in recordings]
    dataset = run_length(extract(encoded, spans, config), config)
    return to_arrays(without_repeats(dataset, config))


def merged_ids(recordings, spans, mixes, config: TokenizerConfig) -> list[np.ndarray]:
    """The ids of sub-mixes, each a list of indices into all segments."""
    encoded = [encode(notes, num_frames, config) for notes, num_frames in recordings]
    segments = to_arrays(run_length(extract(encoded, spans, config), config))
    padded = to_dataset([pad([segments[index] for index in mix]) for mix in mixes])
    return to_arrays(without_repeats(merge(padded, config), config))


def pad(tracks: list[np.ndarray]) -> np.ndarray:
    length = max(map(len, tracks))
    return np.stack([np.pad(track, (0, length - len(track))) for track in tracks])


def decode(segments, config: TokenizerConfig) -> tuple[Notes, int, int]:
    """Notes and the counts of invalid and dropped events of (start s, ids)."""
    if config.onsets_only:
        spec = note_sequences.NoteOnsetEncodingSpec
    elif config.use_ties:
        spec = note_sequences.NoteEncodingWithTiesSpec
    else:
        spec = note_sequences.NoteEncodingSpec
    result = metrics_utils.event_predictions_to_ns(
        [
            {"start_time": start_s, "est_tokens": ids, "raw_inputs": np.zeros(1)}
            for start_s, ids in segments
        ],
        codec=build_codec(config),
        encoding_spec=spec,
    )
    counts = result["est_invalid_events"], result["est_dropped_events"]
    return to_notes(result["est_ns"]), *counts


def scores(
    ref: Notes,
    est: Notes,
    onsets_only: bool = False,
    tracks: tuple[note_sequences.TrackSpec, ...] = (),
) -> dict[str, float]:
    """What `transcription_metrics` reports of one piece, without its pictures."""
    prediction = {
        "est_ns": to_note_sequence(est),
        "est_invalid_events": 0,
        "est_dropped_events": 0,
    }
    pictures = "audio_summaries", "transcription_summaries", "prettymidi_pianoroll"
    without = {name: mock.Mock(return_value={}) for name in pictures}
    config = TokenizerConfig(use_ties=False, onsets_only=onsets_only)
    with (
        mock.patch.multiple(summaries, **without),
        mock.patch.object(
            metrics_utils, "event_predictions_to_ns", lambda *_, **__: prediction
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of scores without notes
        reported = metrics.transcription_metrics(
            targets=[{"unique_id": 0, "ref_ns": to_note_sequence(ref)}],
            predictions=[{"unique_id": 0}],
            codec=build_codec(config),
            spectrogram_config=None,
            onsets_only=onsets_only,
            use_ties=False,
            track_specs=tracks or None,
        )
    return {
        name: float(value)
        for name, value in reported.items()
        if not name.endswith(("(hist)", "events"))
    }


def tolerance_sweep(ref: Notes, est: Notes) -> dict[str, float]:
    """Notes without drums at several tolerances, as they are."""
    drumless = (to_note_sequence(notes[~notes.is_drum]) for notes in (ref, est))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metrics._note_onset_tolerance_sweep(*drumless)
