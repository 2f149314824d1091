"""Corpora of stems, rendered unit by unit in several processes."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from mt3x.data.corpus import CorpusWriter
from mt3x.data.synthesis.stems import MusicSpec, StemRecipe, render_stems
from mt3x.data.workers import in_processes


def write_stems(
    recipe: StemRecipe,
    spec: MusicSpec,
    folder: Path,
    jobs: int,
    tell: Callable[[str], object] = lambda problem: None,
) -> Iterator[float]:
    """Render one corpus of a recipe; resume where a stopped run ended.

    Yields the seconds of stems that are there after each unit. The corpus is finished
    when the iterator is. `tell` is called with each song that cannot be read, once.

    Raises:
      FileExistsError: the corpus exists.
      ChildProcessError: a process died.
      OSError, ValueError: a sound cannot be read, or song after song.
    """
    with (
        CorpusWriter(folder) as writer,
        in_processes(render_stems, jobs, "give fewer --workers") as processes,
    ):
        unit, told = 0, set()
        if len(writer):
            unit = int(writer.pieces[-1].info["group"].rsplit("-", 1)[1]) + 1
        calls = ((recipe, spec, number) for number in itertools.count(unit))
        results = processes.results(calls)
        while writer.duration_s < 3600 * spec.hours:
            for piece in next(results):
                writer.add(piece.name, piece.samples_S, piece.notes, piece.info)
                for problem in set(piece.problems) - told:
                    tell(problem)
                told |= set(piece.problems)
            yield writer.duration_s
