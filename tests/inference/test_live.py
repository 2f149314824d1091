"""Live input: blocks of any length, what is final, what is refused."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import SMALL_BAND, SMALL_TOKENS, save_small_weights

from mt3x.inference.live import KeyEvents, LiveTranscriber, LiveWindowConfig
from mt3x.inference.transcriber import Transcriber
from mt3x.music.audio import load_audio
from mt3x.music.metrics import note_scores
from mt3x.music.notes import Notes
from mt3x.music.sonify import sonify

CLIP = Path(__file__).parents[1] / "data" / "prelude.ogg"
RATE = 16000
SHORT = LiveWindowConfig(num_frames=64, context_frames=8, fade_frames=4, hop_frames=16)


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return Transcriber(save_small_weights(path))


@pytest.fixture(scope="module")
def trained():
    return Transcriber()


# As usual, but a quarter of the work.
COARSE = LiveWindowConfig(hop_frames=64)


def music(seconds: float, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(0)
    onset = np.sort(rng.uniform(0, seconds, int(6 * seconds)))
    notes = Notes(onset, onset + 0.4, rng.integers(36, 90, len(onset)))
    samples = sonify(notes, rate, int(seconds * rate))
    return samples + 1e-3 * rng.standard_normal(len(samples)).astype(np.float32)


def listen(transcriber, blocks, rate=RATE) -> Notes:
    live = LiveTranscriber(transcriber, sample_rate_hz=rate, window=SHORT)
    return Notes.concatenate([*map(live.push, blocks), live.finish()])


@pytest.fixture(scope="module")
def whole(transcriber):
    """Samples of some rates, and their notes."""
    samples = {rate: music(2.0, rate) for rate in (RATE, 22050)}
    return {r: (x, listen(transcriber, [x], r)) for r, x in samples.items()}


@settings(max_examples=12)
@given(
    rate=st.sampled_from([RATE, 22050]),
    cuts=st.lists(st.floats(0, 1), max_size=20),
    num_channels=st.integers(1, 2),
)
def test_blocks_of_any_length_give_the_same_notes(
    transcriber, whole, rate, cuts, num_channels
):
    samples_S, notes = whole[rate]
    assert len(notes) > 5
    at = sorted(round(cut * len(samples_S)) for cut in cuts)
    samples_SxC = np.stack([samples_S] * num_channels, axis=1)
    assert listen(transcriber, np.split(samples_SxC, at), rate).equals(notes)


def test_what_is_final_stays(transcriber):
    samples_S = music(4.0)
    live = LiveTranscriber(transcriber, window=SHORT)
    final_s, found, open_notes = 0.0, [], Notes.empty()
    for number, block_S in enumerate(np.split(samples_S, range(320, 64000, 320))):
        ended = live.push(block_S)
        heard_s = (number + 1) / 50
        assert final_s <= live.final_s < heard_s
        assert heard_s - live.final_s < (SHORT.hop_frames + 8 + 4 + 2) / 50 or (
            live.final_s == 0
        )
        # New notes begin, and others end, after what was final before.
        assert (ended.offset_s >= final_s).all()
        known = set(zip(open_notes.onset_s, open_notes.pitch, strict=True))
        now = Notes.concatenate([ended, live.sounding])
        begun = set(zip(now.onset_s, now.pitch, strict=True))
        assert known <= begun
        assert all(onset_s >= final_s for onset_s, _ in begun - known)
        final_s, open_notes = live.final_s, live.sounding
        found.append(ended)
    found.append(live.finish())
    assert len(open_notes) and len(found[-1]) >= len(open_notes)
    assert Notes.concatenate(found).equals(listen(transcriber, [samples_S]))
    assert not len(live.sounding) and not len(live.finish())


def test_short_windows_find_what_whole_recordings_have(trained):
    samples_S = load_audio(CLIP)[: 5 * RATE]
    live = LiveTranscriber(trained, window=COARSE)
    blocks = np.split(samples_S, range(1024, len(samples_S), 1024))
    notes = Notes.concatenate([*map(live.push, blocks), live.finish()])
    assert note_scores(trained(samples_S, RATE), notes).note.f1 > 0.95


def test_the_mirror_image_stands_for_what_was_before(transcriber, monkeypatch):
    live = LiveTranscriber(transcriber, window=SHORT)
    predict, windows = live._model.predict, []

    def kept(window):
        windows.append(window)
        return predict(window)

    monkeypatch.setattr(live._model, "predict", kept)
    samples_S = music(2.0)[: 60 * 320]
    live.push(samples_S)
    assert [window.first_frame for window in windows] == [28 - 64, 44 - 64, 60 - 64]
    *_, last = windows
    assert np.array_equal(last.samples_S[4 * 320 :], samples_S)
    assert np.array_equal(last.samples_S[: 4 * 320], samples_S[4 * 320 : 0 : -1])


@pytest.mark.parametrize(("level", "most"), [(0.0, 0), (1e-5, 0), (1e-3, 1)])
def test_silence_and_noise_have_no_notes(trained, level, most):
    noise_S = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    live = LiveTranscriber(trained, window=COARSE)
    notes = Notes.concatenate([live.push(level * noise_S), live.finish()])
    assert len(notes) <= most


@pytest.mark.parametrize("num_samples", [0, 1, 319, 321, 28 * 320, 76 * 320])
def test_recordings_may_end_at_any_sample(transcriber, num_samples):
    samples_S = music(2.0)[:num_samples]
    notes = listen(transcriber, [[], samples_S, np.zeros((0, 2), np.float32)])
    assert (notes.offset_s <= num_samples / RATE + 0.04).all()


def test_integers_are_the_same_as_floats(transcriber):
    samples_S = (music(1.0) * 32768).astype(np.int16)
    floats_S = samples_S.astype(np.float32) / 32768
    notes = listen(transcriber, [samples_S])
    assert len(notes) and notes.equals(listen(transcriber, [floats_S.tolist()]))


def test_tuning_stretches_times_back(transcriber, tmp_path):
    samples_S, ratio = music(2.0), 2 ** (50 / 1200)
    tuned = Transcriber(save_small_weights(tmp_path / "a.safetensors"), tuning=50)
    notes = listen(transcriber, [samples_S])
    assert listen(tuned, [samples_S], RATE * ratio).equals(notes.stretched(1 / ratio))


def test_memory_does_not_grow(transcriber):
    live = LiveTranscriber(transcriber, sample_rate_hz=48000, window=SHORT)
    block_S = np.full(48000, 1e-6, np.float32)
    live.push(block_S)
    tracemalloc.start()
    for _ in range(120):
        live.push(block_S)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1_000_000


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.0, np.nan]), r"a sample at 0\.500 s is NaN"),
        (np.array([np.inf]), "infinite"),
        (np.full(4, 3e38, np.float32), "beyond 1e"),
        (np.zeros((2, 3, 4)), "shape"),
        (np.zeros((2, 800)), "800 channels"),
        (np.zeros((3, 0)), "0 channels"),
        (np.zeros((4, 2)), "had 1"),
        (np.float32(1.0), "shape"),
        (["a"], "samples are"),
        (np.zeros(3, complex), "complex"),
        (None, "object"),
    ],
)
def test_bad_samples_are_refused_and_not_taken(transcriber, samples, message):
    live = LiveTranscriber(transcriber, window=SHORT)
    music_S = music(1.0)
    notes = [live.push(music_S[:8000])]
    with pytest.raises(ValueError, match=message):
        live.push(samples)
    notes += [live.push(music_S[8000:]), live.finish()]
    assert Notes.concatenate(notes).equals(listen(transcriber, [music_S]))


def test_what_cannot_listen_is_refused(transcriber, tmp_path):
    for name, config in (("token", SMALL_TOKENS), ("band", SMALL_BAND)):
        other = Transcriber(save_small_weights(tmp_path / f"{name}.st", config))
        with pytest.raises(ValueError, match=f"this is a {name} model"):
            LiveTranscriber(other)
    auto = Transcriber(save_small_weights(tmp_path / "a.st"), tuning="auto")
    with pytest.raises(ValueError, match="'auto' needs a whole recording"):
        LiveTranscriber(auto)
    with pytest.raises(ValueError, match="sample rate of 1 Hz"):
        LiveTranscriber(transcriber, sample_rate_hz=1)
    for hop_frames in (0, 49):
        with pytest.raises(ValueError, match="give 1 to 48"):
            LiveWindowConfig(64, context_frames=6, fade_frames=4, hop_frames=hop_frames)
    live = LiveTranscriber(transcriber, window=SHORT)
    live.finish()
    with pytest.raises(ValueError, match="has ended"):
        live.push([0.0])


def test_keys_go_down_once_and_up_once(transcriber):
    live, events = LiveTranscriber(transcriber, window=SHORT), KeyEvents()
    told, notes = [], []
    for block_S in np.split(music(4.0), 50):
        notes.append(live.push(block_S))
        told += events(notes[-1], live.sounding)
    notes.append(live.finish())
    told += events(notes[-1], Notes.empty())
    expected = Notes.concatenate(notes)
    for pitch in np.unique(expected.pitch):
        of_key = [event for event in told if event.pitch == pitch]
        rows = expected[expected.pitch == pitch]
        times = np.stack([rows.onset_s, rows.offset_s], axis=1).ravel()
        assert [event.time_s for event in of_key] == times.tolist()
        velocities = np.stack([rows.velocity, 0 * rows.velocity], axis=1).ravel()
        assert [event.velocity for event in of_key] == velocities.tolist()
    assert len(told) == 2 * len(expected)


def test_keys_go_up_before_they_go_down_again():
    ended, sounding = Notes([1.0], [2.0], [60]), Notes([2.0], [2.5], [60])
    assert [event.velocity for event in KeyEvents()(ended, sounding)] == [100, 0, 100]
