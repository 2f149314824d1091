"""A server, a browser and a microphone for the tests of the page."""

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from programs import find_program

import mt3x
from mt3x.music.audio import stream_audio

CLIP = Path(__file__).parents[1] / "data" / "prelude.ogg"
RATE = 16000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


@pytest.fixture(scope="session")
def clip_wav(tmp_path_factory):
    """The clip as the model hears it: a browser hands on exactly these samples."""
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    samples = np.concatenate(list(stream_audio(CLIP, RATE)))
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def transcriber():
    return mt3x.Transcriber(model="piano")


@pytest.fixture(scope="session")
def clip_notes(transcriber, clip_wav):
    return transcriber(clip_wav)


@pytest.fixture(scope="session")
def server():
    """The address of `mt3x serve`, which allows a minute and 3 MB."""
    find_program("Chromium")
    command = ["-m", "mt3x", "serve", "--port", "0", "--model", "piano"]
    limits = ["--max-minutes", "1", "--max-mb", "3"]
    process = subprocess.Popen(
        [sys.executable, *command, *limits],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    found = (re.search(r"http://[\d.:]+/", line) for line in process.stdout)
    yield next(address[0] for address in found if address)
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture(scope="session")
def browser(launch_chromium, clip_wav):
    """Chromium; its microphone hears the clip, once."""
    microphone = f"--use-file-for-fake-audio-capture={clip_wav}%noloop"
    with launch_chromium(args=[*FLAGS, microphone]) as browser:
        yield browser


@pytest.fixture(scope="session")
def open_page(browser, server):
    """Opens the page; it may not complain, and ask nobody but the server."""

    @contextmanager
    def opened(**options):
        said, asked = [], []
        context = browser.new_context(permissions=["microphone"], **options)

        def route(route):
            if route.request.url.startswith(server):
                route.continue_()
            else:
                asked.append(route.request.url)
                route.abort()

        context.route("**/*", route)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append((message.type, message.text)))
        page.on("pageerror", lambda error: said.append(("error", str(error))))
        page.goto(server)
        page.wait_for_selector("h1")
        yield page
        context.close()
        assert asked == []
        errors = [text for kind, text in said if kind == "error"]
        # Browsers say that something was refused, besides the page.
        refused = re.compile("status of (415|429)")
        assert [text for text in errors if not refused.search(text)] == []

    return opened


@pytest.fixture
def page(open_page):
    with open_page() as page:
        yield page


@pytest.fixture(scope="module")
def clip_page(open_page, clip_wav):
    """The page with the clip transcribed; tests leave it as they find it."""
    with open_page(viewport={"width": 1280, "height": 860}) as page:
        page.set_input_files("input[type=file]", clip_wav)
        page.wait_for_selector(".side")
        yield page


@pytest.fixture
def done(clip_page):
    """What tests ask of the page with the clip."""
    page = clip_page

    def count():
        return int(page.inner_text(".table .count"))

    def wait_for_count(number):
        page.wait_for_function(
            "n => Number(document.querySelector('.table .count').textContent) === n",
            arg=number,
        )

    def download(name):
        with page.expect_download() as started:
            page.get_by_role("button", name=name, exact=True).click()
        found = started.value
        return SimpleNamespace(
            name=found.suggested_filename, data=Path(found.path()).read_bytes()
        )

    yield SimpleNamespace(
        page=page, count=count, wait_for_count=wait_for_count, download=download
    )
    while page.get_by_label("Undo", exact=True).is_enabled():
        page.get_by_label("Undo", exact=True).click()
    reset = page.get_by_role("button", name="Reset")
    if reset.is_enabled():
        reset.click()
    wait_for_count(69)
