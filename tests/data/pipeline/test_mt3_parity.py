"""Records to examples: the same frames and tokens as MT3's own preprocessors."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import seqio
import tensorflow as tf

from mt3x.data.pipeline import steps
from mt3x.data.pipeline.record_format import RecordLayout, parse_record
from mt3x.data.published.urmp import URMP_PROGRAMS
from mt3x.music.instruments import SLAKH_PROGRAMS
from mt3x.music.notes import Notes
from mt3x.music.tokens import Tokenizer
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def layouts():
    slakh = {name: (program, False) for name, program in SLAKH_PROGRAMS.items()}
    return {
        "maestro": RecordLayout(),
        "guitarset": RecordLayout(instruments={"": (24, False)}),
        "urmp": RecordLayout(
            sequences="instrument_sequences",
            names="inst_names",
            instruments={name: (p, False) for name, p in URMP_PROGRAMS.items()},
        ),
        "musicnet": RecordLayout(sample_rate="sample_rate", rate_is_float=True),
        "slakh": RecordLayout(
            audio="mix",
            sample_rate="audio_sample_rate",
            sequences="note_sequences",
            names="inst_names",
            id="track_id",
            instruments=slakh | {"Drums": (0, True)},
        ),
    }


def check_segments(expected, tokenizer):
    """Read each record and compare the segments' frames and tokens, and their mix."""
    mixed = []
    for name, layout in layouts().items():
        record = expected[f"{name}/record"].tobytes()
        dataset = tf.data.Dataset.from_tensors(record)
        dataset = dataset.map(parse_record(layout))
        dataset = steps.read_pieces(dataset, layout, 16000, 128, trim=name == "slakh")
        dataset = steps.split_into_blocks(dataset, 125.0)
        blocks = list(dataset.as_numpy_iterator())
        assert blocks[0]["num_frames"] == expected[f"{name}/num_frames"]
        for number, (first, end) in enumerate(expected[f"{name}/chunks"].tolist()):
            block = blocks[first // steps.BLOCK_FRAMES]
            begin = first - block["first_frame"]
            segment = {
                **block,
                "inputs": block["inputs"][begin : begin + end - first],
                "first_frame": np.int32(first),
            }
            tokenized = steps.tokenize(
                tf.data.Dataset.from_tensors(segment), tokenizer, 125.0
            )
            (example,) = tokenized.as_numpy_iterator()
            np.testing.assert_array_equal(
                example["targets"], expected[f"{name}/ids/{number}"], f"{name} {first}"
            )
            frames = expected.get(f"{name}/frames/{number}")
            if frames is not None:
                np.testing.assert_array_equal(example["inputs"], frames)
        mixed.append(example["targets"])
    merged = tokenizer.merge(mixed[1:])
    np.testing.assert_array_equal(merged, expected["mixed/ids"])


def test_segments_are_mt3s():
    """All record layouts, against what MT3 made of the same records."""
    expected = dict(np.load(GOLDEN / "mt3_chunks.npz"))
    check_segments(expected, Tokenizer(TokenizerConfig(mt3_ties=True)))


@pytest.mark.filterwarnings("ignore")  # MT3's own
@pytest.mark.parametrize("num_velocity_bins", [1, 127])
def test_segments_are_mt3s_live(num_velocity_bins, monkeypatch):
    pytest.importorskip("mt3.preprocessors", reason="the mt3 package is not installed")
    monkeypatch.syspath_prepend(GOLDEN)
    from make_mt3_chunks import make

    expected = make(1, noise=0.1, num_velocity_bins=num_velocity_bins)
    vocab = VocabConfig(num_velocity_bins=num_velocity_bins)
    check_segments(expected, Tokenizer(TokenizerConfig(vocab=vocab, mt3_ties=True)))


@pytest.mark.parametrize("seed", range(20))
def test_block_notes_give_the_tokens_of_all_notes(seed):
    rng = np.random.default_rng(seed)
    number = 120 if seed < 10 else 8
    onset_s = rng.uniform(0, 60, number)
    notes = Notes(
        onset_s,
        onset_s + rng.choice([0.0, 0.1, 3.0, 30.0], number),
        rng.integers(60, 64, number),
        program=rng.integers(0, 2, number),
        is_drum=rng.random(number) < 0.2,
    )
    num_frames = 5000
    tokenizer = Tokenizer(TokenizerConfig(mt3_ties=bool(seed % 2)))
    events = tokenizer.events(notes, num_frames, 125.0)
    for block in range(0, num_frames, steps.BLOCK_FRAMES):
        kept = steps.block_notes(notes, block, num_frames, 125.0)
        assert len(kept) < len(notes) or number < 10
        of_block = tokenizer.events(kept, num_frames, 125.0)
        end = min(block + steps.BLOCK_FRAMES, num_frames)
        for first in [block, *rng.integers(block, end, 5).tolist(), end - 1]:
            length = min(256, end - first)
            of_segment = tokenizer.events(
                steps.block_notes(kept, first, num_frames, 125.0, length),
                num_frames,
            )
            expected = tokenizer.segment(events, first, length)
            for found in (of_block, of_segment):
                ids = tokenizer.segment(found, first, length)
                np.testing.assert_array_equal(ids, expected)


def test_block_notes_of_nothing():
    assert len(steps.block_notes(Notes.empty(), 0, 10, 125.0)) == 0


def examples(number, rng):
    """Segments of different lengths with tokens of a note or two."""
    tokenizer = Tokenizer(TokenizerConfig())
    for index in range(number):
        length = int(rng.integers(20, 40))
        onset_s = rng.uniform(0, 0.1, 2)
        notes = Notes(onset_s, onset_s + 0.05, [40 + index % 60, 100], program=[1, 2])
        events = tokenizer.events(notes, length)
        yield {
            "inputs": rng.standard_normal((length, 4)).astype(np.float32),
            "targets": tokenizer.segment(events, 0, length),
            "id": f"example{index}",
        }


def segment_dataset(made):
    signature = {
        "inputs": tf.TensorSpec([None, 4], tf.float32),
        "targets": tf.TensorSpec([None], tf.int32),
        "id": tf.TensorSpec([], tf.string),
    }
    return tf.data.Dataset.from_generator(
        lambda: ({"id": "", **example} for example in made), output_signature=signature
    )


def test_mixes_are_exact_sums_of_1_to_n_examples(rng):
    """Whose audio is added, by its tokens, which are the merged ones."""
    made = list(examples(60, rng))
    tokenizer = Tokenizer(TokenizerConfig())
    with seqio.utils.map_seed_manager(5):
        dataset = steps.mix_examples(segment_dataset(made), tokenizer, 3)
    mixes = list(dataset.as_numpy_iterator())
    first_pitch = tokenizer.codec.ranges["pitch"][0]
    sizes = []
    for mix in mixes:
        heard = mix["targets"] - first_pitch
        parts = [e for i, e in enumerate(made) if 40 + i % 60 in heard.tolist()]
        sizes.append(len(parts))
        ids = {part["id"] for part in parts}
        assert set(mix["id"].decode().split(" + ")) == ids
        length = max(len(part["inputs"]) for part in parts)
        sum_TxW = np.zeros((length, 4), np.float32)
        for part in parts:
            sum_TxW[: len(part["inputs"])] += part["inputs"]
        peak = np.abs(sum_TxW).max()
        np.testing.assert_allclose(mix["inputs"], sum_TxW / peak, rtol=1e-5, atol=1e-6)
        orders = [
            tokenizer.merge([part["targets"] for part in order])
            for order in itertools.permutations(parts)
        ]
        assert any(np.array_equal(mix["targets"], order) for order in orders)
    assert sum(sizes) == 60 and set(sizes) == {1, 2, 3}


def test_silence_stays_silence(rng):
    made = [{"inputs": np.zeros((5, 4), np.float32), "targets": np.zeros(0, np.int32)}]
    with seqio.utils.map_seed_manager(5):
        dataset = steps.mix_examples(
            segment_dataset(made), Tokenizer(TokenizerConfig(use_ties=False)), 1
        )
    (mix,) = dataset.as_numpy_iterator()
    assert not mix["inputs"].any() and len(mix["targets"]) == 0


def test_too_long_is_left_out_or_refused():
    made = [
        {
            "inputs": np.zeros((2, 4), np.float32),
            "targets": np.arange(n, dtype=np.int32),
        }
        for n in (5, 8, 7)
    ]
    lengths = {"inputs": 2, "targets": 8}
    dataset = steps.drop_or_refuse_too_long(segment_dataset(made), lengths, skip=True)
    kept = [len(e["targets"]) for e in dataset.as_numpy_iterator()]
    assert kept == [5, 7]  # and EOS
    dataset = steps.drop_or_refuse_too_long(segment_dataset(made), lengths, skip=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 7 tokens"):
        list(dataset)


def test_segments_cover_every_frame_alike():
    block = {
        "inputs": np.arange(50, dtype=np.float32)[:, None],
        "first_frame": np.int32(100),
    }
    dataset = tf.data.Dataset.from_tensors(block).repeat(2000)
    with seqio.utils.map_seed_manager(1):
        dataset = steps.random_segments(dataset, {"inputs": 20})
    counts = np.zeros(50)
    for segment in dataset.as_numpy_iterator():
        inside = segment["inputs"][:, 0].astype(int)
        assert segment["first_frame"] == 100 + inside[0] and 1 <= len(inside) <= 20
        counts[inside] += 1
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()
