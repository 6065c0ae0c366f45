"""The pages' half of the permission matrix (see test_every_door.py)."""

import pytest

from tests.architecture.doors import PATTERNS, asked, be_quick, check
from tests.architecture.test_every_door import is_rest

OWN = "one's own, whoever one is"
ABSENT = "nothing of the kind in this world; what it does is tested where it belongs"
ASKED = "every member may ask; its form is filled in where it is tested"
ASSIGNED = "settled by whom the work is assigned to; tests/reviews"
UNPROVEN = {
    f"{name} POST": reason
    for reason, names in {
        OWN: """
            accounts:account accounts:confirm accounts:end_other_sessions accounts:password accounts:sign_in
            accounts:sign_out theme
        """,
        ABSENT: "accounts:end_session accounts:oidc_logout reviews:bulk_done reviews:pack_again",
        "only whoever requested it, while it waits; tests/trust": "trust:connection_withdraw trust:grant_withdraw",
        ASKED: """
            accounts:emergency accounts:new_principal
            catalog:agent_new catalog:succession catalog:system_new discovery:import_new
            discovery:shadow_link portal:register portal:register_by_hand reviews:delegations
            trust:request_connection trust:request_grant
        """,
        ASSIGNED: """
            reviews:actions reviews:bulk reviews:decide reviews:decide_intake reviews:hand_over reviews:sign_off
            reviews:sign_off_ask
        """,
    }.items()
    for name in names.split()
}
"""Acts where no answer tells who may, each with its reason."""


def is_page(name: str) -> bool:
    return not is_rest(name)


def test_every_url_has_a_name() -> None:
    assert "" not in {name.rpartition(":")[2] for name in PATTERNS}


@pytest.mark.django_db
def test_every_page_opens_for_those_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)
    check(asked(is_page), is_page, UNPROVEN)
