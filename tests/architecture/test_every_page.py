"""The pages' half of the permission matrix (see test_every_door.py)."""

import pytest

from tests.architecture.doors import PATTERNS, asked, be_quick, check
from tests.architecture.test_every_door import is_rest

UNPROVEN: dict[str, str] = {}


def is_page(name: str) -> bool:
    return not is_rest(name)


def test_every_url_has_a_name() -> None:
    assert "" not in {name.rpartition(":")[2] for name in PATTERNS}


@pytest.mark.django_db
def test_every_page_opens_for_those_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)
    check(asked(is_page), is_page, UNPROVEN)
