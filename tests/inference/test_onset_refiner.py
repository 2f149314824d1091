"""Notes refined by rolls: exact onsets come back, and what must not change does not."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.inference.onset_refiner import TOLERANCE_S, OnsetRefiner
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import RollDecodingConfig
from mt3x.music.rolls import NUM_PITCHES, RollLabelConfig, Rolls, notes_to_rolls
from mt3x.music.token_decoder import MIN_DURATION_S

RATE_HZ = 125.0
TRIANGLE = RollDecodingConfig(onset_refinement="triangle")


def refined(
    notes: Notes,
    rolls: Rolls,
    config: RollDecodingConfig = TRIANGLE,
    num_blocks: int = 1,
    **options,
) -> Notes:
    refiner = OnsetRefiner(config, rolls.frame_rate_hz, **options)
    ends = np.linspace(0, rolls.num_frames, num_blocks + 1).astype(int)
    for start, end in itertools.pairwise(ends):
        refiner.push(rolls[start:end])
    return refiner.finish(notes)


def rolls_with(*peaks, num_frames=125) -> Rolls:
    """Rolls with onsets (frame, pitch, height, velocity roll)."""
    onset_TxP, velocity_TxP = np.zeros((2, num_frames, NUM_PITCHES), np.float32)
    for frame, pitch, height, velocity in peaks:
        onset_TxP[frame, pitch - 21] = height
        velocity_TxP[frame, pitch - 21] = velocity
    empty_TxP = np.zeros_like(onset_TxP)
    return Rolls(onset_TxP, empty_TxP, empty_TxP, velocity_TxP, RATE_HZ)


@pytest.mark.parametrize("num_blocks", [1, 9, 700])
def test_exact_onsets_and_velocities_come_back(num_blocks):
    rng = np.random.default_rng(0)
    # Of each pitch and instrument, notes a third of a second apart.
    onset_s = np.linspace(0.1, 5.4, 16) + rng.uniform(0, 0.02, 16)
    velocity = rng.integers(1, 128, 16)
    ref = Notes(onset_s, onset_s + 0.2, 60 + np.arange(16) % 3, velocity)
    labels = RollLabelConfig(RATE_HZ, onset_radius_frames=3)
    rolls = notes_to_rolls(ref, 700, labels)
    coarse_s = np.round(onset_s, 2) + rng.uniform(-0.03, 0.03, 16).round(2)
    program = np.arange(16) % 128
    est = Notes(coarse_s, onset_s + 0.2, 60 + np.arange(16) % 3, None, program)
    out = refined(est, rolls, num_blocks=num_blocks)
    assert np.abs(est.onset_s - onset_s).max() > 0.02
    np.testing.assert_allclose(out.onset_s, onset_s, atol=1e-6)
    np.testing.assert_array_equal(out.velocity, velocity)
    np.testing.assert_array_equal(out.program, program)
    np.testing.assert_array_equal(out.offset_s, est.offset_s)


def test_the_highest_peak_above_the_threshold_within_the_tolerance():
    peaks = rolls_with((50, 60, 0.5, 0.25), (54, 60, 0.9, 0.5), (60, 60, 1.0, 0.75))
    note = Notes([0.41], [0.9], [60], [99])
    out = refined(note, peaks)
    assert (out.onset_s[0], out.velocity[0]) == (54 / RATE_HZ, 64)
    assert out.confidence[0] == np.float32(0.9)
    far = refined(note, peaks, tolerance_s=0.1)
    assert (far.onset_s[0], far.velocity[0]) == (60 / RATE_HZ, 96)
    near = refined(note, peaks, tolerance_s=0.015)
    assert (near.onset_s[0], near.velocity[0]) == (50 / RATE_HZ, 32)
    above = RollDecodingConfig(onset_threshold=0.95)
    assert refined(note, peaks, above).equals(note)
    late = RollDecodingConfig(latency_s=0.01)
    assert refined(note, peaks, late).onset_s[0] == 54 / RATE_HZ - 0.01
    assert len(refined(Notes.empty(), peaks)) == 0
    assert refined(note, peaks[:0]).equals(note)


def test_peaks_at_the_ends_and_level_ones():
    first = Notes([0.01], [0.5], [60])
    assert refined(first, rolls_with((0, 60, 1.0, 0.5))).onset_s[0] == 0.0
    late = refined(first, rolls_with((0, 60, 1, 1)), RollDecodingConfig(latency_s=0.02))
    assert late.onset_s[0] == 0.0
    last = Notes([0.99], [2.0], [60])
    assert refined(last, rolls_with((124, 60, 1, 0.5))).onset_s[0] == 124 / RATE_HZ
    # Two frames of one height: the onset is between them.
    level = rolls_with((50, 60, 0.9, 0.5), (51, 60, 0.9, 0.5))
    out = refined(Notes([0.38], [0.5], [60]), level, RollDecodingConfig())
    assert out.onset_s[0] == 50.5 / RATE_HZ
    # Of more, it is at the first ones, here too far away.
    level = rolls_with(*((frame, 60, 0.9, 0.5) for frame in (50, 51, 52)))
    note = Notes([0.46], [0.5], [60])
    assert refined(note, level, RollDecodingConfig()).equals(note)


def test_drums_and_other_pitches_are_left_alone():
    peaks = rolls_with((50, 60, 0.9, 0.5), (50, 21, 0.9, 0.5), (50, 108, 0.9, 0.5))
    pitches = [60, 20, 109, 61]
    notes = Notes([0.39] * 4, [0.4] * 4, pitches, None, None, [True] + 3 * [False])
    assert refined(notes, peaks).equals(notes)
    ends = Notes([0.39] * 2, [0.6] * 2, [21, 108], None, [5, 6])
    np.testing.assert_array_equal(refined(ends, peaks).onset_s, [0.4, 0.4])


def test_instruments_share_a_peak_and_notes_of_one_do_not():
    peak = rolls_with((50, 60, 0.9, 0.5))
    both = Notes([0.38, 0.41], [0.8, 0.8], [60, 60], None, [0, 33])
    np.testing.assert_array_equal(refined(both, peak).onset_s, [0.4, 0.4])
    # Of three that find it, the nearest takes it.
    three = Notes([0.36, 0.39, 0.42], [0.38, 0.41, 0.5], [60, 60, 60])
    out = refined(three, peak)
    np.testing.assert_array_equal(out.onset_s, [0.36, 0.4, 0.42])
    np.testing.assert_array_equal(out.velocity, [100, 64, 100])


def test_offsets_stay_between_the_onsets():
    rolls = rolls_with((50, 60, 0.9, 0.5))
    # Shorter than the way it is moved.
    assert refined(Notes([0.37], [0.39], [60]), rolls).offset_s[0] == 0.4 + 0.01
    # The note in front ended where this one began.
    legato = Notes([0.1, 0.43], [0.43, 0.9], [60, 60])
    out = refined(legato, rolls)
    np.testing.assert_array_equal(out.onset_s, [0.1, 0.4])
    np.testing.assert_array_equal(out.offset_s, [0.4, 0.9])
    overlapping = Notes([0.1, 0.43], [0.6, 0.9], [60, 60])
    np.testing.assert_array_equal(refined(overlapping, rolls).offset_s, [0.6, 0.9])


@st.composite
def cases(draw):
    """Few pitches, near onsets on a grid of 10 ms, and peaks of any height nearby."""
    count = draw(st.integers(0, 12))

    def integers(low, high):
        return np.array([draw(st.integers(low, high)) for _ in range(count)], int)

    onset_s = integers(0, 40) * 0.01
    kinds = integers(59, 61), integers(1, 127), integers(0, 1), integers(0, 9) == 0
    notes = Notes(onset_s, onset_s + integers(1, 12) * 0.01, *kinds)
    peaks = draw(
        st.lists(
            st.tuples(
                st.integers(0, 59),
                st.integers(59, 61),
                st.floats(0, 1, width=32),
                st.floats(0, 1, width=32),
            ),
            max_size=30,
        )
    )
    return notes, rolls_with(*peaks, num_frames=60)


@settings(max_examples=150)
@given(cases(), st.integers(1, 60))
def test_what_must_not_change_does_not(case, num_blocks):
    notes, rolls = case
    out = refined(notes, rolls, num_blocks=num_blocks)
    assert out.equals(refined(notes, rolls))
    assert out[out.is_drum].equals(notes[notes.is_drum])
    for program in (0, 1):
        for pitch in (59, 60, 61):
            before, after = (
                n[(n.program == program) & (n.pitch == pitch) & ~n.is_drum]
                for n in (notes, out)
            )
            # Sorted by onset, so that each is the note that it was.
            assert len(before) == len(after)
            way_s = after.onset_s - before.onset_s
            assert np.abs(way_s).max(initial=0) <= TOLERANCE_S + 1e-9
            was_s, is_s = np.diff(before.onset_s), np.diff(after.onset_s)
            assert np.all(is_s >= np.minimum(was_s, MIN_DURATION_S) - 1e-9)
            assert np.all(after.offset_s[way_s != 0] > after.onset_s[way_s != 0])
            apart = before.offset_s[:-1] <= before.onset_s[1:]
            assert np.all(after.offset_s[:-1][apart] <= after.onset_s[1:][apart])
            next_s = np.append(after.onset_s, np.inf)[1:]
            changed = after.offset_s != before.offset_s
            cut = after.offset_s == next_s
            assert np.all(cut | (after.offset_s == after.onset_s + 0.01) | ~changed)
            for onset_s in after.onset_s[way_s != 0]:
                frame = round(onset_s * RATE_HZ)
                around = rolls.onset_TxP[max(frame - 1, 0) : frame + 2, pitch - 21]
                assert around.max() > TRIANGLE.onset_threshold
