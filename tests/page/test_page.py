"""The page in a browser, from the recording to the corrected notes.

MT3X_PAGE_PICTURE=FILE writes the picture of the README.
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from page_checks import serious_violations

from mt3x.music.metrics import note_scores
from mt3x.music.notes import Notes

CLIP = Path(__file__).parents[1] / "data" / "prelude.ogg"


def _tab_says(page, text, index=0):
    page.locator(".tab small").nth(index).filter(has_text=text).wait_for()


def _saved(page, name):
    with page.expect_download() as started:
        page.get_by_role("button", name=name, exact=True).click()
    return Path(started.value.path()).read_bytes()


def assert_same_notes(midi: bytes, notes: Notes) -> None:
    """A MIDI file has these notes, as near as its ticks are."""
    found = Notes.from_midi(midi)
    np.testing.assert_array_equal(found.pitch, notes.pitch)
    np.testing.assert_array_equal(found.velocity, notes.velocity)
    np.testing.assert_allclose(found.onset_s, notes.onset_s, atol=1e-3)
    np.testing.assert_allclose(found.offset_s, notes.offset_s, atol=1e-3)


def test_gives_the_notes_of_transcribe(done, transcriber, clip_notes):
    assert done.count() == len(clip_notes) == 69
    midi = done.download("MIDI")
    assert midi.name == "clip.mid"
    assert_same_notes(midi.data, clip_notes)


def test_shows_the_example(open_page):
    size = {"width": 1100, "height": 690}
    with open_page(viewport=size, color_scheme="dark") as page:
        page.get_by_role("button", name="Example", exact=True).click()
        _tab_says(page, "69 notes")
        if path := os.environ.get("MT3X_PAGE_PICTURE"):
            page.get_by_label("Position").fill("3.5")
            page.wait_for_timeout(1000)  # until the spectrogram is there
            page.screenshot(path=path)


def test_reads_drops(page):
    page.evaluate(
        """async (bytes) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([new Uint8Array(bytes)], "dropped.ogg"));
          for (const type of ["dragover", "drop"])
            document.body.dispatchEvent(
              new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
        }""",
        list(CLIP.read_bytes()),
    )
    page.locator(".tab.working", has_text="dropped.ogg").wait_for()


def test_takes_what_only_the_server_reads(page, tmp_path):
    samples, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "clip.aiff", samples, rate)
    page.set_input_files("input[type=file]", tmp_path / "clip.aiff")
    _tab_says(page, "69 notes")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => document.querySelector('.level').value > 0.3")


def test_records(page, clip_notes):
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator(".lamp strong", has_text="0:05").wait_for()
    assert page.eval_on_selector(".recorder meter", "meter => meter.value") > 0.3
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("Paused").wait_for()
    page.wait_for_timeout(200)
    heard = page.inner_text(".lamp")
    page.wait_for_timeout(1200)
    assert page.inner_text(".lamp") == heard
    # What was played is told before the recording has ended.
    counted = "() => parseInt(document.querySelector('.live').ariaLabel) > 5"
    page.wait_for_function(counted)
    page.get_by_role("button", name="Stop and transcribe").click()
    page.wait_for_selector(".side")
    est = Notes.from_json(io.StringIO(_saved(page, "JSON").decode()))
    # The recorder starts some time after the microphone.
    shift_s = float(np.median(est.onset_s[:5] - clip_notes.onset_s[:5]))
    ref = Notes(
        np.maximum(clip_notes.onset_s + shift_s, 0),
        np.maximum(clip_notes.offset_s + shift_s, 0),
        clip_notes.pitch,
    )
    ref = ref[ref.onset_s < est.onset_s.max() + 0.05]
    assert len(ref) > 10
    assert note_scores(ref, est).note.f1 > 0.9


def test_discards_a_recording(page):
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator(".lamp.on").wait_for()
    page.get_by_role("button", name="Discard", exact=True).click()
    page.get_by_role("button", name="Choose files").wait_for()


@pytest.mark.parametrize("balance", ["0", "1"], ids=["original", "notes"])
@pytest.mark.parametrize("speed", ["0.5", "1"])
def test_plays(done, balance, speed):
    page = done.page
    page.get_by_label("Balance").fill(balance)
    page.get_by_title("Speed").select_option(speed)
    page.get_by_label("Position").fill("0.3")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => document.querySelector('.level').value > 0.4")
    page.wait_for_function("() => document.querySelector('.place input').value > 0.6")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.wait_for_function("() => document.querySelector('.level').value === 0")
    page.get_by_label("Balance").fill("0.5")
    page.get_by_title("Speed").select_option("1")


def test_mutes_instruments_and_plays_by_the_space_bar(done):
    page = done.page
    page.get_by_label("Balance").fill("1")
    page.get_by_label("Mute Piano").click()
    page.locator("canvas.roll").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('.place input').value > 1")
    assert page.eval_on_selector(".level", "level => level.value") < 0.2
    page.get_by_label("Mute Piano").click()
    page.wait_for_function("() => document.querySelector('.level').value > 0.4")
    page.locator("canvas.roll").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    page.get_by_label("Balance").fill("0.5")


def test_thresholds_change_the_notes(done):
    page = done.page
    page.locator("input[name=onset]").fill("0.95")
    page.wait_for_function(
        "() => Number(document.querySelector('.table .count').textContent) < 60"
    )
    fewer = done.count()
    # Candidates are hollow; a click takes one. In edit mode the pointer's shape tells
    # them from notes.
    page.get_by_role("button", name="Edit", exact=True).click()
    place = page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas.roll");
          const { left, top, width, height } = canvas.getBoundingClientRect();
          for (let y = top + 30; y < top + height; y += 3)
            for (let x = left + 60; x < left + width; x += 6) {
              const place = { clientX: x, clientY: y };
              canvas.dispatchEvent(new PointerEvent("pointermove", place));
              if (canvas.style.cursor === "pointer") return [x, y];
            }
        }"""
    )
    page.get_by_role("button", name="Edit", exact=True).click()
    page.mouse.click(*place)
    done.wait_for_count(fewer + 1)
    # By the keyboard, too.
    page.locator("canvas.roll").focus()
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    done.wait_for_count(fewer + 2)
    # What is taken stays when thresholds change.
    page.locator("input[name=highest]").fill("21")
    done.wait_for_count(2)


