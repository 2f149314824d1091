"""What is refused: what is not a sound, and what is too large, too long or damaged."""

import io
import struct

import numpy as np
import pytest
import soundfile
from api_client import RATE, assert_one_line, tone


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("text/html", tone()),
        ("audio/wav", b"<html>"),
        ("audio/wav", b""),
        ("audio/wav", b"\0" * 1000),
        ("multipart/form-data; boundary=x", tone()),
        ("audio/wav", b"ffconcat version 1.0\nfile setup.py\n"),
        ("audio/wav", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"),
    ],
)
def test_what_is_no_sound_is_refused(client, media_type, data):
    headers = {"Content-Type": media_type}
    answer = client.post("/api/jobs?name=a.wav", content=data, headers=headers)
    assert answer.status_code == 415
    assert_one_line(answer)
    assert str(client.folder) not in answer.text
    assert not list(client.folder.iterdir())


@pytest.mark.parametrize("is_told", [True, False])
def test_uploads_are_limited_in_bytes(served, is_told):
    with served(max_mb=0.1) as client:
        data = tone(4)
        body = data if is_told else (data[i : i + 9999] for i in range(0, 128044, 9999))
        answer = client.upload(body)
        assert answer.status_code == 413
        assert_one_line(answer)
        assert not list(client.folder.iterdir())
        assert client.upload(tone(1)).status_code == 202


def test_what_announces_too_much_is_refused_at_once(served):
    with served(max_mb=0.1) as client:
        answer = client.post(
            "/api/jobs", content=b"RIFF", headers={"Content-Length": "100001"}
        )
        assert answer.status_code == 413


def test_uploads_are_limited_in_seconds(served):
    with served(max_minutes=0.05) as client:
        assert client.upload(tone(2)).status_code == 202
        answer = client.upload(tone(4), name="long.wav")
        assert answer.status_code == 413 and "long.wav" in answer.text
        assert_one_line(answer)


def test_recordings_that_are_longer_than_they_say_are_stopped(served):
    """A FLAC of silence is small and long, and its header need not say how long."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(60 * RATE), RATE, format="FLAC")
    data = bytearray(file.getvalue())
    # Of STREAMINFO: 36 bits of samples in all; 0 is unknown.
    (bits,) = struct.unpack(">Q", data[18:26])
    data[18:26] = struct.pack(">Q", bits & ~((1 << 36) - 1))
    with served(max_minutes=0.1) as client:
        id = client.upload(bytes(data), name="zeros.flac").json()["id"]
        [(_, kind, values)] = client.events(id)[-1:]
        assert kind == "error" and "zeros.flac is longer" in values["message"]
        answer = client.get(f"/api/jobs/{id}/result.mid")
        assert answer.status_code == 409


def test_damage_is_told_of_by_the_clients_name(client):
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE)
    soundfile.write(file, noise, RATE, format="FLAC")
    data = bytearray(file.getvalue())
    data[len(data) // 2 : len(data) // 2 + 2000] = b"\x55" * 2000
    id = client.upload(bytes(data), name="my take.flac").json()["id"]
    *_, (_, kind, values) = client.events(id)
    assert kind == "error" and values["message"].startswith("my take.flac: damaged")
    assert str(client.folder) not in values["message"]
