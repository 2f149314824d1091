"""Tokens: parity with MT3 and its golden files."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import token_inputs as inputs
from token_notes import split

from mt3x.music.tokens import Tokenizer, trim_overlaps

GOLDEN = Path(__file__).parents[1] / "golden" / "tokens.npz"
NAMES = pytest.mark.parametrize("name", inputs.CONFIGS)
NUM_RECORDINGS = 60


@pytest.fixture(scope="module")
def mt3():
    """MT3's own code, where it is installed."""
    pytest.importorskip("mt3", reason="MT3 is not installed; golden files stand in")
    import mt3_reference

    return mt3_reference


def all_segments(tokenizer, recordings, spans) -> list[np.ndarray]:
    return [
        tokenizer.segment(tokenizer.events(*recording), *span)
        for recording, of_recording in zip(recordings, spans, strict=True)
        for span in of_recording
    ]


def has_long_shifts(tokenizer, ids) -> bool:
    """Whether a shift takes several tokens, which MT3 can not merge."""
    is_shift = ids <= tokenizer.config.vocab.max_shift_steps
    return bool((is_shift[1:] & is_shift[:-1]).any())


def assert_same_ids(name, ours, theirs):
    assert len(ours) == len(theirs)
    for index, pair in enumerate(zip(ours, theirs, strict=True)):
        assert pair[0].dtype == np.int32
        assert pair[0].tolist() == pair[1].tolist(), f"{name}, {index}"


def assert_same_mixes(name, segments, mixes, theirs):
    tokenizer = Tokenizer(inputs.CONFIGS[name])
    num_compared = 0
    for mix, expected in zip(mixes, theirs, strict=True):
        parts = [segments[index] for index in mix]
        if not any(has_long_shifts(tokenizer, part) for part in parts):
            assert tokenizer.merge(parts).tolist() == expected.tolist(), (name, mix)
            num_compared += 1
    assert num_compared or name == "fine"


@NAMES
def test_golden(name):
    config = inputs.CONFIGS[name]
    tokenizer = Tokenizer(config)
    with np.load(GOLDEN) as file:
        golden = {
            key.removeprefix(name + "/"): file[key]
            for key in file.files
            if key.startswith(name + "/")
        }
    theirs = {
        kind: np.split(golden[kind], np.cumsum(golden[kind + "_lengths"])[:-1])
        for kind in ("segments", "mixes")
    }
    recordings = inputs.recordings(inputs.NUM_GOLDEN)
    spans = inputs.spans(recordings)
    segments = all_segments(tokenizer, recordings, spans)
    assert_same_ids(name, segments, theirs["segments"])
    mixes = inputs.mixes(len(segments), inputs.NUM_GOLDEN)
    assert_same_mixes(name, segments, mixes, theirs["mixes"])
    for seed in range(inputs.NUM_GOLDEN):
        decoded = tokenizer.decode(inputs.random_segments(seed, config))
        assert np.array_equal(astuple(decoded.notes)[:6], golden[f"notes_{seed}"])
        assert (*decoded[1:],) == (*golden[f"counts_{seed}"],)


@NAMES
def test_parity_of_segments_and_mixes(mt3, name):
    config = inputs.CONFIGS[name]
    recordings = inputs.recordings(NUM_RECORDINGS)
    spans = inputs.spans(recordings)
    segments = all_segments(Tokenizer(config), recordings, spans)
    assert_same_ids(name, segments, mt3.segment_ids(recordings, spans, config))
    mixes = inputs.mixes(len(segments), 20)
    theirs = mt3.merged_ids(recordings, spans, mixes, config)
    assert_same_mixes(name, segments, mixes, theirs)


@NAMES
def test_parity_of_decoding(mt3, name):
    """Random ids, and segments of real notes with some ids lost, moved or changed."""
    config = inputs.CONFIGS[name]
    tokenizer = Tokenizer(config)
    for seed in range(NUM_RECORDINGS):
        rng = np.random.default_rng(seed)
        notes, num_frames = inputs.recording(seed)
        step_frames = 125 * 6  # whole steps at any rate
        corrupted = [
            (start_s, inputs.corrupt(ids, tokenizer.codec.num_classes, rng))
            for start_s, ids in split(tokenizer, notes, num_frames, step_frames)
        ]
        for segments in (inputs.random_segments(seed, config), corrupted):
            ours, theirs = tokenizer.decode(segments), mt3.decode(segments, config)
            assert ours.notes.equals(theirs[0]), seed
            assert ours[1:] == theirs[1:], seed


def test_parity_of_trimming(mt3):
    for seed in range(NUM_RECORDINGS):
        notes, _ = inputs.recording(seed)
        assert trim_overlaps(notes).equals(mt3.trim_overlaps(notes)), seed
