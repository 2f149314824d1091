"""A band's rolls to notes: sums against a slow oracle, in blocks, in bounded memory."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_band_rolls import DRUM_HZ, FRAME_HZ, TIMBRE_DIMS, random_band_rolls

from mt3x.music import band_decoder
from mt3x.music.band_decoder import BandDecoder, HeardNotes, band_notes
from mt3x.music.band_rolls import BandRolls
from mt3x.music.drum_decoder import DrumDecodingConfig
from mt3x.music.instrument_assignment import AssignmentConfig
from mt3x.music.instrument_classes import CLASSES
from mt3x.music.instruments import parse_instruments
from mt3x.music.roll_decoder import RollDecodingConfig, rolls_to_notes
from mt3x.music.rolls import LOWEST_PITCH

DECODING = RollDecodingConfig()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(band_decoder, "BLOCK_FRAMES", 16)
    monkeypatch.setattr(band_decoder, "MAX_FRAMES", 10)


def decoder():
    return BandDecoder(DECODING, DrumDecodingConfig(), FRAME_HZ, DRUM_HZ)


def heard(rolls: BandRolls, cuts=()) -> HeardNotes:
    decoding = decoder()
    edges = sorted([0, *(min(cut, rolls.num_frames) for cut in cuts), rolls.num_frames])
    for begin, end in itertools.pairwise(edges):
        decoding.push(rolls[begin:end])
    return decoding.finish()


def by_time(found: HeardNotes) -> HeardNotes:
    order = np.lexsort((found.found.pitch, found.found.first_frame))
    return HeardNotes(
        type(found.found)(*(column[order] for column in found.found)),
        found.classes_NxK[order],
        found.timbre_NxE[order],
        found.drums,
    )


@pytest.mark.parametrize("num_frames", [1, 2, 70])
def test_sums_are_those_of_the_notes_frames(num_frames):
    rolls = random_band_rolls(num_frames, seed=num_frames)
    found, classes_NxK, timbre_NxE, _ = heard(rolls)
    assert found.notes().equals(rolls_to_notes(rolls.rolls, DECODING))
    assert len(found.pitch) > 20 and classes_NxK.shape[1] == len(CLASSES)
    lengths = []
    for n, (pitch, first, end) in enumerate(
        zip(found.pitch, found.first_frame, found.end_frame, strict=True)
    ):
        frames = slice(first, min(end, first + 10))
        key = pitch - LOWEST_PITCH
        classes_K = rolls.classes_TxPxK[frames, key].sum(axis=0, dtype=float)
        timbre_E = rolls.timbre_TxPxE[frames, key].mean(axis=0, dtype=float)
        np.testing.assert_allclose(classes_NxK[n], classes_K, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(timbre_NxE[n], timbre_E, rtol=1e-5, atol=1e-5)
        lengths.append(end - first)
    # Among them are notes that last longer than what is summed, and than a block.
    assert num_frames < 70 or max(lengths) > 40


@settings(max_examples=30)
@given(
    num_frames=st.integers(0, 50),
    cuts=st.lists(st.integers(0, 50), max_size=6),
    seed=st.integers(0, 2**16),
)
def test_blocks_change_nothing(num_frames, cuts, seed):
    rolls = random_band_rolls(num_frames, seed)
    whole, parts = by_time(heard(rolls)), by_time(heard(rolls, cuts))
    for mine, theirs in zip(whole.found, parts.found, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(whole.classes_NxK, parts.classes_NxK, atol=1e-4)
    np.testing.assert_allclose(whole.timbre_NxE, parts.timbre_NxE, atol=1e-6)
    assert whole.drums.equals(parts.drums)


def test_memory_does_not_grow_with_the_recording():
    """Of all that the decoder keeps, only the notes and hits grow."""
    rolls, decoding = random_band_rolls(64, seed=0), decoder()
    sizes = []
    for _ in range(6):
        decoding.push(rolls)
        state = vars(decoding) | vars(decoding._notes) | vars(decoding._drums)
        arrays = [x for x in state.values() if isinstance(x, np.ndarray)]
        arrays += [decoding._notes._pending.stacked()]
        # Not views of larger ones.
        sizes.append(sum((x if x.base is None else x.base).nbytes for x in arrays))
    # Rows that wait for their neighbours, and one of sums: less than 16 frames.
    assert sizes[1] == sizes[-1] <= 16 * rolls.classes_TxPxK[0].nbytes


def test_nothing_heard():
    assert len(band_notes(decoder().finish(), AssignmentConfig())) == 0


def drawn() -> HeardNotes:
    """A bass below a trumpet that repeats its note, and drums."""
    rolls = random_band_rolls(100, seed=0)
    arrays = {name: np.zeros_like(x) for name, x in rolls.by_name().items()}
    arrays["classes"][:] = np.log(0.5 / (len(CLASSES) - 1))
    names = [each.name for each in CLASSES]
    for key, name, axis in ((10, "bass", 0), (50, "trumpet", 1)):
        arrays["classes"][:, key, names.index(name)] = np.log(0.5)
        arrays["timbre"][:, key, axis] = 1
        for t in range(0, 100, 20):
            arrays["onset"][t, key] = 1
            arrays["frame"][t : t + 15, key] = 1
            arrays["velocity"][t : t + 15, key] = 0.5
    arrays["drums"][::100] = 0.9
    return heard(BandRolls.from_names(arrays, FRAME_HZ, DRUM_HZ))


def test_notes_have_their_players():
    notes = band_notes(drawn(), AssignmentConfig())
    pitched = notes[~notes.is_drum]
    assert len(pitched) == 10 and (notes.is_drum).sum() == 32
    assert set(zip(pitched.pitch.tolist(), pitched.program.tolist(), strict=True)) == {
        (31, 33),
        (71, 56),
    }
    assert set(pitched.velocity) == {64}


def test_a_bias_counts_in_each_frame_of_a_note():
    as_likely = np.log(len(CLASSES) - 1)
    for factor, program in ((0.5, 56), (1.5, 0)):
        assignment = AssignmentConfig(piano_bias=factor * as_likely)
        notes = band_notes(drawn(), assignment)
        assert set(notes[notes.pitch == 71].program) == {program}


def test_instruments_restrict_who_plays_and_whether_drums_do():
    def played(text):
        notes = band_notes(drawn(), AssignmentConfig(), parse_instruments(text))
        return set(notes.program[~notes.is_drum].tolist()), int(notes.is_drum.sum())

    assert played("bass,brass,drums") == ({33, 56}, 32)
    assert played("34,Trumpet") == ({34, 56}, 0)
    assert played("flute,drums") == ({73}, 32)
    assert played("drums") == (set(), 32)


def test_rolls_are_cut_and_joined():
    rolls = random_band_rolls(20, seed=0)
    assert (rolls.num_frames, rolls.frame_rate_hz, rolls.drum_steps) == (20, 31.25, 4)
    assert rolls.timbre_TxPxE.shape[2] == TIMBRE_DIMS
    parts = [rolls[:7], rolls[7:7], rolls[7:]]
    assert [len(part.drums_UxD) for part in parts] == [28, 0, 52]
    whole = BandRolls.concatenate(parts)
    for name, array in rolls.by_name().items():
        np.testing.assert_array_equal(whole.by_name()[name], array)
    with pytest.raises(ValueError, match=r"drums has shape \(28, 8\)"):
        BandRolls.from_names(
            rolls.by_name() | {"drums": rolls.drums_UxD[:28]}, FRAME_HZ, DRUM_HZ
        )
