"""What several test modules of the room share: a reviewed world that is built once per module and copied per test."""

from copy import deepcopy
from typing import Any

import pytest

from registry.accounts.models import User
from tests import factories as make


@pytest.fixture
def copied(kept_reviewed: Any, db: Any) -> Any:
    """`kept_reviewed` is the module's own: its reviewer, and (campaign, items by kind, server, grant, connection)."""
    return deepcopy(kept_reviewed)


@pytest.fixture
def reviewed(copied: Any) -> Any:
    return copied[1]


@pytest.fixture
def reviewer(request: pytest.FixtureRequest) -> User:
    """The one of `reviewed`, where a test asks for that as well."""
    if "reviewed" in request.fixturenames:
        return request.getfixturevalue("copied")[0]
    return make.person("reviewer", name="Rita Reviewer")
