"""The API: from a recording to notes and files, and what it answers to nonsense."""

import asyncio
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import mido
import pytest
import soundfile
from api_client import NOTES, RATE, assert_one_line, tone

import mt3x
from mt3x.inference.outputs import FORMATS, Transcription
from mt3x.music.audio import audio_info
from mt3x.music.notes import Notes
from mt3x.serve import app as app_module
from mt3x.serve.config import ServerConfig
from mt3x.serve.jobs import Job
from mt3x.serve.notes_json import notes_from_json
from mt3x.serve.transcription import Recording, transcribe


def test_a_recording_becomes_notes_and_a_midi_file(client, models_of):
    answer = client.upload()
    assert answer.status_code == 202 and answer.json()["place"] == 1
    id = answer.json()["id"]
    events = client.events(id)
    assert [kind for _, kind, _ in events][-1] == "done"
    assert all(kind == values["type"] for _, kind, values in events)
    numbers = [number for number, _, _ in events]
    assert numbers == sorted(set(numbers))
    expected = models_of("piano").first(tone())
    notes = events[-1][2]["notes"]
    assert len(expected) and notes_from_json(notes).equals(expected)
    data = client.get(f"/api/jobs/{id}/result.mid").content
    midi = expected.to_midi(beats=mt3x.beats(expected))
    assert Notes.from_midi(data).equals(Notes.from_midi(midi))


def test_the_place_in_the_queue_is_told(served, gate):
    with served(gate) as client:
        first = client.upload().json()
        assert gate.arrived.wait(10)
        others = [client.upload().json() for _ in range(3)]
        assert [x["place"] for x in others] == [1, 2, 3]
        client.delete(f"/api/jobs/{others[0]['id']}")
        gate.opened.set()
        for each in (first, *others[1:]):
            kinds = [kind for _, kind, _ in client.events(each["id"])]
            assert kinds[-1] == "done"


def test_progress_and_notes_come_while_it_is_transcribed(models_of, tmp_path):
    recording = Recording(tmp_path, "a.wav", "checkpoint", "audio/wav")
    recording.path.write_bytes(tone(25))
    told, never = [], threading.Event()
    models = models_of("piano")
    found = transcribe(
        recording, models, ServerConfig(), lambda *event: told.append(event), never
    )
    kinds = [kind for kind, _ in told]
    assert kinds.count("notes") >= 2 and kinds[-1] == "done"
    seconds = [x["seconds"] for kind, x in told if kind == "progress"]
    assert seconds == sorted(seconds) and seconds[-1] == pytest.approx(25, abs=0.1)
    early = sum(len(x["notes"]) for kind, x in told if kind == "notes")
    assert 0 < early <= len(found.notes)


def test_a_listener_who_comes_back_gets_what_it_lacks(client):
    id, _ = client.done()
    events = client.events(id)
    assert [kind for _, kind, _ in events] == ["done"]
    assert client.events(id, last=events[0][0] - 1) == events
    answer = client.get(
        f"/api/jobs/{id}/events", headers={"Last-Event-ID": str(events[0][0])}
    )
    assert answer.status_code == 204


def test_what_happens_while_events_are_sent_is_sent_too(tmp_path):
    async def listen():
        job = Job(Recording(tmp_path, "a.wav", "piano", "audio/wav"))
        job.tell("progress", {"seconds": 1.0})
        stream = app_module.event_stream(job, 0)
        first = await anext(stream)
        job.tell("done", {})
        job.state = "done"
        return [first, *[each async for each in stream]]

    # In a thread: Playwright's tests leave this one with an event loop.
    with ThreadPoolExecutor(1) as threads:
        first, last = threads.submit(lambda: asyncio.run(listen())).result()
    assert b"event: progress" in first and b"event: done" in last


def test_thresholds_are_moved(client):
    id, done = client.done()

    def decode(**choice):
        answer = client.post(f"/api/jobs/{id}/decode", json=choice)
        assert answer.status_code == 200, answer.text
        return answer.json()

    same = decode()
    assert (same["notes"], same["candidates"]) == (done["notes"], done["candidates"])
    fewer = decode(onset=0.52)
    assert 0 < len(fewer["notes"]) < len(done["notes"])
    # What has become too weak is a candidate.
    begun = {_key(x) for x in fewer["notes"]}
    weak = {_key(x) for x in fewer["candidates"]}
    assert weak and not begun & weak
    few = decode(onset=0.52, lowest=60, highest=71, minDuration=0.1)
    assert few["notes"] == [
        x
        for x in fewer["notes"]
        if 60 <= x["pitch"] <= 71 and x["offset"] - x["onset"] >= 0.1
    ]
    written = Notes.from_midi(client.get(f"/api/jobs/{id}/result.mid").content)
    assert len(written) == len(few["notes"]) > 0


def _key(note):
    return note["onset"], note["pitch"]


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", "3", "null", "{", "{'onset': 1}", "[" * 100_000),
        *('{"onset": "x"}', '{"onset": true}', '{"onset": NaN}', '{"onset": null}'),
        *('{"onset": 0}', '{"frame": 1.1}', '{"lowest": 128}', '{"other": 1}'),
        '{"minDuration": -1}',
        '{"onset": 1' + "0" * 5000 + "}",
    ],
)
def test_bad_thresholds_are_refused(kept, body):
    client, id = kept
    answer = client.post(f"/api/jobs/{id}/decode", content=body)
    assert answer.status_code == 422
    assert_one_line(answer)


