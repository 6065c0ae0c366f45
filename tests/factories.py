"""Things tests need, made through the same services as everybody's, so that a test starts from a true state.

Plain functions with sensible defaults; every keyword overrides one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

from registry.accounts.models import Elevation, Membership, RoleProposal, ServicePrincipal, Team, User, WorkloadIssuer
from registry.accounts.services import create_principal, create_token, register_issuer, take_role
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Issuer, SecretSource, Server, System, VisibilityRule
from registry.core import clock
from registry.core.actors import Actor
from registry.core.ids import new_id
from registry.discovery import services as discovery
from registry.discovery.entries import Configured
from registry.discovery.formats import read_rows
from registry.discovery.formats.clients import read_configuration
from registry.discovery.models import Drift, ImportJob, Probe, SecretAttestation, SecretCheck, Sighting, Snapshot
from registry.discovery.plan import File
from registry.discovery.seen import Listing, Seen
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, Decision, Item, SignOff, Template, WorkItem
from registry.reviews.services.templates import STAGE
from registry.trust import services as trust
from registry.trust.models import Connection, Grant, Observation

PASSWORD = "correct horse battery"
_number = count(1)

SYSTEM_ACTOR = Actor.system("tests")


def person(*roles: str, name: str = "", email: str = "", active: bool = True) -> User:
    """A person with these roles (default: member) who signs in with `PASSWORD`."""
    number = next(_number)
    user = User(
        email=email or f"person{number}@example.test",
        name=name or f"Person {number}",
        roles=list(roles) or ["member"],
        is_active=active,
    )
    user.set_password(PASSWORD)
    user.save()
    return user


def outsider() -> User:
    """Signed in, but without any role."""
    user = person(name="Outsider")
    user.roles = []
    user.save()
    return user


def acting(user: User) -> Actor:
    return Actor.person(user)


def token_for(user: User, *scopes: str) -> str:
    """The secret of a token with these scopes (default: everything)."""
    _, secret = create_token(actor=acting(user), user=user, name="test", scopes=scopes or ("read", "write"), days=7)
    return secret


def bearer(user: User, *scopes: str) -> dict[str, str]:
    """Headers for Django's test client."""
    return {"HTTP_AUTHORIZATION": f"Bearer {token_for(user, *scopes)}"}


def team(*members: User, name: str = "", lead: User | None = None) -> Team:
    number = next(_number)
    made = Team.objects.create(name=name or f"Team {number}", slug=f"team-{number}", lead=lead)
    for member in members:
        Membership.objects.create(team=made, user=member)
    return made


_new_team = team
"""For functions one of whose arguments is called `team`."""


def issuer(**facts: Any) -> Issuer:
    number = next(_number)
    values = {"name": f"Issuer {number}", "kind": "oidc", "uri": f"https://issuer{number}.example.test"}
    return catalog.register_issuer(actor=SYSTEM_ACTOR, **(values | facts))


def system(**facts: Any) -> System:
    number = next(_number)
    values: dict[str, Any] = {
        "name": f"System {number}",
        "kind": "database",
        "data_class": "internal",
        "owner": facts.pop("owner", None) or person(),
    }
    return catalog.register_system(actor=acting(facts.pop("created_by", None) or person()), **(values | facts))


def agent(**facts: Any) -> Agent:
    number = next(_number)
    values: dict[str, Any] = {
        "name": f"Agent {number}",
        "kind": "ai_agent",
        "spiffe_id": f"spiffe://example.test/agents/{number}",
        "owner": facts.pop("owner", None) or person(),
    }
    return catalog.register_agent(actor=acting(facts.pop("created_by", None) or person()), **(values | facts))


def draft(**facts: Any) -> Server:
    """A server with a name and an endpoint, nothing else. `created_by` registers it."""
    number = next(_number)
    values: dict[str, Any] = {
        "name": f"com.example/server-{number}",
        "title": f"Server {number}",
        "endpoints": [{"transport": "streamable-http", "url": f"https://mcp{number}.example.test/mcp"}],
    }
    return catalog.register_server(actor=acting(facts.pop("created_by", None) or person()), **(values | facts))


