"""The REST half of the permission matrix: who gets which answer from each URL and method.

A URL or method without a line fails, and so does an answer that is not the one written there. To write the file anew,
run both halves with PERMISSION_MATRIX=write and read the difference: it is the decision.
"""

import pytest

from tests.architecture.doors import asked, be_quick, check

UNPROVEN = {
    "api:audit-pack-list POST": "asks for a campaign or a period, whose permissions differ; tests/reviews/test_pack.py",
    "api:connection-withdraw POST": "only whoever requested it, while it waits; tests/trust",
    "api:grant-withdraw POST": "only whoever requested it, while it waits; tests/trust",
    "api:decision-undo-bulk DELETE": "only one's own drafts of one bulk; tests/reviews",
    "api:remediation-observe POST": "its words are read before it asks; tests/reviews",
}
"""Acts where no answer tells who may, each with its reason."""


def is_rest(name: str) -> bool:
    return name.startswith(("api:", "scim:"))


@pytest.mark.django_db
def test_every_rest_door_opens_for_those_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)
    check(asked(is_rest), is_rest, UNPROVEN)
