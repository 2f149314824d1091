"""Uploads to `mt3x serve` all at once: what is answered, how fast, in which memory.

    python bench/serve.py tests/data/prelude.ogg --uploads 50 --rounds 3

A server is started and warmed up by one transcription. Each round sends the recording
as often as told from as many threads, waits for the answers, then for the notes of
those that were taken. First it decodes the recording again some times. It needs psutil.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil


class Server:
    """A server in a process of its own."""

    def __init__(self, model: str) -> None:
        command = [sys.executable, "-m", "mt3x", "serve", "--port", "0", "-m", model]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.address = self.process.stderr.readline().split()[3]
        self.peak_mb = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def memory_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def _watch(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while True:
                self.peak_mb = max(self.peak_mb, self.memory_mb())
                time.sleep(0.05)

    def upload(self, data: bytes) -> tuple[int, dict]:
        """Return the status and what was answered."""
        request = Request(f"{self.address}api/jobs", data, {"Content-Type": "audio/x"})
        try:
            with urlopen(request) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def decode_ms(self, id: str, times: int = 20) -> float:
        """Return how long a job's notes take to be found again, with the answer."""
        job = f"{self.address}api/jobs/{id}/decode"
        start = time.monotonic()
        for _ in range(times):
            with urlopen(Request(job, b"{}")) as answer:
                answer.read()
        return 1000 * (time.monotonic() - start) / times

    def wait(self, id: str) -> None:
        """Wait until a job is done."""
        with urlopen(f"{self.address}api/jobs/{id}/events") as events:
            last = events.read().strip().splitlines()[-2]
        assert last == b"event: done", last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="piano")
    args = parser.parse_args()
    data = args.recording.read_bytes()
    server = Server(args.model)
    first = server.upload(data)[1]["id"]
    server.wait(first)
    print(f"decoded again in {server.decode_ms(first):.1f} ms")
    for _ in range(args.rounds):
        before_mb, server.peak_mb, start = server.memory_mb(), 0.0, time.monotonic()
        with ThreadPoolExecutor(args.uploads) as pool:
            answers = list(pool.map(server.upload, [data] * args.uploads))
        answered_s, peak_mb = time.monotonic() - start, server.peak_mb
        for status, answer in answers:
            if status == 202:
                server.wait(answer["id"])
        done_s = time.monotonic() - start
        print(
            f"{dict(Counter(status for status, _ in answers))} in {answered_s:.1f} s, "
            f"done in {done_s:.1f} s; memory {before_mb:.0f} MB before, {peak_mb:.0f} "
            f"at most until answered, {server.peak_mb:.0f} until done, "
            f"{server.memory_mb():.0f} after"
        )
    server.process.send_signal(signal.SIGINT)
    server.process.wait()


if __name__ == "__main__":
    main()
