"""Batches of clips with moods: reproducible, in range, hidden at times."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mt3x.data.mood_batches import MoodBatches, MoodDataConfig
from mt3x.data.mood_pieces import MoodPiece, write_moods
from mt3x.music.event_stream import EventStream
from mt3x.music.notes import Notes
from mt3x.music.vocabulary import EOS_ID

STREAM = EventStream()
GENERATOR = SimpleNamespace(model=SimpleNamespace(stream=STREAM))
CONFIG = MoodDataConfig(batch_size=4, num_tokens=64, anneal_steps=10)


def clip(number, num_notes=30, split="train"):
    onset_s = 2 + 0.25 * np.arange(num_notes)
    notes = Notes(onset_s, onset_s + 0.2, 40 + (7 * np.arange(num_notes)) % 30)
    valence = np.nan if number == 0 else number / 10
    return MoodPiece(notes, valence, -0.5, f"piece {number}", "a", split)


@pytest.fixture(scope="module")
def batches():
    return MoodBatches([[clip(n) for n in range(5)]], CONFIG, STREAM)


def test_batches_are_a_function_of_the_step(batches):
    first, again, next_one = (batches.batch(step) for step in (3, 3, 4))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(first["tokens"], next_one["tokens"])
    assert {name: (x.shape, x.dtype.name) for name, x in first.items()} == {
        "tokens": ((4, 64), "int32"),
        "mood": ((4, 2), "float32"),
        "progress": ((4,), "float32"),
    }


def test_processes_share_a_batch(batches):
    parts = [
        MoodBatches([[clip(n) for n in range(5)]], CONFIG, STREAM, (n, 2))
        for n in range(2)
    ]
    whole = batches.batch(1)
    for name, array in whole.items():
        joined = np.concatenate([part.batch(1)[name] for part in parts])
        np.testing.assert_array_equal(joined, array)
    assert [name for part in parts for name in part.ids(1)] == batches.ids(1)


def test_progress_ends_at_one(batches):
    assert [float(batches.batch(n)["progress"][0]) for n in (0, 5, 10, 20)] == [
        0,
        0.5,
        1,
        1,
    ]


def test_tokens_are_music_from_its_first_note(batches):
    for tokens_T in batches.batch(0)["tokens"]:
        notes = STREAM.decode(tokens_T)
        assert notes.onset_s[0] == 0
        assert 10 <= len(notes) <= 30
        length = np.diff(notes.onset_s).mean()
        assert 0.25 * 0.94 < length < 0.25 * 1.06


def test_clips_are_transposed_within_the_keys():
    high = replace(clip(1), notes=Notes([0], [1], [108]))
    found = MoodBatches([[high]], CONFIG, STREAM)
    pitches = {
        int(STREAM.decode(tokens_T).pitch[0])
        for step in range(12)
        for tokens_T in found.batch(step)["tokens"]
    }
    assert pitches == {105, 106, 107, 108}


def test_moods_are_hidden_at_times():
    config = replace(CONFIG, hidden_mood_prob=0.5)
    batches = MoodBatches([[clip(3)]], config, STREAM)
    moods = np.concatenate([batches.batch(step)["mood"] for step in range(30)])
    hidden = np.isnan(moods).all(axis=1)
    assert 30 < hidden.sum() < 90
    np.testing.assert_allclose(moods[~hidden][0], [0.3, -0.5], rtol=1e-6)


def test_a_clip_of_no_notes_is_padding():
    empty = replace(clip(1), notes=Notes([], [], []))
    found = MoodBatches([[empty]], CONFIG, STREAM).batch(0)
    assert (found["tokens"][:, 0] == EOS_ID).all()
    assert (found["tokens"][:, 1:] == 0).all()


def test_validation_clips_are_as_they_are(tmp_path):
    path = str(tmp_path / "moods.npz")
    write_moods(path, [clip(1), clip(2, num_notes=10, split="validation")])
    config = replace(CONFIG, moods=(path,), hidden_mood_prob=1.0)
    found = config.validation_batches(GENERATOR).batch(0)
    notes = clip(2, num_notes=10).notes
    want = STREAM.encode(notes.shift(-2.0))
    np.testing.assert_array_equal(found["tokens"][0, : len(want)], want)
    np.testing.assert_allclose(found["mood"], [[0.2, -0.5]] * 4, rtol=1e-6)
    assert set(config.make_batches(GENERATOR).ids(0)) == {"piece 1"}


def test_what_is_drawn_follows_the_weights(tmp_path):
    paths = [str(tmp_path / f"{n}.npz") for n in range(2)]
    for n, path in enumerate(paths):
        write_moods(path, [clip(n + 1)])
    config = replace(CONFIG, moods=tuple(paths), weights=(0.0, 1.0))
    assert set(config.make_batches(GENERATOR).ids(0)) == {"piece 2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"moods": ("a",), "weights": (1.0, 2.0)}, "2 weights for 1 files"),
        ({"hidden_mood_prob": 2.0}, "hidden_mood_prob=2.0"),
        ({"num_tokens": 0}, "num_tokens=0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MoodDataConfig(**options)


def test_no_files_are_refused():
    with pytest.raises(ValueError, match=r"set MoodDataConfig\.moods"):
        MoodDataConfig().make_batches(GENERATOR)
