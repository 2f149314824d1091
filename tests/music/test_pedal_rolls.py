"""Targets of the sustain pedal."""

import numpy as np

from mt3x.music.pedal_rolls import pedal_to_roll


def test_down_press_and_release():
    pedal_Tx3 = pedal_to_roll(np.array([[0.05, 0.16]]), 12, 50.0)
    assert pedal_Tx3.dtype == np.float32
    np.testing.assert_array_equal(np.flatnonzero(pedal_Tx3[:, 0]), [3, 4, 5, 6, 7])
    third = 1 / 3
    np.testing.assert_allclose(
        pedal_Tx3[:6, 1],
        [third / 2, third * 1.5, 2.5 * third, 2.5 * third, 0.5, 0.5 / 3],
    )
    np.testing.assert_allclose(
        pedal_Tx3[5:12, 2], [0, third, 2 * third, 1, 2 * third, third, 0], atol=1e-6
    )


def test_spans_beyond_the_clip_are_cut():
    pedal_Tx3 = pedal_to_roll(
        np.array([[-1.0, 0.1], [0.3, 9.0], [-3.0, -2.0]]), 20, 50.0
    )
    np.testing.assert_array_equal(
        np.flatnonzero(pedal_Tx3[:, 0]), [*range(5), *range(15, 20)]
    )
    assert pedal_Tx3[0, 1] == 0 and pedal_Tx3[-1, 2] == 0
    assert not pedal_to_roll(np.zeros((0, 2)), 5, 50.0).any()
