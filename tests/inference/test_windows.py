"""Windows: cut and joined equals whole, for any blocks, in bounded memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.inference.windows import Stitcher, WindowConfig, cut_windows

HOP = 4
CONFIG = WindowConfig(num_frames=20, context_frames=3, fade_frames=2, short_frames=(8,))


def blocks_of(samples_S: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    return np.split(samples_S, sorted(min(cut, len(samples_S)) for cut in cuts))


def local_arrays(samples_S: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays that tell which samples each frame, and each half of one, holds."""
    return {
        "frames": samples_S.reshape(-1, 1, HOP),
        "halves": samples_S.reshape(-1, HOP // 2),
    }


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@settings(max_examples=200)
@given(num_samples=st.integers(1, 500), cuts=st.lists(st.integers(0, 500), max_size=9))
def test_cut_and_joined_equals_whole(num_samples, cuts):
    samples_S = np.arange(1, num_samples + 1, dtype=np.float32)
    stitcher, parts = Stitcher(CONFIG, {"halves": 2}), []
    windows = list(cut_windows(blocks_of(samples_S, cuts), HOP, CONFIG))
    for window in windows:
        assert len(window.samples_S) in (8 * HOP, 20 * HOP)
        parts.append(stitcher.push(window, local_arrays(window.samples_S)))
    whole_S = np.pad(samples_S, (0, -num_samples % HOP), mode="reflect")
    for name, array in local_arrays(whole_S).items():
        np.testing.assert_allclose(joined(parts)[name], array)
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [
        True
    ]


def test_what_lies_near_a_cut_is_dropped_and_the_seam_fades():
    stitcher, parts = Stitcher(CONFIG, {"halves": 2}), []
    for number, window in enumerate(
        cut_windows([np.ones(46 * HOP, np.float32)], HOP, CONFIG)
    ):
        frames_T, halves_T = np.full(20, float(number)), np.full(40, float(number))
        # Nonsense in the context on inner sides must not be seen.
        if number > 0:
            frames_T[:3] = halves_T[:6] = 99
        if not window.is_last:
            frames_T[-3:] = halves_T[-6:] = 99
        parts.append(stitcher.push(window, {"frames": frames_T, "halves": halves_T}))
    line_T = joined(parts)["frames"]
    # Windows begin at 0, 12, 24 and (the last one, moved back) 26.
    assert len(line_T) == 46
    assert (line_T[:15] == 0).all() and (line_T[17:27] == 1).all()
    np.testing.assert_allclose(line_T[15:17], [0.25, 0.75])
    np.testing.assert_allclose(line_T[27:29], [1.25, 1.75])
    np.testing.assert_allclose(line_T[39:41], [2.25, 2.75])
    assert (line_T[41:] == 3).all()
    halves_T = joined(parts)["halves"]
    assert len(halves_T) == 92 and (halves_T[:30] == 0).all()
    np.testing.assert_allclose(halves_T[30:34], [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(halves_T[54:58], [1.125, 1.375, 1.625, 1.875])


def test_no_samples_give_no_window():
    assert list(cut_windows([], HOP, CONFIG)) == []
    assert list(cut_windows([np.zeros(0, np.float32)], HOP, CONFIG)) == []


def test_a_short_recording_takes_the_smallest_window_that_fits():
    for num_samples, frames, size in ((2, 1, 8), (32, 8, 8), (33, 9, 20), (80, 20, 20)):
        samples_S = np.arange(num_samples)
        (window,) = cut_windows([samples_S], HOP, CONFIG)
        assert (window.num_frames, len(window.samples_S)) == (frames, size * HOP)
        assert (window.samples_S[:num_samples] == samples_S).all()
        assert (
            window.samples_S[num_samples : num_samples + 1] == num_samples - 2
        ).all()


def test_windows_are_handed_out_as_soon_as_possible():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield np.zeros(5, np.float32)

    windows = cut_windows(endless(), HOP, CONFIG)
    for number in range(50):
        next(windows)
        assert taken * 5 <= (number * 12 + 20) * HOP + 5


def test_impossible_windows_are_refused():
    with pytest.raises(ValueError, match="cannot overlap by 64"):
        WindowConfig(num_frames=100)
    with pytest.raises(ValueError, match="1 frame or more"):
        WindowConfig(fade_frames=0)