def complete_draft(
    *,
    owner: User | None = None,
    deputy: User | None = None,
    in_team: Team | None = None,
    tools: list[dict[str, Any]] | None = None,
    data_classes: tuple[str, ...] = ("internal",),
    secret: dict[str, Any] | None = None,
    **facts: Any,
) -> Server:
    """A draft that lacks nothing, registered by its owner."""
    owner = owner or person(name="Ona Owner")
    by = acting(owner)
    server = draft(created_by=owner, **facts)
    catalog.assign_people(
        actor=by,
        server=server,
        owner=owner,
        deputy=deputy or person(name="Dara Deputy"),
        team=in_team or team(owner),
    )
    catalog.set_purpose(
        actor=by,
        server=server,
        statement="Answer stock questions for analysts.",
        in_scope=["Aggregates"],
        out_of_scope=["Customer contact data"],
        data_classes=data_classes,
        ends_on=clock.today() + timedelta(days=360),
    )
    catalog.set_tools(
        actor=by,
        server=server,
        tools=tools
        if tools is not None
        else [
            {"name": "query", "description": "Runs a query.", "confirmed_class": "read"},
            {"name": "export", "description": "Writes a file.", "confirmed_class": "write"},
        ],
    )
    catalog.set_secret_sources(
        actor=by,
        server=server,
        sources=[
            secret
            or {
                "kind": "vault",
                "reference": f"kv/data/{server.label.lower().replace(' ', '-')}",
                "credential_type": "rotated",
                "rotation_interval_days": 30,
                "revocable_by": "Platform on-call",
            }
        ],
    )
    catalog.set_revocation_path(
        actor=by,
        server=server,
        steps=[
            {
                "instruction": "Disable the role",
                "executor": "manual",
                "responsible": "On-call",
                "expected_minutes": 5,
            }
        ],
    )
    server.refresh_from_db()
    return server


def submitted_server(**facts: Any) -> Server:
    server = complete_draft(**facts)
    return catalog.submit_server(actor=acting(server.owner), server=server)


def active_server(*, activated_by: User | None = None, **facts: Any) -> Server:
    """A server in service, activated by an independent reviewer."""
    server = submitted_server(**facts)
    server = catalog.activate_server(actor=acting(activated_by or person("reviewer")), server=server)
    server.refresh_from_db()
    return server


def source_of(server: Server) -> SecretSource:
    return server.secret_sources.filter(retired_at=None).first()


# --- Trust -----------------------------------------------------------------------------------------------


def requested_grant(**facts: Any) -> Grant:
    """A grant that waits for a decision: on everything the server lists, asked for by somebody of no other part."""
    server = facts.pop("server", None) or active_server()
    values: dict[str, Any] = {
        "agent": facts.pop("agent", None) or agent(),
        "server": server,
        "reason": "Answers questions of planners.",
        "valid_until": clock.now() + timedelta(days=90),
    }
    if not facts.get("all_tools"):
        values["tools"] = sorted(server.tools.filter(retired_at=None).values_list("name", flat=True)) or ["query"]
    return trust.request_grant(actor=acting(facts.pop("requested_by", None) or person()), **(values | facts))


def grant(*, approved_by: User | None = None, **facts: Any) -> Grant:
    """An active grant, approved by an independent reviewer."""
    return trust.approve_grant(actor=acting(approved_by or person("reviewer")), grant=requested_grant(**facts))


def requested_connection(**facts: Any) -> Connection:
    """A connection that waits for a decision, with the server's only secret source."""
    values: dict[str, Any] = {
        "server": facts.pop("server", None) or active_server(),
        "system": facts.pop("system", None) or system(),
        "access": "read",
        "reason": "Reads the stock tables.",
        "valid_until": clock.now() + timedelta(days=90),
    }
    return trust.request_connection(actor=acting(facts.pop("requested_by", None) or person()), **(values | facts))


def connection(*, approved_by: User | None = None, **facts: Any) -> Connection:
    """An active connection, approved by an independent reviewer."""
    asked = requested_connection(**facts)
    return trust.approve_connection(actor=acting(approved_by or person("reviewer")), connection=asked)


# --- Reviews ---------------------------------------------------------------------------------------------


def template(*reviewers: User, **facts: Any) -> Template:
    """A campaign template with this pool (empty: everybody who reviews), owned by a campaign manager.

    What a stage is made of may be given directly; it then has that one stage.
    """
    manager = facts.pop("owner", None) or person("campaign_manager", name="Mara Manager")
    values: dict[str, Any] = {"name": f"Review {next(_number)}", "kinds": ["server", "grant", "connection"]}
    stage = {name: facts.pop(name) for name in STAGE if name in facts and name != "name"}
    stages = facts.pop("stages", [{"reviewers": reviewers, **stage}])
    return reviews.create_template(actor=acting(manager), stages=stages, **(values | facts))


def campaign(*reviewers: User, **facts: Any) -> Campaign:
    """A campaign launched and generated as a worker would; active when its launch gate lets it."""
    made = template(*reviewers, **facts)
    launched = reviews.launch_campaign(actor=acting(made.owner), template=made)
    reviews.generate_items(campaign_id=launched.pk)
    launched.refresh_from_db()
    return launched


def intake(server: Server) -> Item:
    """The intake review of a submitted server."""
    made = reviews.open_intake(server_id=server.pk)
    assert made is not None, f"{server} does not wait for an intake"
    return made


