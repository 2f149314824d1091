"""Keys and pedal by the API are those of `mt3x transcribe --pedal events`."""

import io
import json
from pathlib import Path

import mido
import numpy as np
import pytest
from api_client import NOTES, assert_one_line

from mt3x.inference.outputs import FORMATS, Transcription
from mt3x.inference.transcriber import Transcriber
from mt3x.music.note_files import read_performance
from mt3x.serve.models import Models
from mt3x.serve.notes_json import notes_from_json

CLIP = Path(__file__).parents[1] / "data" / "prelude.ogg"


@pytest.fixture(scope="module")
def models():
    return Models("auto")


@pytest.fixture(scope="module")
def heard(served, models):
    """A server that lives on, a job with the pedal, and its last event's values."""
    with served(models) as client:
        data = CLIP.read_bytes()
        yield client, *client.done(data, "prelude.ogg", model="auto", pedal="events")


@pytest.fixture(scope="module")
def performance():
    return Transcriber(model="piano").perform(CLIP)


def test_keys_and_pedal_are_those_of_the_transcriber(heard, performance):
    _, _, done = heard
    assert done["model"] == "piano model"
    assert len(performance.pedal_s) > 3
    assert notes_from_json(done["notes"]).equals(performance.keys)
    pedal_s = [[span["down"], span["up"]] for span in done["pedal"]]
    np.testing.assert_array_equal(pedal_s, performance.pedal_s)


def test_files_are_those_of_the_command(heard, performance):
    client, id, done = heard
    notes = performance.notes()
    transcriber = Transcriber(model="piano")
    made = Transcription(
        notes,
        [],
        CLIP,
        "prelude.ogg",
        transcriber,
        done["duration"],
        {"pedal": "events"},
        performance=performance,
    )
    for ending, name in (("csv", "csv"), ("json", "json"), ("jsonl", "jsonl")):
        file = io.BytesIO()
        FORMATS[name].write(file, made)
        assert client.get(f"/api/jobs/{id}/result.{ending}").content == file.getvalue()
    found = json.loads(client.get(f"/api/jobs/{id}/result.json").text)
    assert found["pedal"] and "key_up_s" in found["notes"][0]
    midi = client.get(f"/api/jobs/{id}/result.mid").content
    pedal = [m for m in mido.MidiFile(file=io.BytesIO(midi)) if m.is_cc(64)]
    assert len(pedal) == 2 * len(performance.pedal_s)
    text = client.get(f"/api/jobs/{id}/result.musicxml").text
    assert '<pedal type="start"' in text


def test_edited_notes_are_keys(served, models, tmp_path):
    with served(models) as client:
        data = CLIP.read_bytes()
        id, done = client.done(data, "a.ogg", pedal="events")
        client.put(f"/api/jobs/{id}/notes", json=[NOTES[0]])
        path = tmp_path / "a.json"
        path.write_bytes(client.get(f"/api/jobs/{id}/result.json").content)
        played = read_performance(path)
        assert played.keys.offset_s == pytest.approx([NOTES[0]["offset"]])
        assert len(played.pedal_s) == len(done["pedal"])


def test_thresholds_change_keys_as_they_change_notes(heard):
    client, id, done = heard
    same = client.post(f"/api/jobs/{id}/decode", json={}).json()
    assert (same["notes"], same["candidates"]) == (done["notes"], done["candidates"])
    choice = {"onset": 0.9, "frame": 0.5}
    found = client.post(f"/api/jobs/{id}/decode", json=choice).json()
    transcriber = Transcriber(model="piano", onset_threshold=0.9, frame_threshold=0.5)
    assert notes_from_json(found["notes"]).equals(transcriber.perform(CLIP).keys)


def test_extend_is_the_default(served, models, performance):
    with served(models) as client:
        data = CLIP.read_bytes()
        found = []
        for options in ({}, {"pedal": "extend"}):
            id, done = client.done(data, "a.ogg", model="piano", **options)
            assert done["pedal"] is None
            found.append(notes_from_json(done["notes"]))
            midi = client.get(f"/api/jobs/{id}/result.mid").content
            assert not [m for m in mido.MidiFile(file=io.BytesIO(midi)) if m.is_cc(64)]
        assert found[0].equals(found[1])
        keys = performance.keys
        # The networks are compiled apart, so that they round differently.
        np.testing.assert_allclose(found[0].onset_s, keys.onset_s, atol=1e-6)
        np.testing.assert_array_equal(found[0].pitch, keys.pitch)
        assert (found[0].offset_s > keys.offset_s + 0.1).any()


def test_events_choose_the_piano_model(models):
    assert models.choose("auto", "events") == models.choose(None, "events") == "piano"
    assert models.choose("auto", "extend") == models.choose(None, "extend") == "auto"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pedal": "down"}, "there is no such pedal: choose extend or events"),
        ({"pedal": "events", "model": "band"}, "choose model=piano, or leave it out"),
    ],
)
def test_what_has_no_pedal_is_refused(heard, options, said):
    client, _, _ = heard
    assert client.get("/api/info").json()["pedalModel"] == "piano"
    answer = client.upload(**options)
    assert answer.status_code == 400 and said in answer.text
    assert_one_line(answer)


@pytest.mark.parametrize("kind", ["piano", "band", "tokens"])
def test_checkpoints_without_its_heads_have_no_pedal(served, kind):
    with served(kind) as client:
        assert client.get("/api/info").json()["pedalModel"] is None
        answer = client.upload(pedal="events")
        assert answer.status_code == 400 and "leave it out" in answer.text
        assert_one_line(answer)


def test_a_checkpoint_with_its_heads_has_one(served):
    with served("pedal piano") as client:
        assert client.get("/api/info").json()["pedalModel"] == "checkpoint"
        _, done = client.done(pedal="events")
        assert done["pedal"] is not None