def test_edited_notes_are_written(client):
    id, _ = client.done()
    answer = client.put(f"/api/jobs/{id}/notes", json=NOTES)
    assert answer.status_code == 204
    text = client.get(f"/api/jobs/{id}/result.csv").text
    notes = Notes.from_csv(io.StringIO(text))
    assert notes.pitch.tolist() == [60, 38, 64]
    assert notes.velocity.tolist() == [64, 100, 100]
    assert notes.program.tolist() == [0, 0, 33] and notes.is_drum[1]
    file = mido.MidiFile(
        file=io.BytesIO(client.get(f"/api/jobs/{id}/result.mid").content)
    )
    pitches = [m.note for m in file if m.type == "note_on" and m.velocity]
    assert sorted(pitches) == [38, 60, 64]


@pytest.mark.parametrize(
    "change",
    [
        *({"onset": -0.1}, {"onset": "0"}, {"onset": None}, {"offset": 0.05}),
        *({"pitch": 128}, {"pitch": 60.5}, {"velocity": 0}, {"program": -1}),
        *({"drum": 1}, {"offset": 1e6}, {"offset": 1e300}, {"pitch": True}),
        {"velocity": 10**400},
    ],
    ids=str,
)
def test_bad_notes_are_refused_and_the_old_ones_kept(kept, change):
    client, id = kept
    before = client.get(f"/api/jobs/{id}/result.mid").content
    body = json.dumps([NOTES[0], {**NOTES[0], **change}])
    answer = client.put(f"/api/jobs/{id}/notes", content=body)
    assert answer.status_code == 422
    assert_one_line(answer)
    assert client.get(f"/api/jobs/{id}/result.mid").content == before


@pytest.mark.parametrize("body", ["{}", "[3]", '[{"pitch": 60}]', "nonsense", "\xff"])
def test_what_is_no_list_of_notes_is_refused(kept, body):
    client, id = kept
    answer = client.put(f"/api/jobs/{id}/notes", content=body.encode("latin-1"))
    assert answer.status_code == 422
    assert_one_line(answer)