def work_of(item: Item) -> WorkItem:
    """The work item somebody holds at the moment."""
    return item.work_items.exclude(state="closed").select_related("reviewer").get()


def decide(item: Item, value: str = "certify", **facts: Any) -> Decision:
    """The item's reviewer opens it and drafts an answer on what it shows now."""
    held = work_of(item)
    fresh = Item.objects.get(pk=item.pk)
    reviews.note_opened(actor=acting(held.reviewer), work_item=held)
    values: dict[str, Any] = {"reason": "Looked at everything.", "evidence_hash": fresh.seen.evidence_hash}
    return reviews.save_decision(actor=acting(held.reviewer), work_item=held, value=value, **(values | facts))


def sign(campaign: Campaign, reviewer: User) -> SignOff:
    return reviews.sign_off(
        actor=acting(reviewer), campaign=campaign, statement="I looked at each of them.", auth_method="password"
    )


# --- Imports ---------------------------------------------------------------------------------------------


def import_job(*entries: dict[str, Any], requested_by: User | None = None) -> ImportJob:
    """An import run to its end; without entries, of one server.json."""
    number = next(_number)
    remote = {"type": "streamable-http", "url": f"https://imported{number}.example.test/mcp"}
    usual = {"name": f"com.example/imported-{number}", "description": "X", "version": "1.0.0", "remotes": [remote]}
    file = File(f"import-{number}.json", read_rows(list(entries) or [usual]))
    return discovery.import_entries(actor=acting(requested_by or person()), files=[file])


# --- Decisions at a pace ---------------------------------------------------------------------------------


def many_grants(server: Server, number: int, **facts: Any) -> list[Grant]:
    """So many agents with the same grant on one server: copies of one that went the whole way."""
    first = grant(server=server, **facts)
    agents, grants = [], []
    for copy in range(number - 1):
        each = Agent.objects.get(pk=first.agent_id)
        each.pk, each.name, each.spiffe_id = new_id(), f"{first.agent.name} {copy:03}", f"{each.spiffe_id}/{copy}"
        agents.append(each)
        again = Grant.objects.get(pk=first.pk)
        again.pk, again.agent, again.lineage = new_id(), each, new_id()
        grants.append(again)
    Agent.objects.bulk_create(agents)
    Grant.objects.bulk_create(grants)
    return [first, *grants]


def decide_all(
    campaign: Campaign,
    reviewer: User,
    value: str = "certify",
    *,
    seconds: float = 45,
    opened: bool = True,
    **facts: Any,
) -> list[Decision]:
    """The reviewer drafts one answer after the other, each after so many seconds, the last one now."""
    open_items = WorkItem.objects.filter(item__campaign=campaign, reviewer=reviewer, state="open")
    waiting = list(open_items.select_related("item").order_by("pk"))
    start = clock.now() - timedelta(seconds=seconds * len(waiting))
    by, given = acting(reviewer), {"reason": "Looked at everything.", **facts}
    made = []
    for place, held in enumerate(waiting):
        if opened:
            with clock.at(start + timedelta(seconds=seconds * place)):
                reviews.note_opened(actor=by, work_item=held)
        with clock.at(start + timedelta(seconds=seconds * (place + 1))):
            made.append(
                reviews.save_decision(
                    actor=by, work_item=held, value=value, evidence_hash=held.item.seen.evidence_hash, **given
                )
            )
    return made


def override_tier(server: Server, tier: str) -> None:
    """Security says what its tier is."""
    catalog.override_tier(actor=acting(person("security")), server=server, tier=tier, reason="Handles payroll.")
    server.refresh_from_db()


# --- Published -------------------------------------------------------------------------------------------


def certify(server: Server, *, days: float = 90) -> Server:
    """As a sign-off concludes; the publisher then does what its task would."""
    until = clock.now() + timedelta(days=days) if days else None
    catalog.set_certified_until(actor=SYSTEM_ACTOR, thing=server, until=until)
    discovery.publish_servers(actor=SYSTEM_ACTOR, server_ids=[server.pk])
    server.refresh_from_db()
    return server


def published_server(*, days: float = 90, **facts: Any) -> Server:
    """A server that clients are told of."""
    return certify(active_server(**facts), days=days)


def configured(**facts: Any) -> Configured:
    """An entry of a client's configuration; `url` or `command` and `args` say what it points at."""
    number = next(_number)
    raw = {name: facts.pop(name) for name in ("url", "command", "args", "env", "headers") if name in facts}
    raw = raw or {"url": f"https://shadow{number}.example.test/mcp"}
    entry = facts.pop("entry", f"shadow-{number}")
    place = facts.pop("place", f"laptop-{number}")
    (read,) = read_configuration({"mcpServers": {entry: raw}}, place=place, client=facts.pop("client", "cursor"))
    assert isinstance(read, Configured), read.reasons
    return replace(read, **facts)


