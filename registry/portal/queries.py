"""Reads that span rooms: what waits for a person, search over everything, and how far a registration is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.hygiene import findings
from registry.accounts.models import ServicePrincipal, User
from registry.accounts.queries import principals_visible_to
from registry.catalog.models import Agent, Proposal, Server, System, Tier, Tool
from registry.catalog.queries import completeness, my_proposals, vacated_by, withdrawn_among
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.independence import bars
from registry.core.permissions import allows
from registry.reviews.desk import inbox
from registry.reviews.models import Campaign
from registry.reviews.waiting import REMEMBERED, waiting
from registry.trust.models import Connection, Grant
from registry.trust.queries import tier_facts
from registry.trust.states import Status
from registry.trust.tier import Factor, assess


def open_connections(actor: Actor, server: Server) -> QuerySet[Connection]:
    """What the server may act on, or asked to."""
    return (
        Connection.objects.visible_to(actor)
        .current()
        .filter(server=server)
        .select_related("system", "secret_source", "server")
        .order_by("system__name", "created_at")
    )


def steps_done(server: Server) -> set[str]:
    """The steps of the registration that lack nothing a submission or a reviewer would ask for."""
    report = completeness(server)
    tools = list(server.tools.filter(retired_at=None).values_list("confirmed_class", flat=True))
    done = {
        "identity": report["reach"].answered,
        "people": server.owner_id is not None and server.deputy_id is not None and server.team_id is not None,
        "purpose": report["purpose"].answered,
        "tools": bool(tools) and all(tools),
        "systems": Connection.objects.current().filter(server=server).exists(),
        "secrets": report["credentials"].answered,
        "revocation": report["revocation"].answered,
        "check": report.complete,
    }
    return {step for step, answered in done.items() if answered}


def tier_as_of_now(server: Server) -> tuple[str, list[Factor]]:
    """The tier this server would get at this moment, and why; what is stored follows in the background."""
    _server, facts = tier_facts(server_ids=[server.pk])[0]
    tier, factors = assess(facts)
    return server.tier_override or tier, factors


def secret_hints(server: Server) -> list[dict[str, Any]]:
    """Rows to start from: the inputs the publisher declared as secret, by name. There is never a value."""
    names = {
        str(declared.get("name", ""))
        for inputs in server.endpoints.filter(retired_at=None).values_list("inputs", flat=True)
        for declared in inputs
        if declared.get("secret")
    }
    return [{"name": name} for name in sorted(names) if name]


def short_answers(server: Server) -> dict[str, str]:
    """What the registration says so far to each question of `catalog.queries.completeness`, in a line each."""
    endpoints = server.endpoints.filter(retired_at=None).values_list("canonical_uri", flat=True)
    sources = list(server.secret_sources.filter(retired_at=None))
    steps = list(server.revocation_steps.filter(retired_at=None))
    minutes = sum(step.expected_minutes for step in steps)
    people = [
        _("%(name)s owns it") % {"name": server.owner} if server.owner else "",
        _("%(name)s stands in") % {"name": server.deputy} if server.deputy else "",
    ]
    kinds = ", ".join(dict.fromkeys(str(source.get_kind_display()) for source in sources))
    answers = {
        "accountable": ", ".join(filter(None, people)),
        "purpose": Truncator(server.purpose.statement).chars(160) if server.purpose else "",
        "reach": ", ".join(endpoints),
    }
    if sources:
        answers["credentials"] = ngettext("%(n)d source: %(kinds)s", "%(n)d sources: %(kinds)s", len(sources)) % {
            "n": len(sources),
            "kinds": kinds,
        }
    if steps:
        answers["revocation"] = ngettext("%(n)d minute, as planned", "%(n)d minutes, as planned", minutes) % {
            "n": minutes
        }
    return answers


# --- Home ------------------------------------------------------------------------------------------------

SHOWN_PER_KIND = 10


@dataclass(frozen=True)
class Task:
    """One thing that waits for a person, with the one button that deals with it.

    `due` is when it becomes late, None when nothing but good manners presses; `since` when it was asked for.
    """

    kind: str
    title: str
    detail: "str | Promise"
    url: str
    button: "str | Promise"
    icon: str
    due: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class MyWork:
    tasks: list[Task]
    servers: list[Server]
    oversight: "Oversight | None"

    @property
    def groups(self) -> list[tuple["str | Promise", list[Task]]]:
        """Today, this week, later: sorted by deadline, the undated last."""
        today, week = clock.today(), clock.today() + timedelta(days=7)
        named: dict[str, list[Task]] = {"today": [], "week": [], "later": []}
        for task in sorted(self.tasks, key=lambda task: (task.due is None, task.due or clock.now())):
            day = timezone.localdate(task.due) if task.due else None
            name = "later" if day is None else "today" if day <= today else "week" if day <= week else "later"
            named[name].append(task)
        titles = {"today": _("Today"), "week": _("This week"), "later": _("When you get to it")}
        return [(titles[name], tasks) for name, tasks in named.items() if tasks]


@dataclass(frozen=True)
class Oversight:
    """What security looks at first: servers in service by tier, and how many of them nobody certified."""

    tiers: list[tuple[str, int, int]]
    waiting: int
    machines: int = 0
    """Findings about this registry's own credentials, for those who may end them."""

    @property
    def uncertified(self) -> int:
        return sum(count for _tier, _total, count in self.tiers)


