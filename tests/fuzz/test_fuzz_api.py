"""Whatever a client sends, the server answers in one line and lives on."""

import json

import pytest
from api_client import NOTES, Client, assert_one_line
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import save_small_weights

from mt3x import page
from mt3x.serve.app import make_app
from mt3x.serve.config import ServerConfig
from mt3x.serve.models import Models
from mt3x.serve.notes_json import notes_from_json, notes_to_json


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    weights = save_small_weights(tmp_path_factory.mktemp("weights") / "a.safetensors")
    models = Models(checkpoint=weights)
    app, _ = make_app(models, ServerConfig(), folder, page.files())
    with Client(app, folder) as client:
        client.job, _ = client.done()
        yield client


SEGMENTS = st.sampled_from(
    ["", "api", "jobs", "info", "{id}", "events", "decode", "notes", "audio", ".."]
    + [f"result.{x}" for x in ("mid", "csv", "json", "", "png/..")]
    + ["%2e", "\u00e9", "a" * 3000, "%00", "index.html"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(st.sampled_from([*NOTES[1], "drum", "frame"]), x, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=200) | JSON.map(lambda x: json.dumps(x).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Range", "Last-Event-ID", "X-MT3X-Token"]),
    st.sampled_from(
        [
            "audio/wav",
            "text/html",
            "",
            "\x7f",
            "bytes=0-",
            "bytes=5-1",
            "-1",
            "9" * 400,
            "bytes=" + "0-0," * 200 + "1-1",
            "items=0-1",
        ]
    ),
)


@settings(max_examples=150)
@given(
    method=st.sampled_from(
        ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    ),
    segments=st.lists(SEGMENTS, max_size=5) | st.just(["api", "jobs", "{id}", "notes"]),
    body=BODIES,
    headers=HEADERS,
)
@example("GET", [""] * 4, b"", {})
def test_nonsense_is_answered(client, method, segments, body, headers):
    path = "/" + "/".join(segments).replace("{id}", client.job)
    # In full: a path of several slashes would be taken for the name of a host.
    url = f"http://127.0.0.1:8765{path}"
    answer = client.request(method, url, content=body, headers=headers)
    assert answer.status_code < 500
    if answer.status_code >= 400 and method != "HEAD" and answer.status_code != 416:
        if not answer.headers["content-type"].startswith("text/plain"):
            assert_one_line(answer)
    if method == "DELETE" and answer.status_code == 204:
        client.job, _ = client.done()


@given(JSON)
def test_any_json_is_notes_or_refused(values):
    try:
        notes = notes_from_json(values)
    except ValueError as error:
        assert str(error)
    else:
        assert notes_from_json(json.loads(json.dumps(notes_to_json(notes)))).equals(
            notes
        )
