"""Batches made by other processes, several steps at once.

A step of a GPU may take less time than one core needs to make its batch. Batches are
pure functions of the step, so that several processes can make those of different steps.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from mt3x.batches import Batch, Batches

_made: Batches | None = None
"""In a worker, what makes its batches."""


@contextmanager
def in_workers(batches: Batches, workers: int) -> Iterator["WorkerBatches"]:
    """The same batches, made by processes that end with the block."""
    pool = ProcessPoolExecutor(
        workers,
        # A fork would inherit the threads and the device of JAX.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(batches,),
    )
    try:
        yield WorkerBatches(batches, pool, ahead=2 * workers)
    finally:
        pool.shutdown(cancel_futures=True)


class WorkerBatches:
    """As `Batches`, asked for step by step."""

    def __init__(self, batches: Batches, pool: ProcessPoolExecutor, ahead: int) -> None:
        self._batches = batches
        self._pool = pool
        self._ahead = ahead
        self._futures: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """As of `Batches`; those of the next steps are begun.

        Raises:
          ChildProcessError: a worker died.
        """
        try:
            for later in range(step, step + self._ahead):
                if later not in self._futures:
                    self._futures[later] = self._pool.submit(_make, later)
            return self._futures.pop(step).result()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f"a process that made the batch of step {step} or a later one died, "
                "perhaps for want of memory: set fewer DataConfig.workers"
            ) from error

    def ids(self, step: int) -> Sequence[str]:
        """As of `Batches`."""
        return self._batches.ids(step)


def _start(batches: Batches) -> None:
    global _made
    _made = batches
    # Ctrl-C is for the parent, which ends its workers; with a killed parent they end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make(step: int) -> Batch:
    assert _made is not None
    return _made.batch(step)
