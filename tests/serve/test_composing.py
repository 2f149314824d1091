"""Composing by the API: from a wish to notes and files, with the package's weights."""

import dataclasses
import io
import json
import threading

import pytest
import soundfile
from api_client import NOTES, assert_one_line

from mt3x.inference.composer import Composer
from mt3x.inference.outputs import MUSIC_FORMATS, Composition
from mt3x.inference.wish import Wish
from mt3x.music.notes import Notes
from mt3x.serve.composing import Order, compose
from mt3x.serve.config import ServerConfig
from mt3x.serve.models import Models
from mt3x.serve.notes_json import notes_from_json, notes_to_json
from mt3x.serve.tasks import Cancelled

HAPPY = {"valence": 0.8, "arousal": 0.4, "seconds": 5, "seed": 3}


@pytest.fixture(scope="module")
def composer():
    return Composer()


@pytest.fixture(scope="module")
def piece(composer):
    [notes] = composer.compose(Wish(**HAPPY))
    return notes


@pytest.fixture(scope="module")
def composed(served):
    """A server that lives on, and the id of a piece that it has composed."""
    with served() as client:
        yield client, client.composed(**HAPPY)[0]


def test_a_wish_becomes_the_notes_of_the_composer(client, piece):
    answer = client.compose(**HAPPY)
    assert answer.status_code == 202
    assert answer.json()["place"] == 1 and answer.json()["seed"] == 3
    [*_, (_, kind, done)] = client.events(answer.json()["id"])
    assert kind == "done" and done["model"] == "generator"
    assert len(piece) and notes_from_json(done["notes"]).equals(piece)
    assert done["duration"] == piece.offset_s.max()
    assert done["candidates"] == [] and done["defaults"] is None


def test_what_is_left_out_is_as_in_a_wish_and_a_seed_is_drawn(client, composer):
    answers = [client.compose(seconds=0.5) for _ in range(2)]
    first, second = (answer.json()["seed"] for answer in answers)
    assert first != second
    _, _, done = client.events(answers[0].json()["id"])[-1]
    [expected] = composer.compose(Wish(seconds=0.5, seed=first))
    assert notes_from_json(done["notes"]).equals(expected)
    about = client.get("/api/info").json()["compose"]
    assert about["defaults"] == {
        name: getattr(Wish(), name)
        for name in ("valence", "arousal", "seconds", "key", "guidance", "temperature")
    }


def test_every_choice_reaches_the_composer(served, composer):
    choices = {"key": "any", "guidance": 1.5, "temperature": 0.8}
    wish = Wish(**HAPPY, **choices)
    [expected] = composer.compose(wish)
    with served() as client:
        id, done = client.composed(**HAPPY, **choices)
        assert notes_from_json(done["notes"]).equals(expected)
        record = json.loads(client.get(f"/api/jobs/{id}/result.json").text)
        assert record["options"] == {**HAPPY, **choices}
    for name in choices:
        usual = dataclasses.replace(wish, **{name: getattr(Wish(), name)})
        [other] = composer.compose(usual)
        assert not other.equals(expected), name


def test_a_prompt_is_continued(client, composer, piece):
    prompt = notes_to_json(piece)
    _, done = client.composed(prompt=prompt, seconds=2, seed=4)
    assert done["notes"][: len(prompt)] == prompt
    [expected] = composer.compose(Wish(seconds=2, seed=4), piece)
    assert notes_from_json(done["notes"]).equals(expected)


def test_files_are_those_of_the_command(composed, piece):
    client, id = composed
    options = {name: float(x) for name, x in HAPPY.items()} | {"seed": 3}
    made = Composition(piece, "generated-3", options)
    for ending, name in (("csv", "csv"), ("jsonl", "jsonl"), ("wav", "wav")):
        file = io.BytesIO()
        MUSIC_FORMATS[name].write(file, made)
        answer = client.get(f"/api/jobs/{id}/result.{ending}")
        assert answer.content == file.getvalue()
        assert f"generated-3.{ending}" in answer.headers["content-disposition"]
    sound = client.get(f"/api/jobs/{id}/result.wav").content
    assert soundfile.info(io.BytesIO(sound)).channels == 1
    data = client.get(f"/api/jobs/{id}/result.mid").content
    assert len(Notes.from_midi(data)) == len(piece)


