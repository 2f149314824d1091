"""Notes and MIDI files from what T5X infers, without T5X."""

import json

import numpy as np
import pytest
from tiny_models import SMALL, SMALL_TOKENS

from mt3x.data.pipeline.outputs import EventVocabulary
from mt3x.interop.t5x_outputs import write_notes
from mt3x.music.notes import Notes
from mt3x.music.rolls import notes_to_rolls
from mt3x.music.tokens import Tokenizer

NOTES = Notes([0.1, 0.3, 0.5], [0.2, 0.6, 0.9], [60, 64, 67])
IDS = ["a/b c", "d"]


class Segments:
    """As a tf.data.Dataset of an evaluation task, two segments a piece."""

    def __init__(self, num_frames):
        self.num_frames = num_frames

    def as_numpy_iterator(self):
        for number, id in enumerate(IDS):
            for first in (0, self.num_frames):
                yield {
                    "id": np.array([id.encode()], object),
                    "unique_id": np.array([number]),
                    "first_frame": np.array([first]),
                }


def token_predictions():
    """Of each segment, the model's ids of NOTES."""
    tokenizer = Tokenizer(SMALL_TOKENS.tokens)
    rate_hz = SMALL_TOKENS.features.frame_rate_hz
    events = tokenizer.events(NOTES, 128, rate_hz)
    segments = [tokenizer.segment(events, first, 64) for first in (0, 64)]
    rows = [np.pad(ids + 3, (0, 24 - len(ids))).tolist() for ids in segments]
    for row in rows:
        row[row.index(0)] = 1
    return rows * len(IDS), EventVocabulary(tokenizer.codec.num_classes), 64


def roll_predictions():
    rolls = notes_to_rolls(NOTES, 50, SMALL.labels)
    rolls_Tx4xP = rolls.stacked()
    return [rolls_Tx4xP[:25].tolist(), rolls_Tx4xP[25:].tolist()] * len(IDS), None, 25


@pytest.mark.parametrize("kind", ["tokens", "rolls"])
def test_pieces_of_two_segments(tmp_path, kind):
    predictions, vocabulary, num_frames = (
        token_predictions() if kind == "tokens" else roll_predictions()
    )
    path = tmp_path / "some_task-predict.jsonl-00000-of-00001-chunk00000"
    config = SMALL_TOKENS if kind == "tokens" else SMALL
    args = (predictions, {}), Segments(num_frames), "predict", vocabulary, config
    write_notes(str(path), *args, output_dir=str(tmp_path / "out"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == IDS
    for line in lines:
        found = line["est_notes"]
        assert [note["pitch"] for note in found] == NOTES.pitch.tolist()
        onset_s = [note["start_time"] for note in found]
        np.testing.assert_allclose(onset_s, NOTES.onset_s, atol=0.02)
        assert set(found[0]) == {
            *("start_time", "end_time", "pitch", "velocity", "program", "is_drum")
        }
    files = sorted(file.name for file in (tmp_path / "out" / "some_task").iterdir())
    assert files == ["00000_a_b_c.mid", "00001_d.mid"]
    midi = (tmp_path / "out" / "some_task" / files[1]).read_bytes()
    np.testing.assert_array_equal(Notes.from_midi(midi).pitch, NOTES.pitch)


def test_scores_are_no_notes(tmp_path):
    with pytest.raises(ValueError, match="infer with 'predict'"):
        write_notes(
            *(str(tmp_path / "x"), ([], {}), Segments(1), "score", None, SMALL),
            output_dir=str(tmp_path),
        )
