"""Work done by other processes: batches of steps to come, pieces of corpora.

A step of a GPU may take less time than one core needs to make its batch. Batches are
pure functions of the step, so that several processes can make those of different steps.
Each process has its own pipe. One that dies, even in the middle of a result, closes its
pipe, and the others end with the process that asked. (A `ProcessPoolExecutor` waits
forever for the rest of such a result, and its processes outlive a killed parent.)
"""

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from mt3x.data.batches import Batch, CorpusBatches
from mt3x.data.stem_batches import StemBatches

AnyBatches = CorpusBatches | StemBatches

_AHEAD = 2
"""Results that each process is asked for ahead of their use."""


@contextmanager
def in_processes(
    function: Callable[..., Any], number: int, remedy: str
) -> Iterator["Processes"]:
    """Call a function in so many processes, which end with the block.

    Args:
      function: what can be pickled.
      number: of the processes.
      remedy: what a user can do where a process dies.
    """
    # A fork would inherit the threads and the device of JAX.
    context = multiprocessing.get_context("spawn")
    pipes = []
    with ExitStack() as stack:
        for _ in range(number):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(function, theirs))
            process.daemon = True
            process.start()
            # Theirs alone is left: the pipe ends when the process does.
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.terminate)
            stack.callback(mine.close)
            pipes.append(mine)
        yield Processes(pipes, remedy)


class Processes:
    """Processes that take calls in turn and return the results in order."""

    def __init__(self, pipes: Sequence[Connection], remedy: str) -> None:
        self._pipes = pipes
        self._remedy = remedy
        self._asked = self._received = 0

    @property
    def ahead(self) -> int:
        """How many calls to ask for before the first result is taken."""
        return _AHEAD * len(self._pipes)

    def ask(self, *arguments: Any) -> None:
        """Let the next process call the function.

        Raises:
          ChildProcessError: it died.
        """
        with self._told():
            self._pipes[self._asked % len(self._pipes)].send(arguments)
        self._asked += 1

    def result(self) -> Any:
        """Return the result of the first call that was not answered yet.

        Raises:
          ChildProcessError: the process died.
          Exception: what the function raised.
        """
        with self._told():
            made = self._pipes[self._received % len(self._pipes)].recv()
        self._received += 1
        if isinstance(made, Exception):
            raise made
        return made

    def results(self, calls: Iterable[Sequence[Any]]) -> Iterator[Any]:
        """Yield the results of calls, in order; those of some are made ahead."""
        pending = deque()
        for arguments in calls:
            self.ask(*arguments)
            pending.append(arguments)
            if len(pending) == self.ahead:
                pending.popleft()
                yield self.result()
        for _ in pending:
            yield self.result()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise ChildProcessError(
                f"a process died, perhaps out of memory: {self._remedy}"
            ) from error


@contextmanager
def in_workers(batches: AnyBatches, workers: int) -> Iterator["WorkerBatches"]:
    """Make the same batches in so many processes, which end with the block."""
    remedy = "set fewer DataConfig.workers"
    with in_processes(batches.batch, workers, remedy) as processes:
        yield WorkerBatches(batches, processes)


class WorkerBatches:
    """The batches of corpora, asked for one step after the other."""

    def __init__(self, batches: AnyBatches, processes: Processes) -> None:
        self._batches = batches
        self._processes = processes
        # The first step that no process was asked for; None: none was.
        self._asked: int | None = None

    def batch(self, step: int) -> Batch:
        """Return a batch as it does alone; processes make the next ones.

        Raises:
          ChildProcessError: a process died.
        """
        first = step if self._asked is None else self._asked
        self._asked = step + self._processes.ahead
        for later in range(first, self._asked):
            self._processes.ask(later)
        return self._processes.result()

    def ids(self, step: int) -> Sequence[str]:
        """Return the examples as it does alone."""
        return self._batches.ids(step)


def _serve(function: Callable[..., Any], pipe: Connection) -> None:
    """Compute what the other process asks for, until it closes the pipe."""
    # Ctrl-C is for that process; what ends this one lets it clean up first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with suppress(EOFError, ConnectionError):
        while True:
            arguments = pipe.recv()
            try:
                made = function(*arguments)
            except Exception as error:
                made = error
            pipe.send(made)
