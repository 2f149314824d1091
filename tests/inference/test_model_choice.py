"""Which model a recording is for: by what the band model hears in parts of it."""

import numpy as np
import pytest
from tiny_models import SMALL_BAND, save_small_weights

from mt3x.inference import model_choice
from mt3x.inference.model_choice import choose_model, is_piano
from mt3x.inference.transcriber import Transcriber
from mt3x.music.band_decoder import HeardNotes
from mt3x.music.instrument_assignment import AssignmentConfig
from mt3x.music.instrument_classes import CLASSES
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import FoundNotes

RATE = 16000
ASSIGNMENT = AssignmentConfig()


def heard(num_drums=0, **numbers: int) -> HeardNotes:
    """Notes of 10 frames that are rather sure of their class."""
    names = [each.name for each in CLASSES]
    said = np.repeat([names.index(name) for name in numbers], list(numbers.values()))
    classes_NxK = np.full((len(said), len(CLASSES)), 10 * np.log(0.002))
    classes_NxK[np.arange(len(said)), said.astype(int)] = 10 * np.log(0.95)
    times = np.zeros((2, len(said)))
    found = FoundNotes(*times, *np.zeros((5, len(said)), int))
    drums = np.arange(num_drums)
    return HeardNotes(
        found,
        classes_NxK,
        np.zeros((len(said), 12)),
        Notes(drums, drums, drums + 36, is_drum=np.ones(num_drums, bool)),
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([heard(piano=60), heard(piano=40)], True),
        ([heard(piano=80, bass=20)], True),
        ([heard(piano=60), heard(bass=80)], False),
        ([heard(**{"piano": 50, "electric piano": 50})], True),
        ([heard(piano=100, num_drums=3)], True),
        ([heard(piano=100, num_drums=10)], False),
        ([heard(organ=1)], False),
        ([heard()], False),
        ([heard(num_drums=9)], False),
        ([], False),
    ],
)
def test_piano_alone(parts, expected):
    assert is_piano(parts, ASSIGNMENT) == expected


def test_three_parts_are_listened_to(tmp_path, monkeypatch):
    band = Transcriber(save_small_weights(tmp_path / "b.safetensors", SMALL_BAND))
    parts = []

    def listen(heard, assignment):
        parts.extend(heard)
        return len(parts) == 3

    monkeypatch.setattr(model_choice, "PART_FRAMES", 31.25)
    monkeypatch.setattr(model_choice, "is_piano", listen)
    samples_S = 0.1 * np.random.default_rng(0).standard_normal(9 * RATE)
    assert choose_model(band, samples_S.astype(np.float32), RATE) == "piano"
    # Of one second each.
    for part in parts:
        assert 0 < len(part.found.pitch) and part.found.offset_s.max() < 1.1
    assert choose_model(band, np.zeros(RATE), RATE) == "band"
