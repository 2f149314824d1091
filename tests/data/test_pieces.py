"""Mixes of stems."""

import numpy as np
import toy_data_sets as toys

from mt3x.data.pieces import mix_samples, submixes
from mt3x.data.published.catalogue import find_sources
from mt3x.data.published.source import ReadOptions


def test_submixes_are_sums_of_some_stems(tmp_path):
    toys.slakh_track(tmp_path / "train" / "Track00001", 1)
    (source,) = find_sources("slakh", tmp_path)
    piece = source.read(ReadOptions(stem_audio=True)).piece
    mixes = submixes(piece, 5)
    assert [mix.id for mix in mixes] == [f"Track00001_mix{n}" for n in range(5)]
    assert {len(mix.stems) for mix in mixes} == {4, 5}
    for mix in mixes:
        summed_S = mix_samples([stem.samples_S for stem in mix.stems])
        np.testing.assert_array_equal(mix.samples_S, summed_S)
        assert len(mix.notes) == 8 * len(mix.stems)
    again = submixes(piece, 5)
    assert [m.notes.equals(a.notes) for m, a in zip(mixes, again, strict=True)]


def test_mix_is_scaled_where_it_is_too_loud():
    mixed_S = mix_samples([np.full(2, 0.8, np.float32), np.full(3, 0.8, np.float32)])
    np.testing.assert_allclose(mixed_S, [1, 1, 0.5])
