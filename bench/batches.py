"""Batches that processes make ahead, against those of a thread alone.

    python bench/batches.py CORPUS [CORPUS ...] [--mix] [--workers 2] [--seconds 20]

Clips of 8 s, 8 a batch, augmented as in training; with --mix they are mixes of stems,
as band models learn from, with their labels. Prints clips and seconds of sound a second
of both, taken in turns, and the ratio of their medians.
"""

import argparse
import itertools
import statistics
import time

from mt3x.data.batches import BatchConfig, CorpusBatches
from mt3x.data.corpus import Corpus
from mt3x.data.stem_batches import MixConfig, StemBatches
from mt3x.data.workers import AnyBatches, WorkerBatches, in_workers

SAMPLE_RATE_HZ = 16000
BATCH_SIZE, CLIP_SAMPLES = 8, 128_000


def rate(source: AnyBatches | WorkerBatches, seconds: float) -> float:
    """Return seconds of sound a second."""
    source.batch(0)  # starts the processes
    start_s = time.perf_counter()
    for step in itertools.count(1):
        source.batch(step)
        taken_s = time.perf_counter() - start_s
        if taken_s > seconds:
            break
    samples = step * BATCH_SIZE * CLIP_SAMPLES
    return samples / SAMPLE_RATE_HZ / taken_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--mix", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    corpora = [Corpus(folder) for folder in args.corpora]
    sizes = {"batch_size": BATCH_SIZE, "clip_samples": CLIP_SAMPLES}
    if args.mix:
        batches = StemBatches(corpora, MixConfig(**sizes))
    else:
        batches = CorpusBatches(corpora, config=BatchConfig(**sizes))
    rates: dict[str, list[float]] = {"thread": [], "workers": []}
    for _ in range(3):
        rates["thread"].append(rate(batches, args.seconds))
        with in_workers(batches, args.workers) as ahead:
            rates["workers"].append(rate(ahead, args.seconds))
    thread, workers = (statistics.median(rates[k]) for k in ("thread", "workers"))
    for name, sound in (("thread", thread), (f"{args.workers} workers", workers)):
        clips = sound * SAMPLE_RATE_HZ / CLIP_SAMPLES
        print(f"{name}: {sound:.0f} s of sound, {clips:.1f} clips a second")
    print(f"ratio: {workers / thread:.2f}")


if __name__ == "__main__":
    main()