def test_edits_by_the_keyboard(done, clip_notes):
    page = done.page
    page.locator("canvas.roll").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.keyboard.press("ArrowUp")  # moved
    page.keyboard.press("Shift+ArrowRight")  # stretched
    page.keyboard.press("Alt+ArrowUp")  # louder
    page.keyboard.press("n")
    page.keyboard.press("Delete")
    done.wait_for_count(68)
    page.keyboard.press("a")
    done.wait_for_count(69)
    rows = json.loads(done.download("JSON").data)["notes"]
    notes = Notes.from_midi(io.BytesIO(done.download("MIDI").data))
    assert len(rows) == len(notes) == 69
    first = int(np.argmin(np.abs(notes.onset_s - clip_notes.onset_s[0])))
    assert notes.pitch[first] == clip_notes.pitch[0] + 1
    assert notes.velocity[first] == clip_notes.velocity[0] + 5
    length_s = clip_notes.offset_s[0] - clip_notes.onset_s[0]
    assert notes.offset_s[first] - notes.onset_s[first] == pytest.approx(
        length_s + 0.01, abs=0.003
    )
    for _ in range(5):
        page.keyboard.press("Control+z")
    done.wait_for_count(69)
    assert page.get_by_label("Undo", exact=True).is_disabled()
    assert_same_notes(done.download("MIDI").data, clip_notes)
    page.keyboard.press("Control+Shift+Z")
    assert page.get_by_label("Undo", exact=True).is_enabled()


def test_edits_by_the_pointer(done):
    page = done.page
    box = page.locator("canvas.roll").bounding_box()
    page.get_by_role("button", name="Edit", exact=True).click()

    def drag(x0, x1, dy=0):
        y = box["y"] + box["height"] - 40
        page.mouse.move(box["x"] + x0, y)
        page.mouse.down()
        page.mouse.move(box["x"] + (x0 + x1) / 2, y + dy / 2)
        page.mouse.move(box["x"] + x1, y + dy)
        page.mouse.up()

    drag(200, 300)
    done.wait_for_count(70)
    drawn = page.inner_text(".selection strong")
    drag(297, 340)
    assert _length_s(page.inner_text(".selection strong")) > _length_s(drawn)
    drag(220, 260, dy=-60)
    assert page.inner_text(".selection strong").split(",")[0] != drawn.split(",")[0]
    page.get_by_role("slider", name="Velocity").fill("33")
    page.get_by_label("Delete the selected notes").click()
    done.wait_for_count(69)
    page.get_by_label("Undo", exact=True).click()
    done.wait_for_count(70)
    page.get_by_role("button", name="Edit", exact=True).click()


