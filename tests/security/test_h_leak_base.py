"""Every operation of the API is called as its description says it may be called, and as it says it may not.

Four people ask the same: somebody without a role, a member, an owner of other servers, an administrator who also
oversees. Nothing answers 5xx, every answer is what the description promises, and what is confidential in one team is in
no answer to the first three. FUZZ_EXAMPLES and FUZZ_SEED make it longer and different (`make fuzz`).
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.signals import got_request_exception, request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator
from hypothesis import strategies as st
from rest_framework.test import APIClient
from schemathesis import GenerationMode
from schemathesis.openapi.checks import JsonSchemaError  # noqa: F401 - registers the checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from registry.core.ids import new_id
from registry.urls import ROOMS
from tests import factories as make
from tests.architecture.world import addresses

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1"))
SEED = int(os.environ.get("FUZZ_SEED", "6"))
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SECRET_WORD = "Zqxhidden"
"""In every text of the confidential server and of what hangs on it."""
MEANT = {
    "server": "servers",
    "system": "systems",
    "agent": "agents",
    "team": "teams",
    "issuer": "issuers",
    "secret_source": "secret-sources",
    "source": "secret-sources",
    "template": "templates",
    "campaign": "campaigns",
    "item": "items",
    "items": "items",
    "decision": "decisions",
    "grant": "grants",
    "connection": "connections",
    "vacancy": "vacancies",
    "shadow": "shadows",
    "subject": "servers",
    "from": "agents",
    "to": "systems",
    **dict.fromkeys(
        ("owner", "deputy", "user", "reviewer", "successor", "delegate", "delegator", "person", "to_user"), "users"
    ),
}
"""What the name of a field or parameter points at, so that most identifiers lead somewhere."""


def confidential_world() -> None:
    """A confidential server of another team with everything that can hang on one."""
    owner, word = make.person(name="Cora Confidential"), SECRET_WORD
    server = make.active_server(
        owner=owner,
        name=f"com.example/{word.lower()}",
        title=f"{word} server",
        description=f"{word} payroll",
        confidential=True,
        in_team=make.team(owner),
        tools=[{"name": f"{word}_query", "description": f"{word} reads.", "confirmed_class": "read"}],
        secret={
            "kind": "vault",
            "reference": f"kv/data/{word.lower()}",
            "credential_type": "rotated",
            "rotation_interval_days": 30,
            "revocable_by": f"{word} on-call",
        },
        endpoints=[{"transport": "streamable-http", "url": f"https://{word.lower()}.example.test/mcp"}],
    )
    system = make.system(name=f"{word} ledger", confidential=True, owner=owner, created_by=owner)
    agent = make.agent(name=f"{word} clerk", confidential=True, owner=owner, created_by=owner)
    make.grant(server=server, agent=agent, requested_by=owner)
    make.connection(server=server, system=system, requested_by=owner)
    make.probe(server)
    make.snapshot(server, {"name": f"{word}_other", "description": word}, times=2)
    make.secret_check(server)
    make.secret_attestation(server, statement=f"{word} was seen in the console.")
    make.sighting(by=owner, url=f"https://{word.lower()}.example.test/mcp", place=f"{word}-laptop")


class World:
    """The principals, and the identifiers of everything there is."""

    def __init__(self) -> None:
        addresses()
        confidential_world()
        everything = ("administrator", "auditor", "security", "reviewer", "campaign_manager", "member")
        administrator = make.person(*everything, name="Ada Administrator")
        people = {
            "outsider": make.person(name="Otto Outsider"),
            "member": make.person(name="Mel Member"),
            "owner": make.person(name="Olu Owner"),
            "administrator": administrator,
        }
        mine = make.active_server(owner=people["owner"])
        make.grant(server=mine)
        make.connection(server=mine)
        make.requested_grant(server=mine)
        make.complete_draft(owner=people["owner"])
        make.submitted_server(owner=people["owner"])
        self.headers = {name: make.bearer(person)["HTTP_AUTHORIZATION"] for name, person in people.items()}
        people["outsider"].roles = []  # who lost them keeps the token
        people["outsider"].save()
        self.client = APIClient(headers={"authorization": self.headers["administrator"]})
        self._etags: dict[str, str] = {}
        self.ids: dict[str, list[str]] = {}

    def collect(self, paths: Any) -> None:
        for path in paths:
            if "{" in path or "get" not in paths[path]:
                continue
            answer = self.client.get(path)
            found = answer.json() if answer.status_code == 200 else {}
            rows = found.get("results", []) if isinstance(found, dict) else []
            if ids := [row["id"] for row in rows if isinstance(row, dict) and "id" in row]:
                self.ids[path.removeprefix("/api/v1/")] = ids

    def etag(self, path: str) -> str:
        if path not in self._etags:
            self._etags[path] = self.client.get(path).headers.get("ETag", '"unknown"')
        return self._etags[path]


@pytest.fixture(scope="module")
def world(kept) -> World:
    return World()


@pytest.fixture(scope="module")
def schema(world):
    described = SchemaGenerator().get_schema(public=True)
    world.collect(described["paths"])
    loaded = schemathesis.openapi.from_dict(described)
    loaded.app = get_wsgi_application()
    return loaded


def room_of(path: str) -> str:
    """The room whose module answers."""
    example = path.replace("{form}", "json").replace("{what}", "population")
    for name in ("{id}", "{server_pk}", "{bulk_id}", "{subject}"):
        example = example.replace(name, str(new_id()))
    return resolve(example).func.__module__.split(".")[1]


def point(value: Any, draw: Any, world: World, name: str = "") -> Any:
    """`value` with identifiers in it replaced by some that exist, of the kind that the field's name says."""
    if isinstance(value, dict):
        return {key: point(inner, draw, world, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [point(inner, draw, world, name) for inner in value]
    known = world.ids.get(MEANT.get(name.removesuffix("_id").removesuffix("s"), MEANT.get(name, "")))
    return draw(st.sampled_from(known)) if known and isinstance(value, str) else value


@contextmanager
def undone() -> Iterator[None]:
    """Within the transaction of the test, whose connection the end of a request must not close."""
    for moment in (request_started, request_finished):
        moment.disconnect(close_old_connections)
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    finally:
        for moment in (request_started, request_finished):
            moment.connect(close_old_connections)


def troubles_of(case: Any, world: World) -> Iterator[str]:
    """Send `case` as each principal; say what should not have been answered."""
    raised: list[str] = []

    def remember(sender: Any, **_: Any) -> None:
        raised.append(traceback.format_exc(limit=-3))

    got_request_exception.connect(remember)
    try:
        for who, credential in world.headers.items():
            raised.clear()
            with undone():
                response = case.call(headers={"Authorization": credential})
            said = f"{who}: {case.method} {case.formatted_path} {dict(case.query or {})} {case.body!r:.300}"
            if response.status_code >= 500:
                yield f"{said}: {response.status_code}\n{''.join(raised)}"
                continue
            try:
                case.validate_response(response, checks=CHECKS)
            except* Exception as group:
                yield from (f"{said}: {response.status_code} {str(each)[:600]}" for each in group.exceptions)
            # The search word may stand in what was sent; nothing sent here holds it.
            if who != "administrator" and SECRET_WORD.lower() in response.text.lower():
                yield f"{said}: shows what is confidential: {response.text[:600]}"
    finally:
        got_request_exception.disconnect(remember)


def fuzz(operation: Any, world: World) -> list[str]:
    found: list[str] = []
    known = world.ids.get(operation.path.removeprefix("/api/v1/").split("/{")[0], [])

    def attempt(case: Any, data: Any) -> None:
        ids = [*known, str(new_id())]
        for name in case.path_parameters or ():
            if name in ("id", "subject"):
                case.path_parameters[name] = data.draw(st.sampled_from(ids))
            elif name == "server_pk":
                case.path_parameters[name] = data.draw(st.sampled_from(world.ids["servers"]))
        if isinstance(case.query, dict):
            case.query = point(case.query, data.draw, world)
        if isinstance(case.body, dict | list):
            case.body = point(case.body, data.draw, world)
        if "If-Match" in case.headers:
            case.headers["If-Match"] = world.etag(case.formatted_path.rpartition("/")[0] or case.formatted_path)
        found.extend(troubles_of(case, world))

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            test = hypothesis.given(case=strategy, data=st.data())(attempt)
            test = hypothesis.seed(SEED)(test)
            hypothesis.settings(
                max_examples=EXAMPLES,
                database=None,
                deadline=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )(test)()
        except hypothesis.errors.Unsatisfiable:
            continue  # an operation that takes nothing cannot be called wrongly
    return found


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "portal"])
def test_every_operation_keeps_its_promise(room, schema, world, kept):
    found, asked = [], 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if room_of(operation.path) == room:
            asked += 1
            found += fuzz(operation, world)
    assert asked, "nobody was asked"
    assert not found, f"{len(found)} troubles\n" + "\n".join(found[:40])
