"""What a blast radius and an impact say, as numbers with words and as named rows: for panels and pages that cut.

`queries` answers with ids and exact counts; here they become what a person reads, at most a few rows of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.trust.chart import data_word
from registry.trust.labels import Label, labels
from registry.trust.models import Grant
from registry.trust.queries import ask
from registry.trust.queries.answers import BlastRadius, Cut, CutSystem, Impact, Loss, Rows

SHOWN = 10
"""Rows of a panel; the explorer shows the rest."""
NAMED = 6
"""Systems named in one row."""


@dataclass(frozen=True)
class Fact:
    """A number of an answer, with its words."""

    count: int
    words: str
    tone: str = ""


def blast_facts(blast: BlastRadius, kind: str) -> list[Fact]:
    """What is touched when it is compromised."""
    counts = blast.counts
    worst = next((value for value, count in blast.data_classes.items() if count), "")
    facts = []
    if kind != "system":
        words = ngettext("system reachable", "systems reachable", counts["systems"])
        if worst:
            words = _("%(words)s, up to %(class)s") % {"words": words, "class": data_word(worst).lower()}
        facts.append(Fact(counts["systems"], words, "danger" if worst in ("confidential", "restricted") else ""))
    if counts["servers"]:
        words = {
            "server": ngettext("other server callable", "other servers callable", counts["servers"]),
            "system": ngettext("server reaches it", "servers reach it", counts["servers"]),
        }.get(kind, ngettext("server callable", "servers callable", counts["servers"]))
        facts.append(Fact(counts["servers"], words))
    if kind != "agent" and counts["agents"]:
        words = (
            ngettext("agent reaches it", "agents reach it", counts["agents"])
            if kind == "system"
            else ngettext("agent concerned", "agents concerned", counts["agents"])
            if kind in ("issuer", "team", "person")
            else ngettext("agent trusts it", "agents trust it", counts["agents"])
        )
        facts.append(Fact(counts["agents"], words))
    if counts["people"]:
        facts.append(Fact(counts["people"], ngettext("person accountable", "people accountable", counts["people"])))
    return facts


def impact_facts(impact: Impact) -> list[Fact]:
    """What breaks when it is cut."""
    counts = impact.counts
    agents, tools = counts["losing_systems"], counts["losing_tools"]
    unserved, kept = counts["unserved"], counts["pairs_kept"]
    facts = [
        Fact(agents, ngettext("agent loses a system", "agents lose a system", agents), "danger"),
        Fact(tools, ngettext("agent loses tools", "agents lose tools", tools), "warn"),
        Fact(unserved, ngettext("system nobody reaches then", "systems nobody reaches then", unserved), "danger"),
        Fact(
            kept,
            ngettext(
                "pair of agent and system stays connected another way",
                "pairs of agent and system stay connected another way",
                kept,
            ),
            "ok",
        ),
    ]
    return [fact for fact in facts if fact.count]


# --- Named rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedLoss:
    """An agent and what it loses. `more` counts systems that are neither named here nor to be named to the reader."""

    agent: Label
    tools: Sequence[str]
    more_tools: int
    all_tools: bool
    loses: Sequence[Label]
    more_loses: int
    keeps: Sequence[Label]
    more_keeps: int


@dataclass(frozen=True)
class NamedSystem:
    system: Label
    data_class: str
    unserved: bool
    lost_by: int


@dataclass(frozen=True)
class Breaks:
    """What breaks without it: `agents` and `systems` are the worst few, the `more_` numbers count the rest."""

    facts: Sequence[Fact]
    agents: Sequence[NamedLoss]
    more_agents: int
    hidden_agents: int
    systems: Sequence[NamedSystem]
    more_systems: int
    hidden_systems: int

    @property
    def concerns(self) -> bool:
        """Whether anybody depends on it."""
        return bool(self.agents or self.more_agents or self.hidden_agents)


NOTHING = Breaks((), (), 0, 0, (), 0, 0)


def what_breaks(actor: Actor, kind: Cut, id: UUID) -> Breaks:
    """What breaks now without a thing the actor may see. Without what has ended already, nothing does."""
    try:
        return breaks(actor, ask(actor).impact(kind, id))
    except NotFound:
        return NOTHING


def breaks(actor: Actor, impact: Impact) -> Breaks:
    """The impact with names, in one statement per kind. Tools are named of grants the actor may see."""
    losses: list[Loss] = _first(impact.agents, SHOWN)
    cut: list[CutSystem] = [each for each in _first(impact.systems, SHOWN) if each.unserved or each.lost_by]
    system_ids = {pk for loss in losses for pk in (*loss.loses[:NAMED], *loss.keeps[:NAMED])} | {
        each.id for each in cut
    }
    known = labels([*(("agent", loss.id) for loss in losses), *(("system", pk) for pk in system_ids)])

    def names(ids: Sequence[Any]) -> list[Label]:
        return [known[("system", pk)] for pk in ids[:NAMED] if ("system", pk) in known]

    cut_grants = [pk for loss in losses for pk in loss.grants[:NAMED]]
    terms = Grant.objects.visible_to(actor).filter(pk__in=cut_grants).values_list("pk", "tools", "all_tools")
    granted = {pk: (tools, all_tools) for pk, tools, all_tools in terms} if cut_grants else {}

    def tools(loss: Loss) -> list[str]:
        return sorted({tool for pk in loss.grants for tool in granted.get(pk, ([], False))[0]})

    return Breaks(
        facts=impact_facts(impact),
        agents=[
            NamedLoss(
                agent=known[("agent", loss.id)],
                tools=tools(loss)[:NAMED],
                more_tools=len(tools(loss)[NAMED:]),
                all_tools=any(granted[pk][1] for pk in loss.grants if pk in granted),
                loses=names(loss.loses),
                more_loses=len(loss.loses[NAMED:]) + loss.hidden_loses,
                keeps=names(loss.keeps),
                more_keeps=len(loss.keeps[NAMED:]) + loss.hidden_keeps,
            )
            for loss in losses
            if ("agent", loss.id) in known
        ],
        more_agents=max(len(impact.agents) - SHOWN, 0),
        hidden_agents=impact.hidden.get("agents", 0),
        systems=[
            NamedSystem(known[("system", each.id)], each.data_class, each.unserved, each.lost_by)
            for each in cut
            if ("system", each.id) in known
        ],
        more_systems=max(len(impact.systems) - SHOWN, 0),
        hidden_systems=impact.hidden.get("systems", 0),
    )


@dataclass(frozen=True)
class NamedReach:
    """A system or server that is reachable, or an agent whose trust is abused."""

    label: Label
    access: str
    data_class: str
    certified: bool
    direct: bool
    sole: bool = False


@dataclass(frozen=True)
class Radius:
    facts: Sequence[Fact]
    systems: Sequence[NamedReach]
    more_systems: int
    agents: Sequence[NamedReach]
    more_agents: int
    people: Sequence[Label]
    more_people: int
    hidden: dict[str, int]


def radius(blast: BlastRadius, kind: str) -> Radius:
    """The blast radius with names, in one statement per kind."""
    systems, agents, people = _first(blast.systems, SHOWN), _first(blast.agents, SHOWN), _first(blast.people, SHOWN)
    known = labels(
        [
            *(("system", row.id) for row in systems),
            *(("agent", row.id) for row in agents),
            *(("person", row.id) for row in people),
        ]
    )

    def named(rows: Sequence[Any], of: str) -> list[NamedReach]:
        return [
            NamedReach(
                known[(of, row.id)],
                row.access,
                getattr(row, "data_class", ""),
                row.certified,
                row.direct,
                getattr(row, "sole", False),
            )
            for row in rows
            if (of, row.id) in known
        ]

    return Radius(
        facts=blast_facts(blast, kind),
        systems=named(systems, "system"),
        more_systems=max(len(blast.systems) - SHOWN, 0),
        agents=named(agents, "agent"),
        more_agents=max(len(blast.agents) - SHOWN, 0),
        people=[known[("person", row.id)] for row in people if ("person", row.id) in known],
        more_people=max(len(blast.people) - SHOWN, 0),
        hidden=dict(blast.hidden),
    )


def _first(rows: Rows[Any], most: int) -> list[Any]:
    return [rows[position] for position in range(min(len(rows), most))]
