"""The mean of two models' rolls."""

import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.roll_mean import mean_rolls
from mt3x.music.rolls import ROLL_NAMES

RNG = np.random.default_rng(0)


def random_rolls(frames):
    return {name: jnp.asarray(RNG.random((2, frames, 88))) for name in ROLL_NAMES}


def test_frames_of_the_other_are_read_in_between():
    own, other = random_rolls(6), random_rolls(16)
    means = mean_rolls(own, other, step_frames=2.5, share=1.0)
    between_T = np.arange(6) * 2.5
    for name in ROLL_NAMES:
        expected = np.stack(
            [np.interp(between_T, np.arange(16), x_T) for x_T in other[name][0].T], 1
        )
        np.testing.assert_allclose(means[name][0], expected, atol=2e-6)


def test_the_last_frame_lasts():
    own, other = random_rolls(6), random_rolls(3)
    means = mean_rolls(own, other, step_frames=1.5, share=1.0)
    np.testing.assert_allclose(means["frame"][:, 4], other["frame"][:, 2], atol=2e-6)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_odds_are_averaged_and_velocities_themselves(share):
    own, other = random_rolls(4), random_rolls(4)
    means = mean_rolls(own, other, step_frames=1.0, share=share)
    for name in ("onset", "frame", "offset"):
        a, b = (p[name] / (1 - p[name]) for p in (own, other))
        found = means[name] / (1 - means[name])
        np.testing.assert_allclose(found, a ** (1 - share) * b**share, rtol=1e-3)
    expected = (1 - share) * own["velocity"] + share * other["velocity"]
    np.testing.assert_allclose(means["velocity"], expected, rtol=1e-6)


def test_certainty_has_a_limit():
    """What one model excludes, the other can still say."""
    none = {name: jnp.zeros((1, 2, 88)) for name in ROLL_NAMES}
    sure = {name: jnp.ones((1, 2, 88)) for name in ROLL_NAMES}
    means = mean_rolls(none, sure, step_frames=1.0, share=0.5)
    np.testing.assert_allclose(means["onset"], 0.5, atol=0.02)
