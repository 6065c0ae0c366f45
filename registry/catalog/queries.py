"""Reads of the catalog: completeness against the six questions, duplicates, tool classes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet
from django.utils.translation import gettext as _

from registry.accounts.models import User
from registry.audit.models import Event
from registry.catalog.models import (
    Agent,
    Because,
    Endpoint,
    Proposal,
    SecretSource,
    Server,
    System,
    ToolClass,
    Vacancy,
    VisibilityRule,
)
from registry.core import clock
from registry.core.actors import Actor
from registry.core.permissions import allows


@dataclass(frozen=True)
class Question:
    """One of the six questions about a server: what blocks submission, and what a reviewer will miss."""

    key: str
    missing: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        return not self.missing


@dataclass(frozen=True)
class Completeness:
    questions: tuple[Question, ...] = field(default_factory=tuple)

    @property
    def complete(self) -> bool:
        return all(question.answered for question in self.questions)

    @property
    def missing(self) -> dict[str, list[str]]:
        return {question.key: list(question.missing) for question in self.questions if question.missing}

    def __getitem__(self, key: str) -> Question:
        # KeyError for anything else: templates look here first for every name after the dot.
        return {question.key: question for question in self.questions}[key]


def completeness(server: Server) -> Completeness:
    """What invariant 1 still lacks for `server`, question by question. Decided inside the catalog alone."""
    today = clock.today()
    purpose = server.purpose
    tools = list(server.tools.filter(retired_at=None))
    sources = list(server.secret_sources.filter(retired_at=None))
    endpoints = server.endpoints.filter(retired_at=None).exists()
    steps = server.revocation_steps.filter(retired_at=None).exists()

    who = []
    if server.owner is None:
        who.append("Name an owner.")
    elif not server.owner.is_active:
        who.append(f"{server.owner} is no longer active; name another owner.")
    elif server.owner_accepted_at is None:
        who.append(f"{server.owner} has not accepted ownership yet.")
    if server.deputy is None:
        who.append("Name a deputy who is not the owner.")
    elif not server.deputy.is_active:
        who.append(f"{server.deputy} is no longer active; name another deputy.")
    if server.team_id is None:
        who.append("Name the team.")

    what = []
    if purpose is None:
        what.append("State the purpose, its data classes and its end date.")
    elif purpose.ends_on <= today:
        what.append(f"The purpose ended on {purpose.ends_on:%d %B %Y}; set a new one.")
    purpose_advice = [] if purpose is None or purpose.out_of_scope else ["Say what is out of scope."]

    credentials = [] if sources else ["Document at least one secret source, or say why none is needed."]

    reach = [] if endpoints else ["Add at least one endpoint: a URL or a package."]
    unconfirmed = [tool.name for tool in tools if not tool.confirmed_class]
    reach_advice = []
    if not tools:
        reach_advice.append("No tools are listed; a reviewer cannot tell what callers may do.")
    if unconfirmed:
        have = "1 tool has" if len(unconfirmed) == 1 else f"{len(unconfirmed)} tools have"
        reach_advice.append(f"{have} no confirmed class: {', '.join(unconfirmed[:5])}.")

    return Completeness(
        (
            Question("accountable", tuple(who)),
            Question("purpose", tuple(what), tuple(purpose_advice)),
            Question("credentials", tuple(credentials)),
            Question("reach", tuple(reach), tuple(reach_advice)),
            Question("activity", (), ("No activity log is connected for this server yet.",)),
            Question("revocation", () if steps else ("Describe at least one step that cuts the server off.",)),
        )
    )


def withdrawn_among(servers: Iterable[UUID]) -> set[UUID]:
    """Which of these drafts came back because their own people withdrew them, not because a reviewer returned them."""
    last = (
        Event.objects.filter(
            subject_type="server", subject_id__in=list(servers), act__in=("server.withdrawn", "server.returned")
        )
        .order_by("subject_id", "-at", "-id")
        .distinct("subject_id")
    )
    return {event.subject_id for event in last if event.act == "server.withdrawn"}


def duplicates(server: Server, actor: Actor) -> QuerySet[Server]:
    """Other servers that share an endpoint or the repository with this one, as far as `actor` may see."""
    uris = Endpoint.objects.filter(server=server, retired_at=None).values("canonical_uri")
    same = Q(endpoints__canonical_uri__in=uris, endpoints__retired_at=None)
    if server.repository_url:
        same |= Q(repository_url=server.repository_url)
    visible: QuerySet[Server] = Server.objects.visible_to(actor)
    return visible.filter(same).exclude(pk=server.pk).exclude(lifecycle="retired").distinct()


def same_secret(source: SecretSource) -> QuerySet[SecretSource]:
    """Sources of other servers that name the same credential."""
    return SecretSource.objects.filter(kind=source.kind, reference=source.reference, retired_at=None).exclude(
        server_id=source.server_id
    )


def class_claimed_by(annotations: dict[str, Any] | None) -> str:
    """The class a tool's annotations claim; "" without annotations.

    MCP defaults: readOnlyHint false, destructiveHint true (specification, "ToolAnnotations").
    """
    if not annotations:
        return ""
    if annotations.get("readOnlyHint") is True:
        return ToolClass.READ
    return ToolClass.WRITE if annotations.get("destructiveHint") is False else ToolClass.DESTRUCTIVE


SERVER_JSON_SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"


def as_server_json(server: Server, *, endpoints: Iterable[Endpoint] | None = None, version: str = "") -> dict[str, Any]:
    """`server` as an entry of the official format: what its publisher would publish, without our own facts.

    `endpoints` spares the query where they are known already; `version` stands instead of the release.
    """
    remotes: list[dict[str, Any]] = []
    packages: list[dict[str, Any]] = []
    for endpoint in server.endpoints.filter(retired_at=None) if endpoints is None else endpoints:
        if not endpoint.package_identifier:
            headers = [_declared(each) for each in endpoint.inputs if each.get("placed_in") == "header"]
            remotes.append(_without_empty({"type": endpoint.transport, "url": endpoint.url, "headers": headers}))
            continue
        variables = [_declared(each) for each in endpoint.inputs if str(each.get("placed_in", "")).startswith("env")]
        transport = _without_empty({"type": endpoint.transport, "url": endpoint.url})
        packages.append(
            _without_empty({
                "registryType": endpoint.package_registry,
                "identifier": endpoint.package_identifier,
                "version": endpoint.package_version,
                "fileSha256": endpoint.package_sha256,
                "transport": transport,
                "environmentVariables": variables,
            })
        )  # fmt: skip
    return _without_empty({
        "$schema": SERVER_JSON_SCHEMA,
        "name": server.name,
        "title": server.title,
        "description": server.description[:100] or server.label,
        "version": version or server.release or "0.0.0",
        "websiteUrl": server.website_url,
        "repository": _without_empty({"url": server.repository_url, "source": _host_of(server.repository_url)}),
        "packages": packages,
        "remotes": remotes,
    })  # fmt: skip


def _declared(declared: dict[str, Any]) -> dict[str, Any]:
    flags = {"isRequired": declared.get("required"), "isSecret": declared.get("secret")}
    return {"name": declared.get("name", ""), **{name: True for name, value in flags.items() if value}}


def _host_of(url: str) -> str:
    """What the format calls a repository's source: `github` for github.com."""
    host = urlsplit(url).hostname or ""
    return host.removeprefix("www.").split(".")[0]


