"""Items made ahead of their use, in a thread."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")


@contextmanager
def prefetched(
    make: Callable[[int], Item], steps: Iterable[int], depth: int
) -> Iterator[Iterator[Item]]:
    """Yield an iterator over `make(step)`; up to `depth` items wait ready.

    An exception in `make` comes out of the iterator, in its turn. At the end of the
    block the thread ends after the item it is at.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(kind: str, item: Any = None) -> None:
        while not stop.is_set():
            try:
                return ready.put((kind, item), timeout=0.1)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for step in steps:
                if stop.is_set():
                    return
                put("item", make(step))
            put("end")
        except BaseException as error:  # handed to the consumer, which raises it
            put("error", error)

    def consume() -> Iterator[Item]:
        while True:
            kind, item = ready.get()
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()
