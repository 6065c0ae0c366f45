"""An identifier of another team's confidential thing answers exactly as one that does not exist, wherever it is put."""

import re

import pytest
from django.urls import reverse

from registry.audit.models import Event
from registry.core.ids import new_id
from registry.reviews.models import Item
from tests import factories as make
from tests.security.urls import PATTERNS, parameters

pytestmark = pytest.mark.django_db
NAME = "Zqxhidden"


@pytest.fixture(scope="module")
def hidden(kept):
    """A confidential estate of another team, by the start of URL names: by its rule, an environment's, and by hand."""
    owner = make.person(name="Cora Confidential")
    team = make.team(owner)
    make.visibility_rule(team)
    make.visibility_rule(environment="staging")
    server = make.active_server(name=f"com.example/{NAME.lower()}", title=NAME, owner=owner, in_team=team)
    system = make.system(name=f"{NAME} system", owner=owner, created_by=owner, environment="staging")
    agent = make.agent(name=f"{NAME} agent", owner=owner, created_by=owner, confidential=True)
    grant = make.grant(server=server, agent=agent, requested_by=owner)
    connection = make.connection(server=server, system=system, requested_by=owner)
    source = make.source_of(server)
    about_server = ("catalog:", "api:server", "trust:server", "reviews:server_panel", "discovery:server_",
                    "discovery:looks", "discovery:probe_now", "discovery:definitions_panel",
                    "discovery:published_panel", "audit:server_story")  # fmt: skip
    return {
        **dict.fromkeys(about_server, server),
        **dict.fromkeys(("catalog:system", "api:system", "trust:system"), system),
        **dict.fromkeys(("catalog:agent", "api:agent", "trust:agent", "reviews:agent_panel"), agent),
        **dict.fromkeys(("trust:grant", "api:grant"), grant),
        **dict.fromkeys(("trust:connection", "api:connection"), connection),
        **dict.fromkeys(
            ("api:secret-source", "api:secret-state", "discovery:secret_source", "trust:secret_source"), source
        ),
        "api:endpoint": server.endpoints.first(),
        "api:tool": server.tools.first(),
        "api:purpose": server.purpose,
        "api:snapshot": make.snapshot(server, {"name": "other"}),
        **dict.fromkeys(("api:probe", "discovery:probe"), make.probe(server)),
        "api:secret-check": make.secret_check(server),
        "api:secret-attestation": make.secret_attestation(server),
        "api:event": Event.objects.filter(subject_id=server.pk).first(),
        "audit:event": Event.objects.filter(subject_id=server.pk).first(),
        "api:item": Item.objects.filter(server=server).first(),
    }


OTHERS = re.compile(r"^(catalog:(issuer|holdings|person_holdings|withdraw_proposal)|discovery:probe_progress)")
ONE = {name for name in PATTERNS if parameters(name) in ({"pk"}, {"pk", "tab"}, {"server_pk"})}


def thing_of(name, hidden):
    start = max((start for start in hidden if name.startswith(start)), key=len, default=None)
    return None if start is None or OTHERS.match(name) else hidden[start]


def said(answer, *ids):
    text = answer.content.decode() if not answer.streaming else "a file"
    assert NAME.lower() not in text.lower()
    for each in ids:
        text = text.replace(str(each), "ID")
    # Whoever signed in sees the token of forms and the numbers of this request, which differ from answer to answer.
    return answer.status_code, re.sub(r"[A-Za-z0-9_-]{20,}", "", text)


def address(name, pk):
    return reverse(name, kwargs={key: "tools" if key == "tab" else pk for key in parameters(name)})


