"""Tells the demo data: who registered what, who decided, what was taken away. Every act is a service call."""

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any

from registry.accounts import services as accounts
from registry.accounts.demo import DEMO_ACCOUNTS, DEMO_PASSWORD
from registry.accounts.models import Team, User
from registry.audit.services import seal_events
from registry.catalog import services as catalog
from registry.catalog.changes import told_at
from registry.catalog.events import ServerChanged
from registry.catalog.models import Agent, Issuer, Server, System
from registry.core import clock
from registry.core.actors import Actor
from registry.core.independence import Decidable, bars
from registry.portal.demo.discovered import Discovered
from registry.portal.demo.reading import read
from registry.portal.demo.timeline import Timeline, acting
from registry.portal.demo.used import Used
from registry.reviews import services as reviews
from registry.reviews.cadence import REASON_REQUIRED
from registry.reviews.models import Campaign, Decision, Item, Remediation, Template, WorkItem
from registry.reviews.states import RemediationState, WorkItemState
from registry.trust import services as trust
from registry.trust.models import Connection, Grant
from registry.trust.queries import latest_valid_until

FOUNDER = Actor.system("demo data")
FOUNDED = 330.0  # days ago
SWEEP_EVERY = 28
FIRST_CAMPAIGN, RUNNING_CAMPAIGN = 64.0, 4.0
TOOL_SENTENCES = {
    "read": "Reads; changes nothing.",
    "write": "Adds or changes entries.",
    "destructive": "Deletes or closes; cannot be undone from here.",
    "execute": "Runs what it is given.",
}
REASONS = (
    "Used every working day; the tools match the purpose.",
    "Purpose, owner and credential are as agreed; the tools fit what it is for.",
    "Needed for the running quarter; the owner explained every writing tool.",
    "Checked with the owner of the system; scopes are the smallest that work.",
)
STATEMENT = "I looked at the evidence of each item and decided on it independently."
SIGNED_IN = "password"


