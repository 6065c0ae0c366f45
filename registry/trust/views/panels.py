"""Panels that other rooms' pages load: where a thing stands, what it reaches, and what breaks without it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from registry.catalog.looks import note_looks
from registry.catalog.models import Agent, SecretSource, Server, System
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.http import Request
from registry.core.panels import panels_for
from registry.core.permissions import allows, require
from registry.trust import paths
from registry.trust.consequences import SHOWN, blast_facts, impact_facts, radius, what_breaks
from registry.trust.labels import Label, labels
from registry.trust.lookup import find
from registry.trust.models import Connection, Grant, seen_by
from registry.trust.picture import draw
from registry.trust.queries import Questions, ask
from registry.trust.queries.answers import Cut, Path, Subject
from registry.trust.question import Question, Ref, key_of

PAGES = {
    "agent": "agents",
    "server": "servers",
    "system": "systems",
    "person": "people",
    "team": "people",
    "issuer": "agents",
    "secret_source": "servers",
}
"""Which entry of the navigation a panel belongs to when it is opened as a page."""


def _explore(**asked: Any) -> str:
    return f"{reverse('trust:explore')}?{Question(**asked).query()}"


def _subject(actor: Actor, model: type[Model], pk: UUID) -> Any:
    require(actor, "trust.view")
    found = seen_by(actor, model).filter(pk=pk).first()  # type: ignore[arg-type]
    if found is None:
        raise NotFound
    return found


def _panel(
    request: Request, fragment: str, subject: Ref, title: str | Promise, context: dict[str, Any]
) -> HttpResponse:
    """The fragment for htmx; for whoever follows the link, the same inside a page."""
    kind = subject[0]
    context |= {"kind": kind}
    note_looks(request.actor, [subject])
    if request.htmx:
        response = render(request, f"trust/{fragment}", context)
    else:
        label = labels([subject]).get(subject) or Label(str(title))
        context |= {"nav": PAGES.get(kind, "trust"), "fragment": f"trust/{fragment}", "title": title, "subject": label}
        response = render(request, "trust/panel.html", context)
    response["Vary"] = "HX-Request"
    return response


# --- Where it stands -------------------------------------------------------------------------------------


@require_safe
def server_panel(request: Request, pk: UUID) -> HttpResponse:
    """The trust path, as a picture or as a table (`?view=table`)."""
    server = _subject(request.actor, Server, pk)
    path = paths.of_server(request.actor, server)
    as_table = request.GET.get("view") == "table"
    context = {
        "thing": server,
        "path": path,
        "as_table": as_table,
        "picture": "" if as_table else draw(path),
        "explore_url": _explore(ask="around", of=key_of(("server", pk))),
    }
    return _panel(request, "_server_panel.html", ("server", pk), _("Trust path"), context)


@require_safe
def server_relationships(request: Request, pk: UUID) -> HttpResponse:
    """Grants on a server and its connections, with what waits or rests."""
    server = _subject(request.actor, Server, pk)
    actor = request.actor
    context = {
        "thing": server,
        "grants": _open(actor, Grant, server=server).select_related("agent"),
        "connections": _open(actor, Connection, server=server).select_related("system", "secret_source"),
        "may_request": server.lifecycle != "retired" and allows(actor, "trust.request_grant"),
    }
    return _panel(request, "_server_relationships.html", ("server", pk), _("Grants and connections"), context)


def _open(actor: Actor, model: Any, **ends: Any) -> QuerySet[Any]:
    return model.objects.visible_to(actor).current().filter(**ends).order_by("status", "-id")[:100]


@dataclass(frozen=True)
class Reached:
    """A system an agent reaches, or an agent that reaches a system, with the ways: servers, None for an unseen one."""

    label: Label
    access: str
    data_class: str
    certified: bool
    ways: Sequence[Sequence[Label | None]]


def _reached(
    questions: Questions, rows: Iterable[Any], kind: str, pair: Callable[[UUID], tuple[UUID, UUID]]
) -> list[Reached]:
    """`rows` with names and ways; `pair` makes the (agent, system) of a row's id."""
    shown = list(rows)
    routes = questions.routes([pair(row.id) for row in shown])
    servers = {ref for found in routes.values() for path in found for ref in _servers(path) if ref is not None}
    known = labels([*((kind, row.id) for row in shown), *servers])
    return [
        Reached(
            label=known[(kind, row.id)],
            access=row.access,
            data_class=getattr(row, "data_class", ""),
            certified=row.certified,
            ways=[[known.get(ref) if ref else None for ref in _servers(path)] for path in routes[pair(row.id)]],
        )
        for row in shown
        if (kind, row.id) in known
    ]


