"""Rolls to notes: against a slow oracle, in blocks of any length, refinement."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.files import from_json
from mt3x.music.notes import Notes
from mt3x.music.piano_postprocessing import PianoPostprocessing
from mt3x.music.roll_decoder import (
    ONSET_REFINEMENTS,
    FoundNotes,
    RollDecoder,
    RollDecodingConfig,
    rolls_to_notes,
    upgraded_decoding,
)
from mt3x.music.rolls import (
    LOWEST_PITCH,
    NUM_PITCHES,
    RollLabelConfig,
    Rolls,
    notes_to_rolls,
)

PLAIN = RollDecodingConfig(onset_refinement="none", refine_offsets=False)


def random_rolls(num_frames: int, seed: int, levels: int = 6) -> Rolls:
    """Noise on few levels, so that plateaus, ties and repeats are frequent."""
    rng = np.random.default_rng(seed)
    onset, frame, velocity = rng.integers(0, levels, (3, num_frames, NUM_PITCHES))
    scale = np.float32(levels - 1)
    rolls = [x.astype(np.float32) / scale for x in (onset, frame, velocity)]
    return Rolls(rolls[0], rolls[1], np.zeros_like(rolls[0]), rolls[2])


def slow_notes(rolls: Rolls, config: RollDecodingConfig) -> list[tuple]:
    """The oracle: one key and one frame at a time, as the rules read."""
    num_frames, rate = rolls.num_frames, rolls.frame_rate_hz
    found = []
    for p in range(NUM_PITCHES):
        onset = rolls.onset_TxP[:, p].astype(np.float64)
        frame = rolls.frame_TxP[:, p].astype(np.float64)

        def is_peak(t, onset=onset):
            left = t == 0 or onset[t] >= onset[t - 1]
            right = t == num_frames - 1 or onset[t] >= onset[t + 1]
            return left and right and onset[t] > np.float32(config.onset_threshold)

        def is_start(t, is_peak=is_peak):
            return is_peak(t) and not (t > 0 and is_peak(t - 1))

        def start_time(t, onset=onset):
            if t in (0, num_frames - 1) or config.onset_refinement == "none":
                return float(t)
            refine = ONSET_REFINEMENTS[config.onset_refinement]
            shift = refine(*(onset[i : i + 1] for i in (t - 1, t, t + 1)))[0]
            return t + min(max(shift, -0.5), 0.5)

        for t in range(num_frames):
            if not is_start(t):
                continue
            end = t + 1
            while end < num_frames and not is_start(end):
                if not (
                    is_peak(end) or frame[end] > np.float32(config.frame_threshold)
                ):
                    break
                end += 1
            stop = float(end)
            if end < num_frames and is_start(end):
                stop = start_time(end)
            elif end < num_frames and config.refine_offsets:
                height = frame[end - 1] - np.float32(config.frame_threshold)
                if height > 0:
                    stop += height / (frame[end - 1] - frame[end]) - 0.5
            start = max(start_time(t), 0.0)
            stop = max(stop, start + 1)
            velocity = int(np.clip(np.round(128.0 * rolls.velocity_TxP[t, p]), 1, 127))
            pitch, peak = p + LOWEST_PITCH, float(rolls.onset_TxP[t, p])
            found.append((start / rate, stop / rate, pitch, velocity, peak))
    return sorted(found, key=lambda note: (note[0], note[2]))


def rows(notes: Notes) -> list[tuple]:
    names = ("onset_s", "offset_s", "pitch", "velocity", "confidence")
    return sorted(
        zip(*(getattr(notes, name).tolist() for name in names), strict=True),
        key=lambda note: (note[0], note[2]),
    )


@pytest.mark.parametrize("refinement", ONSET_REFINEMENTS)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 40])
def test_equals_the_slow_oracle(refinement, num_frames):
    config = RollDecodingConfig(onset_refinement=refinement)
    for seed in range(3):
        rolls = random_rolls(num_frames, seed)
        est, ref = rows(rolls_to_notes(rolls, config)), slow_notes(rolls, config)
        assert len(est) == len(ref) > 0
        np.testing.assert_allclose(est, ref, atol=1e-9)


@settings(max_examples=40)
@given(
    num_frames=st.integers(0, 50),
    cuts=st.lists(st.integers(0, 50), max_size=8),
    seed=st.integers(0, 2**16),
    refinement=st.sampled_from(sorted(ONSET_REFINEMENTS)),
)
def test_blocks_change_nothing(num_frames, cuts, seed, refinement):
    config = RollDecodingConfig(onset_refinement=refinement)
    rolls = random_rolls(num_frames, seed)
    decoder = RollDecoder(config)
    edges = sorted([0, *(min(cut, num_frames) for cut in cuts), num_frames])
    parts = [decoder.push(rolls[begin:end]) for begin, end in itertools.pairwise(edges)]
    joined = Notes.concatenate([*parts, decoder.finish()])
    assert rows(joined) == rows(rolls_to_notes(rolls, config))


@pytest.mark.parametrize("size", [1, 7, 60])
def test_found_notes_know_their_frames(size):
    rolls, decoder, found = random_rolls(60, 3), RollDecoder(PLAIN), []
    for t in range(0, 60, size):
        found.append(decoder.find(rolls[t : t + size]))
        # Notes of keys that sound end later.
        key_N, first_N = decoder.sounding()
        assert (first_N < decoder.num_done).all() and len(set(key_N)) == len(key_N)
        for key, first in zip(key_N, first_N, strict=True):
            assert rolls.onset_TxP[first, key] > PLAIN.onset_threshold
            on_T = rolls.onset_TxP[first:, key] + rolls.frame_TxP[first:, key]
            assert (on_T[: decoder.num_done - first] > PLAIN.frame_threshold).all()
    whole = FoundNotes.concatenate([*found, decoder.find_rest()])
    assert whole.notes().equals(rolls_to_notes(rolls, PLAIN)) and len(whole.pitch) > 99
    # Without refinement, times are whole frames.
    np.testing.assert_allclose(whole.onset_s * 50, whole.first_frame)
    np.testing.assert_allclose(whole.offset_s * 50, whole.end_frame)


def test_notes_of_a_key_never_overlap():
    for refinement in ONSET_REFINEMENTS:
        notes = rolls_to_notes(
            random_rolls(400, 7), RollDecodingConfig(onset_refinement=refinement)
        )
        for pitch in np.unique(notes.pitch):
            one = notes[notes.pitch == pitch]
            assert (one.offset_s[:-1] <= one.onset_s[1:] + 1e-9).all()
            assert (one.offset_s - one.onset_s >= 0.02 - 1e-9).all()


def one_key(onset, frame, velocity=None) -> Rolls:
    """Rolls with one key, middle C."""
    arrays = np.zeros((4, len(onset), NUM_PITCHES), np.float32)
    arrays[0, :, 60 - LOWEST_PITCH] = onset
    arrays[1, :, 60 - LOWEST_PITCH] = frame
    arrays[3, :, 60 - LOWEST_PITCH] = 0.5 if velocity is None else velocity
    return Rolls(*arrays)


def test_a_peak_ends_the_sounding_note():
    rolls = one_key([0, 0.9, 0, 0, 0.8, 0, 0, 0], [0, 1, 1, 1, 1, 1, 0, 0])
    notes = rolls_to_notes(rolls, PLAIN)
    np.testing.assert_allclose(notes.onset_s, [0.02, 0.08])
    np.testing.assert_allclose(notes.offset_s, [0.08, 0.12])


def test_a_plateau_is_one_onset_and_a_bare_onset_lasts_a_frame():
    notes = rolls_to_notes(one_key([0, 1, 1, 0, 0, 0.5, 0], [0] * 7), PLAIN)
    np.testing.assert_allclose(notes.onset_s, [0.02, 0.1])
    np.testing.assert_allclose(notes.offset_s, [0.06, 0.12])


def test_frames_without_an_onset_are_no_note():
    assert len(rolls_to_notes(one_key([0.3] * 6, [1] * 6), PLAIN)) == 0
    assert len(rolls_to_notes(one_key([], []), PLAIN)) == 0


def test_velocity_is_read_at_the_onset_and_clipped():
    for level, velocity in ((0.5, 64), (0, 1), (1, 127), (64.4 / 128, 64)):
        rolls = one_key([0, 1, 0, 0], [0, 1, 1, 0], [0.9, level, 0.2, 0.9])
        assert rolls_to_notes(rolls, PLAIN).velocity.tolist() == [velocity]


def test_a_note_at_the_end_stops_with_the_recording():
    notes = rolls_to_notes(one_key([0, 0, 1, 0], [0, 0, 1, 1]), PLAIN)
    np.testing.assert_allclose(notes.offset_s, [0.08])


@pytest.mark.parametrize("exact", [5.0, 5.2, 5.49, 5.77])
def test_triangle_finds_the_exact_onset_of_soft_labels(exact):
    note = Notes([exact / 50], [0.4], [60], [80])
    labels = notes_to_rolls(note, 30, RollLabelConfig(onset_radius_frames=3.0))
    config = RollDecodingConfig(onset_refinement="triangle")
    np.testing.assert_allclose(rolls_to_notes(labels, config).onset_s, exact / 50)


@pytest.mark.parametrize(("refinement", "shift"), [("none", 0), ("parabola", 1 / 6)])
def test_refinement_moves_towards_the_larger_neighbour(refinement, shift):
    rolls = one_key([0, 0.25, 0.75, 0.5, 0], [0] * 5)
    config = dataclasses.replace(PLAIN, onset_refinement=refinement)
    notes = rolls_to_notes(rolls, config)
    np.testing.assert_allclose(notes.onset_s, [(2 + shift) / 50], rtol=1e-6)


def test_offset_is_where_the_frame_roll_crosses_the_threshold():
    rolls = one_key([0, 1, 0, 0, 0, 0], [0, 1, 1, 0.8, 0, 0])
    config = RollDecodingConfig(onset_refinement="none", frame_threshold=0.4)
    # From 0.8 to 0 the line passes 0.4 half way: no shift; from 0.6 earlier.
    np.testing.assert_allclose(rolls_to_notes(rolls, config).offset_s, [4 / 50])
    rolls.frame_TxP[3] *= 0.75
    expected = (4 - 0.5 + 1 / 3) / 50
    np.testing.assert_allclose(rolls_to_notes(rolls, config).offset_s, [expected])


@pytest.mark.parametrize("refinement", ONSET_REFINEMENTS)
def test_labels_decode_to_their_notes(refinement):
    rng = np.random.default_rng(3)
    pitch = rng.permutation(np.arange(21, 109))[:60]
    onset = rng.uniform(0.1, 8, 60)
    ref = Notes(onset, onset + rng.uniform(0.1, 1, 60), pitch, rng.integers(1, 128, 60))
    labels = notes_to_rolls(ref, 500, RollLabelConfig())
    est = rolls_to_notes(labels, RollDecodingConfig(onset_refinement=refinement))
    order_ref, order_est = np.argsort(ref.pitch), np.argsort(est.pitch)
    assert est.pitch[order_est].tolist() == ref.pitch[order_ref].tolist()
    assert est.velocity[order_est].tolist() == ref.velocity[order_ref].tolist()
    for name in ("onset_s", "offset_s"):
        error = getattr(est, name)[order_est] - getattr(ref, name)[order_ref]
        assert abs(error).max() <= 0.0121


def test_bad_values_are_named():
    with pytest.raises(ValueError, match=r"onset_threshold is 1\.5"):
        RollDecodingConfig(onset_threshold=1.5)
    with pytest.raises(ValueError, match="onset_refinement is 'spline'"):
        RollDecodingConfig(onset_refinement="spline")
    with pytest.raises(ValueError, match="shapes"):
        Rolls(*np.zeros((4, 5, 87)))
    with pytest.raises(ValueError, match="frames per second"):
        RollDecoder(PLAIN, 100.0).push(one_key([0], [0]))


def test_latency_is_taken_off_onsets_and_offsets():
    rolls = random_rolls(400, 7)
    notes = rolls_to_notes(rolls, PLAIN)
    earlier = rolls_to_notes(rolls, dataclasses.replace(PLAIN, latency_s=0.008))
    inside = notes.onset_s > 0.1
    np.testing.assert_allclose(
        np.sort(earlier.onset_s)[inside], np.sort(notes.onset_s)[inside] - 0.008
    )
    np.testing.assert_allclose(
        np.sort(earlier.offset_s)[-50:], np.sort(notes.offset_s)[-50:] - 0.008
    )
    assert earlier.onset_s.min() >= 0
    with pytest.raises(ValueError, match="latency_s is -1"):
        RollDecodingConfig(latency_s=-1.0)


def test_postprocessing_comes_in_the_end():
    rolls = random_rolls(200, 5)
    plain = rolls_to_notes(rolls, PLAIN)
    postprocessing = PianoPostprocessing(noise=0.2)
    options = dataclasses.replace(PLAIN, postprocessing=postprocessing)
    found = rolls_to_notes(rolls, options)
    assert found.equals(postprocessing(plain)) and not found.equals(plain)


@pytest.mark.parametrize("postprocessing", [None, PianoPostprocessing(louder=40.0)])
def test_options_are_read_back(postprocessing):
    options = RollDecodingConfig(0.3, postprocessing=postprocessing)
    assert read(dataclasses.asdict(options)) == options


def test_options_of_older_weights():
    assert read({"gather": True, "even_keys": True}) == (
        RollDecodingConfig(postprocessing=PianoPostprocessing())
    )
    assert read({"gather": False, "even_keys": True}) == (
        RollDecodingConfig(postprocessing=PianoPostprocessing(align=False))
    )
    assert read({"even_keys": False}) == RollDecodingConfig()


def read(values):
    return from_json(RollDecodingConfig, upgraded_decoding(values))