@pytest.mark.parametrize("methods", [("get",), ("post", "put", "patch", "delete")], ids=["read", "write"])
def test_every_address_of_one_thing(hidden, web, api, kept, methods):
    """Pages and REST, reading and writing, as a member of no team of it."""
    member, tried, different = make.person(), 0, []
    clients = {True: api(member), False: web(member)}
    for name in sorted(ONE):
        thing = thing_of(name, hidden)
        if thing is None:
            continue
        rest = name.startswith("api:")
        for method in methods if rest else methods[:1]:
            ask, nobody = getattr(clients[rest], method), new_id()
            there = said(ask(address(name, thing.pk)), thing.pk)
            nowhere = said(ask(address(name, nobody)), nobody)
            tried += 1
            if there != nowhere or there[0] < 400:
                different.append((name, method, there[0], nowhere[0]))
    assert not different
    assert tried > 40


FIELDS = {"server": "api:server", "system": "api:system", "agent": "api:agent", "secret_source": "api:secret-source",
          "source": "api:secret-source", "grant": "api:grant", "connection": "api:connection",
          "subject": "api:server"}  # fmt: skip


def test_every_field_that_takes_an_identifier(hidden, api, kept):
    """All of them at once, to whatever can be made over REST."""
    client, different, tried = api(make.person("member", "campaign_manager")), [], 0
    real = {field: str(hidden[start].pk) for field, start in FIELDS.items()}
    invented = {field: str(new_id()) for field in FIELDS}
    for name in sorted(PATTERNS):
        if name.startswith("api:") and name.endswith("-list"):
            path = reverse(name)
            there, nowhere = client.post(path, real), client.post(path, invented)
            if there.status_code == 405:
                continue
            tried += 1
            if said(there, *real.values()) != said(nowhere, *invented.values()):
                different.append(name)
    assert not different and tried > 12


def test_trust_is_not_requested_for_what_one_may_not_see(hidden, api, kept):
    member = make.person()
    client, mine = api(member), make.active_server(owner=member)
    terms = {"reason": "Needed.", "valid_until": "2027-01-20T00:00:00Z"}
    asked = [
        ("grants", {"server": mine.pk, "agent": hidden["api:agent"].pk, "tools": ["query"]}, "agent"),
        ("grants", {"server": hidden["api:server"].pk, "agent": make.agent().pk, "tools": ["query"]}, "server"),
        ("connections", {"server": mine.pk, "system": hidden["api:system"].pk, "access": "read"}, "system"),
    ]
    for path, body, field in asked:
        there = client.post(f"/api/v1/{path}", {k: str(v) if k != "tools" else v for k, v in (body | terms).items()})
        assert there.status_code == 422 and f"/{field}" in [e["pointer"] for e in there.json()["errors"]], there.content
        assert NAME.lower() not in there.content.decode().lower()


@pytest.mark.parametrize("question", ["reach", "access", "blast-radius", "impact", "paths"])
def test_questions_about_trust(hidden, api, kept, question):
    client = api(make.person())
    for kind in ("server", "agent", "system"):
        thing, nobody = hidden[f"api:{kind}"].pk, new_id()
        for query in ("of={0}:{1}", "from={0}:{1}&to={0}:{1}", "subject={0}:{1}"):
            ask = f"/api/v1/trust/{question}?{query}"
            there, nowhere = client.get(ask.format(kind, thing)), client.get(ask.format(kind, nobody))
            assert said(there, thing) == said(nowhere, nobody)
            assert there.status_code >= 400


def test_filters_find_as_little(hidden, api, kept):
    client, different = api(make.person()), []
    for path in ("grants", "connections", "endpoints", "tools", "purposes", "secret-sources", "snapshots", "probes",
                 "items", "certificates", "remediations", "decisions", "audit/events", "secret-checks"):  # fmt: skip
        for field in ("server", "subject", "subject_id"):
            thing, nobody = hidden["api:server"].pk, new_id()
            there, nowhere = (client.get(f"/api/v1/{path}?{field}={each}") for each in (thing, nobody))
            if said(there, thing) != said(nowhere, nobody):
                different.append((path, field, there.content[:200], nowhere.content[:200]))
    assert not different
