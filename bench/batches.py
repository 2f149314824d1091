"""Batches that processes make ahead, against those of a thread alone.

    python bench/batches.py CORPUS [CORPUS ...] [--workers 2] [--seconds 20]

Clips of 8 s, 8 a batch, augmented as in training. Prints seconds of sound a second of
both, taken in turns, and the ratio of their medians.
"""

import argparse
import itertools
import statistics
import time

from mt3x.data.batches import BatchConfig, CorpusBatches
from mt3x.data.corpus import Corpus
from mt3x.data.workers import WorkerBatches, in_workers

SAMPLE_RATE_HZ = 16000
CONFIG = BatchConfig(batch_size=8, clip_samples=128_000)


def rate(source: CorpusBatches | WorkerBatches, seconds: float) -> float:
    """Return seconds of sound a second."""
    source.batch(0)  # starts the processes
    start_s = time.perf_counter()
    for step in itertools.count(1):
        source.batch(step)
        taken_s = time.perf_counter() - start_s
        if taken_s > seconds:
            break
    samples = step * CONFIG.batch_size * CONFIG.clip_samples
    return samples / SAMPLE_RATE_HZ / taken_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    batches = CorpusBatches([Corpus(folder) for folder in args.corpora], config=CONFIG)
    rates: dict[str, list[float]] = {"thread": [], "workers": []}
    for _ in range(3):
        rates["thread"].append(rate(batches, args.seconds))
        with in_workers(batches, args.workers) as ahead:
            rates["workers"].append(rate(ahead, args.seconds))
    thread, workers = (statistics.median(rates[k]) for k in ("thread", "workers"))
    print(f"thread: {thread:.0f} s of sound a second")
    print(
        f"{args.workers} workers: {workers:.0f}, {workers / thread:.2f} times as many"
    )


if __name__ == "__main__":
    main()
