"""Token tasks with rolls: of the same segment, of all that is heard in it."""

import itertools
import json

import mt3x.tasks  # noqa: F401
import numpy as np
import pytest
import seqio
import tensorflow as tf

from mt3x.data.pieces import Piece
from mt3x.data.pipeline import TaskBatches, TrainOptions, steps
from mt3x.data.pipeline.converters import TokensFeatureConverter
from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE
from mt3x.data.pipeline.record_format import ROLL_NOTES, encode_piece, pack_notes
from mt3x.data.pipeline.roll_targets import add_roll_notes, draw_rolls
from mt3x.music.notes import Notes
from mt3x.music.rolls import (
    ROLL_NAMES,
    RollLabelConfig,
    notes_to_rolls,
    on_one_keyboard,
)
from mt3x.music.tokens import Tokenizer, trim_overlaps
from mt3x.music.vocabulary import TokenizerConfig

TASK = "slakh_notes_ties_vb1_train"
NUM_FRAMES = 2250  # of a piece: two blocks
LABELS = RollLabelConfig(frame_rate_hz=125.0)
SOFT = RollLabelConfig(frame_rate_hz=125.0, onset_radius_frames=2.0)


def piece(number):
    """Each frame's first sample says which piece and frame it is."""
    rng = np.random.default_rng(number)
    onset_s = rng.uniform(-0.2, 18, 400).clip(0)
    notes = Notes(
        onset_s,
        onset_s + rng.choice([0.05, 0.2, 3.0], 400),
        rng.integers(40, 60, 400),
        rng.integers(1, 128, 400),
        rng.choice([0, 26, 33], 400),
        rng.random(400) < 0.2,
    )
    samples_S = np.zeros(NUM_FRAMES * 128 - 5, np.float32)
    samples_S[::128] = (np.arange(NUM_FRAMES) + 1 + 4000 * number) / 32768
    return Piece(f"piece{number}", samples_S, 16000, notes)


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for name in ("slakh", "cerberus4"):
        (folder / name).mkdir()
        for split, number in itertools.product(("train", "validation"), range(2)):
            path = folder / name / f"{split}-0000{number}-of-00002.tfrecord"
            with tf.io.TFRecordWriter(str(path)) as writer:
                writer.write(encode_piece(piece(number), "WAV"))
        counts = {"splits": {"train": {"blocks": 4}}}
        (folder / name / "manifest.json").write_text(json.dumps(counts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_DIR_VARIABLE, str(folder))
        yield folder


def make(labels, task=TASK, length=200, **options):
    options = TrainOptions(labels=labels, **options)
    return TaskBatches(task, 4, length, 256, options=options, shuffle_buffer=8)


def place(frames_TxW):
    """Return number of the piece and first frame."""
    return divmod(int(np.rint(frames_TxW[0, 0] * 32768)) - 1, 4000)


def check_rolls(batch, row, labels):
    """Compare a row's rolls with its piece's; return the frames of padding."""
    number, first = place(batch["encoder_input_tokens"][row])
    length, num_frames = batch["onset"].shape[1], batch["encoder_num_frames"][row]
    notes = trim_overlaps(piece(number).notes).shift(-first / 125)
    heard = notes.offset_s > -(labels.onset_radius_frames + 1) / 125
    notes = on_one_keyboard(notes[heard], 125.0)
    rolls = notes_to_rolls(notes, length, labels)
    # What begins behind the end of a short segment is not heard in it.
    inside = num_frames if num_frames == length else num_frames - 2
    for name in ROLL_NAMES:
        roll_TxP = batch[name][row]
        expected_TxP = getattr(rolls, f"{name}_TxP")
        np.testing.assert_array_equal(roll_TxP[:inside], expected_TxP[:inside])
        assert not roll_TxP[num_frames:].any()
    return length - num_frames


@pytest.mark.parametrize("labels", [LABELS, SOFT])
def test_rolls_are_those_of_the_segment(labels):
    batches, plain = make(labels), make(None)
    padding = []
    for step in range(4):
        batch = batches.batch(step)
        for name, array in plain.batch(step).items():
            np.testing.assert_array_equal(array, batch[name])
        for name in ROLL_NAMES:
            assert batch[name].shape == (4, 200, 88)
            assert batch[name].dtype == np.float32
        padding += [check_rolls(batch, row, labels) for row in range(4)]
    assert min(padding) == 0 < max(padding)


def test_without_labels_examples_carry_nothing():
    assert not set(ROLL_NAMES) & set(make(None).batch(0))
    dataset = seqio.get_mixture_or_task(TASK).get_dataset(
        {"inputs": 200, "targets": 256}, "train", shuffle=False
    )
    assert ROLL_NOTES not in dataset.element_spec
    with pytest.raises(ValueError, match="no notes to draw rolls of"):
        TokensFeatureConverter(labels=LABELS)(dataset, {"inputs": 200, "targets": 256})


def segments(*places):
    """Of pieces, from a frame on, so many frames of silence."""
    for number, first, length in places:
        yield {
            "inputs": np.zeros((length, 128), np.float32),
            "notes": pack_notes(piece(number).notes),
            "first_frame": first,
            "num_frames": NUM_FRAMES,
            "id": f"piece{number}",
        }


def test_mixes_have_the_rolls_of_all_that_sounds():
    """A part that ends early ends its notes."""
    tokenizer = Tokenizer(TokenizerConfig())
    places = [(0, 500, 100), (1, 1960, 40), (0, 0, 100), (1, 700, 100)]
    signature = {
        "inputs": tf.TensorSpec([None, 128], tf.float32),
        **dict.fromkeys(("notes", "id"), tf.TensorSpec([], tf.string)),
        **dict.fromkeys(("first_frame", "num_frames"), tf.TensorSpec([], tf.int32)),
    }
    dataset = tf.data.Dataset.from_generator(
        lambda: segments(*places), output_signature=signature
    )
    dataset = add_roll_notes(dataset, {"inputs": 100}, LABELS)
    dataset = steps.tokenize(dataset, tokenizer, 125.0)
    seen = set()
    with seqio.utils.map_seed_manager(2):
        dataset = steps.mix_examples(dataset, tokenizer, 2)
    for mix in dataset.as_numpy_iterator():
        parts = mix["id"].decode().split(" + ")
        seen.add(len(parts))
        heard = []
        for part in parts:
            _, name, _, start_s, _ = part.split(" ")
            (place,) = [
                place
                for place in places
                if (f"{place[0]}", f"{place[1] / 125:.2f}") == (name[-1], start_s)
            ]
            notes = piece(place[0]).notes.shift(-place[1] / 125)
            notes = notes[(notes.offset_s > -1 / 125) & ~notes.is_drum]
            if place[2] < 100:
                end_s = place[2] / 125
                notes = notes[notes.onset_s < end_s]
                offset_s = np.minimum(notes.offset_s, end_s)
                notes = Notes(notes.onset_s, offset_s, notes.pitch, notes.velocity)
            heard.append(notes)
        rolls = notes_to_rolls(
            on_one_keyboard(Notes.concatenate(heard), 125.0), 100, LABELS
        )
        drawn = draw_rolls(mix[ROLL_NOTES], len(mix["inputs"]), 100, LABELS)
        for name, roll_TxP in zip(ROLL_NAMES, drawn.numpy(), strict=True):
            expected_TxP = getattr(rolls, f"{name}_TxP")
            expected_TxP[len(mix["inputs"]) :] = 0
            np.testing.assert_array_equal(roll_TxP, expected_TxP)
    assert seen == {1, 2}


def test_mixtures_have_rolls():
    name = "slakh_and_cerberus4_rolls"
    tasks = [TASK, TASK.replace("slakh", "cerberus4")]
    seqio.MixtureRegistry.add(name, tasks, default_rate=1)
    batches = make(LABELS, name)
    seen = set()
    for step in range(3):
        batch, ids = batches.batch(step), batches.ids(step)
        seen |= {id.split()[0] for id in ids}
        for row in range(4):
            check_rolls(batch, row, LABELS)
    assert seen == {"slakh", "cerberus4"}


def test_wrong_rate():
    with pytest.raises(ValueError, match=r"125\.0 frames per second and labels 100"):
        make(RollLabelConfig(frame_rate_hz=100.0)).batch(0)
