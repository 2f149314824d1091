"""Keys and pedal on the page: chosen, seen, written, and heard."""

import io
import json

import mido
import pytest

LEVELS = """async (pedal) => {
  const { Player } = await import("/player.js");
  const player = new Player();
  const note = { pitch: 60, velocity: 110, program: 0, drum: false };
  player.load(null);
  await player.setNotes([{ ...note, onset: 0.3, offset: 0.5 }], 4, pedal);
  await player.play();
  const levels = [];
  while (player.position < 2.6) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    levels.push([player.position, player.level()]);
  }
  player.pause();
  await player.context.close();
  const loudest = (from, to) =>
    Math.max(...levels.filter(([t]) => from < t && t < to).map(([, level]) => level));
  return [loudest(0.35, 0.5), loudest(1.2, 1.5), loudest(2.3, 2.6)];
}"""


@pytest.fixture(scope="module")
def heard(open_page, clip_wav):
    """The page with keys and pedal of the clip."""
    with open_page(viewport={"width": 1280, "height": 860}) as page:
        page.get_by_label("Piano and pedal").check(force=True)
        page.set_input_files("input[type=file]", clip_wav)
        page.wait_for_selector(".side")
        yield page


def saved(page, name):
    with page.expect_download() as started:
        page.get_by_role("button", name=name, exact=True).click()
    with open(started.value.path(), "rb") as file:
        return file.read()


def test_files_have_keys_and_pedal(heard, transcriber, clip_wav):
    performance = transcriber.perform(clip_wav)
    expected = json.loads(performance.to_json())
    found = json.loads(saved(heard, "JSON"))
    assert found["pedal"] == expected["pedal"] and len(found["pedal"]) > 3
    assert found["notes"] == expected["notes"]
    midi = mido.MidiFile(file=io.BytesIO(saved(heard, "MIDI")))
    values = [message.value for message in midi if message.is_cc(64)]
    assert values == [127, 0] * len(found["pedal"])


def test_a_correction_moves_the_release_of_a_key(heard):
    before = json.loads(saved(heard, "JSON"))
    heard.locator("canvas.roll").press("n")
    heard.keyboard.press("Shift+ArrowRight")
    heard.get_by_label("Undo", exact=True).click(trial=True)
    after = json.loads(saved(heard, "JSON"))
    moved = [
        (new["key_up_s"] - old["key_up_s"])
        for old, new in zip(before["notes"], after["notes"], strict=True)
        if new != old
    ]
    assert moved == pytest.approx([0.01])
    assert after["pedal"] == before["pedal"]
    heard.get_by_label("Undo", exact=True).click()
    heard.keyboard.press("Escape")


def test_the_score_has_its_marks(heard):
    heard.get_by_role("tab", name="Score").click()
    heard.wait_for_selector(".sheet svg g.pedal")
    heard.get_by_role("tab", name="Piano roll").click()


def test_the_roll_shows_it(heard):
    """In a row at the bottom, apart from the notes."""
    rows = heard.evaluate(
        """async () => {
          const { Roll } = await import("/roll.js");
          const drawn = (pedal) => {
            const canvas = document.createElement("canvas");
            document.body.append(canvas);
            const roll = new Roll(canvas);
            roll.resize(400, 300, 1);
            Object.assign(roll, { duration: 4, pedal });
            roll.setNotes([], []);
            roll.fit();
            roll.draw();
            const x = roll.xOf(1);
            const { data } = roll.context.getImageData(x, 292, 1, 1);
            const zone = roll.zoneOf(x, 292);
            canvas.remove();
            return [zone, ...data];
          };
          return [[{ down: 0.5, up: 1.5 }], [], null].map(drawn);
        }"""
    )
    assert [zone for zone, *_ in rows] == ["pedal", "pedal", "notes"]
    [_, *down], [_, *up], _ = rows
    assert down != up


def test_notes_ring_while_it_is_down(page):
    loud, rings, rests = page.evaluate(LEVELS, [{"down": 0.4, "up": 1.8}])
    assert loud > 0.5 and rings > 0.3 and rests < rings - 0.2
    loud, rests, _ = page.evaluate(LEVELS, [])
    assert loud > 0.5 and rests < 0.2


def test_without_the_choice_all_is_as_before(done):
    assert "pedal" not in json.loads(done.download("JSON").data)