def _length_s(description):
    return float(description.split(", ")[2].removesuffix(" s long"))


def test_every_switch_switches(done):
    page = done.page

    def picture():
        page.wait_for_timeout(100)
        return page.eval_on_selector("canvas.roll", "roll => roll.toDataURL()")

    page.wait_for_timeout(1000)  # until the spectrogram is there
    page.locator("input[name=onset]").fill("0.95")
    page.wait_for_function(
        "() => Number(document.querySelector('.table .count').textContent) < 60"
    )
    for name in ("Spectrogram", "Candidates"):
        before = picture()
        page.get_by_label(name, exact=True).click()
        assert picture() != before
        page.get_by_label(name, exact=True).click()
        assert picture() == before
    page.get_by_label("Color").select_option("velocity")
    assert picture() != before
    page.get_by_label("Color").select_option("instrument")
    page.get_by_label("Solo Piano").click()
    assert picture() == before
    page.get_by_label("Solo Piano").click()
    for name in ("Original left, notes right", "Follow the playback"):
        button = page.get_by_role("button", name=name)
        pressed = button.get_attribute("aria-pressed")
        button.click()
        assert button.get_attribute("aria-pressed") != pressed
        button.click()
    for name in ("Zoom in", "Zoom out"):
        before = picture()
        page.get_by_role("button", name=name).click()
        assert picture() != before
    page.get_by_label("Show what fits").click()
    page.get_by_role("button", name="Reset").click()
    done.wait_for_count(69)
    page.locator("canvas.roll").press("Home")
    page.keyboard.press("n")
    page.keyboard.press("Delete")
    done.wait_for_count(68)
    page.get_by_label("Undo", exact=True).click()
    done.wait_for_count(69)
    page.get_by_label("Redo", exact=True).click()
    done.wait_for_count(68)
    page.keyboard.press("Escape")


def test_notes_are_fainter_where_the_model_is_less_sure(clip_page):
    """Their confidences, which the server sends, are their opacity."""
    alphas = clip_page.evaluate(
        """async () => {
          const { Roll } = await import("/roll.js");
          const canvas = document.createElement("canvas");
          const roll = new Roll(canvas);
          roll.resize(800, 600, 1);
          const fills = [];
          const color = roll.colorOf.bind(roll);
          roll.colorOf = (note, alpha = 1) => (fills.push(alpha), color(note, alpha));
          const note = { onset: 0.5, offset: 1, pitch: 60, velocity: 80, program: 0 };
          roll.setNotes([0.2, 0.9, null].map((confidence, i) =>
            ({ ...note, drum: false, pitch: 60 + i, id: `${i}`, confidence })), []);
          roll.duration = 4;
          roll.fit();
          roll.draw();
          return fills;
        }"""
    )
    assert alphas == sorted(alphas) and len(set(alphas)) == 3 and alphas[-1] == 1


@pytest.mark.parametrize("chosen", ["dark", "light"])
def test_has_the_theme_of_the_system_until_one_is_chosen(open_page, chosen):
    system = {"dark": "light", "light": "dark"}[chosen]

    def is_dark(page):
        scheme = "getComputedStyle(document.documentElement).colorScheme"
        return page.evaluate(scheme) == "dark"

    with open_page(color_scheme=chosen) as page:
        assert is_dark(page) == (chosen == "dark")
        page.emulate_media(color_scheme=system)
        page.get_by_role("button", name=f"Use the {chosen} theme").click()
        page.get_by_role("button", name=f"Use the {system} theme").wait_for()
        page.reload()
        page.wait_for_selector("h1")
        assert is_dark(page) == (chosen == "dark")