def _without_empty(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in ("", None, [], {})}


# --- Without an owner ------------------------------------------------------------------------------------


def my_proposals(actor: Actor) -> list[Proposal]:
    """What this person is asked to take over and has not answered."""
    if actor.user_id is None:
        return []
    rows = Proposal.objects.visible_to(actor).waiting().filter(successor=actor.user_id)
    related = ("vacancy__former_owner", "vacancy__server", "vacancy__system", "vacancy__agent", "proposed_by")
    return list(rows.select_related(*related).order_by("vacancy__former_owner__name", "pk"))


def vacancies_of(person: User, actor: Actor) -> list[Vacancy]:
    """What is without an owner since this person left, each with `asked`: the proposals that wait for an answer."""
    rows = Vacancy.objects.visible_to(actor).open().filter(former_owner=person)
    waiting = Prefetch("proposals", Proposal.objects.waiting().select_related("successor"), to_attr="asked")
    related = ("server__team__lead", "system__team__lead", "agent__team__lead", "interim", "former_owner__manager")
    return list(rows.select_related(*related).prefetch_related(waiting).order_by("server__name", "pk"))


@dataclass(frozen=True)
class LeftBehind:
    """What somebody left behind that is without an owner; `unasked` of it wait for nobody's answer."""

    person: User
    total: int
    unasked: int


