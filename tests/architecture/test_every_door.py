"""Every URL and method, asked by everybody: `permission_matrix.txt` says who gets which answer.

A URL or method without a line fails; so does an answer that is not the one written there. To write the file anew, run
this test with PERMISSION_MATRIX=write and read the difference: it is the decision.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.template.backends.django import Template

from tests.architecture.bodies import Bodies, field_values
from tests.architecture.principals import PRINCIPALS, TOKENS, Doors
from tests.architecture.test_permission_matrix import PATTERNS, path_of
from tests.architecture.world import addresses

FILE = Path(__file__).with_name("permission_matrix.txt")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_ALLOWED = 405


def written() -> dict[str, str]:
    lines = (line.split(None, 2) for line in FILE.read_text().splitlines() if line and not line.startswith("#"))
    return {f"{name} {method}": answers for name, method, answers in lines}


def asked() -> dict[str, str]:
    known = addresses()
    doors = Doors(known)
    bodies = Bodies(field_values(known))
    found = {}
    for name in sorted(PATTERNS):
        path = path_of(name, known)
        rest = path.startswith("/api/")
        of_accounts = getattr(getattr(PATTERNS[name].callback, "cls", None), "room", "") == "accounts"
        for method in METHODS:
            body: Any = bodies.of_operation(path, method) if rest else bodies.of_form()

            def answer(principal: str) -> int:
                with transaction.atomic():
                    code = doors.ask(principal, method, path, body, of_accounts=of_accounts)
                    transaction.set_rollback(True)
                return code

            if answer("token" if rest else "administrator") == NOT_ALLOWED:
                continue
            who = [each for each in PRINCIPALS if rest or each not in TOKENS]
            found[f"{name} {method}"] = " ".join(f"{each}:{answer(each)}" for each in who)
    return found


@pytest.mark.django_db
def test_every_door_opens_for_those_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who may is settled before a page is drawn, and drawing several thousand of them would take minutes.
    monkeypatch.setattr(Template, "render", lambda *args, **kwargs: "")
    found = asked()
    if os.environ.get("PERMISSION_MATRIX") == "write":
        FILE.write_text("\n".join(f"{door} {answers}" for door, answers in found.items()) + "\n")
    assert found == written()