def test_zooms_and_pans(done):
    page = done.page

    def picture():
        page.wait_for_timeout(100)
        return page.eval_on_selector("canvas.roll", "roll => roll.toDataURL()")

    pictures = [picture()]
    box = page.locator("canvas.roll").bounding_box()
    page.mouse.move(box["x"] + 400, box["y"] + 200)
    for dx, dy in [(0, -400), (200, 0)]:
        page.mouse.wheel(dx, dy)
        pictures.append(picture())
    for key in ["+", "ArrowUp"]:
        page.locator("canvas.roll").press(key)
        pictures.append(picture())
    assert len(set(pictures)) == len(pictures)
    page.get_by_label("Show what fits").click()


def test_tells_the_notes_in_a_table(done):
    page = done.page
    page.get_by_text("Notes as a table").click()
    page.locator("tbody tr").nth(49).wait_for()
    page.get_by_role("button", name="Next", exact=True).click()
    page.locator("tbody tr").nth(49).wait_for(state="detached")
    assert page.locator("tbody tr").count() == 19
    page.locator("tbody button").first.click()
    assert "s long" in page.inner_text("[role=status]")
    page.get_by_text("Notes as a table").click()


@pytest.mark.parametrize(
    ("name", "magic"), [("CSV", b"onset"), ("Picture", b"\x89PNG"), ("Sound", b"RIFF")]
)
def test_downloads(done, name, magic):
    assert done.download(name).data.startswith(magic)


def test_recordings_wait_for_their_turn(page, clip_wav):
    page.set_input_files("input[type=file]", [clip_wav, CLIP])
    page.locator(".tab.queued", has_text="place 1 in the queue").wait_for()
    page.get_by_label("Remove clip.wav").click()
    page.locator(".tab.working", has_text="prelude.ogg").wait_for()
    assert page.locator(".tab").count() == 1


def _too_large(path):
    path.write_bytes(bytes(3_100_000))


def _too_long(path):
    soundfile.write(path, np.zeros(61 * 8000, np.float32), 8000, format="FLAC")


def _no_sound(path):
    path.write_text("not a sound at all")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_too_large, "a.wav is larger than 3 MB"),
        (_too_long, "a.wav is longer than 1 minutes"),
        (_no_sound, "a.wav"),
    ],
)
def test_refuses_in_one_line(page, tmp_path, make, message):
    make(tmp_path / "a.wav")
    page.set_input_files("input[type=file]", tmp_path / "a.wav")
    error = page.get_by_role("alert")
    error.wait_for()
    assert message in error.inner_text() and "\n" not in error.inner_text()


def test_works_on_without_a_connection(done):
    page = done.page
    page.context.set_offline(True)
    page.get_by_label("Position").fill("0.3")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => document.querySelector('.level').value > 0.4")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.locator("canvas.roll").press("n")
    page.keyboard.press("Delete")
    done.wait_for_count(68)
    page.context.set_offline(False)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_is_accessible_and_fits_a_phone(page, done, theme):
    for shown, view in ((page, None), (done.page, "Score"), (done.page, "Piano roll")):
        size = shown.viewport_size
        shown.set_viewport_size({"width": 360, "height": 740})
        # Colors in transition would be measured, too.
        shown.emulate_media(color_scheme=theme, reduced_motion="reduce")
        if view:
            shown.get_by_role("tab", name=view).click()
        if view == "Score":
            shown.wait_for_selector(".sheet svg")
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360
        assert serious_violations(shown) == []
        shown.set_viewport_size(size)


def test_hands_on_the_token_of_its_link(page):
    asked = []
    page.on("request", lambda request: asked.append(request))
    page.goto(f"{page.url}?token=abc")
    page.wait_for_selector("h1")
    page.reload()
    page.wait_for_selector("h1")
    tokens = [
        request.headers.get("x-mt3x-token")
        for request in asked
        if request.url.endswith("/api/info")
    ]
    assert tokens == ["abc", "abc"]


def test_instruments_are_those_of_the_package(clip_page):
    from mt3x.music.instrument_classes import CLASSES

    found = clip_page.evaluate(
        """async () => {
          const { partName, soundingProgram } = await import("/instruments.js");
          const programs = [...Array(128).keys()];
          return programs.map((p) => [partName(String(p)), soundingProgram(p)]);
        }"""
    )
    expected = {
        program: [each.name[0].upper() + each.name[1:], each.program]
        for each in CLASSES
        for program in each.programs
    }
    assert found == [expected[program] for program in range(128)]
