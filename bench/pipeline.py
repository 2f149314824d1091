"""Examples per second of the training pipeline and of MT3's on the same records.

    python bench/pipeline.py write RECORDS    # pieces in MT3's layout and in ours
    python bench/pipeline.py compare RECORDS  # where the mt3 package is installed
    python bench/pipeline.py mt3x RECORDS     # --form flac, wav: mt3x's own layout
    python bench/pipeline.py mt3 RECORDS

Pieces are 4 minutes of 8 instruments, 40 notes a second: a dense Slakh mix. Both read
whole records, choose a segment of 256 frames in each block of 2000 and give inputs
and tokens; MT3's computes its spectrograms too (mt3x does so in the model), which
`mt3 --no-spectrograms` leaves out. With `--cached` the work up to the random segments
is done before the clock runs, as where SeqIO has cached a task.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

DURATION_S = 240.0
CLASSES = {
    "Acoustic Piano": 9,
    "Electric Bass": 4,
    "Drums": 10,
    "Clean Electric Guitar": 6,
    "String Ensemble": 4,
    "Brass Section": 3,
    "Synth Lead": 2,
    "Pipe": 2,
}  # notes per second of each
MT3_NAME = "slakh_multi_full_subsets_10_train_all_inst.tfrecord-{:05d}-of-02307"


def random_piece(number: int):
    """Return notes of each instrument, and the mix."""
    rng = np.random.default_rng(number)
    parts = []
    for rate in CLASSES.values():
        onset_s = np.sort(rng.uniform(0, DURATION_S - 1, int(rate * DURATION_S)))
        length_s = np.minimum(rng.exponential(0.4, len(onset_s)) + 0.03, 2.0)
        pitch = np.clip(rng.normal(60, 10, len(onset_s)), 21, 108).astype(int)
        parts.append((onset_s, onset_s + length_s, pitch, rng.integers(20, 120)))
    samples_S = 0.1 * rng.standard_normal(int(DURATION_S * 16000))
    return parts, samples_S.astype(np.float32)


def write(folder: Path, number: int) -> None:
    import tensorflow as tf

    from mt3x.data.pieces import Piece
    from mt3x.data.pipeline.note_sequences import music_pb2
    from mt3x.data.pipeline.record_format import encode_piece
    from mt3x.music.instruments import SLAKH_PROGRAMS
    from mt3x.music.notes import Notes

    def feature(value):
        if isinstance(value[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        if isinstance(value[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))

    for kind in ("mt3", "flac", "wav"):
        (folder / kind / "slakh").mkdir(parents=True)
    for index in range(number):
        parts, samples_S = random_piece(index)
        sequences, played = [], []
        for name, (onset_s, offset_s, pitch, velocity) in zip(
            CLASSES, parts, strict=True
        ):
            is_drum, program = name == "Drums", SLAKH_PROGRAMS.get(name, 0)
            notes = Notes(
                *(onset_s, offset_s, pitch, np.full(len(pitch), velocity)),
                *(np.full(len(pitch), program), np.full(len(pitch), is_drum)),
            )
            played.append(notes)
            sequence = music_pb2.NoteSequence(ticks_per_quarter=220)
            for on, off, key in zip(onset_s, offset_s, pitch.tolist(), strict=True):
                sequence.notes.add(
                    start_time=on,
                    end_time=off,
                    pitch=key,
                    velocity=int(velocity),
                    program=program,
                    is_drum=is_drum,
                )
            sequences.append(sequence.SerializeToString())
        names = [name.encode() for name in CLASSES]
        zeros = [0] * len(names)
        features = {
            "audio_sample_rate": [16000],
            "inst_names": names,
            "midi_class": zeros,
            "mix": samples_S.tolist(),
            "note_sequences": sequences,
            "plugin_name": zeros,
            "program_num": zeros,
            "slakh_class": zeros,
            "src_ids": names,
            "stems": [0.0],  # as if there were none: what is read of them is wasted
            "stems_shape": [1, 1],
            "target_type": [b"all"],
            "track_id": [b"%d" % index],
        }
        example = tf.train.Example(
            features=tf.train.Features(
                feature={key: feature(value) for key, value in features.items()}
            )
        )
        path = folder / "mt3" / "slakh" / MT3_NAME.format(index)
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(example.SerializeToString())
        piece = Piece(str(index), samples_S, 16000, Notes.concatenate(played))
        for form in ("flac", "wav"):
            path = (
                folder / form / "slakh" / f"train-{index:05d}-of-{number:05d}.tfrecord"
            )
            with tf.io.TFRecordWriter(str(path)) as writer:
                writer.write(encode_piece(piece, form.upper()))


def mt3x_dataset(folder: Path, cached: bool):
    os.environ["MT3X_DATA_DIR"] = str(folder)
    import mt3x.tasks  # noqa: F401
    import seqio

    task = seqio.get_mixture_or_task("slakh_notes_ties_vb1_train")
    return unshuffled(task, cached)


def mt3_dataset(folder: Path, spectrograms: bool, cached: bool):
    import mt3.datasets
    import mt3.preprocessors
    import mt3.tasks
    import seqio

    task = seqio.get_mixture_or_task("slakh_notes_ties_vb1_train")
    source = seqio.TFExampleDataSource(
        {"train": str(folder / "mt3/slakh/*")}, mt3.datasets.SLAKH_CONFIG.features
    )
    steps = list(task.preprocessors)
    if not spectrograms:
        steps = [s for s in steps if "compute_spectrograms" not in str(s)]
        assert len(steps) == len(task.preprocessors) - 1
    return unshuffled(task.replace(source=source, preprocessors=steps), cached)


def unshuffled(task, cached: bool):
    """Read a task without the last shuffle: filling its buffer would hide the speed."""
    lengths = {"inputs": 256, "targets": 1024}
    if not cached:
        task = task.replace(shuffle_buffer_size=1)
        return task.get_dataset(lengths, "train", shuffle=True, seed=0, num_epochs=None)
    blocks = task.preprocess_precache(task.source.get_dataset("train").take(3), seed=0)
    blocks = blocks.cache()
    collections.deque(blocks, maxlen=0)  # fills the cache
    return task.preprocess_postcache(blocks.repeat(), lengths, seed=0)


def measure(dataset, seconds: float) -> None:
    """Print examples per second, once the first ones are there."""
    examples = dataset.as_numpy_iterator()
    for _ in range(16):
        next(examples)
    number, begin_s, begin_cpu_s = 0, time.monotonic(), time.process_time()
    while time.monotonic() - begin_s < seconds:
        next(examples)
        number += 1
    wall_s = time.monotonic() - begin_s
    cpu_s = time.process_time() - begin_cpu_s
    print(
        f"{number} examples in {wall_s:.1f} s: {number / wall_s:.1f} per second, "
        f"{1000 * cpu_s / number:.2f} ms of CPU each"
    )


def compare(arguments: list[str]) -> None:
    """Measure both, in processes of their own: they register tasks of one name."""
    found = []
    for what in ("mt3x", "mt3"):
        command = [sys.executable, __file__, what, *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        line = done.stdout.strip()
        print(f"{what}: {line}")
        found.append(
            [float(x) for x in re.findall(r"([\d.]+) (?:per second|ms)", line)]
        )
    (rate, cpu_ms), (mt3_rate, mt3_cpu_ms) = found
    print(f"ratio {rate / mt3_rate:.1f}, by CPU time {mt3_cpu_ms / cpu_ms:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["write", "compare", "mt3x", "mt3"])
    parser.add_argument("records", type=Path)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--form", choices=["mt3", "flac", "wav"], default="mt3")
    parser.add_argument("--no-spectrograms", action="store_true")
    parser.add_argument("--cached", action="store_true")
    options = parser.parse_args()
    if options.what == "write":
        write(options.records, options.number)
    elif options.what == "compare":
        compare(sys.argv[2:])
    elif options.what == "mt3x":
        dataset = mt3x_dataset(options.records / options.form, options.cached)
        measure(dataset, options.seconds)
    else:
        spectrograms = not options.no_spectrograms
        dataset = mt3_dataset(options.records, spectrograms, options.cached)
        measure(dataset, options.seconds)


if __name__ == "__main__":
    main()
