"""The REST half of the permission matrix: who gets which answer from each URL and method.

A URL or method without a line fails, and so does an answer that is not the one written there. To write the file anew,
run both halves with PERMISSION_MATRIX=write and read the difference: it is the decision.
"""

import pytest

from tests.architecture.doors import House, asked, check, house
from tests.architecture.removals import check_removals, check_written

__all__ = ["house"]

UNPROVEN: dict[str, str] = {}
"""Acts where no answer tells who may, each with its reason."""


def is_rest(name: str) -> bool:
    return name.startswith(("api:", "scim:"))


@pytest.mark.django_db
def test_every_rest_door_opens_for_those_it_is_for(house: House) -> None:
    check(asked(house, is_rest), is_rest, UNPROVEN)


def test_every_question_is_written_with_whoever_notices_its_absence() -> None:
    check_written()


@pytest.mark.django_db
def test_a_rest_door_tells_that_a_question_is_missing(house: House) -> None:
    check_removals(house, is_rest)
