"""Load batches in another thread, a few ahead of the network."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["ahead"]


def ahead(load: Callable[[Any], Any], batches: Sequence[Any], depth: int = 3) -> Iterator[Any]:
    """The loaded batches in order, `depth` of them ready at most; OpenCV frees the interpreter while it works."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        for batch in batches:
            try:
                item = load(batch)
            except Exception as error:  # carried over to the consumer, who raises it
                item = error
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or isinstance(item, Exception):
                return

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        for _ in batches:
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        worker.join()
