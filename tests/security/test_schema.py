"""Every operation of the API is called as its description says it may be called, and as it says it may not.

Four people ask the same: somebody without a role, a member, an owner of other servers who also reviews and runs
campaigns, an administrator who also oversees. Nothing answers 5xx, every answer is what the description promises, and
what is confidential in one team, also where it is under review, is in no answer to the first three: neither its name
nor an id of any part of it. Whoever reviews and runs campaigns then reads every address, also those that lead to it,
with a token of all scopes and with a narrow one. FUZZ_EXAMPLES and FUZZ_SEED make it longer and different
(`make fuzz`).
"""

import os
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.signals import got_request_exception, request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.db.models import Q
from django.test import Client
from django.urls import resolve, reverse
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

from registry.accounts.models import User
from registry.catalog.models import Agent, Endpoint, Purpose, Server, System, Tool
from registry.core import clock
from registry.core.ids import new_id
from registry.discovery.models import Drift, Snapshot
from registry.reviews.models import (
    AutomaticAction,
    Campaign,
    Challenge,
    Decision,
    ExceptionRecord,
    Item,
    Remediation,
    Trigger,
    WorkItem,
)
from registry.trust.models import Connection, Grant
from registry.urls import ROOMS
from tests import factories as make
from tests.architecture.world import addresses
from tests.security.urls import PATTERNS, parameters

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
Hidden = dict[type[Any], set[str]]
"""The ids of what is confidential, by model."""
ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
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


def confidential_world() -> Hidden:
    """A confidential server of another team with everything that can hang on one; the ids of all of it."""
    owner, word = make.person("reviewer", name="Cora Confidential"), SECRET_WORD
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
    grant = make.grant(server=server, agent=agent, requested_by=owner)
    make.connection(server=server, system=system, requested_by=owner)
    make.probe(server)
    make.secret_check(server)
    make.secret_attestation(server, statement=f"{word} was seen in the console.")
    make.sighting(by=owner, url=f"https://{word.lower()}.example.test/mcp", place=f"{word}-laptop")
    make.import_job({"name": server.name, "description": f"{word} payroll", "version": "1.0.0"}, requested_by=owner)
    under_review(owner, grant)
    make.snapshot(server, {"name": f"{word}_other", "description": word}, times=2)
    campaigns = Campaign.objects.filter(items__rests_on=server)
    about = {
        **{model: Q(server=server) for model in (Tool, Endpoint, Purpose, Grant, Connection, Drift, Snapshot, Trigger)},
        **{model: Q(item__campaign__in=campaigns) for model in (WorkItem, Remediation, AutomaticAction)},
        **{model: Q(remediation__item__campaign__in=campaigns) for model in (ExceptionRecord, Challenge)},
        **{model: Q(pk=thing.pk) for model, thing in ((Server, server), (Agent, agent), (System, system))},
        Item: Q(campaign__in=campaigns),
        Decision: Q(work_item__item__campaign__in=campaigns),
    }
    found = {model: set(map(str, model.objects.filter(of).values_list("pk", flat=True))) for model, of in about.items()}
    assert all(found.values()), [model.__name__ for model, ids in found.items() if not ids]
    return found


def under_review(owner: User, grant: Grant) -> None:
    """What reviews keep of it: a campaign that took the grant away, with an objection, an exception and an automatic
    action; and one that waits at its gate, because nobody independent is left and the facts have no reviewer."""
    reviewer, about = make.person("reviewer", name="Rex Reviewer"), {"kinds": ["server", "grant", "connection"]}
    scope = {"team": [grant.server.team.slug]}
    campaign = make.campaign(reviewer, scope=scope, **about)
    for item in campaign.items.all():
        make.decide(item, "revoke" if item.kind == "grant" else "certify", reason=f"{SECRET_WORD} was looked at.")
    make.sign(campaign, reviewer)
    asked = {
        "remediation": Remediation.objects.get(item__grant=grant),
        "reason": f"{SECRET_WORD} needs it for the month-end.",
    }
    Challenge.objects.create(by=owner, **asked)
    ExceptionRecord.objects.create(
        requested_by=owner, compensating_control=f"{SECRET_WORD} is watched.",
        expires_at=clock.now() + clock.days(20), **asked,
    )  # fmt: skip
    AutomaticAction.objects.create(
        item=campaign.items.get(kind="server"), kind="suspend", state="held", due_at=clock.now() - clock.days(1)
    )
    Trigger.objects.create(kind="server", server=grant.server, cause="by_hand", detail=f"{SECRET_WORD} again.")
    waits = make.campaign(owner, scope=scope, **about)
    assert waits.state == "staged" and waits.items.exists()


