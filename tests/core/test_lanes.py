"""Several database sessions at once: side by side until their turn, alone and in order from there."""

import time
from datetime import UTC, datetime
from threading import Barrier

import pytest
from django.db import connection

from registry.core import clock
from registry.core.lanes import Overtaken, in_lanes


def test_side_by_side_until_the_turn_and_in_order_from_there():
    together, inside, ended = Barrier(2, timeout=10), [], []

    def work(piece, come):
        if piece < 2:
            together.wait()  # nobody gets past here alone
        time.sleep(0.01 if piece % 2 else 0)
        come()
        inside.append(piece)
        assert inside == [piece], "two have their turn"
        ended.append(inside.pop())

    in_lanes(range(9), work)
    assert ended == list(range(9))


def test_what_is_before_a_failure_ends_and_what_is_behind_does_not():
    ended, overtaken = [], []

    def work(piece, come):
        if piece == 3:
            raise ValueError("before its turn")
        if piece == 2:
            time.sleep(0.05)
        try:
            come()
        except Overtaken:
            overtaken.append(piece)
            raise
        ended.append(piece)

    with pytest.raises(ValueError, match="before its turn"):
        in_lanes(range(8), work)
    assert ended == [0, 1, 2] and overtaken == [4]


def test_whoever_finds_that_it_is_overtaken_stops_the_rest_in_silence():
    ended = []

    def work(piece, come):
        come()
        if piece == 2:
            raise Overtaken
        ended.append(piece)

    in_lanes(range(6), work)
    assert ended == [0, 1]


def test_it_is_the_callers_instant_in_every_lane():
    instant, seen = datetime(2031, 1, 1, tzinfo=UTC), []
    with clock.at(instant):
        in_lanes(range(4), lambda _piece, _come: seen.append(clock.now()))
    assert seen == [instant] * 4


@pytest.mark.django_db(transaction=True)
def test_each_has_a_session_that_is_closed_afterwards():
    sessions = {}

    def work(piece, come):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            sessions[piece] = cursor.fetchone()[0]
        if piece == 3:
            raise ValueError("closed nevertheless")
        come()

    with pytest.raises(ValueError, match="nevertheless"):
        in_lanes(range(4), work)
    assert len(set(sessions.values())) == 2
    for _ in range(100):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s) AND pid <> pg_backend_pid()",
                [list(sessions.values())],
            )
            left = cursor.fetchone()[0]
        if not left:
            break
        time.sleep(0.05)
    assert left == 0 and connection.is_usable()
