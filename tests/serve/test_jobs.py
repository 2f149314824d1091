"""The queue: its bounds, and what is cancelled, forgotten and removed."""

import threading
import time
from collections import Counter

import psutil
import pytest
from api_client import assert_one_line, tone

from mt3x.serve import jobs, transcription
from mt3x.serve.config import ServerConfig


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_queue_is_bounded(served, gate):
    with served(gate, jobs=3) as client:
        ids = [client.upload().json()["id"] for _ in range(3)]
        answer = client.upload()
        assert answer.status_code == 429 and answer.headers["retry-after"]
        assert_one_line(answer)
        assert len(list(client.folder.iterdir())) == 3
        client.delete(f"/api/jobs/{ids[2]}")
        assert client.upload().status_code == 202
        gate.opened.set()
        assert [client.events(id)[-1][1] for id in ids[:2]] == ["done", "done"]


def test_a_refused_upload_gives_its_place_back(served):
    with served(jobs=1) as client:
        for _ in range(3):
            assert client.upload(b"nonsense").status_code == 415
        client.done()


def test_fifty_uploads_at_once_are_answered_in_bounded_memory(served, gate):
    data = tone(120)  # 3.8 MB
    with served(gate) as client:
        client.upload(tone(1))
        assert gate.arrived.wait(10)
        before = psutil.Process().memory_info().rss
        answers = []

        def upload():
            answers.append(client.upload(data))

        threads = [threading.Thread(target=upload) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        grown = psutil.Process().memory_info().rss - before
        counts = Counter(answer.status_code for answer in answers)
        assert counts == {202: 7, 429: 43}
        # The client's copies of a few uploads that are under way, and not 50.
        assert grown < 25 * len(data)
        for answer in answers:
            if answer.status_code == 202:
                client.delete(f"/api/jobs/{answer.json()['id']}")
        gate.opened.set()


def test_a_waiting_job_is_removed(served, gate):
    with served(gate) as client:
        first, second = (client.upload().json()["id"] for _ in range(2))
        assert client.delete(f"/api/jobs/{second}").status_code == 204
        assert client.delete(f"/api/jobs/{second}").status_code == 404
        assert len(list(client.folder.iterdir())) == 1
        gate.opened.set()
        assert client.events(first)[-1][1] == "done"


def test_a_running_job_is_cancelled_and_the_next_one_runs(served, monkeypatch):
    started = threading.Event()

    def transcribe(recording, models, config, tell, cancelled):
        if recording.title != "long.wav":
            return transcription.transcribe(recording, models, config, tell, cancelled)
        started.set()
        assert cancelled.wait(10)
        raise transcription.Cancelled

    monkeypatch.setattr(jobs, "transcribe", transcribe)
    with served() as client:
        first = client.upload(name="long.wav").json()["id"]
        second = client.upload().json()["id"]
        assert started.wait(10)
        assert client.delete(f"/api/jobs/{first}").status_code == 204
        assert client.get(f"/api/jobs/{first}/events").status_code == 404
        assert client.events(second)[-1][1] == "done"
        assert len(list(client.folder.iterdir())) == 1


def test_a_transcription_ends_when_it_is_cancelled(models_of, tmp_path):
    recording = transcription.Recording(tmp_path, "a.wav", "checkpoint", "audio/wav")
    recording.path.write_bytes(tone())
    cancelled, told = threading.Event(), []
    models, config = models_of("piano"), ServerConfig()

    def tell(kind, values):
        told.append(kind)
        cancelled.set()

    with pytest.raises(transcription.Cancelled):
        transcription.transcribe(recording, models, config, tell, cancelled)
    assert told == ["progress"]


def test_a_listener_hears_that_a_job_is_removed(served, gate):
    with served(gate) as client:
        id = client.upload().json()["id"]
        assert gate.arrived.wait(10)
        heard = []
        listener = threading.Thread(target=lambda: heard.append(client.events(id)))
        listener.start()
        time.sleep(0.1)
        client.delete(f"/api/jobs/{id}")
        listener.join(10)
        assert heard and heard[0][-1][1] == "error"
        gate.opened.set()


def test_a_done_job_is_removed(client):
    id, _ = client.done()
    assert client.delete(f"/api/jobs/{id}").status_code == 204
    assert client.get(f"/api/jobs/{id}/audio").status_code == 404
    assert not list(client.folder.iterdir())


def test_jobs_expire_when_they_are_not_used(served):
    with served(keep_s=0.8) as client:
        id, _ = client.done()
        for _ in range(6):  # which is longer than it is kept
            time.sleep(0.2)
            assert client.get(f"/api/jobs/{id}/audio").status_code == 200
        wait_until(lambda: not list(client.folder.iterdir()))
        assert client.get(f"/api/jobs/{id}/audio").status_code == 404


def test_as_many_are_kept_as_may_wait_and_the_unused_go_first(served):
    with served(jobs=2) as client:
        first, second = (client.done()[0] for _ in range(2))
        client.get(f"/api/jobs/{first}/audio")
        third, _ = client.done()
        wait_until(lambda: len(list(client.folder.iterdir())) == 2)
        there = [
            client.get(f"/api/jobs/{id}/audio").status_code
            for id in (first, second, third)
        ]
        assert there == [200, 404, 200]


def test_all_is_removed_when_the_server_stops(served, gate):
    with served(gate) as client:
        for _ in range(2):
            client.upload()
        assert gate.arrived.wait(10)
        threading.Timer(0.2, gate.opened.set).start()
    assert not list(client.folder.iterdir())


def test_ids_cannot_be_guessed(client):
    ids = {client.upload().json()["id"] for _ in range(3)}
    assert len(ids) == 3 and all(len(id) == 22 for id in ids)  # 128 bits
