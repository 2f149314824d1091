"""Files of pieces with beats, and batches made from them."""

from dataclasses import replace

import numpy as np
import pytest

from mt3x.data.beat_batches import BeatDataConfig, is_held_out
from mt3x.data.beat_pieces import BeatPiece, read_pieces, write_pieces
from mt3x.music.beat_frames import NUM_INPUTS
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes


def piece(number, meter=(4, 4, False)):
    beats = Beats(0.5 * np.arange(40), np.arange(40) % meter[0] + 1, *meter)
    notes = Notes(beats.time_s, beats.time_s + 0.3, np.full(40, 40 + number))
    return BeatPiece(f"piece {number}", number, notes, beats, number % 2 == 0)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("beats") / "pieces.npz"
    assert write_pieces(path, [piece(n) for n in range(44)]) == 44
    return path


def config(file, **options):
    return BeatDataConfig(pieces=(str(file),), **{"batch_size": 4, **options})


def test_files_keep_pieces(tmp_path):
    pieces = [piece(0), piece(1, (2, 8, True))]
    write_pieces(tmp_path / "a.npz", pieces)
    for old, new in zip(pieces, read_pieces(tmp_path / "a.npz"), strict=True):
        assert (old.name, old.number) == (new.name, new.number)
        assert old.is_score == new.is_score
        assert old.beats.meter == new.beats.meter
        assert old.notes.equals(new.notes)
        np.testing.assert_array_equal(old.beats.position, new.beats.position)


def test_other_files_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"a.npz: not a file of pieces"):
        read_pieces(tmp_path / "a.npz")


def test_batches_are_a_function_of_seed_and_step(file):
    batches = config(file).make_batches()
    first, again = batches.batch(3), config(file).make_batches().batch(3)
    assert first["frames"].shape == (4, 1536, NUM_INPUTS)
    assert first["targets"].shape == (4, 1536, 3)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["frames"], batches.batch(4)["frames"])
    other = config(file, seed=1).make_batches().batch(3)
    assert not np.array_equal(first["frames"], other["frames"])


def test_quick_beats_keep_their_order(tmp_path):
    time_s = 0.05 * np.arange(400)
    beats = Beats(time_s, np.arange(400) % 4 + 1, 4)
    notes = Notes(time_s, time_s + 0.04, np.full(400, 60))
    pieces = [BeatPiece("a", n, notes, beats, False) for n in range(44)]
    write_pieces(tmp_path / "quick.npz", pieces)
    batches = config(tmp_path / "quick.npz").make_batches()
    for step in range(10):
        assert batches.batch(step)["downbeats"][..., 1].any()


def test_half_of_all_beats_are_the_right_ones_and_levels_vary(file):
    batches = config(file, drums_prob=0.0).make_batches()
    found = [batches.batch(step) for step in range(40)]
    bars_NxKx4 = np.concatenate([one["downbeats"] for one in found])
    down, known, right, exists = np.moveaxis(bars_NxKx4, -1, 0)
    assert 0.35 < right.max(axis=1).mean() < 0.65
    assert not np.any((known > exists) | (down > exists) | (right > known))

    # Downbeats come every four beats where these are right, and else, where they are
    # known, every two or eight.
    def gaps(down_NxK):
        rows = [row for row in down_NxK if row.sum() > 1]
        return {int(np.diff(np.flatnonzero(row)).min()) for row in rows}

    assert gaps(down * right) == {4}
    assert {2, 8} <= gaps(down * known * (1 - right))


def test_processes_share_a_batch(file):
    whole = config(file).make_batches().batch(0)["frames"]
    parts = [
        config(file).make_batches(shard=(n, 2)).batch(0)["frames"] for n in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_held_out_pieces_are_not_trained_on(file):
    held_out = {f"piece {n}" for n in range(44) if is_held_out(n)}
    assert held_out == {"piece 21", "piece 43"}
    training, validation = (
        config(file).make_batches(),
        config(file).validation_batches(),
    )
    trained = {name for step in range(40) for name in training.ids(step)}
    validated = {name for step in range(10) for name in validation.ids(step)}
    assert validated == {"piece 10", "piece 32"}
    assert not trained & (held_out | validated)
    assert len(trained) > 30


def test_sections_of_a_score_are_held_out_together(tmp_path):
    # Three sections a score; the file lacks a score that could not be read.
    sections = [
        replace(piece(number), name=f"{number} {section}")
        for number in range(44)
        if number != 3
        for section in range(3)
    ]
    write_pieces(tmp_path / "scores.npz", sections)
    batches = config(tmp_path / "scores.npz").validation_batches()
    validated = {name for step in range(30) for name in batches.ids(step)}
    assert validated == {f"{number} {part}" for number in (10, 32) for part in range(3)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pieces": ()}, "no pieces to train on"),
        ({"pieces": ("a",), "weights": (1.0, 2.0)}, "2 weights for 1 files"),
        ({"clip_frames": 3}, "clip_frames=3 must be even"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BeatDataConfig(**options).make_batches()
