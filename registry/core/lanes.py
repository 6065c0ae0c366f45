"""Work cut into pieces that several database sessions do at once, and that nevertheless ends in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from math import inf
from threading import Condition
from typing import TypeVar

from django.db import connection

LANES = 2
"""More would gain little: from its turn on a piece is alone."""

Piece = TypeVar("Piece")
Come = Callable[[], None]


class Overtaken(Exception):
    """Something before this piece, or beside it, made it pointless; what it wrote must be rolled back."""


def in_lanes(pieces: Sequence[Piece], work: Callable[[Piece, Come], None], *, lanes: int = LANES) -> None:
    """Call `work(piece, come)` for every piece, in threads that have a database session each.

    What a piece does until it calls `come()` happens beside the others; from there to its end it is alone, and pieces
    get there in their order. When one fails, those before it still end, and those behind it get `Overtaken` from
    `come()`. Its error surfaces here, once every thread has ended and closed its session; an `Overtaken` does not.
    """
    turns = _Turns()
    numbered = list(enumerate(pieces))

    def lane(mine: Sequence[tuple[int, Piece]]) -> None:
        try:
            for number, piece in mine:
                with turns.of(number) as come:
                    work(piece, come)
        except Overtaken:
            pass
        finally:
            connection.close()

    with ThreadPoolExecutor(lanes, "lane") as pool:
        # With the caller's context: its language, its instant, the words its log lines carry.
        running = [pool.submit(copy_context().run, lane, numbered[start::lanes]) for start in range(lanes)]
    for each in running:
        each.result()


class _Turns:
    def __init__(self) -> None:
        self._next = 0
        self._failed: float = inf
        self._changed = Condition()

    @contextmanager
    def of(self, number: int) -> Iterator[Come]:
        """Yields what waits for the turn. At the end it is the next one's, or nobody's behind it ever again."""

        def come() -> None:
            with self._changed:
                self._changed.wait_for(lambda: self._next == number or self._failed < number)
                if self._failed < number:
                    raise Overtaken

        done = False
        try:
            yield come
            done = True
        finally:
            with self._changed:
                if done:
                    self._next = number + 1
                else:
                    self._failed = min(self._failed, number)
                self._changed.notify_all()
