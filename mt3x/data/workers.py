"""Batches made by other processes, several steps at once.

A step of a GPU may take less time than one core needs to make its batch. Batches are
pure functions of the step, so that several processes can make those of different steps.
Each has its own pipe. A process that dies, even in the middle of a batch, closes its
pipe, and the others end with the training process. (A `ProcessPoolExecutor` waits
forever for the rest of such a batch.)
"""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection

from mt3x.data.batches import Batch, CorpusBatches
from mt3x.data.stem_batches import StemBatches

AnyBatches = CorpusBatches | StemBatches

_AHEAD = 2
"""Batches that each process is asked for ahead of their use."""


@contextmanager
def in_workers(batches: AnyBatches, workers: int) -> Iterator["WorkerBatches"]:
    """Make the same batches in so many processes, which end with the block."""
    # A fork would inherit the threads and the device of JAX.
    context = multiprocessing.get_context("spawn")
    pipes = []
    with ExitStack() as stack:
        for _ in range(workers):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(batches, theirs))
            process.daemon = True
            process.start()
            # Theirs alone is left: the pipe ends when the process does.
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.terminate)
            stack.callback(mine.close)
            pipes.append(mine)
        yield WorkerBatches(batches, pipes)


class WorkerBatches:
    """The batches of corpora, asked for one step after the other."""

    def __init__(self, batches: AnyBatches, pipes: Sequence[Connection]) -> None:
        self._batches = batches
        self._pipes = pipes
        # The first step that no process was asked for; None: none was.
        self._asked: int | None = None

    def batch(self, step: int) -> Batch:
        """Return a batch as it does alone; processes make the next ones.

        Raises:
          ChildProcessError: a process died.
        """
        workers = len(self._pipes)
        first = step if self._asked is None else self._asked
        self._asked = step + _AHEAD * workers
        try:
            for later in range(first, self._asked):
                self._pipes[later % workers].send(later)
            made = self._pipes[step % workers].recv()
        except (EOFError, ConnectionError) as error:
            raise ChildProcessError(
                f"a process that made the batch of step {step} or a later one died, "
                "perhaps out of memory: set fewer DataConfig.workers"
            ) from error
        if isinstance(made, Exception):
            raise made
        return made

    def ids(self, step: int) -> Sequence[str]:
        """Return the examples as it does alone."""
        return self._batches.ids(step)


def _serve(batches: AnyBatches, pipe: Connection) -> None:
    """Make what the training process asks for, until it closes the pipe."""
    # Ctrl-C is for the training process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, ConnectionError):
        while True:
            step = pipe.recv()
            try:
                made: Batch | Exception = batches.batch(step)
            except Exception as error:
                made = error
            pipe.send(made)
