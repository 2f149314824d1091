"""What is told on standard error."""

import json

import pytest

from mt3x.cli import log as module
from mt3x.cli.log import MEGABYTES, JsonLog, TextLog


@pytest.fixture
def clock(monkeypatch):
    """Sets the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def call(seconds):
        now[0] = seconds

    return call


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_lines_for_people(capsys):
    log = TextLog(quiet=False)
    log.event("kept", "kept [bold]a.mid", output="a.mid")
    log.event("start", file="a.wav")
    log.warning("a\nb")
    log.error(ValueError("c"))
    assert lines(capsys) == ["kept [bold]a.mid", "warning: a b", "error: c"]


def test_objects_for_programs(capsys):
    log = JsonLog(quiet=False)
    log.event("kept", "kept a.mid", output="é.mid")
    log.error("a\nb", file="a.wav")
    log.warning("c")
    assert list(map(json.loads, lines(capsys))) == [
        {"event": "kept", "output": "é.mid"},
        {"event": "error", "file": "a.wav", "message": "a b"},
        {"event": "warning", "message": "c"},
    ]


@pytest.mark.parametrize("kind", [TextLog, JsonLog])
def test_quiet_leaves_warnings_and_errors(kind, capsys, clock):
    log = kind(quiet=True)
    log.event("kept", "kept a.mid")
    with log.bar(100) as bar:
        clock(60)
        bar.advance(50)
    log.error("x")
    log.warning("y")
    assert len(lines(capsys)) == 2


def test_progress_is_a_line_every_ten_seconds_where_there_is_no_terminal(capsys, clock):
    with TextLog(quiet=False).bar(600) as bar:
        bar.begin("a.wav")
        for second in range(1, 25):
            clock(second)
            bar.advance(6)
    assert lines(capsys) == [
        "a.wav: 60 of 600 s of audio (6.0x realtime)",
        "a.wav: 120 of 600 s of audio (6.0x realtime)",
    ]


def test_progress_for_programs(capsys, clock):
    with JsonLog(quiet=False).bar(0.0, MEGABYTES) as bar:
        bar.begin("mt3")
        for number in range(1, 5):
            clock(number * 0.5)
            bar.reach(number, 10)
    assert list(map(json.loads, lines(capsys))) == [
        {"event": "fetch", "file": "mt3", "done_mb": 2, "total_mb": 10},
        {"event": "fetch", "file": "mt3", "done_mb": 4, "total_mb": 10},
    ]


def test_terminals_get_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with TextLog(quiet=False).bar(10) as bar:
        bar.begin("a.wav")
        bar.advance(5)
    err = capsys.readouterr().err
    assert "a.wav" in err and "50%" in err
