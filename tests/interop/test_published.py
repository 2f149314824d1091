"""Checkpoints from a server that gives, breaks off and lies."""

import base64
import hashlib
import json
import tarfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import t5x_inputs as inputs

from mt3x.cli.log import JsonLog
from mt3x.cli.models import Models
from mt3x.interop import published
from mt3x.interop.t5x_checkpoints import read_t5x
from mt3x.models import platform, weights_file

GOLDEN = Path(__file__).parents[1] / "golden" / "t5x_tiny.tar.gz"
ADDRESS = "gs://mt3/checkpoints/mt3"
PREFIX = "checkpoints/mt3/"
LARGEST = "target.decoder.token_embedder.embedding/0.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5x")
    with tarfile.open(GOLDEN) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"checkpoint_{inputs.STEP}"


class Bucket(ThreadingHTTPServer):
    """Google Cloud Storage's lists and files, as far as they are used."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            PREFIX + path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.listed = {name: self.entry(name, x) for name, x in self.files.items()}
        self.asked: list[tuple[str, str | None]] = []
        # After how many bytes of a file the connection breaks, each time one of a list.
        self.breaks: dict[str, list[int]] = {}
        # By how much a Content-Length is wrong, once, and answers other than 200.
        self.lies: dict[str, int] = {}
        self.codes: list[int] = []
        self.has_ranges = True
        self.page = 100

    @staticmethod
    def entry(name: str, data: bytes) -> dict[str, str]:
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        return {"name": name, "size": str(len(data)), "md5Hash": md5}


class Handler(BaseHTTPRequestHandler):
    server: Bucket

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        bucket, url = self.server, urllib.parse.urlsplit(self.path)
        if bucket.codes:
            self.send_error(bucket.codes.pop(0))
        elif url.path == "/storage/v1/b/mt3/o":
            query = dict(urllib.parse.parse_qsl(url.query))
            names = [x for x in bucket.listed if x.startswith(query["prefix"])]
            begin = int(query.get("pageToken", 0))
            end = begin + bucket.page
            page = {"items": [bucket.listed[name] for name in names[begin:end]]}
            if end < len(names):
                page["nextPageToken"] = str(end)
            self.give(200, json.dumps(page).encode(), {})
        else:
            self.give_file(urllib.parse.unquote(url.path.removeprefix("/mt3/")))

    def give_file(self, name: str) -> None:
        bucket, data, wanted = (
            self.server,
            self.server.files[name],
            self.headers["Range"],
        )
        bucket.asked.append((name.removeprefix(PREFIX), wanted))
        code, headers = 200, {}
        if wanted and bucket.has_ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
            code, data = 206, data[begin:]
        length = len(data) + bucket.lies.pop(name, 0)
        ends = bucket.breaks.get(name)
        headers["Content-Length"] = str(length)
        self.give(code, data[: ends.pop(0)] if ends else data, headers)

    def give(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for each in headers.items():
            self.send_header(*each)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def bucket(folder, monkeypatch):
    with Bucket(folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv(published.ADDRESS_SETTING, address + "/")
        monkeypatch.setattr(published, "HEAD_DIM", inputs.NETWORK["head_dim"])
        monkeypatch.setattr(published, "WAIT_S", 0.0)
        yield server
        server.shutdown()


def fetch(tmp_path, **options):
    target = tmp_path / "mt3.safetensors"
    published.fetch("mt3", ADDRESS, target, **options)
    return weights_file.load_weights(target)


def test_a_checkpoint_becomes_a_file_of_weights(bucket, folder, tmp_path):
    told = []
    bucket.page = 7
    weights = fetch(tmp_path, on_progress=lambda *x: told.append(x))
    assert weights.metadata == {"source": ADDRESS, "step": str(inputs.STEP)}
    ref, est = read_t5x(folder)[0], weights.params
    ref, est = weights_file.flatten(ref), weights_file.flatten(est)
    assert ref.keys() == est.keys()
    for name, array in ref.items():
        np.testing.assert_array_equal(est[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["mt3.safetensors"]
    needed = {name for name in bucket.files if "/state." not in name}
    assert {PREFIX + name for name, _ in bucket.asked} == needed
    total = sum(len(bucket.files[name]) for name in needed)
    assert max(told) == (total, total)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_what_came_before_a_break_is_kept(bucket, tmp_path, has_ranges):
    name = PREFIX + LARGEST
    bucket.has_ranges = has_ranges
    bucket.breaks[name] = [100, 0] if has_ranges else [100]
    fetch(tmp_path)
    asked = [wanted for path, wanted in bucket.asked if path == LARGEST]
    assert asked == [None, "bytes=100-", "bytes=100-"][: 3 if has_ranges else 2]


def test_the_next_call_goes_on(bucket, tmp_path):
    bucket.breaks[PREFIX + LARGEST] = [100, 10, 10, 10]
    with pytest.raises(
        OSError, match=r"cannot fetch mt3 from http://127.*run again, wh"
    ):
        fetch(tmp_path)
    assert not (tmp_path / "mt3.safetensors").exists()
    bucket.asked.clear()
    fetch(tmp_path)
    assert (LARGEST, "bytes=130-") in bucket.asked
    assert len(bucket.asked) < len(bucket.files) / 2


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_server_that_is_busy_is_asked_again(bucket, tmp_path, code):
    bucket.codes = [code, code]
    fetch(tmp_path)


def test_a_server_that_refuses_is_not(bucket, tmp_path):
    bucket.codes = [403, 500]
    with pytest.raises(OSError, match="Forbidden"):
        fetch(tmp_path)
    assert bucket.codes == [500]


def change(bucket, **values):
    bucket.listed[PREFIX + LARGEST].update(values)


LIES = {
    "another digest": lambda b: change(
        b, md5Hash=b.listed[PREFIX + "checkpoint"]["md5Hash"]
    ),
    "a size that is too small": lambda b: change(b, size="10"),
    "a size that is too large": lambda b: change(b, size="1000000"),
    "more disk than there is": lambda b: change(b, size=str(10**18)),
    "no size": lambda b: b.listed[PREFIX + LARGEST].pop("size"),
    "no digest": lambda b: b.listed[PREFIX + LARGEST].pop("md5Hash"),
    "a digest of nonsense": lambda b: change(b, md5Hash="?"),
    "a file outside": lambda b: change(b, name=PREFIX + "../../x"),
    "no files": lambda b: b.listed.clear(),
    "other bytes": lambda b: b.files.update({PREFIX + LARGEST: b"\0" * 50_000}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_one_line_and_leaves_no_weights(bucket, tmp_path, lie):
    LIES[lie](bucket)
    with pytest.raises(
        (OSError, ValueError), match="cannot fetch mt3 from http"
    ) as caught:
        fetch(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mt3.safetensors").exists()
    assert not list(tmp_path.parent.rglob("x"))


@pytest.mark.parametrize("by", [-50, 1000])
def test_a_wrong_length_of_an_answer_does_no_harm(bucket, tmp_path, by):
    bucket.lies[PREFIX + LARGEST] = by
    fetch(tmp_path)


@pytest.fixture
def load(bucket, tmp_path, monkeypatch, capsys):
    """Loads mt3 as `mt3x transcribe -m mt3` does; returns standard error."""
    monkeypatch.setenv("MT3X_CACHE", str(tmp_path / "cache"))

    def call(offline=False):
        models = Models("mt3", None, {}, offline=offline, log=JsonLog(quiet=False))
        models.check(wants_rolls=False)
        return capsys.readouterr().err

    return call


def test_a_checkpoint_is_fetched_once(bucket, load, monkeypatch):
    events = [json.loads(line) for line in load().splitlines()]
    assert events[0]["event"] == "fetch" and events[0]["model"] == "mt3"
    assert bucket.asked
    bucket.asked.clear()
    assert load() == load(offline=True) == "" and not bucket.asked
    monkeypatch.setenv("MT3X_CACHE", "off")
    with pytest.raises(ValueError, match="MT3X_CACHE is off: name a folder"):
        load()
    monkeypatch.delenv("MT3X_CACHE")
    monkeypatch.setattr(platform, "user_cache", lambda: None)
    with pytest.raises(ValueError, match="no home folder: name a folder by MT3X_CACHE"):
        load()


def test_offline_fetches_nothing(bucket, load):
    with pytest.raises(ValueError, match=r"mt3\.safetensors is not there, and"):
        load(offline=True)
    assert not bucket.asked
