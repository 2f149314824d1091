"""Transcription in a browser against Python's: the same notes, and in what time.

    python bench/web.py RECORDING... [--site FOLDER] [--threads]

Opens the folder of `mt3x web` (by default it is written anew) from a plain file server
in Chromium, and transcribes each recording there and in Python, both from the same
samples at 16 kHz. Prints a table: F1 of notes within 10 ms, the same with ends (within
50 ms or a fifth of the note), velocities that differ, and what the page needs for a
second of music: seconds, and CPU seconds of its process, which other work on the
machine changes less. With --threads the server's headers isolate the page, so that it
may use several threads.

Needs Chromium and mt3x[dev].
"""

import argparse
import base64
import functools
import http.server
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from mt3x import Notes, Transcriber
from mt3x.music.audio import stream_audio
from mt3x.music.metrics import OFFSET_RATIO, match_notes

RATE_HZ = 16000
TOLERANCE_S = 0.01
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run")
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
TRANSCRIBE = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const samples = new Float32Array(bytes.buffer);
  const begin = performance.now();
  const notes = await new Promise((resolve, reject) => {
    window.engine.transcribe({ samples, name: "recording" }, (event) => {
      if (event.type === "done") resolve(event.notes);
      if (event.type === "error") reject(new Error(event.message));
    });
  });
  return { notes, seconds: (performance.now() - begin) / 1000 };
}"""
START = """async () => {
  const { createEngine } = await import(`${location.pathname}engines/browser.js`);
  window.engine = await createEngine();
}"""


@contextmanager
def served(folder: Path, headers: dict[str, str]) -> Iterator[str]:
    """Serve a folder on this machine; yield its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing: the table is on the same screen."""

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def as_notes(found: list[dict[str, Any]]) -> Notes:
    """Return the page's notes as Python has them."""
    names = ("onset", "offset", "pitch", "velocity")
    return Notes(*([note[name] for note in found] for name in names))


def f1(ref: Notes, est: Notes, offset_ratio: float | None = None) -> float:
    """Return F1 in percent of notes with onsets within 10 ms."""
    pairs = match_notes(ref, est, TOLERANCE_S, offset_ratio)
    return 200 * len(pairs) / (len(ref) + len(est))


def velocity_difference(ref: Notes, est: Notes) -> np.ndarray:
    """Return by how much the velocities of the same notes differ."""
    pairs_Mx2 = match_notes(ref, est, TOLERANCE_S, None)
    return np.abs(ref.velocity[pairs_Mx2[:, 0]] - est.velocity[pairs_Mx2[:, 1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--site", type=Path)
    parser.add_argument("--threads", action="store_true")
    options = parser.parse_args()
    transcriber = Transcriber(model="piano")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        site = options.site or Path(temporary) / "site"
        if options.site is None:
            subprocess.run([sys.executable, "-m", "mt3x", "web", site], check=True)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS
        )
        with served(site, ISOLATED if options.threads else {}) as address:
            page = browser.new_page()
            page.goto(address)
            page.evaluate(START)
            metrics = page.context.new_cdp_session(page)
            metrics.send("Performance.enable", {"timeDomain": "threadTicks"})

            def cpu_s() -> float:
                found = metrics.send("Performance.getMetrics")["metrics"]
                return next(x["value"] for x in found if x["name"] == "ProcessTime")

            print(
                "| recording | s | notes | F1 | with ends | velocities | time | CPU |"
            )
            print("|---|---|---|---|---|---|---|---|")
            for path in options.recordings:
                samples_S = np.concatenate(list(stream_audio(path, RATE_HZ)))
                duration_s = len(samples_S) / RATE_HZ
                text = base64.b64encode(samples_S.astype("<f4").tobytes()).decode()
                before_s = cpu_s()
                found = page.evaluate(TRANSCRIBE, text)
                used_s = cpu_s() - before_s
                est, ref = as_notes(found["notes"]), transcriber(samples_S, RATE_HZ)
                difference = velocity_difference(ref, est)
                print(
                    f"| {path.stem} | {duration_s:.0f} | {len(ref)} "
                    f"| {f1(ref, est):.2f} | {f1(ref, est, OFFSET_RATIO):.2f} "
                    f"| {(difference > 0).sum()} (by {difference.max()}) "
                    f"| {found['seconds'] / duration_s:.3f} "
                    f"| {used_s / duration_s:.3f} |",
                    flush=True,
                )
        browser.close()


if __name__ == "__main__":
    main()
