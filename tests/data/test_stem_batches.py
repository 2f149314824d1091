"""Mixes of stems: what they are made of, labels that fit, the seed that decides."""

import numpy as np
import pytest

from mt3x.data.augment import AugmentConfig
from mt3x.data.corpus import Corpus, CorpusWriter
from mt3x.data.stem_batches import MixConfig, StemBatches
from mt3x.music.instrument_classes import CLASS_OF_PROGRAM
from mt3x.music.notes import Notes

RATE_HZ = 16000
CLEAN = AugmentConfig(
    **{name: 0.0 for name in vars(AugmentConfig()) if name.endswith("_prob")}
)
PLAIN = MixConfig(
    clip_samples=16 * 512,
    augment=CLEAN,
    detune_prob=0.0,
    shift_prob=0.0,
    noise_only_prob=0.0,
    drums_prob=0.0,
    colour_prob=0.0,
)
SAX, VIOLIN = 65, 40


def _write(folder, stems):
    """Write stems (program, is_drum, group, pitch, level) of 4 s: a note a second."""
    with CorpusWriter(folder, RATE_HZ) as writer:
        for number, (program, is_drum, group, pitch, level) in enumerate(stems):
            onset_s = np.arange(0.2, 3.5, 1.0)
            samples_S = np.zeros(4 * RATE_HZ, np.int16)
            for start_s in onset_s:
                start = round(start_s * RATE_HZ)
                samples_S[start : start + RATE_HZ // 2] = level
            notes = Notes(onset_s, onset_s + 0.5, np.full(4, pitch), np.full(4, 80))
            info = {"program": program, "is_drum": is_drum, "group": group}
            writer.add(str(number), samples_S, notes, info)
    return Corpus(folder)


@pytest.fixture
def corpus(tmp_path):
    return _write(
        tmp_path / "stems",
        [
            (SAX, False, "a", 60, 8000),
            (VIOLIN, False, "a", 64, 4000),
            (0, True, "a", 36, 9000),
            (VIOLIN, False, "b", 70, 4000),
        ],
    )


def _config(**changes):
    return MixConfig(**{**vars(PLAIN), **changes})


def test_shapes_and_types(corpus):
    batch = StemBatches([corpus], PLAIN).batch(0)
    frames = {"onset", "frame", "offset", "velocity", "classes", "parts"}
    assert all(batch[name].shape == (2, 16, 88) for name in frames)
    assert batch["samples"].shape == (2, 16 * 512)
    assert batch["drums"].shape == batch["drum_velocity"].shape == (2, 64, 8)
    assert batch["classes"].dtype == np.int32 and batch["parts"].dtype == np.int8


def test_the_seed_and_the_step_decide(corpus):
    one, other = StemBatches([corpus], PLAIN, 1), StemBatches([corpus], PLAIN, 2)
    batch = one.batch(3)
    for key, value in StemBatches([corpus], PLAIN, 1).batch(3).items():
        np.testing.assert_array_equal(value, batch[key])
    assert not np.array_equal(one.batch(4)["samples"], batch["samples"])
    assert not np.array_equal(other.batch(3)["samples"], batch["samples"])


def test_processes_make_parts_of_one_batch(corpus):
    config = _config(batch_size=4)
    whole = StemBatches([corpus], config).batch(5)
    halves = [StemBatches([corpus], config, shard=(n, 2)).batch(5) for n in range(2)]
    for key, value in whole.items():
        np.testing.assert_array_equal(
            value, np.concatenate([half[key] for half in halves])
        )


def test_one_song_is_heard_in_time(corpus):
    config = _config(num_stems=(0, 0, 1), same_song_prob=1.0, batch_size=1)
    batches = StemBatches([corpus], config)
    for step in range(6):
        batch = batches.batch(step)
        assert set(batches.ids(step)[0].split(" + ")) == {"0", "1"}
        frame_TxP = batch["frame"][0]
        np.testing.assert_array_equal(frame_TxP[:, 60 - 21], frame_TxP[:, 64 - 21])
        bits = batch["classes"][0]
        assert set(np.unique(bits[:, 60 - 21])) <= {0, 1 << CLASS_OF_PROGRAM[SAX]}
        assert set(np.unique(bits[:, 64 - 21])) <= {0, 1 << CLASS_OF_PROGRAM[VIOLIN]}
        parts = batch["parts"][0]
        heard = [set(np.unique(parts[:, key - 21])) - {0} for key in (60, 64)]
        assert sorted(map(sorted, heard)) == [[1], [2]]


def test_classes_are_where_notes_are(corpus):
    batches = StemBatches([corpus], _config(num_stems=(0, 1, 1, 1)))
    for step in range(8):
        batch = batches.batch(step)
        np.testing.assert_array_equal(batch["classes"] > 0, batch["frame"] > 0)
        assert (batch["parts"][batch["frame"] == 0] == 0).all()


def test_sound_and_labels_agree(corpus):
    config = _config(num_stems=(0, 1), batch_size=1)
    for step in range(6):
        batch = StemBatches([corpus], config).batch(step)
        loud = np.abs(batch["samples"][0]).reshape(16, 512).max(axis=1) > 1e-3
        sounding = batch["frame"][0].any(axis=1)
        # Frame t is centred on sample 512 t: an edge may lie in either.
        assert np.sum(loud != sounding) <= 4


def test_unisons_have_both_classes_and_no_part(tmp_path):
    stems = [(SAX, False, "a", 60, 8000), (VIOLIN, False, "a", 60, 8000)]
    corpus = _write(tmp_path / "unison", stems)
    config = _config(num_stems=(0, 0, 1), same_song_prob=1.0, batch_size=1)
    batch = StemBatches([corpus], config).batch(0)
    both = (1 << CLASS_OF_PROGRAM[SAX]) | (1 << CLASS_OF_PROGRAM[VIOLIN])
    assert set(np.unique(batch["classes"])) == {0, both}
    assert not batch["parts"].any()


def test_drums_are_apart(corpus):
    config = _config(num_stems=(1.0,), batch_size=1)
    batches = StemBatches([corpus], config)
    batch = batches.batch(1)
    assert batches.ids(1) == ["2"]
    assert not batch["frame"].any()
    assert batch["drums"][0, :, 0].max() > 0.6 and not batch["drums"][0, :, 1:].any()
    step = batch["drums"][0, :, 0].argmax()
    assert batch["drum_velocity"][0, step, 0] == pytest.approx(80 / 128)
    loud = np.abs(batch["samples"][0]) > 1e-3
    assert abs(int(loud.argmax()) / 128 - step) <= 2 or loud[0]


def test_stems_are_coloured_by_themselves(corpus):
    plain = StemBatches([corpus], _config(num_stems=(0, 1), batch_size=1)).batch(0)
    config = _config(num_stems=(0, 1), batch_size=1, colour_prob=1.0)
    batch = StemBatches([corpus], config).batch(0)
    assert not np.array_equal(batch["samples"], plain["samples"])
    np.testing.assert_array_equal(batch["frame"], plain["frame"])


def test_shifted_clips_have_shifted_labels(corpus):
    config = _config(num_stems=(0, 1), shift_prob=1.0, batch_size=1)
    found = set()
    batches = StemBatches([corpus], config)
    for step in range(200):
        rolls = batches.batch(step)
        found |= set((np.flatnonzero(rolls["frame"][0].any(axis=0)) + 21).tolist())
    assert found == {p + d for p in (60, 64, 70) for d in range(-3, 4)}


def test_pianos_of_other_corpora_are_pianos(tmp_path):
    with CorpusWriter(tmp_path / "piano", RATE_HZ) as writer:
        notes = Notes(np.array([0.5]), np.array([1.0]), np.array([60]), np.array([80]))
        writer.add("p", np.full(2 * RATE_HZ, 9000, np.int16), notes)
    batches = StemBatches([Corpus(tmp_path / "piano")], _config(num_stems=(0, 1)))
    assert set(np.unique(batches.batch(0)["classes"])) == {0, 1}


def test_classes_are_weighted(corpus):
    weights = {"saxophone": 1e6}
    config = _config(num_stems=(0, 1), class_weights=weights, batch_size=1)
    batches = StemBatches([corpus], config)
    assert {batches.ids(step)[0] for step in range(20)} == {"0"}


def test_what_cannot_be_mixed(corpus, tmp_path):
    drums = _write(tmp_path / "drums", [(0, True, "a", 36, 9000)])
    with pytest.raises(ValueError, match="no pitched stems"):
        StemBatches([drums])
    with pytest.raises(ValueError, match="labels want"):
        StemBatches([corpus], _config(hop_samples=256))
    with pytest.raises(ValueError, match="clip_samples must be a multiple"):
        MixConfig(clip_samples=1000)
    with pytest.raises(ValueError, match="no class is called 'Piano'"):
        MixConfig(class_weights={"Piano": 2.0})
    with pytest.raises(ValueError, match="num_stems needs"):
        MixConfig(num_stems=(0.0,))
