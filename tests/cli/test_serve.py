"""`mt3x serve` as a process: its address, its notes, how it stops."""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
import pytest
from api_client import RATE, tone
from tiny_models import save_small_weights

from mt3x.cli.main import main
from mt3x.music.audio import encode_audio
from mt3x.music.notes import Notes

PRELUDE = Path(__file__).parent.parent / "data" / "prelude.ogg"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@contextmanager
def started(tmp_path, *options):
    """Yield a process that serves, and what it says first."""
    command = [sys.executable, "-m", "mt3x", "serve", "--port", "0", *options]
    process = subprocess.Popen(
        list(map(str, command)),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.communicate()


class Server:
    """Talks to a server and knows only what it says."""

    def __init__(self, line):
        self.host, self.port = re.search(r"http://([\w.-]+):(\d+)/", line).groups()

    def ask(self, method, path, body=None, **headers):
        connection = HTTPConnection(self.host, int(self.port), timeout=60)
        with closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    @contextmanager
    def sending(self):
        """Send a part of an upload, and no more."""
        with socket.create_connection((self.host, int(self.port))) as sender:
            sender.sendall(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\n")
            sender.sendall(b"Content-Length: 1000\r\n\r\nRIFF")
            yield

    def upload(self, data):
        status, body = self.ask("POST", "/api/jobs?name=a.ogg", data)
        assert status == 202, body
        return json.loads(body)["id"]


@pytest.mark.slow
def test_the_notes_are_those_of_the_command(tmp_path, monkeypatch):
    argv = ["mt3x", "transcribe", str(PRELUDE), "-m", "piano", "-o", "a.mid", "-q"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit, match="0"):
        main()
    expected = Notes.from_midi("a.mid")
    assert len(expected) == 69
    with started(tmp_path, "-m", "piano") as (_, line):
        server = Server(line)
        id = server.upload(PRELUDE.read_bytes())
        _, events = server.ask("GET", f"/api/jobs/{id}/events")
        done = json.loads(events.decode().strip().rpartition("\n")[2][6:])
        assert done["type"] == "done" and len(done["notes"]) == 69
        for path in ("decode", None):
            if path:
                server.ask("POST", f"/api/jobs/{id}/{path}", "{}")
            _, data = server.ask("GET", f"/api/jobs/{id}/result.mid")
            assert Notes.from_midi(data).equals(expected)


@pytest.mark.parametrize(
    "name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.by_hand)]
)
def test_it_stops_at_once_and_leaves_nothing(tmp_path, weights, name):
    """While one transcribes, one listens and one sends."""
    with started(tmp_path, "-c", weights) as (process, line):
        assert "http://127.0.0.1:" in line and "token" not in line
        server = Server(line)
        ids = [server.upload(tone(200)) for _ in range(2)]
        heard = []

        def listen():
            heard.append(server.ask("GET", f"/api/jobs/{ids[1]}/events"))

        listener = threading.Thread(target=listen)
        listener.start()
        with server.sending():
            time.sleep(0.3)
            assert list(tmp_path.iterdir())
            process.send_signal(getattr(signal, name))
            process.wait(15)
        listener.join()
        said = process.stderr.read()
    assert "Traceback" not in said
    assert process.returncode == (0 if name == "SIGINT" else -signal.SIGTERM)
    assert b"event: error" in heard[0][1]
    assert not list(tmp_path.iterdir())


def test_it_refuses_what_no_browser_sends(tmp_path, weights):
    with started(tmp_path, "-c", weights) as (process, line):
        server = Server(line)
        for path in ("/../setup.py", "/a/../../setup.py", "/..\\setup.py", "//etc"):
            assert server.ask("GET", path)[0] == 404
        assert server.ask("GET", "/", Host="evil.example")[0] == 403
        with server.sending():
            time.sleep(0.1)
        assert server.ask("GET", "/api/info")[0] == 200
        process.send_signal(signal.SIGINT)
        process.wait(15)
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_fifty_uploads_at_once_take_no_more_memory(tmp_path, weights):
    # 3.8 MB of silence: the notes of random weights would take memory of their own.
    data = encode_audio(np.zeros(120 * RATE, np.float32), RATE, "WAV")
    with started(tmp_path, "-c", weights) as (process, line):
        server, memory = Server(line), psutil.Process(process.pid).memory_info

        def done(id):
            _, events = server.ask("GET", f"/api/jobs/{id}/events")
            return b"event: done" in events

        assert done(server.upload(data))
        before = memory().rss
        with ThreadPoolExecutor(50) as pool:
            upload = functools.partial(server.ask, "POST", "/api/jobs", data)
            answers = list(pool.map(lambda _: upload(), range(50)))
        grown = memory().rss - before
        # A recording that is done while others still come makes room for one more.
        found = Counter(status for status, _ in answers)
        assert found.keys() == {202, 429} and 8 <= found[202] < 25
        assert grown < 15 * len(data)
        assert all(done(json.loads(x)["id"]) for status, x in answers if status == 202)
        assert memory().rss - before < 15 * len(data)


def test_a_refusal_reaches_those_who_still_send(tmp_path, weights):
    """Of a large upload too: it is read to its end."""
    options = ("-c", weights, "--max-mb", 4, "--jobs", 1)
    with started(tmp_path, *options) as (_, line):
        server = Server(line)
        assert server.ask("POST", "/api/jobs", b"x" * 6_000_000)[0] == 413
        headers = {"Content-Type": "text/html"}
        status, _ = server.ask("POST", "/api/jobs", b"x" * 3_900_000, **headers)
        assert status == 415


def test_other_hosts_get_a_link_with_a_token(tmp_path, weights):
    with started(tmp_path, "-c", weights, "--host", "0.0.0.0") as (_, line):
        token = re.search(r"/\?token=([\w-]{22}) ", line)[1]
        server = Server(line)
        server.host = "127.0.0.1"
        assert server.ask("GET", "/api/info")[0] == 401
        assert server.ask("GET", f"/api/info?token={token}")[0] == 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "soon"], "give one as 90s, 30m or 1h"),
        (["--token", "short"], "at least 16"),
        (["-c", "nothing.safetensors"], "nothing.safetensors"),
        (["-c", "a", "-m", "piano"], "not both"),
        (["--host", "no.such.host.invalid"], "choose another --port or --host"),
    ],
)
def test_wrong_options_are_one_line(monkeypatch, capsys, tmp_path, options, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mt3x", "serve", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code != 0
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error


def test_a_port_that_is_taken_is_one_line(monkeypatch, capsys, weights):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        argv = ["mt3x", "serve", "--port", port, "-c", str(weights)]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit, match="1"):
            main()
    error = capsys.readouterr().err.strip()
    assert f"cannot listen at 127.0.0.1:{port}" in error and "\n" not in error
