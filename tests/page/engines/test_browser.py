"""What `mt3x web` writes, in a browser: its model gives Python's notes."""

import base64
import io
import json

import numpy as np
import pytest

from mt3x import Transcriber
from mt3x.music.audio import stream_samples
from mt3x.music.metrics import match_notes
from mt3x.music.notes import Notes

TRANSCRIBE = """async ({ name, text }) => {
  const { createEngine } = await import(`${location.pathname}engines/browser.js`);
  window.engine ??= await createEngine();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const samples = new Float32Array(bytes.buffer);
  const events = [];
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  window.job = await window.engine.transcribe({ samples, name }, (event) => {
    events.push(event);
    if (event.type === "done" || event.type === "error") end();
  });
  await ended;
  return events;
}"""


def transcribe(page, samples_S):
    text = base64.b64encode(samples_S.astype("<f4").tobytes()).decode()
    return page.evaluate(TRANSCRIBE, {"name": "a.wav", "text": text})


def as_notes(found):
    names = ("onset", "offset", "pitch", "velocity")
    return Notes(*([note[name] for note in found] for name in names))


def f1(ref, est):
    """Return F1 in percent, of onsets within 10 ms."""
    return 200 * len(match_notes(ref, est, 0.01, None)) / (len(ref) + len(est))


def test_the_page_gives_the_notes_of_transcribe(site_page, clip_wav, clip_notes):
    page = site_page
    page.set_input_files("input[type=file]", clip_wav)
    page.wait_for_selector(".side")
    with page.expect_download() as started:
        page.get_by_role("button", name="MIDI", exact=True).click()
    assert started.value.suggested_filename == "clip.mid"
    assert f1(clip_notes, Notes.from_midi(started.value.path())) >= 99.5


def test_the_page_offers_nothing_that_browsers_cannot_do(site_page):
    site_page.get_by_role("button", name="Choose files").wait_for()
    assert not site_page.get_by_text("Compose").count()


@pytest.mark.slow
def test_the_engine_tells_what_it_does_and_decodes_anew(
    site_page, clip_wav, transcriber
):
    page = site_page
    samples_S = np.concatenate(list(stream_samples(clip_wav, None, 16000)))
    events = transcribe(page, samples_S)
    assert [event["type"] for event in events][:2] == ["queued", "progress"]
    *_, progress, done = events
    assert progress["seconds"] == progress["duration"] == len(samples_S) / 16000
    preview = [note for e in events if e["type"] == "notes" for note in e["notes"]]
    assert len(preview) > 60
    assert done["choice"]["onset"] == transcriber.roll_decoding.onset_threshold
    expected = transcriber(samples_S, 16000)
    assert f1(expected, as_notes(done["notes"])) >= 99.5
    assert all(note["confidence"] > 0.6 for note in done["notes"])

    choice = {"onset": 0.9, "frame": 0.5, "minDuration": 0.3, "highest": 70}
    found = page.evaluate("choice => window.job.decode(choice)", choice)
    stricter = Transcriber(model="piano", onset_threshold=0.9)(samples_S, 16000)
    kept = (stricter.offset_s - stricter.onset_s >= 0.3) & (stricter.pitch <= 70)
    assert 10 < kept.sum() < len(expected)
    assert f1(stricter[kept], as_notes(found["notes"])) >= 99.5
    assert len(found["candidates"]) > 0
    assert all(0.36 <= n["confidence"] <= 0.9 for n in found["candidates"])

    written = page.evaluate(
        "notes => window.job.result('csv', notes).then((blob) => blob.text())",
        done["notes"],
    )
    est = Notes.from_csv(io.StringIO(written))
    assert est.pitch.tolist() == as_notes(done["notes"]).pitch.tolist()
    assert ",confidence\n" in written
    page.evaluate("() => window.job.close()")
    with pytest.raises(Exception, match="forgotten"):
        page.evaluate("() => window.job.decode({})")


@pytest.mark.parametrize(
    ("samples_S", "num_notes", "said"),
    [
        (np.zeros(0), None, "a.wav holds no sound"),
        (np.zeros(16000), 0, ""),
        (1e-5 * np.sin(np.arange(16000) / 10), 0, "a.wav: the recording is silent"),
    ],
    ids=["empty", "zeros", "faint"],
)
def test_recordings_without_music(site_page, samples_S, num_notes, said):
    *_, last = transcribe(site_page, samples_S)
    if num_notes is None:
        assert last == {"type": "error", "message": said}
    else:
        assert len(last["notes"]) == num_notes
        assert said in json.dumps(last["warnings"])
