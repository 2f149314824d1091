"""Microphones of clients: notes while they play, limits, and who may not."""

import time
from contextlib import ExitStack

import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from mt3x.inference.live import LiveTranscriber
from mt3x.music.notes import Notes
from mt3x.music.samples import to_int16
from mt3x.music.sonify import sonify
from mt3x.serve import live
from mt3x.serve.notes_json import notes_from_json

RATE = 16000
ADDRESS = "ws://127.0.0.1:8765/api/live"


def playing(seconds: float, rate: int = RATE) -> np.ndarray:
    onset = np.arange(0.1, seconds, 0.3)
    notes = Notes(onset, onset + 0.2, 50 + np.arange(len(onset)) % 30)
    return to_int16(sonify(notes, rate, int(seconds * rate)))


def hear(socket, samples_S: np.ndarray) -> list[dict]:
    """What is told of samples."""
    assert socket.receive_json() == {"type": "ready"}
    for block_S in np.split(samples_S, range(4096, len(samples_S), 4096)):
        socket.send_bytes(block_S.astype("<i2").tobytes())
        socket.send_bytes(b"")
    socket.send_text("end")
    told = []
    while not told or told[-1]["type"] == "notes":
        told.append(socket.receive_json())
    return told


def is_refused(client, address=ADDRESS, **headers) -> bool:
    """Whether nobody answers."""
    try:
        with client.websocket_connect(address, headers=headers):
            return False
    except WebSocketDisconnect as closed:
        return closed.code == 1008


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_notes_come_while_they_are_played(client, models_of, rate):
    samples_S = playing(3.0, rate)
    listener = LiveTranscriber(
        models_of("piano").first, sample_rate_hz=rate, window=live.WINDOW
    )
    expected = Notes.concatenate([listener.push(samples_S), listener.finish()])
    with client.websocket_connect(f"{ADDRESS}?rate={rate}") as socket:
        *told, done = hear(socket, samples_S)
    assert done == {"type": "done"} and len(expected) > 3 and len(told) > 3
    notes = [note for each in told for note in each["notes"]]
    assert notes_from_json(notes).equals(expected)
    seconds = [each["seconds"] for each in told]
    assert seconds == sorted(seconds) and seconds[-1] == pytest.approx(3.0, abs=0.1)
    begun = {
        (note["onset"], note["pitch"]) for each in told for note in each["sounding"]
    }
    assert begun and begun <= {(note["onset"], note["pitch"]) for note in notes}


def test_so_many_are_heard_and_no_more(served):
    with served(microphones=2) as client:
        with ExitStack() as stack:
            for _ in range(2):
                socket = stack.enter_context(client.websocket_connect(ADDRESS))
                assert socket.receive_json() == {"type": "ready"}
            with client.websocket_connect(ADDRESS) as socket:
                assert "too many microphones" in socket.receive_json()["message"]
        # They have gone, and make room.
        for _ in range(200):
            with client.websocket_connect(ADDRESS) as socket:
                if socket.receive_json() == {"type": "ready"}:
                    return
            time.sleep(0.05)
        raise AssertionError("no room was made")


def test_minutes_are_limited(served):
    with (
        served(max_minutes=0.02) as client,
        client.websocket_connect(ADDRESS) as socket,
    ):
        error = hear(socket, playing(2.0))[-1]
        assert error["message"] == "this is too long: at most 0.02 minutes"
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"bytes": b"odd"}, "no 16-bit samples"),
        ({"bytes": bytes(live.MAX_MESSAGE_BYTES + 2)}, "more than 65536 bytes"),
        ({"text": "stop"}, "or the text 'end'"),
    ],
)
def test_other_messages_end_it_in_a_line(client, message, expected):
    with client.websocket_connect(ADDRESS) as socket:
        socket.receive_json()
        socket.send({"type": "websocket.receive", **message})
        error = socket.receive_json()
        assert error["type"] == "error" and expected in error["message"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


@pytest.mark.parametrize("rate", ["0", "7999", "x", "1" * 5000, "-16000", "192001"])
def test_rates_that_no_microphone_has_are_refused(client, rate):
    with client.websocket_connect(f"{ADDRESS}?rate={rate}") as socket:
        error = socket.receive_json()
        assert error["type"] == "error" and error["message"].startswith("rate is")


def test_who_sends_nothing_has_gone(client, monkeypatch):
    monkeypatch.setattr(live, "SILENCE_S", 0.05)
    with client.websocket_connect(ADDRESS) as socket:
        socket.receive_json()
        assert socket.receive_json()["message"] == "nothing came for a while"


def test_models_that_cannot_listen_say_so(served):
    with served("band") as client, client.websocket_connect(ADDRESS) as socket:
        error = socket.receive_json()
        assert "needs a piano model, and this is a band model" in error["message"]


def test_foreign_pages_names_and_tokens_are_refused(served):
    token = "0123456789abcdef"
    with served(token=token) as client:
        address = f"{ADDRESS}?token={token}"
        assert is_refused(client)
        assert is_refused(client, f"{ADDRESS}?token=wrong")
        assert is_refused(client, address, origin="http://evil.example")
        assert is_refused(client, address, origin="null")
        assert is_refused(client, address, host="evil.example")
        own = {"origin": "http://127.0.0.1:8765", "host": "127.0.0.1:8765"}
        with client.websocket_connect(address, headers=own) as socket:
            assert socket.receive_json() == {"type": "ready"}