def test_every_format_that_is_offered_can_be_had(composed):
    client, id = composed
    for ending in client.get("/api/info").json()["formats"]:
        answer = client.get(f"/api/jobs/{id}/result.{ending}")
        assert answer.status_code == 200 and answer.content, ending


def test_it_has_a_score_and_can_be_edited_but_has_no_recording(client):
    id, _ = client.composed(**HAPPY)
    score = client.get(f"/api/jobs/{id}/score")
    assert score.status_code == 200 and score.json()["pages"]
    assert client.put(f"/api/jobs/{id}/notes", json=NOTES).status_code == 204
    text = client.get(f"/api/jobs/{id}/result.csv").text
    assert len(Notes.from_csv(io.StringIO(text))) == len(NOTES)
    for answer, status in (
        (client.get(f"/api/jobs/{id}/audio"), 404),
        (client.post(f"/api/jobs/{id}/decode", json={}), 409),
    ):
        assert answer.status_code == status
        assert_one_line(answer)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"valence": 1.5}, "valence=1.5: give a number from -1 to 1"),
        ({"arousal": "high"}, "arousal=high"),
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": 301}, "seconds=301: give 300 at most"),
        ({"key": "H"}, "key 'H'"),
        ({"key": 3}, "key is not text"),
        ({"seed": 1.5}, "seed=1.5: give a whole number"),
        ({"seed": True}, "seed=True"),
        ({"guidance": -1}, "guidance=-1"),
        ({"temperature": [1]}, "temperature=[1]: give a number"),
        ({"topK": 3}, "'topK' is not one of valence"),
        ({"prompt": []}, "the prompt has no notes"),
        ({"prompt": [{"pitch": 60}]}, "onset of note 0"),
        ({"prompt": [{**NOTES[0], "offset": 361}]}, "ends after 360.0 s"),
    ],
    ids=str,
)
def test_bad_wishes_are_refused(limited, wish, said):
    answer = limited.compose(**wish)
    assert answer.status_code == 422 and said in answer.text
    assert_one_line(answer)
    assert not list(limited.folder.iterdir())


@pytest.fixture(scope="module")
def limited(served):
    """A server that composes five minutes at most."""
    with served(max_minutes=5) as client:
        assert client.get("/api/info").json()["compose"]["maxSeconds"] == 300
        yield client


@pytest.mark.parametrize("body", ["", "[]", "3", "nonsense", '{"seconds": NaN}'])
def test_what_is_no_wish_is_refused(limited, body):
    answer = limited.post("/api/compose", content=body)
    assert answer.status_code == 422
    assert_one_line(answer)


def test_a_prompt_that_no_piano_plays_is_told_of(client):
    id = client.compose(prompt=[NOTES[2]]).json()["id"]
    *_, (_, kind, values) = client.events(id)
    assert kind == "error" and "drums alone" in values["message"]


def test_wishes_wait_in_the_queue_of_recordings(served, gate):
    with served(gate, jobs=2) as client:
        client.upload()
        assert gate.arrived.wait(10)
        id = client.compose(seconds=0.5).json()["id"]
        assert client.compose(seconds=0.5).status_code == 429
        assert client.delete(f"/api/jobs/{id}").status_code == 204
        waiting = client.compose(seconds=0.5).json()
        assert waiting["place"] == 1
        gate.opened.set()
        assert client.events(waiting["id"])[-1][1] == "done"


def test_progress_is_told_and_composing_ends_when_it_is_cancelled(tmp_path):
    order = Order(tmp_path, "a", Wish(seconds=60.0, seed=1), None)
    told, cancelled = [], threading.Event()

    def tell(kind, values):
        told.append((kind, values))
        if values["seconds"] > 0:
            cancelled.set()

    with pytest.raises(Cancelled):
        compose(order, Models("piano"), ServerConfig(), tell, cancelled)
    assert {kind for kind, _ in told} == {"progress"}
    seconds = [values["seconds"] for _, values in told]
    assert seconds[0] == 0 < seconds[-1] < 60 == told[-1][1]["duration"]


def test_without_a_model_nothing_is_offered(kept, monkeypatch):
    client, _ = kept
    monkeypatch.setattr(Models, "composes", False)
    assert client.get("/api/info").json()["compose"] is None
    answer = client.compose(seconds=1)
    assert answer.status_code == 404
    assert_one_line(answer)