def test_files_are_those_of_the_command(client, models_of):
    id, done = client.done()
    transcriber = models_of("piano").first
    notes = notes_from_json(done["notes"])
    found = Transcription(
        notes=notes,
        rolls=[],
        audio=tone(),
        title="a.wav",
        transcriber=transcriber,
        duration_s=audio_info(tone()).duration_s,
        beats=lambda: mt3x.beats(notes),
    )
    for ending, name in (("mid", "midi"), ("csv", "csv"), ("json", "json")):
        file = io.BytesIO()
        FORMATS[name].write(file, found)
        answer = client.get(f"/api/jobs/{id}/result.{ending}")
        assert answer.content == file.getvalue()
    picture = client.get(f"/api/jobs/{id}/result.png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    sound = client.get(f"/api/jobs/{id}/result.wav").content
    assert soundfile.info(io.BytesIO(sound)).channels == 2


def test_every_format_that_is_offered_can_be_had(client):
    id, _ = client.done()
    client.put(f"/api/jobs/{id}/notes", json=NOTES)
    formats = client.get("/api/info").json()["formats"]
    assert {"musicxml", "svg", "pdf"} <= set(formats)
    for ending in formats:
        answer = client.get(f"/api/jobs/{id}/result.{ending}")
        assert answer.status_code == 200 and answer.content, ending


def test_no_notes_have_files_but_no_score(client):
    id, _ = client.done()
    client.put(f"/api/jobs/{id}/notes", json=[])
    for ending in client.get("/api/info").json()["formats"]:
        answer = client.get(f"/api/jobs/{id}/result.{ending}")
        if ending in ("musicxml", "svg", "pdf"):
            assert answer.status_code == 422 and "no notes" in answer.text
            assert_one_line(answer)
        else:
            assert answer.status_code == 200, ending


def test_formats_whose_libraries_are_missing_are_not_offered(kept, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    client, id = kept
    assert set(client.get("/api/info").json()["formats"]) == {
        *("mid", "csv", "json", "jsonl", "wav")
    }
    assert client.get(f"/api/jobs/{id}/result.pdf").status_code == 404


def test_a_file_is_written_once_for_the_same_notes(client, monkeypatch):
    id, _ = client.done()
    first = client.get(f"/api/jobs/{id}/result.mid")
    written = sorted(client.folder.rglob("*.mid"))
    assert (
        client.get(f"/api/jobs/{id}/result.mid").headers["etag"]
        == (first.headers["etag"])
    )
    client.put(f"/api/jobs/{id}/notes", json=NOTES)
    assert client.get(f"/api/jobs/{id}/result.mid").content != first.content
    assert len(written) == len(list(client.folder.rglob("*.mid"))) == 1


NAMES = {
    "take 1.ogg": "take 1.mid",
    "Prélude „C“.flac": "Prélude „C“.mid",
    '../../etc/pass"wd': 'pass"wd.mid',
    "..\\..\\windows\\a.wav": "a.mid",
    "a\r\nSet-Cookie: x.wav": "aSet-Cookie: x.mid",
    "..": "...mid",
    "": "recording.mid",
    "/": "recording.mid",
    "x" * 300: "x" * 100 + ".mid",
}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_clients_name_is_that_of_the_downloads_only(client, name):
    id, _ = client.done(name=name)
    answer = client.get(f"/api/jobs/{id}/result.mid")
    expected, given = NAMES[name], answer.headers["content-disposition"]
    plain, encoded = f'filename="{expected}"', f"filename*=utf-8''{quote(expected)}"
    assert given in (f"attachment; {plain}", f"attachment; {encoded}")
    assert "\n" not in given
    # The server's own names only.
    [folder] = client.folder.iterdir()
    assert {path.suffix or path.name for path in folder.iterdir()} == (
        {"audio", "rolls", ".mid"}
    )


def test_the_recording_is_sent_in_ranges(client):
    data = tone()
    id, _ = client.done(data)
    audio = f"/api/jobs/{id}/audio"
    whole = client.get(audio)
    assert whole.content == data and whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "audio/wav"
    part = client.get(audio, headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == data[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(data)}"
    beyond = client.get(audio, headers={"Range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416


def test_notes_come_when_they_are_found(served, gate):
    with served(gate) as client:
        id = client.upload().json()["id"]
        assert gate.arrived.wait(10)
        job = f"/api/jobs/{id}"
        for answer in (
            client.get(f"{job}/result.mid"),
            client.post(f"{job}/decode", json={}),
            client.put(f"{job}/notes", json=NOTES),
        ):
            assert answer.status_code == 409
            assert_one_line(answer)
        gate.opened.set()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/api/jobs/x/events"), ("GET", "/api/jobs/x/audio")),
        *(("POST", "/api/jobs/x/decode"), ("PUT", "/api/jobs/x/notes")),
        *(("DELETE", "/api/jobs/x"), ("GET", "/api/jobs/x/result.mid")),
        *(("GET", "/api/jobs/x/result.exe"), ("GET", "/api/other"), ("GET", "/x")),
    ],
)
def test_what_is_not_there_is_not_found(kept, method, path):
    client, _ = kept
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert_one_line(answer)


def test_warnings_about_a_recording_reach_its_sender(client):
    _, done = client.done(tone(2)[:-RATE])
    assert any("cut off" in text for text in done["warnings"])


def test_token_models_have_no_thresholds(served):
    with served("tokens") as client:
        assert client.get("/api/info").json()["defaults"] is None
        id, done = client.done()
        assert done["candidates"] == [] and done["defaults"] is None
        answer = client.post(f"/api/jobs/{id}/decode", json={})
        assert answer.status_code == 409
        assert client.get(f"/api/jobs/{id}/result.mid").status_code == 200


def test_bands_have_instruments_and_drums(served):
    with served("band") as client:
        id, done = client.done(tone(3))
        assert done["model"] == "band model" and done["names"]
        same = client.post(f"/api/jobs/{id}/decode", json={}).json()
        assert same["notes"] == done["notes"]
        drums = [{"drum": 0.05}, {"drum": 1.0}]
        many, none = (
            sum(
                x["drum"]
                for x in client.post(f"/api/jobs/{id}/decode", json=y).json()["notes"]
            )
            for y in drums
        )
        assert many > none == 0


def test_unknown_models_are_refused(client):
    assert client.upload(model="auto").status_code == 202  # the only one that there is
    answer = client.upload(model="../other")
    assert answer.status_code == 400
    assert_one_line(answer)


def test_info_says_what_there_is(served):
    with served(max_minutes=5, max_mb=7, jobs=3, microphones=4) as client:
        info = client.get("/api/info").json()
    limits = {"maxMinutes": 5, "maxMb": 7, "jobs": 3, "keepSeconds": 3600}
    limits["microphones"] = 4
    assert info["limits"] == limits
    assert info["models"] == ["checkpoint"] and info["model"] == "checkpoint"
    assert {"mid", "csv", "json", "png", "wav"} <= set(info["formats"])
    assert set(info["defaults"]) == {
        *("onset", "frame", "drum", "minDuration", "lowest", "highest")
    }


def test_a_fault_of_the_server_is_one_line(client, monkeypatch, capsys):
    def fail(*args):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(app_module, "result_endings", fail)
    answer = client.get("/api/info")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert_one_line(answer)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_full_disk_is_told_of(client, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app_module, "check_recording", fail)
    answer = client.upload()
    assert answer.status_code == 507
    assert_one_line(answer)
    assert not list(client.folder.iterdir())


def test_a_bug_in_the_transcription_ends_its_job_only(client, models_of, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patched:
        patched.setattr(models_of("piano"), "of", fail)
        id = client.upload().json()["id"]
        *_, (_, kind, values) = client.events(id)
    assert kind == "error" and "secret" not in values["message"]
    client.done()
