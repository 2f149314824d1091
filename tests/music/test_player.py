"""The player of notebooks: its page, and the page in a browser."""

import base64
import html
import io
import json
import re

import numpy as np
import soundfile

from mt3x.music import player
from mt3x.music.notes import Notes
from mt3x.music.player import SAMPLE_RATE_HZ, player_html

NOTES = Notes(
    [0.5, 1.0, 1.5], [1.0, 2.0, 1.6], [60, 64, 38], [20, 80, 127], [0, 33, 0], [0, 0, 1]
)


def page_of(frame):
    (page,) = re.fullmatch(r'<iframe srcdoc="([^"]*)" .*></iframe>', frame).groups()
    return html.unescape(page)


def data_of(frame):
    found = re.search(r'<script type="application/json">(.*?)</script>', page_of(frame))
    return json.loads(found[1])


def sound_of(src):
    head, _, body = src.partition(";base64,")
    assert head in ("data:audio/mpeg", "data:audio/ogg")
    return soundfile.read(io.BytesIO(base64.b64decode(body)))


def test_notes_show_themselves():
    data = data_of(NOTES._repr_html_())
    names = ["Acoustic Grand Piano", "Electric Bass (finger)", "Drums"]
    assert [each["name"] for each in data["instruments"]] == names
    assert data["notes"] == [
        [0.5, 1.0, 60, 20, 0],
        [1.0, 2.0, 64, 80, 1],
        [1.5, 1.6, 38, 127, 2],
    ]
    (sound,) = data["sounds"]
    samples_S, rate_hz = sound_of(sound["src"])
    assert abs(len(samples_S) / rate_hz - data["duration"]) < 0.1
    assert np.abs(samples_S[: rate_hz // 3]).max() < 0.01  # before the first note
    assert np.abs(samples_S[rate_hz // 2 :]).max() > 0.01


def test_no_notes_are_text():
    assert Notes.empty()._repr_html_() is None
    assert data_of(player_html(Notes.empty()))["notes"] == []


def test_the_recording_comes_first():
    samples_S = np.full(3 * SAMPLE_RATE_HZ, 0.25, np.float32)
    data = data_of(player_html(NOTES, samples_S, SAMPLE_RATE_HZ))
    assert [each["name"] for each in data["sounds"]] == ["original", "transcription"]
    heard_S, rate_hz = sound_of(data["sounds"][0]["src"])
    assert abs(len(heard_S) / rate_hz - 3) < 0.1
    np.testing.assert_allclose(heard_S[rate_hz], 0.25, atol=0.05)


def test_the_end_of_long_ones_is_left_out():
    samples_S = np.zeros(3 * SAMPLE_RATE_HZ, np.float32)
    data = data_of(player_html(NOTES, samples_S, SAMPLE_RATE_HZ, longest_s=1.2))
    assert data["duration"] == 1.2
    assert [note[1] for note in data["notes"]] == [1.0, 1.2]
    assert data["remark"] == "3 notes; only the first 0.02 minutes are shown"
    for sound in data["sounds"]:
        samples_S, rate_hz = sound_of(sound["src"])
        assert abs(len(samples_S) / rate_hz - 1.2) < 0.1


def test_vorbis_where_there_is_no_mp3(monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"OGG": ""})
    assert '"data:audio/ogg;' in page_of(player_html(NOTES))


def test_it_loads_nothing_and_cannot_be_left():
    """No address beside the sounds', and no text that ends the script."""
    page = page_of(player_html(NOTES))
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert player._inside_script("</script>") == '"\\u003c/script>"'


def test_a_minute_is_small():
    onset_s = np.arange(0, 60, 0.1)
    notes = Notes(onset_s, onset_s + 0.3, 40 + np.arange(600) % 40)
    assert len(notes._repr_html_()) < 800_000


def test_plays_in_a_browser(launch_chromium, tmp_path):
    """Both sounds, in step with each other, and a roll that follows."""
    # Long, so that it has not ended before a slow machine looks.
    samples_S = np.zeros(120 * SAMPLE_RATE_HZ, np.float32)
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>" + player_html(NOTES, samples_S, SAMPLE_RATE_HZ))
    flags = ["--no-sandbox", "--disable-gpu"]
    flags += ["--autoplay-policy=no-user-gesture-required"]
    said = []
    with launch_chromium(args=flags) as browser:
        tab = browser.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(page.as_uri())
        frame = tab.frames[1]
        frame.wait_for_function("sounds.length == 2 && sounds[0].duration > 119")
        before = frame.evaluate("canvas.toDataURL()")
        frame.evaluate("sounds[0].currentTime = 0.8; sounds[0].play()")
        frame.wait_for_function("sounds[0].currentTime > 0.9")
        assert frame.evaluate("canvas.toDataURL()") != before
        frame.get_by_label("transcription").and_(frame.get_by_role("radio")).check()
        # Where the other stood; what a busy machine tells of that runs ahead.
        assert frame.evaluate("sounds[1].currentTime") >= 0.8
        state = "sounds.map((sound) => [sound.paused, sound.hidden])"
        assert frame.evaluate(state) == [[True, True], [False, False]]
        frame.evaluate("sounds[1].pause()")
        frame.locator("canvas").click(position={"x": 300, "y": 100})
        place = "(300 - KEYS) / (canvas.clientWidth - KEYS)"
        wanted_s = frame.evaluate(f"start + {place} * span")
        assert abs(frame.evaluate("sounds[1].currentTime") - wanted_s) < 0.2
        browser.close()
    assert said == []
