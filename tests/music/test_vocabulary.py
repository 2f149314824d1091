"""The vocabulary: MT3's ids, and what is refused."""

import math

import numpy as np
import pytest

from mt3x.music.vocabulary import EVENT_TYPES, Codec, Event, VocabConfig

CONFIGS = [
    VocabConfig(),
    VocabConfig(num_velocity_bins=127),
    VocabConfig(max_shift_steps=204),
    VocabConfig(steps_per_second=1, max_shift_steps=1, num_velocity_bins=5),
]


@pytest.mark.parametrize(
    ("config", "num_classes", "num_embeddings"),
    [
        (VocabConfig(), 1388, 1536),  # the checkpoint mt3
        (VocabConfig(num_velocity_bins=127), 1514, 1664),  # ismir2021
        (VocabConfig(max_shift_steps=204), 592, 768),  # Acoustic-Transformer
    ],
)
def test_sizes(config, num_classes, num_embeddings):
    codec = Codec(config)
    assert codec.num_classes == num_classes
    assert codec.num_ids == 3 + num_classes + 100
    assert codec.num_embeddings == num_embeddings


def test_ids_of_the_default():
    codec = Codec(VocabConfig())
    assert dict(codec.ranges) == {
        "shift": (0, 1000),
        "pitch": (1001, 1128),
        "velocity": (1129, 1130),
        "tie": (1131, 1131),
        "program": (1132, 1259),
        "drum": (1260, 1387),
    }
    assert codec.encode(Event("pitch", 60)) == 1061
    assert codec.decode(1260) == Event("drum", 0)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_id_is_one_event(config):
    codec = Codec(config)
    ids = np.arange(codec.num_classes)
    events = [codec.decode(id) for id in ids]
    assert [codec.encode(event) for event in events] == ids.tolist()
    type_L, value_L = codec.split(ids)
    assert [EVENT_TYPES[type] for type in type_L] == [event.type for event in events]
    assert value_L.tolist() == [event.value for event in events]


@pytest.mark.parametrize("num_bins", [1, 2, 32, 126, 127])
def test_velocity_bins(num_bins):
    codec = Codec(VocabConfig(num_velocity_bins=num_bins))
    velocity = np.arange(128)
    bins = codec.velocity_to_bin(velocity)
    assert bins.tolist() == [math.ceil(num_bins * v / 127) for v in range(128)]
    assert codec.bin_to_velocity(np.arange(num_bins + 1)).tolist() == [
        int(127 * bin / num_bins) for bin in range(num_bins + 1)
    ]
    assert bins[0] == 0 and bins[1:].min() == 1 and bins.max() == num_bins
    # Bins keep what they are.
    assert (codec.velocity_to_bin(codec.bin_to_velocity(bins)) == bins).all()


@pytest.mark.parametrize("id", [-2, -1, 1388, 10**9])
def test_ids_that_do_not_exist(id):
    codec = Codec(VocabConfig())
    with pytest.raises(ValueError, match=f"codec id {id} is unknown; 0 to 1387 exist"):
        codec.decode(id)
    assert codec.split([5, id])[0].tolist() == [0, -1]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Event("pitch", 128), "pitch 128 is not in the vocabulary; 0 to 127 are"),
        (Event("shift", -1), "shift -1 is not"),
        (Event("tie", 1), "0 to 0 are"),
        (Event("pedal", 0), "event type 'pedal' is unknown; shift, pitch, velocity"),
    ],
)
def test_events_that_do_not_exist(event, message):
    with pytest.raises(ValueError, match=message):
        Codec(VocabConfig()).encode(event)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps_per_second": 0}, "steps_per_second is 0; give a whole number"),
        ({"max_shift_steps": 2.5}, r"max_shift_steps is 2\.5"),
        ({"num_velocity_bins": 128}, "num_velocity_bins is 128; .* 127 values"),
    ],
)
def test_bad_configs(options, message):
    with pytest.raises(ValueError, match=message):
        VocabConfig(**options)


def test_parity_with_mt3():
    vocabularies = pytest.importorskip(
        "mt3.vocabularies", reason="MT3 is not installed"
    )
    for options in ({}, {"num_velocity_bins": 1}, {"steps_per_second": 25}):
        theirs_config = vocabularies.VocabularyConfig(**options)
        theirs = vocabularies.build_codec(theirs_config)
        codec = Codec(
            VocabConfig(
                theirs_config.steps_per_second,
                theirs.max_shift_steps,
                theirs_config.num_velocity_bins,
            )
        )
        vocabulary = vocabularies.vocabulary_from_codec(theirs)
        assert codec.num_classes == theirs.num_classes
        assert codec.num_ids == vocabulary.vocab_size
        assert codec.num_embeddings == vocabularies.num_embeddings(vocabulary)
        for type in EVENT_TYPES:
            assert codec.ranges[type] == theirs.event_type_range(type)
