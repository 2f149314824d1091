"""Records to examples: the same frames and tokens as MT3's own preprocessors."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mt3x import preprocessors
from mt3x.multitrack import URMP_PROGRAMS
from mt3x.pieces import RecordLayout
from mt3x.tokens import Tokenizer, TokenizerConfig, VocabConfig

GOLDEN = Path(__file__).parent / "golden"


def layouts():
    from mt3x.instruments import SLAKH_PROGRAMS

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


def check_chunks(expected, tokenizer):
    """Reads each record and compares the chunks' frames and tokens, and their mix."""
    mixed = []
    for name, layout in layouts().items():
        record = expected[f"{name}/record"].tobytes()
        dataset = tf.data.Dataset.from_tensors(record)
        dataset = dataset.map(preprocessors.parse_record(layout))
        dataset = preprocessors.read_pieces(
            dataset, layout, 16000, 128, trim=name == "slakh"
        )
        dataset = preprocessors.split_into_blocks(dataset, 125.0)
        blocks = list(dataset.as_numpy_iterator())
        assert blocks[0]["num_frames"] == expected[f"{name}/num_frames"]
        for number, (first, end) in enumerate(expected[f"{name}/chunks"].tolist()):
            block = blocks[first // preprocessors.BLOCK_FRAMES]
            begin = first - block["first_frame"]
            chunk = {
                **block,
                "inputs": block["inputs"][begin : begin + end - first],
                "first_frame": np.int32(first),
            }
            tokenized = preprocessors.tokenize(
                tf.data.Dataset.from_tensors(chunk), tokenizer, 125.0
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


def test_chunks_are_mt3s():
    """All record layouts, against what MT3 made of the same records."""
    expected = dict(np.load(GOLDEN / "mt3_chunks.npz"))
    check_chunks(expected, Tokenizer(TokenizerConfig(mt3_ties=True)))


@pytest.mark.parametrize("num_velocity_bins", [1, 127])
def test_chunks_are_mt3s_live(num_velocity_bins, monkeypatch):
    pytest.importorskip("mt3.preprocessors", reason="the mt3 package is not installed")
    monkeypatch.syspath_prepend(GOLDEN)
    from make_mt3_chunks import make

    expected = make(1, noise=0.1, num_velocity_bins=num_velocity_bins)
    vocab = VocabConfig(num_velocity_bins=num_velocity_bins)
    check_chunks(expected, Tokenizer(TokenizerConfig(vocab=vocab, mt3_ties=True)))
