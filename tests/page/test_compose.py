"""Composing on the page: from a mood to notes that are heard, seen and continued."""

import json
import re
from pathlib import Path

import pytest
from page_checks import serious_violations

from mt3x.music.notes import Notes


@pytest.fixture
def form(page):
    """The page with the form of wishes, for five seconds."""
    page.get_by_role("tab", name="Compose").click()
    page.get_by_label("Seconds").fill("5")
    return page


def press_compose(page):
    page.locator("form.compose button.primary").click()


def wait_for_notes(page, number=1):
    """Wait for a tab with notes, and return how many there are."""
    small = page.locator(".tab small").nth(number - 1)
    small.filter(has_text=re.compile(r"^\d+ notes$")).wait_for()
    return int(small.inner_text().split()[0])


def saved(page, name):
    with page.expect_download() as started:
        page.get_by_role("button", name=name, exact=True).click()
    return started.value.suggested_filename, Path(started.value.path()).read_bytes()


def mood(page):
    return [float(page.get_by_label(x).input_value()) for x in ("Valence", "Arousal")]


def test_composes_what_is_heard_and_written(form):
    page = form
    press_compose(page)
    count = wait_for_notes(page)
    assert count == int(page.inner_text(".table .count")) > 5
    name, midi = saved(page, "MIDI")
    assert re.fullmatch(r"Joyful \d+\.mid", name)
    assert len(Notes.from_midi(midi)) == count
    _, found = saved(page, "JSON")
    options = json.loads(found)["options"]
    assert options["seconds"] == 5 and options["valence"] > 0
    # There is no original beside the notes.
    assert not page.get_by_label("Balance").count()
    assert not page.get_by_text("Thresholds").count()
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => document.querySelector('.level').value > 0.4")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("tab", name="Score").click()
    page.wait_for_selector(".sheet svg g.note")


def test_the_balance_of_a_recording_is_not_that_of_a_piece(page):
    page.get_by_role("button", name="Example", exact=True).click()
    page.get_by_label("Balance").fill("0")
    page.get_by_role("button", name="Compose", exact=True).click()
    page.get_by_label("Seconds").fill("5")
    press_compose(page)
    wait_for_notes(page, 2)
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => document.querySelector('.level').value > 0.4")


def test_again_draws_another_and_change_begins_with_its_wish(form):
    page = form
    page.get_by_label("Key").select_option("Ebm")
    page.get_by_label("Seed").fill("7")
    page.get_by_text("More", exact=True).click()
    page.locator("input[name=temperature]").fill("0.8")
    press_compose(page)
    wait_for_notes(page)
    first = json.loads(saved(page, "JSON")[1])
    chosen = {"key": "Ebm", "seed": 7, "temperature": 0.8}
    assert chosen.items() <= first["options"].items()
    page.get_by_role("button", name="Again", exact=True).click()
    wait_for_notes(page, 2)
    second = json.loads(saved(page, "JSON")[1])
    assert second["notes"] != first["notes"]
    seed = second["options"].pop("seed")
    assert seed != 7 and {**second["options"], "seed": 7} == first["options"]
    page.get_by_role("button", name="Change", exact=True).click()
    assert page.get_by_label("Seed").input_value() == str(seed)
    assert page.get_by_label("Key").input_value() == "Ebm"


def test_continues_the_notes_that_are_open(form):
    page = form
    press_compose(page)
    wait_for_notes(page)
    prompt = json.loads(saved(page, "JSON")[1])["notes"]
    page.get_by_role("button", name="Compose", exact=True).click()
    page.get_by_label("Continue").check()
    press_compose(page)
    wait_for_notes(page, 2)
    notes = json.loads(saved(page, "JSON")[1])["notes"]
    assert notes[: len(prompt)] == prompt and len(notes) > len(prompt)


def test_the_mood_is_chosen_by_keys(form):
    page = form
    valence, arousal = mood(page)
    page.get_by_label("Valence").focus()
    for key in ("ArrowLeft", "ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert mood(page) == pytest.approx([valence - 0.05, arousal - 0.3])
    for _ in range(9):
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowDown")
    assert mood(page) == [-1, -1]
    assert page.get_by_label("Valence").get_attribute("aria-valuetext") == "1 sad"
    assert page.inner_text(".chosen-mood strong") == "Sad"
    assert "1 sad, 1 calm" in page.inner_text(".chosen-mood")
    outline = "dot => getComputedStyle(dot).outlineStyle"
    assert page.eval_on_selector(".dot", outline) == "solid"


def test_the_mood_is_chosen_by_the_pointer(form):
    page = form
    box = page.locator(".plane").bounding_box()
    x, y, size = box["x"], box["y"], box["width"]
    page.mouse.move(x + 0.1 * size, y + 0.1 * size)
    page.mouse.down()
    assert mood(page) == pytest.approx([-0.8, 0.8], abs=0.051)
    assert page.inner_text(".chosen-mood strong") == "Tense"
    page.mouse.move(x + 2 * size, y + 0.75 * size)  # beyond the edge
    page.mouse.up()
    assert mood(page) == pytest.approx([1, -0.5], abs=0.051)
    assert page.inner_text(".chosen-mood strong") == "Serene"
    page.mouse.move(x + 0.5 * size, y + 0.5 * size)
    assert page.inner_text(".chosen-mood strong") == "Serene"


def test_more_than_the_server_allows_is_not_asked_for(form):
    page = form
    page.get_by_label("Seconds").fill("61")
    press_compose(page)
    assert page.eval_on_selector("input[name=seconds]", "x => x.validity.rangeOverflow")
    assert not page.locator(".tab").count()


def test_composing_is_cancelled(form):
    page = form
    page.get_by_label("Seconds").fill("60")
    press_compose(page)
    page.locator(".tab.working", has_text="Composing").wait_for()
    page.get_by_label(re.compile("^Remove")).click()
    page.get_by_role("tab", name="Compose").click()
    # Its place is free again.
    page.get_by_label("Seconds").fill("1")
    press_compose(page)
    wait_for_notes(page)


def test_what_fails_is_told_and_can_be_tried_again(form):
    page = form
    refused = json.dumps({"error": "too many jobs wait"})
    page.route(
        "**/api/compose?*", lambda route: route.fulfill(body=refused, status=429)
    )
    press_compose(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text() == "too many jobs wait"
    page.unroute("**/api/compose?*")
    page.get_by_role("button", name="Try again", exact=True).click()
    wait_for_notes(page)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_is_accessible_and_fits_a_phone(form, theme):
    page = form
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.get_by_text("More", exact=True).click()
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) <= 360 and serious_violations(page) == []
    press_compose(page)
    wait_for_notes(page)
    assert page.evaluate(width) <= 360 and serious_violations(page) == []
    page.get_by_role("button", name="Compose", exact=True).click()
    assert page.evaluate(width) <= 360 and serious_violations(page) == []
    # The tabs of the start page are one stop of the tabulator.
    page.reload()
    page.get_by_role("tab", name="Transcribe").press("ArrowRight")
    page.wait_for_selector("form.compose")
    assert page.get_by_role("tab", name="Compose").evaluate(
        "tab => tab === document.activeElement"
    )