def _servers(path: Path) -> list[Ref | None]:
    return [step.target for step in path.steps if step.kind == "grant"]


@require_safe
def agent_panel(request: Request, pk: UUID) -> HttpResponse:
    agent = _subject(request.actor, Agent, pk)
    questions = ask(request.actor)
    reach = questions.reach(pk)
    context = {
        "thing": agent,
        "reached": _reached(questions, reach.systems.page(limit=SHOWN).rows, "system", lambda system: (pk, system)),
        "more": max(len(reach.systems) - SHOWN, 0),
        "hidden": reach.hidden,
        "explore_url": _explore(ask="reach", of=key_of(("agent", pk))),
        "grants": _open(request.actor, Grant, agent=agent).select_related("server"),
        "may_request": agent.standing == "active" and allows(request.actor, "trust.request_grant"),
    }
    return _panel(request, "_agent_panel.html", ("agent", pk), _("What it reaches"), context)


@require_safe
def system_panel(request: Request, pk: UUID) -> HttpResponse:
    system = _subject(request.actor, System, pk)
    questions = ask(request.actor)
    access = questions.access(pk)
    context = {
        "thing": system,
        "reached": _reached(questions, access.agents.page(limit=SHOWN).rows, "agent", lambda agent: (agent, pk)),
        "more": max(len(access.agents) - SHOWN, 0),
        "hidden": access.hidden,
        "explore_url": _explore(ask="reaches", of=key_of(("system", pk))),
        "connections": _open(request.actor, Connection, system=system).select_related("server"),
        "may_request": system.standing == "active" and allows(request.actor, "trust.request_connection"),
    }
    return _panel(request, "_system_panel.html", ("system", pk), _("Who reaches it"), context)


# --- What if ---------------------------------------------------------------------------------------------

AGENTS_TITLES: Mapping[str, str | Promise] = {
    "system": gettext_lazy("Reached by"),
    "issuer": gettext_lazy("Agents concerned"),
    "team": gettext_lazy("Agents concerned"),
    "person": gettext_lazy("Agents concerned"),
}


@require_safe
def radius_panel(request: Request, kind: Subject, pk: UUID) -> HttpResponse:
    """What is touched when it is compromised."""
    ref = _seen(request.actor, kind, pk)
    blast = ask(request.actor).blast_radius(kind, pk)
    context = {
        "radius": radius(blast, kind),
        "agents_title": AGENTS_TITLES.get(kind, _("Agents whose trust is abused")),
        "explore_url": _explore(ask="reaches" if kind == "system" else "reach", of=key_of(ref)),
    }
    return _panel(request, "_radius.html", ref, _("Blast radius"), context)


@require_safe
def impact_panel(request: Request, kind: Cut, pk: UUID) -> HttpResponse:
    """What breaks when it is cut."""
    ref = _seen(request.actor, kind, pk)
    context = {"breaks": what_breaks(request.actor, kind, pk), "explore_url": _explore(ask="cut", of=key_of(ref))}
    return _panel(request, "_breaks.html", ref, _("What breaks without it"), context)


def _seen(actor: Actor, kind: str, pk: UUID) -> Ref:
    require(actor, "trust.view")
    ref = (kind, pk)
    if not find(actor, key_of(ref), [kind]):
        raise NotFound
    return ref


@require_safe
def server_sources(request: Request, pk: UUID) -> HttpResponse:
    """The secret sources of a server: what each opens if it leaks, and what breaks when it is revoked."""
    server = _subject(request.actor, Server, pk)
    questions = ask(request.actor)
    sources = server.secret_sources.filter(retired_at=None).exclude(kind=SecretSource.Kind.NONE)[:SHOWN]
    refs: list[Ref] = [("secret_source", source.pk) for source in sources]
    known = labels(refs)
    context = {
        "sources": [
            {
                "id": ref[1],
                "label": known[ref],
                "panels": panels_for("secret_source", ref[1]),
                "radius": blast_facts(questions.blast_radius("secret_source", ref[1]), "secret_source"),
                "breaks": impact_facts(questions.impact("secret_source", ref[1])),
                "url": _explore(ask="cut", of=key_of(ref)),
            }
            for ref in refs
        ]
    }
    return _panel(request, "_sources.html", ("server", pk), _("What its secrets open"), context)