def my_work(actor: Actor) -> MyWork:
    tasks = [
        *_registrations(actor),
        *_ownerships(actor),
        *_successions(actor),
        *_reviews(actor),
        *_requests(actor),
        *_acts(actor),
        *_workloads(actor),
    ]
    mine = (
        Server.objects.visible_to(actor)
        .filter(Q(owner_id=actor.user_id) | Q(deputy_id=actor.user_id))
        .exclude(lifecycle__in=[Lifecycle.DRAFT, Lifecycle.RETIRED])
        .order_by("certified_until", "name")[:SHOWN_PER_KIND]
    )
    oversight = _oversight(actor) if actor.has_role("security", "administrator", "auditor") else None
    return MyWork(tasks, list(mine), oversight)


def _workloads(actor: Actor) -> list[Task]:
    """Workloads that are to act for this person once they accept it."""
    waiting = principals_visible_to(actor).filter(owner_id=actor.user_id, state=ServicePrincipal.State.PROPOSED)
    return [
        Task(
            kind="workload",
            title=principal.name,
            detail=principal.purpose,
            url=reverse("accounts:principal", args=[principal.pk]),
            button=_("Look"),
            icon="fingerprint-pattern",
            since=principal.updated_at,
        )
        for principal in waiting[:SHOWN_PER_KIND]
    ]


def _registrations(actor: Actor) -> list[Task]:
    """Drafts of this person: returned ones first, then the ones begun."""
    drafts = (
        Server.objects.visible_to(actor)
        .filter(
            Q(created_by_id=actor.user_id, import_digest="") | Q(owner_id=actor.user_id) | Q(deputy_id=actor.user_id),
            lifecycle=Lifecycle.DRAFT,
        )
        .order_by("-updated_at")[:SHOWN_PER_KIND]
    )
    back = [server.pk for server in drafts if server.submitted_at and server.lifecycle_reason]
    withdrawn = withdrawn_among(back) if back else set()
    tasks = []
    for server in drafts:
        returned = server.pk in back and server.pk not in withdrawn
        tasks.append(
            Task(
                kind="returned" if returned else "draft",
                title=server.label,
                detail=server.lifecycle_reason if returned else _("Draft: go on with the registration"),
                url=reverse("portal:registration", args=[server.pk, "check"])
                if returned
                else reverse("portal:resume", args=[server.pk]),
                button=_("Correct") if returned else _("Continue"),
                icon="undo-2" if returned else "pencil",
                due=server.updated_at if returned else None,
            )
        )
    return tasks


def _ownerships(actor: Actor) -> list[Task]:
    named = Server.objects.visible_to(actor).filter(owner_id=actor.user_id, owner_accepted_at=None)
    return [
        Task(
            kind="ownership",
            title=server.label,
            detail=_("You are named as its owner"),
            url=reverse("catalog:server", args=[server.pk]),
            button=_("Look and accept"),
            icon="handshake",
        )
        for server in named.exclude(lifecycle=Lifecycle.RETIRED)[:SHOWN_PER_KIND]
    ]


