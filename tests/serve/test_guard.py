"""Who may ask: names, origins and tokens, and what browsers are told."""

import pytest
from api_client import assert_one_line, tone

from mt3x.serve.config import ServerConfig, is_loopback

TOKEN = "a-token_of-16-or-more"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_needs_no_token(host):
    assert is_loopback(host) and ServerConfig(host).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_hosts_need_a_token(host):
    with pytest.raises(ValueError, match="give a token"):
        ServerConfig(host)
    assert not ServerConfig(host, token=TOKEN).is_local


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "x" * 20 + " ", "é" * 20])
def test_weak_tokens_are_refused(token):
    with pytest.raises(ValueError, match="token"):
        ServerConfig(token=token)


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", 65536), ("max_minutes", 0), ("max_mb", -1), ("jobs", 0), ("keep_s", 0)],
)
def test_limits_are_checked(option, value):
    with pytest.raises(ValueError, match=option):
        ServerConfig(**{option: value})


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        *(("127.0.0.1:8765", True), ("localhost:8765", True), ("LOCALHOST", True)),
        *(("[::1]:8765", True), ("127.0.0.1", True)),
        *(("evil.example", False), ("evil.example:8765", False), ("", False)),
        *(("127.0.0.1.evil.example", False), ("localhost.evil.example", False)),
        *(("192.168.1.5:8765", False), ("evil.example@127.0.0.1@x", False)),
        *(("[::1", False), ("8.8.8.8", False), ("testserver", False)),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/info"])
def test_names_that_were_led_here_are_refused(kept, host, is_ours, path):
    answer = kept[0].get(path, headers={"Host": host})
    assert answer.status_code == (200 if is_ours else 403)
    if not is_ours:
        assert_one_line(answer)


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        *(("192.168.1.5:8765", True), ("[fe80::1]:8765", True), ("localhost", True)),
        *(("evil.example", False), ("192.168.1.5.evil.example", False)),
    ],
)
def test_a_server_for_others_is_asked_by_address(served, host, is_ours):
    with served(host="0.0.0.0", token=TOKEN) as client:
        answer = client.get("/", headers={"Host": host})
        assert answer.status_code == (200 if is_ours else 403)


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        *(({}, True), ({"Origin": "http://127.0.0.1:8765"}, True)),
        ({"Origin": "HTTP://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        *(({"Origin": "http://evil.example"}, False), ({"Origin": "null"}, False)),
        *(({"Origin": ""}, False), ({"Origin": "http://127.0.0.1:3000"}, False)),
        ({"Origin": "http://127.0.0.1:8765.evil.example"}, False),
        ({"Origin": "http://localhost:8765"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://[::1"}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/jobs"), ("PUT", "/api/jobs/x/notes"), ("DELETE", "/api/jobs/x")],
)
def test_other_pages_change_nothing(kept, method, path, headers, is_ours):
    client, _ = kept
    answer = client.request(method, path, headers=headers)
    assert (answer.status_code == 403) != is_ours
    if not is_ours:
        assert_one_line(answer)


def test_others_need_the_token_for_all_but_the_page(served):
    with served(host="0.0.0.0", token=TOKEN) as client:
        assert client.get("/").status_code == 200
        for wrong in (None, "", TOKEN[:-1], TOKEN + "x", "\xff"):
            given = {} if wrong is None else {"token": wrong}
            for method, path in (("GET", "/api/info"), ("POST", "/api/jobs")):
                answer = client.request(method, path, params=given)
                assert answer.status_code == 401
                assert_one_line(answer)
        for headers, query in (({"X-MT3X-Token": TOKEN}, ""), ({}, f"?token={TOKEN}")):
            answer = client.get(f"/api/info{query}", headers=headers)
            assert answer.status_code == 200
        client.headers["X-MT3X-Token"] = TOKEN
        id, _ = client.done()
        del client.headers["X-MT3X-Token"]
        assert client.get(f"/api/jobs/{id}/audio").status_code == 401
        answer = client.get(f"/api/jobs/{id}/audio?token={TOKEN}")
        assert answer.content == tone()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        *(("GET", "/", {}), ("GET", "/api/info", {}), ("GET", "/nothing", {})),
        *(("GET", "/api/info", {"Host": "evil.example"}), ("POST", "/api/jobs", {})),
        *(("POST", "/api/info", {}), ("OPTIONS", "/api/info", {})),
        ("GET", "/api/info", {"Origin": "http://evil.example"}),
    ],
)
def test_every_answer_protects_the_page(kept, method, path, headers):
    answer = kept[0].request(method, path, headers=headers)
    policy = dict(
        part.strip().split(" ", 1)
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["script-src"].startswith("'self' 'wasm-unsafe-eval'")
    assert policy["worker-src"] == "'self' blob:"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe-inline" not in str(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if path.startswith("/api"):
        assert answer.headers["cache-control"] == "no-store"
