"""Scores for the page, and which beats files and scores are to have."""

import re

import pytest
from api_client import assert_one_line

from mt3x.music.midi import read_beats

SCALE = [
    {"onset": 0.5 * n, "offset": 0.5 * n + 0.4, "pitch": 60 + n} for n in range(24)
]


@pytest.fixture(scope="module")
def scale(served):
    """A server, and the address of a job whose notes are a scale."""
    with served(max_minutes=2) as client:
        id, _ = client.done()
        client.put(f"/api/jobs/{id}/notes", json=SCALE[:3])
        job = client.get(f"/api/jobs/{id}/score")
        assert job.status_code == 200
        yield client, f"/api/jobs/{id}"


def pages_of(client, job, score):
    for number in range(len(score["pages"])):
        yield client.get(f"{job}/score/{score['name']}/{number}.svg")


def test_a_score_has_pictures_in_which_every_note_is_found(scale):
    client, job = scale
    score = client.get(f"{job}/score", params={"width": 400}).json()
    assert score["key"] and score["bpm"] and re.fullmatch(r"\d+/\d+", score["meter"])
    found = []
    for page, answer in zip(score["pages"], pages_of(client, job, score), strict=True):
        assert answer.headers["content-type"].startswith("image/svg+xml")
        assert page["width"] == 400
        assert "<style" not in answer.text and " style=" not in answer.text
        for name, begin_s, end_s in page["notes"]:
            assert answer.text.count(f'id="{name}"') == 1
            assert begin_s < end_s
        found += page["notes"]
    # Tied notes have several heads.
    begins = {round(begin_s, 3) for _, begin_s, _ in found}
    assert begins >= {note["onset"] for note in SCALE[:3]}


def test_edited_notes_are_drawn_and_the_old_picture_is_gone(scale):
    client, job = scale
    before = client.get(f"{job}/score").json()
    again = client.get(f"{job}/score").json()
    assert again == before
    client.put(f"{job}/notes", json=SCALE[:2])
    after = client.get(f"{job}/score").json()
    assert after["name"] != before["name"]
    assert len(after["pages"][0]["notes"]) < len(before["pages"][0]["notes"])
    gone = client.get(f"{job}/score/{before['name']}/0.svg")
    assert gone.status_code == 404
    client.put(f"{job}/notes", json=SCALE[:3])


@pytest.mark.parametrize("width", ["", "0", "99999999", "-900", "wide", "239", "2001"])
def test_widths_that_no_screen_has_are_refused(scale, width):
    client, job = scale
    answer = client.get(f"{job}/score", params={"width": width})
    assert answer.status_code == 422
    assert_one_line(answer)


@pytest.mark.parametrize(
    "page",
    ["0000000000000000/0", "../x/0", "%2e%2e/0", "a/0", "{name}/99", "{name}/-1"],
)
def test_pages_that_are_not_there_are_not_found(scale, page):
    client, job = scale
    name = client.get(f"{job}/score").json()["name"]
    answer = client.get(f"{job}/score/{page.format(name=name)}.svg")
    assert answer.status_code == 404
    assert_one_line(answer)


def test_no_notes_have_no_score(scale):
    client, job = scale
    client.put(f"{job}/notes", json=[])
    answer = client.get(f"{job}/score")
    assert answer.status_code == 422 and "no notes" in answer.text
    assert_one_line(answer)
    client.put(f"{job}/notes", json=SCALE[:3])


def test_without_its_libraries_there_is_no_score_but_the_remedy(scale, monkeypatch):
    client, job = scale
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = client.get(f"{job}/score")
    assert answer.status_code == 404 and "mt3x[score]" in answer.text
    assert_one_line(answer)


@pytest.mark.parametrize("tempo", ["90", "133.5"])
def test_beats_are_even_where_a_tempo_is_given(scale, tempo):
    client, job = scale
    data = client.get(f"{job}/result.mid", params={"tempo": tempo}).content
    beat_s = read_beats(data)
    assert 60 / (beat_s[2] - beat_s[1]) == pytest.approx(float(tempo), rel=1e-4)
    score = client.get(f"{job}/score", params={"tempo": tempo}).json()
    assert score["bpm"] == float(tempo)


def test_a_meter_is_that_of_files_and_scores(scale):
    client, job = scale
    options = {"meter": "7/8"}
    assert client.get(f"{job}/score", params=options).json()["meter"] == "7/8"
    data = client.get(f"{job}/result.musicxml", params=options).text
    assert "<beats>7</beats>" in data


def test_no_tempo_is_a_file_without_bars(scale):
    client, job = scale
    with_bars = client.get(f"{job}/result.mid").content
    without = client.get(f"{job}/result.mid", params={"tempo": "none"}).content
    assert b"\xff\x58" in with_bars and b"\xff\x58" not in without
    assert client.get(f"{job}/result.mid").content == with_bars


@pytest.mark.parametrize(
    "options",
    [
        {"tempo": "fast"},
        {"tempo": "0"},
        {"tempo": "nan"},
        {"tempo": "-60"},
        {"tempo": "1e3"},
        {"meter": "3"},
        {"meter": "3/4\nX"},
        {"meter": "4/4", "tempo": "none"},
    ],
)
@pytest.mark.parametrize("what", ["score", "result.mid"])
def test_beats_that_cannot_be_are_refused(scale, options, what):
    client, job = scale
    answer = client.get(f"{job}/{what}", params=options)
    assert answer.status_code == 422
    assert_one_line(answer)