def _successions(actor: Actor) -> list[Task]:
    """What this person is asked to take over, and what people they oversee left behind; one line per leaver."""
    asked = Counter(each.vacancy.former_owner for each in my_proposals(actor))
    cache.set(_asked_about(actor), len(asked), REMEMBERED)
    tasks = [
        Task(
            kind="succession",
            title=_("What %(name)s left behind") % {"name": left.name}
            if left.pk != actor.user_id
            else _("What was yours before you left"),
            detail=ngettext("You are asked to take over %(n)d thing", "You are asked to take over %(n)d things", n)
            % {"n": n},
            url=reverse("catalog:succession"),
            button=_("Answer"),
            icon="handshake",
        )
        for left, n in asked.items()
    ]
    return tasks + [
        Task(
            kind="orphaned",
            title=_("What %(name)s left behind") % {"name": each.person.name},
            detail=ngettext("%(n)d thing is without an owner", "%(n)d things are without an owner", each.total)
            % {"n": each.total},
            url=reverse("catalog:holdings", args=[each.person.pk]),
            button=_("Who takes over?"),
            icon="user-x",
            since=each.person.left_at,
        )
        for each in vacated_by(actor)[:SHOWN_PER_KIND]
        if not actor.has_role("auditor") or actor.has_role("campaign_manager", "security", "administrator")
    ]


def succession_count(actor: Actor) -> int:
    """For the badge: of how many leavers this person is asked to take something over, remembered for a moment.

    Whoever looks at "My work" itself renews it.
    """
    if actor.user_id is None:
        return 0
    known: int | None = cache.get(_asked_about(actor))
    if known is None:
        asked = Proposal.objects.visible_to(actor).waiting().filter(successor=actor.user_id)
        known = int(asked.order_by().values("vacancy__former_owner").distinct().count())
        cache.set(_asked_about(actor), known, REMEMBERED)
    return known


def _asked_about(actor: Actor) -> str:
    return f"portal.succession.{actor.user_id}"


def _reviews(actor: Actor) -> list[Task]:
    tasks = []
    for each in inbox(actor):
        intake = each.campaign.kind == Campaign.Kind.INTAKE
        undecided = ngettext("%(n)d item", "%(n)d items", each.open) % {"n": each.open}
        words = [undecided, _("about %(n)d min") % {"n": each.minutes}]
        if each.high_risk:
            words.append(_("%(n)d of high risk") % {"n": each.high_risk})
        if each.drafted:
            words.append(_("%(n)d decided, not signed") % {"n": each.drafted})
        tasks.append(
            Task(
                kind="intake" if intake else "review",
                title=each.campaign.name,
                detail=", ".join(str(word) for word in words),
                url=reverse("reviews:workbench", args=[each.campaign.pk]),
                button=_("Review") if each.open else _("Sign off"),
                icon="clipboard-check",
                due=each.campaign.due_at,
            )
        )
    return tasks


def _acts(actor: Actor) -> list[Task]:
    """What else of reviews waits for this person, others being stuck until they act."""
    return [
        Task(
            kind="act",
            title=each.title,
            detail=f"{each.detail} · {_('%(name)s asks') % {'name': each.asked_by}}" if each.asked_by else each.detail,
            url=each.url,
            button=each.button,
            icon=each.icon,
            since=each.since,
        )
        for each in waiting(actor)
    ]


def _requests(actor: Actor) -> list[Task]:
    """Requests this person may decide and is not part of; those of a registration are decided with its intake."""
    rows: list[Grant | Connection] = [
        *Grant.objects.visible_to(actor)
        .filter(status=Status.REQUESTED, server__lifecycle=Lifecycle.ACTIVE)
        .select_related("agent__server", "server")
        .order_by("created_at")[: 3 * SHOWN_PER_KIND],
        *Connection.objects.visible_to(actor)
        .filter(status=Status.REQUESTED, server__lifecycle=Lifecycle.ACTIVE)
        .select_related("system", "server")
        .order_by("created_at")[: 3 * SHOWN_PER_KIND],
    ]
    mine = [
        each for each in rows if allows(actor, f"trust.approve_{each.kind}", each) and not bars(actor.user_id, each)
    ]
    return [
        Task(
            kind="request",
            title=str(each),
            detail=each.reason,
            url=reverse(f"trust:{each.kind}", args=[each.pk]),
            button=_("Decide"),
            icon="share-2",
        )
        for each in mine[:SHOWN_PER_KIND]
    ]


