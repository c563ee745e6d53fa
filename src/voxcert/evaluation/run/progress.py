"""What somebody who runs several jobs hears of the one at hand, so that one bar can tell of them all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float], None]
"""Is told which share of a job is done."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Lets a listener hear how far the jobs in this block have come."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(done: int, total: int) -> None:
    """Says how many of a job's tasks are done, to whoever listens."""
    if (listener := _listener.get()) is not None:
        listener(done / total)