def vacated_by(actor: Actor) -> list[LeftBehind]:
    """Whose things are without an owner, of those this person oversees: all for some roles, else their people's and
    teams'."""
    rows = Vacancy.objects.visible_to(actor).open()
    if not allows(actor, "catalog.view_vacancies"):
        mine = Q(former_owner__manager=actor.user_id)
        for kind in ("server", "system", "agent"):
            mine |= Q(**{f"{kind}__team__lead": actor.user_id})
        rows = rows.filter(mine) if actor.user_id is not None else rows.none()
    asked = Exists(Proposal.objects.waiting().filter(vacancy=OuterRef("pk")))
    counts = {
        row["former_owner"]: row
        for row in rows.order_by()
        .values("former_owner")
        .annotate(total=Count("pk"), unasked=Count("pk", filter=~asked))
    }
    people = User.objects.filter(pk__in=list(counts)).order_by("-left_at", "name", "pk")
    return [LeftBehind(each, counts[each.pk]["total"], counts[each.pk]["unasked"]) for each in people]


def vacancy_of(thing: Server | System | Agent) -> Vacancy | None:
    """The open vacancy of a thing, with `asked`; None while it has an owner, or none was ever named."""
    waiting = Prefetch("proposals", Proposal.objects.waiting().select_related("successor"), to_attr="asked")
    rows = Vacancy.objects.open().filter(**{thing.subject_type: thing})
    return rows.select_related("interim").prefetch_related(waiting).first()


def orphaned_facts(thing: Any, actor: Actor) -> dict[str, Any]:
    """What a page says of a thing whose owner left; also in the moment before the vacancy is written down.

    `thing` comes `with_owner_question`, so that what has an owner costs no query.
    """
    vacancy = vacancy_of(thing) if thing.is_orphaned else None
    asked = [each.successor_id for each in vacancy.asked] if vacancy is not None else []
    return {"orphaned": thing.is_orphaned, "vacancy": vacancy, "asks_me": actor.user_id in asked}


# --- Who sees what ---------------------------------------------------------------------------------------

KINDS: dict[str, type[Server] | type[System] | type[Agent]] = {"server": Server, "system": System, "agent": Agent}


@dataclass(frozen=True)
class Preview:
    """What a rule would do to things of one kind when it is set, or dropped."""

    kind: str
    covered: int
    moving: int
    """Hidden from others by setting it, or shown to every member by dropping it."""

    @property
    def staying(self) -> int:
        """Confidential before and after: marked by hand, or kept by another rule."""
        return self.covered - self.moving


def preview_of(rule: VisibilityRule) -> list[Preview]:
    """For a rule that is not saved yet: how many things setting it hides. For one in force: how many dropping shows."""
    found = []
    for kind, model in KINDS.items():
        covered = model.objects.filter(rule.covers)
        if rule._state.adding:
            moving = covered.filter(confidential=False)
        else:
            others = VisibilityRule.objects.in_force().exclude(pk=rule.pk)
            kept = Exists(others.filter(Q(team=OuterRef("team")) | Q(environment=OuterRef("environment"))))
            moving = covered.filter(~kept, confidential_because=rule.kind)
        found.append(Preview(kind, covered.count(), moving.count()))
    return found


def always_confidential() -> str:
    """What is confidential whatever one ticks, as a hint for forms; empty where no rule is in force."""
    names = sorted(str(rule) for rule in VisibilityRule.objects.in_force().select_related("team"))
    return _("Anyhow confidential: everything of %(names)s.") % {"names": ", ".join(names)} if names else ""


def seen_by_others(was_confidential: bool, thing: Server | System | Agent) -> str:
    """What to tell whoever changed a thing, when the change moved it across a rule; empty when it did not."""
    if was_confidential == thing.confidential:
        return ""
    if thing.confidential:
        return thing.why_confidential if thing.kept_confidential else ""
    return _("%(thing)s is not confidential any more: every member sees it.") % {"thing": thing}


def kept_by(rules: Iterable[VisibilityRule]) -> dict[UUID, dict[str, int]]:
    """How many servers, systems and agents each rule keeps confidential: `{rule.pk: {"server": 3, …}}`."""
    of_place = {(str(rule.kind), rule.team_id or rule.environment): rule.pk for rule in rules}
    found: dict[UUID, dict[str, int]] = {pk: dict.fromkeys(KINDS, 0) for pk in of_place.values()}
    for kind, model in KINDS.items():
        rows = model.objects.order_by().filter(confidential_because__in=(Because.TEAM, Because.ENVIRONMENT))
        counted = rows.values_list("confidential_because", "team", "environment").annotate(number=Count("pk"))
        for because, team, environment, number in counted:
            rule = of_place.get((because, team if because == Because.TEAM else environment))
            if rule is not None:
                found[rule][kind] += number
    return found
