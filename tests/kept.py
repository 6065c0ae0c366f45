"""Keeps the fixture `kept` and transactional tests apart.

`kept` holds one transaction open for the tests of a module. A transactional test commits on the same connection: within
that transaction nothing is committed, others see nothing, and its end empties the tables under the tests that come
after. Without this guard that shows as failures of those.
"""

import pytest

TRANSACTIONAL = frozenset({"transactional_db", "live_server", "django_db_reset_sequences"})
_open: list[str] = []


def is_transactional(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    asked = marker is not None and bool((marker.args and marker.args[0]) or marker.kwargs.get("transaction"))
    resets = marker is not None and bool(marker.kwargs.get("reset_sequences"))
    return asked or resets or not TRANSACTIONAL.isdisjoint(getattr(item, "fixturenames", ()))


def refuse_both(items: list[pytest.Item]) -> None:
    """At collection: nothing asks for `kept`, itself or through a fixture, and is transactional."""
    both = [each.nodeid for each in items if "kept" in getattr(each, "fixturenames", ()) and is_transactional(each)]
    if both:
        raise pytest.UsageError(f"`kept` and transactional at once cannot be (tests/kept.py): {', '.join(both)}")


def opened(module: str) -> None:
    _open.append(module)


def closed(module: str) -> None:
    _open.remove(module)


def refuse_within(item: pytest.Item) -> None:
    """At its start: no transactional test runs while `kept` is open, whatever changed the order of the tests."""
    if _open and is_transactional(item):
        pytest.fail(
            f"{item.nodeid} is transactional and runs while `kept` of {_open[-1]} is open (tests/kept.py)", False
        )
