"""Batches: pure functions of seed and step whose labels fit their audio."""

from dataclasses import fields, replace

import numpy as np
import pytest
from toy_corpus import PLAIN, write

from mt3x.data.augment import AugmentConfig
from mt3x.data.batches import BatchConfig, CorpusBatches
from mt3x.data.corpus import Corpus, CorpusWriter
from mt3x.music.notes import Notes
from mt3x.music.performance import Performance
from mt3x.music.rolls import RollLabelConfig


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return [write(folder / "a", 40), write(folder / "b", 70)]


def test_shapes_and_types(corpora):
    batch = CorpusBatches(corpora, config=replace(PLAIN, batch_size=2)).batch(0)
    assert {key: array.shape for key, array in batch.items()} == {
        "samples": (2, 16000),
        "onset": (2, 50, 88),
        "frame": (2, 50, 88),
        "offset": (2, 50, 88),
        "velocity": (2, 50, 88),
    }
    assert {array.dtype for array in batch.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("detune_prob", [0.0, 1.0])
def test_targets_of_keys_and_pedal(tmp_path, detune_prob):
    """A key is up 0.2 s after its onset, and its note sounds as long as the pedal."""
    keys = Notes(np.arange(8) / 2, np.arange(8) / 2 + 0.2, np.full(8, 60))
    pedal_s = np.array([[0.1, 0.4], [2.1, 2.4], [3.1, 3.4]])
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add("a", np.zeros(4 * 16000, np.int16), Performance(keys, pedal_s))
    config = replace(PLAIN, pedal=True, detune_prob=detune_prob)
    batches = CorpusBatches([Corpus(tmp_path / "c")], config=config)
    num_down = 0
    for step in range(4):
        batch = batches.batch(step)
        assert batch["key"].shape == (3, 50, 88) and batch["pedal"].shape == (3, 50, 3)
        assert batch["pedal"].dtype == np.float32
        held, sounds = batch["key"][..., 39], batch["frame"][..., 39]
        down = batch["pedal"][..., 0]
        assert held.any() and (sounds >= held).all()
        # The frames at its edges are rounded.
        assert (np.abs(sounds - held - down * (1 - held)).sum(axis=1) <= 4).all()
        num_down += down.any()
    assert num_down


def test_pedal_needs_corpora_of_performances(corpora):
    with pytest.raises(ValueError, match="a: when keys and pedal are released"):
        CorpusBatches(corpora, config=replace(PLAIN, pedal=True))


@pytest.mark.parametrize(
    "config", [PLAIN, replace(PLAIN, detune_prob=1.0, max_detune_semitones=6.0)]
)
def test_labels_fit_the_audio(corpora, config):
    """Bursts in the audio and ones in the frame roll, also where time is scaled."""
    batches = CorpusBatches(corpora, config=config)
    for step in range(8):
        batch = batches.batch(step)
        # Frame t lies at t * hop: from half a hop before it to half a hop after.
        blocks_BxTxS = batch["samples"][:, 160:-160].reshape(3, 49, 320)
        level_BxT = np.abs(blocks_BxTxS).mean(axis=2)
        sounding_BxT = batch["frame"].any(axis=2)[:, 1:]
        around_BxT = sounding_BxT[:, :-2] | sounding_BxT[:, 1:-1] | sounding_BxT[:, 2:]
        assert (level_BxT[:, 1:-1][~around_BxT] < 0.001).all()
        inside = sounding_BxT[:, :-2] & sounding_BxT[:, 1:-1] & sounding_BxT[:, 2:]
        assert inside.any() and (level_BxT[:, 1:-1][inside] > 0.1).all()
        assert set(np.unique(batch["velocity"])) <= {0.0, 0.5}


def test_a_step_is_the_same_again(corpora):
    config = BatchConfig(batch_size=2, clip_samples=16000)
    once, again = (CorpusBatches(corpora, config=config, seed=7) for _ in range(2))
    once.batch(0)
    for key, array in once.batch(5).items():
        np.testing.assert_array_equal(array, again.batch(5)[key])
    other = CorpusBatches(corpora, config=config, seed=8).batch(5)
    assert (other["samples"] != once.batch(5)["samples"]).any()
    assert (once.batch(6)["samples"] != once.batch(5)["samples"]).any()


def test_batch_size_does_not_change_examples(corpora):
    small = CorpusBatches(corpora, config=replace(PLAIN, batch_size=1)).batch(3)
    large = CorpusBatches(corpora, config=PLAIN).batch(3)
    np.testing.assert_array_equal(small["samples"][0], large["samples"][0])


def test_processes_share_a_batch(corpora):
    """Their parts, one behind the other, are the batch of one process."""
    config = replace(PLAIN, batch_size=6, noise_only_prob=0.2)
    whole = CorpusBatches(corpora, config=config)
    assert len(whole.ids(0)) == 6
    parts = [CorpusBatches(corpora, config=config, shard=(n, 3)) for n in range(3)]
    for step in (0, 7):
        batch = whole.batch(step)
        for name, array in batch.items():
            made = np.concatenate([part.batch(step)[name] for part in parts])
            np.testing.assert_array_equal(made, array)
        assert [id for part in parts for id in part.ids(step)] == whole.ids(step)
    with pytest.raises(ValueError, match=r"6 does not divide over 4 .* multiple of 4"):
        CorpusBatches(corpora, config=config, shard=(0, 4))


def test_ids_say_where_clips_come_from(tmp_path):
    """By sound that says where it is in its piece."""
    for name in ("a", "b"):
        with CorpusWriter(tmp_path / name) as writer:
            for number in range(2):
                samples_S = np.arange(64000) // 16 + 8000 * number
                samples_S = samples_S.astype(np.int16)
                writer.add(f"piece{number}", samples_S, Notes.empty())
    corpora = [Corpus(tmp_path / name) for name in ("a", "b")]
    config = replace(PLAIN, batch_size=8, noise_only_prob=0.3, detune_prob=0.5)
    batches = CorpusBatches(corpora, config=config)
    seen = set()
    for step in range(3):
        samples_BxS = batches.batch(step)["samples"]
        for samples_S, id in zip(samples_BxS, batches.ids(step), strict=True):
            seen.add(id.split(" at")[0])
            if id == "noise without notes":
                continue
            number, place = divmod(round(float(samples_S[800] * 32768)), 8000)
            assert f"piece{number} at" in id
            start_s = float(id.split()[-2])
            assert start_s + 0.05 == pytest.approx(place / 1000, abs=0.01)
    assert len(seen) == 5


def pitches(batches, steps=60):
    found = [batches.batch(step)["frame"].any(axis=1) for step in range(steps)]
    frame_NxP = np.concatenate(found)
    return frame_NxP[:, 40 - 21].mean(), frame_NxP[:, 70 - 21].mean()


def test_weights_decide_the_corpus(corpora):
    assert pitches(CorpusBatches(corpora, [1, 0], PLAIN), 10)[1] == 0
    low, high = pitches(CorpusBatches(corpora, [1, 3], PLAIN))
    assert low == pytest.approx(0.25, abs=0.1) and high == pytest.approx(0.75, abs=0.1)


def test_short_pieces_are_padded(tmp_path):
    corpus = write(tmp_path / "c", 50, seconds=(1,))
    batch = CorpusBatches([corpus], config=replace(PLAIN, clip_samples=32000)).batch(0)
    assert batch["samples"].shape == (3, 32000)
    assert not batch["samples"][:, 16000:].any()
    assert not batch["frame"][:, 50:].any() and batch["frame"][:, :50].any()


def test_noise_only_clips_have_no_labels(corpora):
    for config in (PLAIN, replace(PLAIN, augment=AugmentConfig())):
        config = replace(config, noise_only_prob=1.0, batch_size=8)
        batch = CorpusBatches(corpora, config=config).batch(0)
        assert not any(batch[k].any() for k in ("onset", "frame", "offset", "velocity"))
        assert np.abs(batch["samples"]).max() <= 1
        assert batch["samples"].any()


def test_augmented_clips_keep_their_labels(corpora):
    augmented = replace(PLAIN, augment=AugmentConfig())
    changed = CorpusBatches(corpora, config=augmented).batch(0)
    plain = CorpusBatches(corpora, config=PLAIN).batch(0)
    np.testing.assert_array_equal(changed["onset"], plain["onset"])
    assert (changed["samples"] != plain["samples"]).any()


def test_the_lead_does_not_move_a_clip(corpora):
    """With an augmentation that does nothing, clips are those without one."""
    probs = [f.name for f in fields(AugmentConfig) if f.name.endswith("_prob")]
    nothing = AugmentConfig(**dict.fromkeys(probs, 0.0), gain_db=(0.0, 0.0))
    led = CorpusBatches(corpora, config=replace(PLAIN, augment=nothing))
    plain = CorpusBatches(corpora, config=PLAIN)
    for step in range(4):
        np.testing.assert_allclose(
            led.batch(step)["samples"], plain.batch(step)["samples"], atol=1e-6
        )


def test_faulty_arguments(corpora, tmp_path):
    with pytest.raises(ValueError, match="must hold a piece"):
        CorpusBatches([])
    with pytest.raises(ValueError, match="expected 2 weights"):
        CorpusBatches(corpora, [1.0])
    with pytest.raises(ValueError, match="all weights are 0"):
        CorpusBatches(corpora, [0, 0])
    with pytest.raises(ValueError, match="multiple of hop_samples"):
        BatchConfig(clip_samples=1000)
    with pytest.raises(ValueError, match=r"50\.0 frames/s"):
        labels = RollLabelConfig(frame_rate_hz=100.0)
        CorpusBatches(corpora, config=replace(PLAIN, labels=labels))
    other = write(tmp_path / "c", 50, rate_hz=8000)
    with pytest.raises(ValueError, match="different sample rates"):
        CorpusBatches([corpora[0], other])
