"""Typed events from lower rooms to upper ones, published after commit. Each subscriber only enqueues a task.

A lost event loses nothing: whatever a subscriber starts is also found by a sweep that beat runs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import structlog
from django.db import transaction

log = structlog.get_logger(__name__)
E = TypeVar("E")
_subscribers: dict[type, list[Callable[[Any], None]]] = defaultdict(list)
_held_back: ContextVar[dict[object, None] | None] = ContextVar("events held back", default=None)


def subscribe(event_type: type[E], handler: Callable[[E], None]) -> None:
    if handler not in _subscribers[event_type]:
        _subscribers[event_type].append(handler)


def publish(event: object) -> None:
    """Hand `event` to its subscribers once the surrounding transaction has committed."""
    transaction.on_commit(lambda: _deliver(event), robust=True)


@contextmanager
def each_once() -> Iterator[dict[object, None]]:
    """Inside, events wait; when it ends, equal ones are delivered once. Yields those that wait.

    For acts that touch one thing many times.
    """
    waiting: dict[object, None] = {}
    token = _held_back.set(waiting)
    try:
        yield waiting
    finally:
        _held_back.reset(token)
        for event in waiting:
            _deliver(event)


def _deliver(event: object) -> None:
    held_back = _held_back.get()
    if held_back is not None:
        held_back[event] = None
        return
    for handler in _subscribers[type(event)]:
        try:
            handler(event)
        except Exception:
            # The act is committed; a broker that is down must not turn it into an error. The sweep catches up.
            log.exception("event_not_delivered", event_type=type(event).__name__, handler=handler.__name__)
