"""Corpora of stems, rendered unit by unit in several processes."""

import collections
import concurrent.futures
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

from mt3x.data.corpus import CorpusWriter
from mt3x.data.synthesis.stems import MusicSpec, StemRecipe, render_stems


def write_stems(
    recipe: StemRecipe, spec: MusicSpec, folder: Path, jobs: int
) -> Iterator[float]:
    """Render one corpus of a recipe; resume where a stopped run ended.

    Yields the seconds of stems that are there after each unit. The corpus is finished
    when the iterator is.

    Raises:
      FileExistsError: the corpus exists.
      OSError, ValueError: a sound or a song cannot be read.
    """
    context = multiprocessing.get_context("spawn")
    with (
        CorpusWriter(folder) as writer,
        concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool,
    ):
        unit = 0
        if len(writer):
            unit = int(writer.pieces[-1].info["group"].rsplit("-", 1)[1]) + 1
        pending: collections.deque = collections.deque()
        while writer.duration_s < 3600 * spec.hours:
            while len(pending) < jobs + 1:
                pending.append(pool.submit(render_stems, recipe, spec, unit))
                unit += 1
            for piece in pending.popleft().result():
                writer.add(piece.name, piece.samples_S, piece.notes, piece.info)
            yield writer.duration_s
        for future in pending:
            future.cancel()
