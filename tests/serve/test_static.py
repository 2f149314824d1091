"""The page's files: found at the start, and nothing else is ever sent."""

import base64
import gzip
import hashlib

import pytest
from api_client import assert_one_line

from mt3x import page
from mt3x.serve.static import content_security_policy, static_files


def test_the_page_is_there(kept):
    answer = kept[0].get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<meta name="mt3x-engine" content="server"' in answer.text
    assert kept[0].get("/index.html").content == answer.content


def test_every_file_of_the_page_is_sent(kept):
    client, _ = kept
    for name, path in page.files().items():
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        data = path.read_bytes()
        assert answer.content == (
            gzip.decompress(data) if path.suffix == ".gz" else data
        )
        assert path.suffix != ".py"


@pytest.mark.parametrize(
    "path",
    [
        *("/../setup.py", "/%2e%2e/setup.py", "/..%2fsetup.py", "/..%5csetup.py"),
        *("/static/../../setup.py", "//etc/passwd", "/etc/passwd", "/__init__.py"),
        *("/index.html/", "/index.html%00.js", "/C:/windows/win.ini"),
    ],
)
def test_no_other_file_is_sent(kept, path):
    answer = kept[0].get(f"http://127.0.0.1:8765{path}")
    assert answer.status_code == 404
    assert_one_line(answer)


def test_what_is_put_beside_the_page_later_is_not_sent(served, tmp_path):
    (tmp_path / "index.html").write_text("<p>x")
    files = {"index.html": tmp_path / "index.html"}
    with served(files=files) as client:
        (tmp_path / "late.js").write_text("x")
        assert client.get("/").text == "<p>x"
        assert client.get("/late.js").status_code == 404


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        *(
            ("a.js", "text/javascript"),
            ("a/b.css", "text/css"),
            ("a.wasm", "application/wasm"),
        ),
        *(("a.svg", "image/svg+xml"), ("a.sf3", "application/octet-stream")),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_types_do_not_depend_on_the_machine(tmp_path, name, media_type):
    files = {"index.html": tmp_path / "index.html", name: tmp_path / name}
    found = static_files(files)[f"/{name}"]
    assert found.media_type.partition(";")[0] == media_type and found.encoding is None


def test_packed_files_are_sent_as_they_are(served, tmp_path):
    (tmp_path / "index.html").write_text("<p>x")
    (tmp_path / "a.wasm.gz").write_bytes(gzip.compress(b"\0asm" * 1000))
    files = {"index.html": tmp_path / "index.html", "a.wasm": tmp_path / "a.wasm.gz"}
    with served(files=files) as client:
        answer = client.get("/a.wasm")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "application/wasm"
    assert int(answer.headers["content-length"]) < 1000
    assert answer.content == b"\0asm" * 1000


def test_scripts_inside_of_the_page_are_allowed_by_their_hashes():
    script = '\n{"imports": {"preact": "./vendor/preact.js"}}\n'
    text = f'<script type="importmap">{script}</script><script src="a.js"></script>'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = content_security_policy(text)
    assert f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}';" in policy
    assert policy.count("sha256") == 1
