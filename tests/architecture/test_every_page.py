"""The pages' half of the permission matrix (see test_every_door.py)."""

import pytest

from tests.architecture.doors import PATTERNS, House, asked, check, house
from tests.architecture.removals import check_removals
from tests.architecture.test_every_door import is_rest

__all__ = ["house"]
UNPROVEN = {
    "accounts:confirm POST": "whoever is signed in confirms who they are; tests/accounts/test_step_up.py",
    "accounts:oidc_logout POST": "for identity providers, which sign what they say; tests/accounts/test_oidc.py",
}
"""Acts where no answer tells who may, each with its reason."""


def is_page(name: str) -> bool:
    return not is_rest(name)


def test_every_url_has_a_name() -> None:
    assert "" not in {name.rpartition(":")[2] for name in PATTERNS}


@pytest.mark.django_db
def test_every_page_opens_for_those_it_is_for(house: House) -> None:
    check(asked(house, is_page), is_page, UNPROVEN)


@pytest.mark.django_db
def test_a_page_tells_that_a_question_is_missing(house: House) -> None:
    check_removals(house, is_page)