class World:
    """The principals, and the identifiers of everything there is."""

    def __init__(self) -> None:
        addresses()
        self.hidden = confidential_world()
        self.hidden_ids = set().union(*self.hidden.values())
        everything = ("administrator", "auditor", "security", "reviewer", "campaign_manager", "member")
        administrator = make.person(*everything, name="Ada Administrator")
        people = {
            "outsider": make.person(name="Otto Outsider"),
            "member": make.person(name="Mel Member"),
            # Owns other servers, and has every role by which one reviews and runs what others own.
            "owner": make.person("member", "reviewer", "campaign_manager", name="Olu Owner"),
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

    def shown(self, text: str, headers: Any, sent: str) -> str:
        """The name or id of something confidential that an answer holds, except an id that was sent; else empty."""
        if SECRET_WORD.lower() in f"{text} {headers}".lower():
            return SECRET_WORD
        found = set(ID.findall(f"{text} {headers}")) & self.hidden_ids
        return next((each for each in sorted(found) if each not in sent), "")

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
            if who != "administrator" and (shown := world.shown(response.text, response.headers, said)):
                yield f"{said}: shows what is confidential ({shown}): {response.text[:600]}"
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


READERS: dict[str, tuple[str, ...]] = {
    "reviewer and campaign manager": (),
    "narrow token": ("reviews:read", "audit:read", "accounts:read"),
}
"""By name the scopes of the token where it has not all. Roles only ever add to what one sees."""
ADDRESSED: dict[str, type[Any]] = {
    "servers": Server, "agents": Agent, "systems": System, "grants": Grant, "connections": Connection, "items": Item,
    "tools": Tool, "endpoints": Endpoint, "purposes": Purpose, "snapshots": Snapshot, "drifts": Drift,
    "decisions": Decision, "remediations": Remediation, "exceptions": ExceptionRecord, "challenges": Challenge,
    "automatic-actions": AutomaticAction, "review-triggers": Trigger, "certificates": Server,
}  # fmt: skip


def read_addresses(schema: Any, world: World) -> Iterator[str]:
    """Each address that may be read, with the ids of what is confidential where it takes one."""
    campaigns = Campaign.objects.filter(items__in=world.hidden[Item]).distinct()
    running = [str(pk) for pk in campaigns.values_list("pk", flat=True)]
    templates = [str(pk) for pk in campaigns.values_list("template", flat=True)]
    for path, operations in schema.raw_schema["paths"].items():
        if "get" not in operations:
            continue
        collection = path.removeprefix("/api/v1/").split("/")[0]
        many = "?limit=100" if any(each["name"] == "limit" for each in operations["get"].get("parameters", ())) else ""
        ids = {"campaigns": running, "templates": templates}.get(collection)
        ids = ids or sorted(world.hidden[ADDRESSED.get(collection, Server)])
        whats = ("items", "population", "sign-offs", "remediations") if "{what}" in path else ("",)
        for what in whats:
            for each in ids if re.search(r"{(?!form|what)", path) else [""]:
                yield re.sub(r"{\w+}", each, path.replace("{form}", "json").replace("{what}", what)) + many


def test_nobody_who_does_not_oversee_reads_of_it(schema, world, kept):
    paths, found = sorted(set(read_addresses(schema, world))), []
    person = make.person("reviewer", "campaign_manager", name="Mira Manager")
    for who, scopes in READERS.items():
        client = APIClient(headers={"authorization": make.bearer(person, *scopes)["HTTP_AUTHORIZATION"]})
        for path in paths:
            answer = client.get(path)
            text = b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()
            if shown := world.shown(text, dict(answer.headers), path):
                found.append(f"{who}: {path} shows {shown}: {text[:300]}")
    assert not found, f"{len(found)} troubles\n" + "\n".join(found[:40])
    assert len(paths) > 120


def pages(world: World) -> Iterator[str]:
    """Each page that takes no identifier; of reviews also each of a campaign, a template or what came of an item."""
    campaigns = Campaign.objects.filter(items__in=world.hidden[Item]).distinct()
    leads: dict[str, Iterable[Any]] = {
        "<uuid:pk>": campaigns.values_list("pk", flat=True),
        "templates": campaigns.values_list("template", flat=True)[:1],
        "remediations": world.hidden[Remediation],
        "exceptions": world.hidden[ExceptionRecord],
        "challenges": world.hidden[Challenge],
    }
    for name in sorted(PATTERNS):
        taken = parameters(name)
        if not taken and not name.startswith(("api:", "scim:", "accounts:")):
            yield reverse(name)
        elif name.startswith("reviews:") and taken == {"pk"}:
            yield from (reverse(name, args=[pk]) for pk in leads.get(str(PATTERNS[name].pattern).split("/")[1], ()))
    for what in ("items", "population", "remediations"):
        yield from (reverse("reviews:campaign_export", args=[pk, what, "csv"]) for pk in leads["<uuid:pk>"])


def test_no_page_shows_it_to_whoever_reviews_and_runs_campaigns(world, kept):
    client, found, seen = Client(), [], 0
    client.force_login(make.person("reviewer", "campaign_manager"), backend="django.contrib.auth.backends.ModelBackend")
    for path in pages(world):
        answer = client.get(path)
        text = b"".join(answer.streaming_content).decode("utf-8", "replace") if answer.streaming else answer.text
        seen += answer.status_code == 200
        if shown := world.shown(text, dict(answer.headers), path):
            found.append(f"{path} shows {shown}")
    assert not found, f"{len(found)} troubles\n" + "\n".join(found[:40])
    assert seen > 60