class Story:
    """The people, systems, servers and agents by their short names, and what happens to them."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.organisation, self.plans, self.callers = read("organisation"), read("servers"), read("agents")
        self.people: dict[str, User] = {}
        self.teams: dict[str, Team] = {}
        self.systems: dict[str, System] = {}
        self.issuers: dict[str, Issuer] = {}
        self.servers: dict[str, Server] = {}
        self.agents: dict[str, Agent] = {}
        self.templates: dict[str, Template] = {}

    def tell(self, reached: Callable[[float], None] | None = None) -> None:
        plan = self.timeline.plan
        plan(FOUNDED, self.found)
        # Nothing rests yet on what is new: there is nothing to look at again.
        plan(FOUNDED - 1, self.register_systems, left_to_sweeps=True)
        for server in self.plans:
            self.plan_server(server)
        for position, agent in enumerate(self.callers):
            day = self.joined(position, agent)
            plan(day, self.register_agent, day, agent, left_to_sweeps=True)
        Discovered(self).plan()
        Used(self).plan()
        self.plan_troubles()
        self.plan_campaigns()
        for day in range(int(FOUNDED) - 30, 0, -SWEEP_EVERY):
            plan(day, self.sweep)
        plan(0.01, self.sweep)
        self.timeline.run(reached)
        while seal_events():
            pass

    def sweep(self) -> None:
        """What beat does every day: end what is over."""
        while trust.expire_due(now=clock.now()):
            pass
        reviews.end_stale_certificates()

    # --- The organisation --------------------------------------------------------------------------------

    def found(self) -> None:
        """The first administrator comes with the installation; they bring in everybody else."""
        listed = {account.email for account in DEMO_ACCOUNTS}
        for key, name, roles, _ in self.organisation["people"]:
            email = f"{key}@example.org"
            by = Actor.person(self.people["admin"]) if self.people else FOUNDER
            self.people[key] = accounts.create_user(
                actor=by, email=email, name=name, roles=roles, password=DEMO_PASSWORD if email in listed else None
            )
        # Nobody has to choose a password of their own: that of the demo is published.
        User.objects.filter(email__in=listed).update(password_given=False)
        with acting(self.people["admin"]) as admin:
            for key, name, lead in self.organisation["teams"]:
                team = accounts.create_team(actor=admin, name=name, slug=key, lead=self.people[lead])
                members = [self.people[row[0]] for row in self.organisation["people"] if key in row[3]]
                self.teams[key] = accounts.set_members(actor=admin, team=team, users=members)
        with acting(self.people["security"]) as security:
            for key, name, kind, uri, of_team in self.organisation["issuers"]:
                self.issuers[key] = catalog.register_issuer(
                    actor=security, name=name, kind=kind, uri=uri, team=self.teams.get(of_team)
                )

    def register_systems(self) -> None:
        for key, name, kind, data_class, owner, team, description in self.organisation["systems"]:
            with acting(self.people[owner]) as actor:
                self.systems[key] = catalog.register_system(
                    actor=actor,
                    name=name,
                    kind=kind,
                    data_class=data_class,
                    owner=self.people[owner],
                    team=self.teams[team],
                    description=description,
                )

    @cached_property
    def deciders(self) -> list[User]:
        return [self.people[key] for key in ("reviewer", "ingrid.solberg", "tomasz.nowak", "priya.raman", "security")]

    def independent(self, thing: Decidable, *, turn: int = 0) -> User:
        """Somebody who may decide on it; `turn` spreads the work."""
        order = self.deciders[turn % 4 :] + self.deciders[: turn % 4]
        return next(user for user in order if not bars(user.pk, thing))

    # --- Servers -----------------------------------------------------------------------------------------

    def plan_server(self, plan: dict[str, Any]) -> None:
        state = plan.get("state", "active")
        day = self.registered_on(plan) - 4
        self.timeline.plan(day + 4, self.register_server, plan, left_to_sweeps=True)
        if state == "draft" and not plan.get("returned"):
            return
        # Nothing rests on a draft: that it changed is of no consequence, that it was submitted is.
        submitted = day + (0.0 if state == "submitted" else 2.1)
        self.timeline.plan(submitted, self.submit, plan, left_to_sweeps=(ServerChanged,))
        if plan.get("returned"):
            self.timeline.plan(day - 2.0, self.decide_intake, plan, Decision.Value.RETURN, plan["returned"])
        if "activated" not in plan:
            return
        self.timeline.plan(day, self.decide_intake, plan, Decision.Value.CERTIFY, REASONS[day % len(REASONS)])
        if state == "suspended":
            self.timeline.plan(31.0, self.suspend_server, plan)
        if state == "retired":
            self.timeline.plan(45.0, self.retire_server, plan)

    def registered_on(self, plan: dict[str, Any]) -> int:
        """Days ago."""
        later: int = plan.get("activated") or plan.get("submitted") or (8 if plan.get("returned") else 3)
        return later + 4

    def register_server(self, plan: dict[str, Any]) -> None:
        owner = self.people[plan["owner"]]
        with acting(owner) as actor:
            server = catalog.register_server(
                actor=actor,
                name=plan["name"],
                title=plan["title"],
                description=plan["description"],
                environment=plan.get("environment", "production"),
                release=plan["release"],
                repository_url=plan["repository"] or "",
                confidential=plan.get("confidential", False),
                endpoints=[endpoint(plan["endpoint"], plan["secret"])],
            )
            self.servers[plan["key"]] = server
            catalog.assign_people(
                actor=actor,
                server=server,
                owner=owner,
                deputy=None if plan.get("deputy_missing") else self.people[plan["deputy"]],
                team=self.teams[plan["team"]],
            )
            catalog.set_purpose(
                actor=actor,
                server=server,
                statement=plan["purpose"],
                in_scope=plan["in_scope"],
                out_of_scope=plan["out_of_scope"],
                data_classes=plan["data_classes"],
                ends_on=clock.today() + timedelta(days=400 + 37 * (len(plan["key"]) % 9)),
            )
            catalog.set_tools(
                actor=actor,
                server=server,
                tools=[
                    {"name": name, "description": TOOL_SENTENCES[kind], "confirmed_class": kind}
                    for name, kind in plan["tools"]
                ],
            )
            catalog.set_secret_sources(actor=actor, server=server, sources=[self.secret(plan["secret"])])
            catalog.set_revocation_path(actor=actor, server=server, steps=revocation_steps(plan))
            for system, access, scopes in plan["connections"]:
                trust.request_connection(
                    actor=actor,
                    server=server,
                    system=self.systems[system],
                    access=access,
                    scopes=scopes,
                    reason=plan["purpose"],
                    valid_until=latest_valid_until(server=server, now=clock.now()).instant,
                    secret_source=server.secret_sources.get(retired_at=None),
                )

    def secret(self, plan: dict[str, Any]) -> Any:
        """Days of the last rotation are counted from today, not from the registration."""
        facts = {name: value for name, value in plan.items() if name != "rotated_days_ago"}
        if "rotated_days_ago" in plan:
            facts["last_rotated_on"] = self.timeline.instant(plan["rotated_days_ago"]).date()
        return facts

    def submit(self, plan: dict[str, Any]) -> None:
        with acting(self.people[plan["owner"]]) as actor:
            catalog.submit_server(actor=actor, server=self.servers[plan["key"]])

    def decide_intake(self, plan: dict[str, Any], value: str, reason: str) -> None:
        work = WorkItem.objects.get(item__server=self.servers[plan["key"]], state=WorkItemState.OPEN)
        with acting(work.reviewer) as actor:
            reviews.decide_intake(
                actor=actor,
                work_item=work,
                value=value,
                evidence_hash=work.item.evidence_hash,
                reason=reason,
                auth_method=SIGNED_IN,
            )
        self.servers[plan["key"]].refresh_from_db()

    def suspend_server(self, plan: dict[str, Any]) -> None:
        with acting(self.people[plan["owner"]]) as actor:
            catalog.suspend_server(actor=actor, server=self.servers[plan["key"]], reason=plan["reason"])

    def retire_server(self, plan: dict[str, Any]) -> None:
        with acting(self.people[plan["owner"]]) as actor:
            catalog.retire_server(actor=actor, server=self.servers[plan["key"]], reason=plan["reason"])

    # --- Agents and what they are granted ----------------------------------------------------------------

    def joined(self, position: int, row: list[Any]) -> float:
        """Days ago an agent was registered: one every four days, unless its row says otherwise."""
        more = row[5] if len(row) > 5 else {}
        return float(more.get("days", FOUNDED - 5 - position * 4))

    def register_agent(self, registered: float, row: list[Any]) -> None:
        name, kind, team, owner, calls, *rest = row
        more = rest[0] if rest else {}
        slug = name.lower().replace("'", "").replace(" ", "-")
        identity: dict[str, Any] = (
            {"issuer": self.issuers["partners" if name.startswith("Partner") else "login"], "client_id": slug}
            if kind == "client"
            else {"spiffe_id": more.get("spiffe_id", f"spiffe://meridian.example/agents/{slug}")}
        )
        if "server" in more:
            identity["server"] = self.servers[more["server"]]
        with acting(self.people[owner]) as actor:
            self.agents[name] = catalog.register_agent(
                actor=actor,
                name=name,
                kind=kind,
                owner=self.people[owner],
                team=self.teams[team],
                environment=more.get("environment", "production"),
                **identity,
            )
        for number, (key, tools) in enumerate(calls.items()):
            plan = next(plan for plan in self.plans if plan["key"] == key)
            ready = plan.get("activated") or plan.get("submitted") or 2
            day = max(min(registered, ready) - 3.0 - number, 0.5)
            self.timeline.plan(day, self.request_grant, name, owner, key, tools, day, left_to_sweeps=True)

    def request_grant(self, name: str, owner: str, key: str, tools: list[str] | str, day: float) -> None:
        agent, server = self.agents[name], self.servers[key]
        limit = latest_valid_until(server=server, now=clock.now()).instant
        wanted = clock.now() + timedelta(days=45 if name == "Partner rate probe" else 365)
        with acting(self.people[owner]) as actor:
            grant = trust.request_grant(
                actor=actor,
                agent=agent,
                server=server,
                tools=[] if tools == "*" else tools,
                all_tools=tools == "*",
                reason=f"{name} needs it: {server.purpose.statement[0].lower()}{server.purpose.statement[1:]}"
                if server.purpose
                else name,
                valid_until=min(limit, wanted),
                on_behalf_of="service" if agent.kind == "workload" else "users",
                behalf_detail="" if agent.kind == "workload" else f"{agent.team}",
                max_token_lifetime_seconds=900 if agent.kind == "workload" else 3600,
            )
        if server.lifecycle == "active" and day > 4:
            refused = (name, key) == ("Refund drafter", "paypal")
            decide = self.refuse if refused else self.approve_grant
            self.timeline.plan(day - 1.2, decide, grant, left_to_sweeps=True)

    def approve_grant(self, grant: Grant) -> None:
        grant.refresh_from_db()
        with acting(self.independent(grant, turn=len(grant.agent.name))) as actor:
            trust.approve_grant(actor=actor, grant=grant)

    def refuse(self, grant: Grant) -> None:
        with acting(self.independent(grant)) as actor:
            trust.refuse_relationship(
                actor=actor,
                relationship=grant,
                reason="Drafting a refund needs the order, not the list of all payments. Ask for get_order.",
            )

    # --- What goes wrong ---------------------------------------------------------------------------------

    def plan_troubles(self) -> None:
        self.timeline.plan(20.0, self.leave, "jonas.weber")
        self.timeline.plan(9.0, self.suspend_grant, "Queue doctor", "rabbitmq", "Purged a queue that was still read.")
        self.timeline.plan(
            12.0, self.revoke_connection, "elena.petrova", "glean", "hr", "Policies moved to the website."
        )

    def leave(self, key: str) -> None:
        with acting(self.people["admin"]) as actor:
            accounts.set_active(actor=actor, user=self.people[key], active=False)

    def suspend_grant(self, name: str, key: str, reason: str) -> None:
        grant = Grant.objects.get(agent=self.agents[name], server=self.servers[key], status="active")
        with acting(self.people["security"]) as actor:
            trust.suspend_relationship(actor=actor, relationship=grant, reason=reason)

    def revoke_connection(self, owner: str, key: str, system: str, reason: str) -> None:
        connection = Connection.objects.get(server=self.servers[key], system=self.systems[system], status="active")
        with acting(self.people[owner]) as actor:
            trust.revoke_relationship(actor=actor, relationship=connection, reason=reason)

    # --- Recertification ---------------------------------------------------------------------------------

    def plan_campaigns(self) -> None:
        plan = self.timeline.plan
        plan(FIRST_CAMPAIGN + 1, self.make_templates)
        plan(FIRST_CAMPAIGN, self.launch, "risk")
        for day in (6.0, 7.0, 8.0):
            plan(FIRST_CAMPAIGN - day, self.decide, day - 6, 3)
        plan(FIRST_CAMPAIGN - 10.0, self.sign_all)
        plan(FIRST_CAMPAIGN - 11.0, self.close)
        plan(FIRST_CAMPAIGN - 12.0, self.confirm)
        plan(RUNNING_CAMPAIGN, self.launch, "risk")
        plan(RUNNING_CAMPAIGN - 2.0, self.decide, 0, 3)
        plan(RUNNING_CAMPAIGN - 3.0, self.sign_one)

    def make_templates(self) -> None:
        with acting(self.people["manager"]) as actor:
            self.templates["risk"] = reviews.create_template(
                actor=actor,
                name="Critical and high risk",
                kinds=["server", "grant"],
                scope={
                    "tier": ["critical", "high"],
                    "environment": ["production"],
                    "team": [str(self.teams[key].pk) for key in ("platform", "data", "finance", "care")],
                },
                cadence_days=60,
                stages=[{"duration_days": 14}],
                instructions="Ask what was really used. Reduce rather than keep; revoke what nobody can explain.",
            )
            self.templates["rest"] = reviews.create_template(
                actor=actor,
                name="Everything else, once a year",
                kinds=["server"],
                scope={"tier": ["medium", "low"]},
                cadence_days=365,
                stages=[{"duration_days": 30}],
                next_run_on=self.timeline.instant(-20).date(),
                instructions="Is it still needed, and by whom?",
            )

    def launch(self, key: str) -> None:
        with acting(self.people["manager"]) as actor:
            reviews.launch_campaign(actor=actor, template=self.templates[key])

    @property
    def campaign(self) -> Campaign:
        return Campaign.objects.filter(kind=Campaign.Kind.PERIODIC).latest("launched_at")

    def decide(self, part: float, parts: int) -> None:
        """Every reviewer answers a part of what they have."""
        waiting = WorkItem.objects.filter(item__campaign=self.campaign, state=WorkItemState.OPEN)
        mine: dict[Any, list[WorkItem]] = {}
        for work in waiting.select_related("reviewer", "item__campaign").order_by("item__label", "pk"):
            mine.setdefault(work.reviewer, []).append(work)
        for reviewer, items in mine.items():
            chosen = items if part == parts - 1 else items[: max(1, len(items) // parts)]
            begun = clock.now() - timedelta(hours=2)
            with acting(reviewer) as actor:
                for number, work in enumerate(chosen):
                    begun += timedelta(seconds=38 + 7 * (number % 9))
                    with told_at(begun):
                        self.answer(actor, work, number)

    def answer(self, actor: Actor, work: WorkItem, number: int) -> None:
        item = work.item
        if item.state == "invalidated":
            return
        value, more = self.value_for(item, number)
        with told_at(clock.now() - timedelta(seconds=36)):
            reviews.note_shown(actor=actor, work_item=work)
        if item.tier in REASON_REQUIRED or number % 4:
            with told_at(clock.now() - timedelta(seconds=20)):
                reviews.note_opened(actor=actor, work_item=work)
        reviews.save_decision(
            actor=actor,
            work_item=work,
            value=value,
            evidence_hash=item.seen.evidence_hash,
            decided_ms=36_000,
            **{"reason": REASONS[number % len(REASONS)], **more},
        )

    def value_for(self, item: Item, number: int) -> tuple[str, dict[str, Any]]:
        """Mostly certify; now and then take something away, for a reason one can read."""
        if item.grant is not None and len(item.grant.tools) > 2 and sum(item.label.encode()) % 3 == 0:
            *kept, dropped = item.grant.tools
            return Decision.Value.CERTIFY_REDUCED, {
                "kept": kept,
                "reason": f"{dropped} was not needed in the last quarter; it can be asked for again.",
            }
        if item.kind == "grant" and item.label.startswith("Month-end"):
            return Decision.Value.REVOKE, {"reason": "The close runs without it since the new ledger export."}
        if item.kind == "server" and number % 5 == 3:
            return Decision.Value.CERTIFY_UNTIL, {
                "until": clock.today() + timedelta(days=21),
                "reason": "Until the publisher's next release, which separates reading from writing.",
            }
        return Decision.Value.CERTIFY, {}

    def sign_all(self) -> None:
        campaign = self.campaign
        for reviewer in User.objects.filter(work_items__item__campaign=campaign).distinct().order_by("pk"):
            self.sign(reviewer, campaign)

    def sign_one(self) -> None:
        """In the running campaign one reviewer has signed; the others are still at it."""
        self.sign(self.people["ingrid.solberg"], self.campaign)

    def sign(self, reviewer: User, campaign: Campaign) -> None:
        drafted = WorkItem.objects.filter(item__campaign=campaign, reviewer=reviewer, state=WorkItemState.RESPONDED)
        if drafted.exists():
            with acting(reviewer) as actor:
                reviews.sign_off(actor=actor, campaign=campaign, statement=STATEMENT, auth_method=SIGNED_IN)

    def close(self) -> None:
        with acting(self.people["manager"]) as actor:
            reviews.close_campaign(
                actor=actor,
                campaign=self.campaign,
                statement="Every item in scope was decided by somebody independent.",
                auth_method=SIGNED_IN,
            )

    def confirm(self) -> None:
        waiting = Remediation.objects.filter(item__campaign=self.campaign, state=RemediationState.VERIFYING)
        for remediation in waiting.select_related("item"):
            with acting(self.people["security"]) as actor:
                reviews.confirm_remediation(
                    actor=actor,
                    remediation=remediation,
                    proof="Called the tool with a token of the agent: the gateway refused it.",
                )


def endpoint(text: str, secret: dict[str, Any]) -> Any:
    """`https://…` is a remote endpoint, `npm:@scope/name@1.2.3` a package that starts on stdio."""
    inputs = (
        []
        if secret["kind"] == "none"
        else [{"placed_in": "env", "required": True, "secret": True, "name": "API_TOKEN"}]
    )
    if text.startswith("https://"):
        return {"transport": "sse" if text.endswith("/sse") else "streamable-http", "url": text, "inputs": inputs}
    registry, _, rest = text.partition(":")
    identifier, _, version = rest.rpartition("@")
    return {
        "transport": "stdio",
        "package_registry": registry,
        "package_identifier": identifier,
        "package_version": version,
        "inputs": inputs,
    }


def revocation_steps(plan: dict[str, Any]) -> list[Any]:
    """Cut the callers first, then the credential, then the process."""
    first = "Suspend every grant on the server in this registry; gateways stop within a minute"
    steps: list[tuple[str, str, str, int]] = [(first, "registry", "Duty officer", 2)]
    if plan["secret"]["kind"] != "none":
        where = plan["secret"]["reference"]
        steps.append((f"Disable the credential kept at {where}", "manual", plan["secret"].get("revocable_by", ""), 10))
    steps.append(("Scale the deployment to zero and remove the route", "manual", "Platform on-call", 15))
    names = ("instruction", "executor", "responsible", "expected_minutes")
    return [dict(zip(names, step, strict=True)) for step in steps]