def sighting(by: User | None = None, **facts: Any) -> Sighting:
    """What `by` reported; of a shadow, unless a server is catalogued there."""
    seen = configured(**facts).sighting()
    made = discovery.record_sighting(actor=acting(by or person()), seen=seen).sighting
    assert made is not None
    return made


def probe(of: Server | None = None) -> Probe:
    """A look at a server that waits for a worker."""
    server = of or active_server()
    return discovery.request_probe(actor=acting(server.owner), server=server)


# --- Definitions -----------------------------------------------------------------------------------------


def snapshot(server: Server, *tools: dict[str, Any], times: int = 1) -> Snapshot:
    """What looks at the server's endpoint brought back; a difference is believed when it was seen twice."""
    for _ in range(times):
        made = discovery.record_snapshot(
            actor=SYSTEM_ACTOR,
            server=server,
            endpoint=server.endpoints.filter(retired_at=None).first(),
            channel=Snapshot.Channel.PROBE,
            seen=Seen(outcome=Snapshot.Outcome.LISTED, era="2025-11-25", listing=Listing(tools=tools)),
            taken_at=clock.now(),
        )
    return made


def drift() -> Drift:
    """An open drift: a server in service lists a tool besides what was approved."""
    server = complete_draft(tools=[])
    search = {"name": "search", "description": "Searches.", "inputSchema": {"type": "object"}}
    snapshot(server, search)
    catalog.submit_server(actor=acting(server.owner), server=server)
    catalog.activate_server(actor=acting(person("reviewer")), server=server)
    discovery.settle_server(server_id=server.pk)
    snapshot(server, search, {"name": "delete_branch", "description": "Deletes a branch."}, times=2)
    return Drift.objects.get(server=server)


# --- Secret sources --------------------------------------------------------------------------------------


def secret_check(server: Server) -> SecretCheck:
    """What the store of its source says, as this registry is set up: usually that there is no access to it."""
    return discovery.check_secret_source(actor=acting(server.owner), source=source_of(server))


def secret_attestation(server: Server, **facts: Any) -> SecretAttestation:
    values = {"statement": "Seen in the console.", "until": clock.today() + timedelta(days=90)}
    return discovery.attest_secret_source(actor=acting(server.owner), source=source_of(server), **(values | facts))


# --- Use --------------------------------------------------------------------------------------------------


def observation(agent: Agent, server: Server, system: System | None = None, **facts: Any) -> Observation:
    now = clock.now()
    values = {"calls": 3, "errors": 1, "first_used": now - timedelta(hours=2), "last_used": now - timedelta(hours=1)}
    period = clock.today().replace(day=1)
    return Observation.objects.create(agent=agent, server=server, system=system, period=period, **(values | facts))


# --- Workloads -------------------------------------------------------------------------------------------


def workload_issuer(**facts: Any) -> WorkloadIssuer:
    number = next(_number)
    values = {"name": f"Cluster {number}", "issuer": f"https://cluster{number}.example.test", "audience": "steward"}
    return register_issuer(actor=SYSTEM_ACTOR, **(values | facts))


def service_principal(**facts: Any) -> ServicePrincipal:
    """A workload that may read, for its owner, who made it."""
    number = next(_number)
    owner = facts.pop("owner", None) or person()
    values: dict[str, Any] = {
        "name": f"workload-{number}",
        "purpose": "Reads what is in service.",
        "issuer": facts.pop("issuer", None) or workload_issuer(),
        "subject": f"system:serviceaccount:test:workload-{number}",
        "scopes": ["read"],
    }
    return create_principal(actor=acting(owner), **(values | facts))


def role_proposal(*roles: str, user: User | None = None, by: User | None = None) -> RoleProposal:
    """Roles proposed for somebody (default: security), waiting for a second person."""
    return RoleProposal.objects.create(
        user=user or person(), roles=list(roles) or ["member", "security"], proposed_by=by or person("administrator")
    )


def emergency_role(by: User | None = None, role: str = "auditor", hours: int = 1) -> Elevation:
    """A role that somebody (default: a new person of security) took just now."""
    taker = by or person("security")
    return take_role(actor=acting(taker), role=role, reason="The identity provider is down.", hours=hours)


def visibility_rule(team: Team | None = None, environment: str = "", by: User | None = None) -> VisibilityRule:
    """Everything of the team (default: a new one), or in the environment, is confidential from now on."""
    over = {"environment": environment} if environment else {"team": team or _new_team()}
    done = catalog.set_visibility_rule(
        actor=acting(by or person("security")), reason="Salaries pass through it.", **over
    )
    return done.rule