def _oversight(actor: Actor) -> Oversight:
    visible = Server.objects.visible_to(actor)
    uncertified = Q(certified_until=None) | Q(certified_until__lte=clock.now())
    rows = {
        row["tier"]: (row["total"], row["uncertified"])
        for row in visible.filter(lifecycle=Lifecycle.ACTIVE)
        .order_by()
        .values("tier")
        .annotate(total=Count("pk"), uncertified=Count("pk", filter=uncertified))
    }
    tiers = [(tier, *rows.get(tier, (0, 0))) for tier in Tier.values]
    machines = len(findings(actor)) if allows(actor, "accounts.view_all_tokens") else 0
    return Oversight(tiers, visible.filter(lifecycle=Lifecycle.SUBMITTED).count(), machines)


# --- Search ----------------------------------------------------------------------------------------------

FOUND_PER_KIND = 8


@dataclass(frozen=True)
class Hit:
    title: str
    detail: str
    url: str


@dataclass(frozen=True)
class Section:
    """What was found of one kind; `more` is the list with the same question, where there is one."""

    title: "str | Promise"
    icon: str
    hits: list[Hit]
    more: str = ""


def search(actor: Actor, text: str) -> list[Section]:
    """What `actor` may see and `text` names, one query and at most eight hits per kind."""
    text = text.strip()
    if len(text) < 2:
        return []
    words = text.split()
    sections = [
        Section(_("Servers"), "server", _servers_named(actor, text), reverse("catalog:servers")),
        Section(_("Agents"), "bot", _agents_named(actor, words), reverse("catalog:agents")),
        Section(_("Systems"), "database", _systems_named(actor, words), reverse("catalog:systems")),
        Section(_("Tools"), "wrench", _tools_named(actor, words)),
        Section(_("People"), "users", _people_named(actor, words)),
        Section(_("Campaigns"), "list-checks", _campaigns_named(actor, words)),
    ]
    return [section for section in sections if section.hits]


def _matching(words: Sequence[str], *fields: str) -> Q:
    """Every word occurs in at least one of `fields`."""
    wanted = Q()
    for word in words:
        anywhere = Q()
        for field in fields:
            anywhere |= Q(**{f"{field}__icontains": word})
        wanted &= anywhere
    return wanted


def _servers_named(actor: Actor, text: str) -> list[Hit]:
    rows = Server.objects.visible_to(actor).matching(text).order_by("-id")[:FOUND_PER_KIND]
    return [Hit(each.label, each.name, reverse("catalog:server", args=[each.pk])) for each in rows]


def _agents_named(actor: Actor, words: Sequence[str]) -> list[Hit]:
    rows = (
        Agent.objects.visible_to(actor)
        .filter(_matching(words, "name", "spiffe_id", "client_id"))
        .select_related("issuer")[:FOUND_PER_KIND]
    )
    return [Hit(each.name, each.identity, reverse("catalog:agent", args=[each.pk])) for each in rows]


def _systems_named(actor: Actor, words: Sequence[str]) -> list[Hit]:
    rows = System.objects.visible_to(actor).filter(_matching(words, "name"))[:FOUND_PER_KIND]
    return [
        Hit(
            each.name,
            f"{each.get_kind_display()}, {each.get_environment_display()}",
            reverse("catalog:system", args=[each.pk]),
        )
        for each in rows
    ]


def _tools_named(actor: Actor, words: Sequence[str]) -> list[Hit]:
    rows = (
        Tool.objects.filter(
            _matching(words, "name", "title"), retired_at=None, server__in=Server.objects.visible_to(actor)
        )
        .select_related("server")
        .order_by("name", "-id")[:FOUND_PER_KIND]
    )
    return [
        Hit(each.name, each.server.label, reverse("catalog:server_tab", args=[each.server.pk, "tools"]))
        for each in rows
    ]


def _people_named(actor: Actor, words: Sequence[str]) -> list[Hit]:
    if not allows(actor, "accounts.view"):
        return []
    rows = User.objects.filter(_matching(words, "name", "email"))[:FOUND_PER_KIND]
    return [Hit(each.name, each.email, reverse("accounts:person", args=[each.pk])) for each in rows]


def _campaigns_named(actor: Actor, words: Sequence[str]) -> list[Hit]:
    if not allows(actor, "reviews.view"):
        return []
    rows = Campaign.objects.filter(_matching(words, "name", "period"), kind=Campaign.Kind.PERIODIC)[:FOUND_PER_KIND]
    return [Hit(each.name, each.get_state_display(), reverse("reviews:campaign", args=[each.pk])) for each in rows]
