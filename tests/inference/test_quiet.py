"""Quiet stretches: left out of the samples, put back into the rows."""

import itertools

import numpy as np
import pytest

from mt3x.inference.quiet import LEAD_FRAMES, QuietCuts, with_noise

HOP, FRAME_RATE_HZ = 320, 50.0
FRAMES = 2000
NAMES = {"onset": 1, "drums": 4}


def noise(num_frames: int, level: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (level * rng.standard_normal(num_frames * HOP)).astype(np.float32)


def sparse(silence: float, loud=((300, 40), (1200, 40))) -> np.ndarray:
    """Return a recording with some loud frames, given as (first, number)."""
    samples_S = noise(FRAMES, silence)
    for first, number in loud:
        samples_S[first * HOP : (first + number) * HOP] += noise(number, 0.3)
    return samples_S


def run(samples_S: np.ndarray, block=7777, part=100):
    """Return what is kept, and a row for each frame: its number where it was kept."""
    cuts = QuietCuts(HOP, FRAME_RATE_HZ)
    blocks = np.split(samples_S, range(block, len(samples_S), block))
    kept_S = np.concatenate(list(cuts.kept(iter(blocks))))
    # A row says how loud a frame was.
    frames_TxS = kept_S[: len(kept_S) // HOP * HOP].reshape(-1, HOP)
    level_T = np.abs(frames_TxS).max(axis=1)
    parts = (
        {name: np.repeat(level_T[t : t + part], rows) for name, rows in NAMES.items()}
        for t in range(0, len(level_T), part)
    )
    restored = list(cuts.restored(parts, NAMES))
    return kept_S, {
        name: np.concatenate([arrays[name] for arrays in restored]) for name in NAMES
    }


@pytest.mark.parametrize("silence", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("part", [7, 100, 5000])
def test_rows_are_where_their_sound_is(silence, part):
    samples_S = sparse(silence)
    kept_S, rows = run(samples_S, part=part)
    level_T = np.abs(samples_S.reshape(-1, HOP)).max(axis=1)
    assert len(kept_S) < 0.3 * len(samples_S)
    assert len(rows["onset"]) == FRAMES and len(rows["drums"]) == 4 * FRAMES
    loud_T = level_T > 0.1
    np.testing.assert_array_equal(rows["onset"][loud_T], level_T[loud_T])
    assert np.all((rows["onset"] == level_T) | (rows["onset"] == 0))
    np.testing.assert_array_equal(rows["drums"], np.repeat(rows["onset"], 4))


def test_blocks_change_nothing():
    samples_S = sparse(1e-4)
    kept_S, rows = run(samples_S)
    for block in (100, 5120, len(samples_S)):
        other_S, others = run(samples_S, block)
        np.testing.assert_array_equal(other_S, kept_S)
        np.testing.assert_array_equal(others["onset"], rows["onset"])


@pytest.mark.parametrize(
    "samples_S",
    [
        noise(FRAMES, 0.1),
        noise(FRAMES, 1e-4),  # nothing is louder
        sparse(0.01),  # 30 dB down: soft music may be
        # A sound that dies away is not a stretch of noise.
        noise(FRAMES, 0.3) * np.geomspace(1, 1e-4, FRAMES * HOP, dtype=np.float32),
        sparse(0.0, [(first, 10) for first in range(100, FRAMES, 150)]),
    ],
)
def test_music_is_kept(samples_S):
    kept_S, rows = run(samples_S)
    np.testing.assert_array_equal(kept_S, samples_S)
    assert len(rows["onset"]) == FRAMES


def test_a_recording_of_any_length_is_kept():
    for size in (0, 1, HOP - 1, 16 * HOP, 16 * HOP + 1):
        cuts = QuietCuts(HOP, FRAME_RATE_HZ)
        kept = list(cuts.kept([noise(20, 0.1)[:size]]))
        assert sum(map(len, kept)) == size
        assert list(cuts.restored([], NAMES)) == []


def test_hours_of_silence_take_little_memory():
    cuts = QuietCuts(HOP, FRAME_RATE_HZ)
    minute_S = np.zeros(3000 * HOP, np.float32)
    blocks = itertools.chain([noise(40, 0.3)], itertools.repeat(minute_S, 180))
    num_frames = sum(len(block_S) for block_S in cuts.kept(blocks)) // HOP
    assert num_frames < 500
    parts = cuts.restored([{"onset": np.ones(num_frames)}], {"onset": 1})
    sizes = [len(arrays["onset"]) for arrays in parts]
    assert sum(sizes) == 180 * 3000 + 40 and max(sizes) <= 1024


@pytest.mark.parametrize("silent_ms, has_lead", [(0, False), (1, True), (40, True)])
def test_silence_is_put_before_a_note_that_begins_at_once(silent_ms, has_lead):
    samples_S = noise(100, 0.1)
    samples_S[: silent_ms * 16] = 0
    kept_S, rows = run(samples_S)
    assert len(kept_S) - len(samples_S) == (LEAD_FRAMES * HOP if has_lead else 0)
    assert len(rows["onset"]) == 100 and rows["onset"][99] > 0


def test_noise_fills_silence_only():
    samples_S = np.concatenate([noise(20, 0.1), np.zeros(20 * HOP, np.float32)])
    filled_S = with_noise(samples_S, HOP, 40)
    np.testing.assert_array_equal(filled_S[: 20 * HOP], samples_S[: 20 * HOP])
    peak = np.abs(samples_S).max()
    level_db = 20 * np.log10(filled_S[20 * HOP :].std() / peak)
    assert level_db == pytest.approx(-65, abs=0.5)


def test_noise_is_mirrored_where_a_window_is_padded():
    samples_S = np.zeros(40 * HOP, np.float32)
    samples_S[0] = 1.0
    filled_S = with_noise(samples_S, HOP, 30)
    end = 30 * HOP
    np.testing.assert_array_equal(filled_S[end:], filled_S[end - 2 : 20 * HOP - 2 : -1])
