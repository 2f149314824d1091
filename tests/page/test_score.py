"""The score on the page: it follows the playback, leads to notes, and can be chosen."""

import io

import mido
import pytest

SOUNDING = ".sheet .sounding"


@pytest.fixture
def score(done):
    """The page with the score of the clip, at its beginning."""
    page = done.page
    page.get_by_label("Position").fill("0")
    page.get_by_role("tab", name="Score").click()
    page.wait_for_selector(".sheet svg g.note")
    page.wait_for_selector(".sheet[aria-busy=false]")
    yield done
    page.get_by_role("tab", name="Piano roll").click()


def wait_for_position(page, wanted):
    """Wait until the position is one that JavaScript calls right, and return it."""
    value = "Number(document.querySelector('.place input').value)"
    page.wait_for_function(f"() => {{ const position = {value}; return {wanted}; }}")
    return float(page.get_by_label("Position").input_value())


def line(page):
    return page.inner_text(".score-line")


def wait_for_line(page, text):
    page.locator(".score-line", has_text=text).wait_for()


def test_is_that_of_the_clip(score):
    page = score.page
    wait_for_line(page, "C major, 4/4, 69")
    heads = page.locator(".sheet svg g.note")
    # Held notes are tied.
    assert score.count() == 69 <= heads.count()
    assert page.locator(".sheet svg").first.get_attribute("aria-label") == "Page 1 of 1"


def test_notes_are_colored_while_they_sound(score):
    page = score.page
    assert page.locator(SOUNDING).count() == 0
    page.get_by_label("Position").fill("1.9")
    page.wait_for_selector(SOUNDING)
    before = page.locator(SOUNDING).evaluate_all("found => found.map(({ id }) => id)")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function(
        """before => {
          const found = [...document.querySelectorAll(".sheet .sounding")];
          return found.length && !found.some(({ id }) => before.includes(id));
        }""",
        arg=before,
    )
    page.get_by_role("button", name="Pause", exact=True).click()
    color = "element => getComputedStyle(element).color"
    lit, plain = (
        page.locator(which).first.evaluate(color)
        for which in (SOUNDING, ".sheet g.note:not(.sounding)")
    )
    assert lit != plain


def test_a_click_leads_to_the_note(score):
    page = score.page
    note = page.locator(".sheet g.note").nth(20)
    note.locator(".notehead").click()
    wait_for_position(page, "position > 0.5")
    page.wait_for_function(
        "id => document.getElementById(id).classList.contains('sounding')",
        arg=note.get_attribute("id"),
    )


def test_keys_lead_from_note_to_note_and_the_system_comes_into_sight(score):
    page, size = score.page, score.page.viewport_size
    systems = page.locator(".sheet .system")
    whole = systems.count()
    page.set_viewport_size({"width": 360, "height": 500})
    systems.nth(whole + 1).wait_for()
    box = page.locator(".sheet")
    box.press("Home")
    first = wait_for_position(page, "position > 0")
    box.press("ArrowRight")
    wait_for_position(page, f"position > {first}")
    box.press("ArrowLeft")
    wait_for_position(page, f"position === {first}")
    box.press("End")
    page.wait_for_selector(SOUNDING)
    page.wait_for_function(
        """() => {
          const [box, note] = [".sheet", ".sheet .sounding"].map((which) =>
            document.querySelector(which).getBoundingClientRect());
          return note.top >= box.top && note.bottom <= box.bottom;
        }"""
    )
    assert box.evaluate("box => box.scrollTop") > 100
    page.set_viewport_size(size)
    systems.nth(whole).wait_for(state="detached")


def test_corrections_are_drawn(score):
    page = score.page
    heads = page.locator(".sheet g.note")
    before = heads.count()
    page.get_by_role("tab", name="Piano roll").click()
    page.locator("canvas.roll").press("n")
    page.keyboard.press("Delete")
    score.wait_for_count(68)
    page.get_by_role("tab", name="Score").click()
    page.wait_for_function(
        "n => document.querySelectorAll('.sheet g.note').length < n", arg=before
    )


def test_tempo_and_meter_are_those_of_score_and_file(score):
    page = score.page
    page.get_by_label("Tempo").select_option("even")
    page.get_by_label("Beats a minute").fill("90")
    page.get_by_label("Beats a minute").press("Enter")
    page.get_by_label("Meter").select_option("3/4")
    wait_for_line(page, "3/4, 90 beats a minute")
    midi = mido.MidiFile(file=io.BytesIO(score.download("MIDI").data))
    events = [event for track in midi.tracks for event in track]
    bpm = [mido.tempo2bpm(event.tempo) for event in events if event.type == "set_tempo"]
    assert bpm[1:] == pytest.approx([90] * (len(bpm) - 1), rel=1e-4)
    # A pick-up has its own.
    assert {1, 3} == {e.numerator for e in events if e.type == "time_signature"}
    page.get_by_label("Tempo").select_option("none")
    assert page.get_by_label("Meter").is_disabled()
    midi = mido.MidiFile(file=io.BytesIO(score.download("MIDI").data))
    assert "time_signature" not in {e.type for track in midi.tracks for e in track}
    page.get_by_label("Tempo").select_option("detect")
    page.get_by_label("Meter").select_option("")
    wait_for_line(page, "4/4, 69")


def test_what_is_missing_is_told(open_page, clip_wav):
    with open_page() as page:

        def without_scores(route):
            answer = route.fetch()
            info = answer.json()
            formats = [each for each in info["formats"] if each != "svg"]
            route.fulfill(response=answer, json={**info, "formats": formats})

        page.route("**/api/info", without_scores)
        page.reload()
        page.set_input_files("input[type=file]", clip_wav)
        page.get_by_role("tab", name="Score").click()
        assert 'pip install "mt3x[serve,score]"' in line(page)
        assert page.locator(".sheet").is_hidden()
