"""Pages of trust: relationships, requests, every act on them, and the panels other rooms' pages load."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.forms import Form
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.http import require_safe

from registry.audit.queries import events_about
from registry.catalog.forms import ReasonForm
from registry.catalog.models import Agent, Server, System
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Malformed, NotFound
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.pagination import NEWER, OLDER, Page, keyset_page
from registry.core.permissions import allows, require
from registry.trust import paths, queries, services
from registry.trust.filters import AnyGrantFilter, filtered
from registry.trust.forms import (
    LIFETIMES,
    ConnectionForm,
    GrantForm,
    ReduceConnectionForm,
    ReduceGrantForm,
    SecretSourceForm,
    VersionForm,
)
from registry.trust.models import Connection, Grant, seen_by
from registry.trust.picture import draw
from registry.trust.states import RELATIONSHIP, Status

NAV = "trust"
CSV_PAGE = 1000
ROWS = 40
"""What fits into 60 kB of page."""
MODELS: dict[str, type[Grant] | type[Connection]] = {"grant": Grant, "connection": Connection}
ENDS = {
    "grant": ("agent", "agent__server", "agent__owner", "server", "server__owner", "server__team"),
    "connection": ("server", "server__owner", "server__team", "system", "system__owner", "secret_source"),
}


# --- Lists -----------------------------------------------------------------------------------------------

TABS = (("", gettext_lazy("All")), ("grant", gettext_lazy("Grants")), ("connection", gettext_lazy("Connections")))


@require_safe
def relationships(request: Request) -> HttpResponse:
    """Grants and connections, newest first; the question is the URL."""
    require(request.actor, "trust.view")
    filterset = AnyGrantFilter(request.GET, queryset=Grant.objects.none())
    page: Page[Any] = Page(items=[], older=None, newer=None)
    if filterset.is_valid():
        page = _union_page(request)
    without_kind = _query(request, "kind")
    kinds = request.GET.getlist("kind")
    tabs = [
        {
            "title": title,
            "url": f"?{'&'.join(part for part in (f'kind={kind}' if kind else '', without_kind) if part)}",
            "current": kinds == ([kind] if kind else []),
        }
        for kind, title in TABS
    ]
    query = _query(request)
    context = {
        "nav": NAV,
        "filter": filterset,
        "chosen": [each for each in chosen(filterset, request) if each.word not in ("grant", "connection")],
        "page": page,
        "tabs": tabs,
        "csv_url": f"{reverse('trust:relationships_csv')}?{query}",
        "may_request": allows(request.actor, "trust.request_grant"),
        "waiting": _waiting(request.actor),
    }
    return render(request, "trust/relationships.html", context)


def _query(request: Request, *dropped: str) -> str:
    query = request.GET.copy()
    for name in (OLDER, NEWER, *dropped):
        query.pop(name, None)
    return query.urlencode()


def _union_page(request: Request) -> Page[Any]:
    found = queries.relationship_page(
        **filtered(request.actor, request.GET),
        now=clock.now(),
        before=_cursor(request, OLDER),
        after=_cursor(request, NEWER),
        limit=ROWS,
    )

    def link(direction: str, cursor: UUID | None) -> str | None:
        parts = [part for part in (_query(request), f"{direction}={cursor}") if part]
        return f"{request.path}?{'&'.join(parts)}" if cursor else None

    return Page(items=found.rows, older=link(OLDER, found.next), newer=link(NEWER, found.previous))


def _cursor(request: Request, name: str) -> UUID | None:
    value = request.GET.get(name)
    try:
        return UUID(value) if value else None
    except ValueError as error:
        raise Malformed(_("This page link is damaged. Start again from the first page.")) from error


CSV_COLUMNS = (
    "kind", "status", "agent_name", "server_name", "system_name", "tools", "all_tools", "access", "scopes",
    "environment", "tier", "team_name", "valid_until", "certified_until", "certified", "id",
)  # fmt: skip


class _Echo:
    """What csv.writer writes to, when the line itself is wanted."""

    def write(self, line: str) -> str:
        return line


def _cell(value: Any) -> str:
    text = " ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    # A spreadsheet runs what begins like a formula; a quote in front makes it text.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


@require_safe
def relationships_csv(request: Request) -> HttpResponseBase:
    """Exactly the list's question, all of its rows."""
    require(request.actor, "trust.view")
    sides = filtered(request.actor, request.GET)
    now = clock.now()

    def lines() -> Iterator[str]:
        writer = csv.writer(_Echo())
        yield writer.writerow(CSV_COLUMNS)
        before: UUID | None = None
        while True:
            page = queries.relationship_page(**sides, now=now, before=before, limit=CSV_PAGE)
            for row in page.rows:
                yield writer.writerow(_cell(row[name]) for name in CSV_COLUMNS)
            if page.next is None:
                return
            before = page.next

    name = f"relationships-{now:%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8", headers=headers)


def _requests(actor: Actor, kind: str) -> QuerySet[Any]:
    return (
        MODELS[kind]
        .objects.visible_to(actor)
        .filter(status=Status.REQUESTED)
        .select_related("requested_by", *ENDS[kind])
    )


def _waiting(actor: Actor) -> dict[str, int]:
    """How many requests wait, per kind; past a thousand nobody counts."""
    return {kind: _requests(actor, kind).order_by()[:1000].count() for kind in MODELS}


@require_safe
def requests(request: Request) -> HttpResponse:
    """What waits for a decision, each with whether the reader may decide it and, if not, why."""
    require(request.actor, "trust.view")
    kind = request.GET.get("kind", "grant")
    if kind not in MODELS:
        raise NotFound
    page = keyset_page(_requests(request.actor, kind), request, order=("valid_until", "id"))
    context = {
        "nav": NAV,
        "kind": kind,
        "page": page,
        "rows": [{"thing": thing, "verdict": verdict(request.actor, thing)} for thing in page],
        "waiting": _waiting(request.actor),
    }
    return render(request, "trust/requests.html", context)


@dataclass(frozen=True)
class Verdict:
    """Whether somebody may decide on a request. `barred` says what they are to it, completing "you …"."""

    may_approve: bool
    may_refuse: bool
    barred: list[str]
    lacks_role: bool


def verdict(actor: Actor, thing: Grant | Connection) -> Verdict:
    barred = bars(actor.user_id, thing)
    permitted = allows(actor, f"trust.approve_{thing.kind}", thing)
    return Verdict(
        may_approve=permitted and not barred,
        may_refuse=allows(actor, "trust.refuse_relationship", thing),
        barred=barred,
        lacks_role=not permitted,
    )


# --- Asking ----------------------------------------------------------------------------------------------


class RequestView(View):
    """Ask for a grant or a connection. Once the server is named, the form knows its tools and secret sources.

    Without scripts the button "Show …" posts what was typed and comes back with the rest of the form.
    """

    kind: ClassVar[str]
    form_class: ClassVar[type[GrantForm] | type[ConnectionForm]]
    service: ClassVar[Callable[..., Any]]
    ends: ClassVar[dict[str, type[Agent] | type[Server] | type[System]]]
    request: Request

    def _initial(self) -> dict[str, Any]:
        """Ends given in the address by id, so that a page can link to "ask for this"."""
        initial: dict[str, Any] = {}
        for name, model in self.ends.items():
            if text := self.request.GET.get(name, ""):
                try:
                    initial[name] = seen_by(self.request.actor, model).filter(pk=UUID(text)).first()
                except ValueError:
                    initial[name] = text
        if tools := self.request.GET.getlist("tools"):
            initial["tools"] = tools
        return initial

    def _page(self, form: GrantForm | ConnectionForm) -> HttpResponse:
        return answer(self.request, f"trust/request_{self.kind}.html", form, {"nav": NAV, "kind": self.kind})

    def get(self, request: Request) -> HttpResponse:
        require(request.actor, f"trust.request_{self.kind}")
        return self._page(self.form_class(initial=self._initial(), actor=request.actor))

    def post(self, request: Request) -> HttpResponse:
        require(request.actor, f"trust.request_{self.kind}")
        if "show" in request.POST:
            typed: dict[str, Any] = {name: value for name, value in request.POST.items() if value}
            typed["tools"] = request.POST.getlist("tools")
            return self._page(self.form_class(initial=typed, actor=request.actor))
        form = self.form_class(request.POST, actor=request.actor)
        asked = run(form, partial(type(self).service, actor=request.actor))
        if asked is None:
            return self._page(form)
        messages.success(request, _("Requested. Somebody independent has to approve it."))
        return redirect(f"trust:{self.kind}", asked.pk)


class RequestGrant(RequestView):
    kind = "grant"
    form_class = GrantForm
    service = services.request_grant
    ends = {"agent": Agent, "server": Server}


class RequestConnection(RequestView):
    kind = "connection"
    form_class = ConnectionForm
    service = services.request_connection
    ends = {"server": Server, "system": System}


# --- One relationship ------------------------------------------------------------------------------------


def _visible(actor: Actor, kind: str, pk: UUID) -> Any:
    """The relationship, or `NotFound`: what one may not see does not exist."""
    require(actor, "trust.view")
    people = ("requested_by", "decided_by", *(("purpose",) if kind == "grant" else ()))
    found = MODELS[kind].objects.visible_to(actor).select_related(*ENDS[kind], *people).filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


@require_safe
def relationship(request: Request, kind: str, pk: UUID) -> HttpResponse:
    thing = _visible(request.actor, kind, pk)
    versions = list(queries.versions(thing))
    context: dict[str, Any] = {
        "nav": NAV,
        "kind": kind,
        "thing": thing,
        "versions": versions,
        "events": events_about(kind, thing.pk).order_by("-at", "-id")[:50],
        "certification": _certification(thing),
        "verdict": verdict(request.actor, thing) if thing.status == Status.REQUESTED else None,
        "in_force": next((each for each in versions if each.status == Status.ACTIVE and each.pk != thing.pk), None),
        "actions": [(act, act.url(thing)) for act in ACTS.values() if act.open_to(request.actor, thing)],
        "path": draw(paths.of_relationship(request.actor, thing)),
    }
    if kind == "grant":
        context["lifetime"] = dict(LIFETIMES).get(
            thing.max_token_lifetime_seconds, _("%(n)d seconds") % {"n": thing.max_token_lifetime_seconds}
        )
    if thing.status == Status.ACTIVE:
        agents, hidden = queries.losses(request.actor, cut=kind, id=thing.pk, now=clock.now())  # type: ignore[arg-type]
        context |= {"agents": agents, "hidden": hidden}
    return render(request, "trust/relationship.html", context)


def _certification(thing: Grant | Connection) -> str:
    if thing.status != Status.ACTIVE:
        return ""
    if thing.certified_until is None:
        return "never_certified"
    now = clock.now()
    if thing.certified_until <= now:
        return "lapsed"
    return "lapsing" if thing.certified_until <= now + clock.days(30) else "certified"


# --- Acts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Act:
    """An act on a relationship: its confirmation page in words, and the one service call behind it."""

    name: str
    permission: str
    after: Status | None
    before: tuple[Status, ...]
    button: str | Promise
    done: str | Promise
    consequences: tuple[str | Promise, ...]
    icon: str
    tone: str = ""
    breaks: bool = False
    kinds: tuple[str, ...] = ("grant", "connection")
    independent: bool = False

    def title(self, thing: Grant | Connection) -> str:
        return f"{self.button}: {thing}"

    def url(self, thing: Grant | Connection) -> str:
        return reverse(f"trust:{thing.kind}_{self.name.replace('-', '_')}", args=[thing.pk])

    def permission_on(self, thing: Grant | Connection) -> str:
        return self.permission.format(kind=thing.kind)

    def open_to(self, actor: Actor, thing: Grant | Connection) -> bool:
        return (
            thing.kind in self.kinds
            and thing.status in self.before
            and (self.after is None or RELATIONSHIP.allows(thing.status, self.after))
            and allows(actor, self.permission_on(thing), thing)
            and not (self.independent and bars(actor.user_id, thing))
        )


ACTS: dict[str, Act] = {
    act.name: act
    for act in (
        Act(
            "approve",
            "trust.approve_{kind}",
            Status.ACTIVE,
            (Status.REQUESTED,),
            gettext_lazy("Approve"),
            gettext_lazy("Approved. It is in force."),
            (
                gettext_lazy("It is in force at once, until the day stated."),
                gettext_lazy("What the two had before is replaced by it."),
                gettext_lazy("It is not certified yet: that is for the next review."),
            ),
            "check",
            tone="primary",
            independent=True,
        ),
        Act(
            "refuse",
            "trust.refuse_relationship",
            Status.REFUSED,
            (Status.REQUESTED,),
            gettext_lazy("Refuse"),
            gettext_lazy("Refused. The requester sees your reason."),
            (gettext_lazy("Nothing changes; it may be asked for again."),),
            "circle-x",
            tone="danger",
        ),
        Act(
            "withdraw",
            "trust.withdraw_relationship",
            Status.WITHDRAWN,
            (Status.REQUESTED,),
            gettext_lazy("Withdraw"),
            gettext_lazy("Withdrawn."),
            (gettext_lazy("Nobody has to decide on it any more. You may ask again."),),
            "undo-2",
        ),
        Act(
            "secret-source",
            "trust.connect_secret_source",
            None,
            (Status.REQUESTED, Status.ACTIVE, Status.SUSPENDED),
            gettext_lazy("Name secret source"),
            gettext_lazy("The secret source is named."),
            (gettext_lazy("A different credential ends the certification of this connection."),),
            "key-round",
            kinds=("connection",),
        ),
        Act(
            "reduce",
            "trust.reduce_relationship",
            Status.REDUCED,
            (Status.ACTIVE,),
            gettext_lazy("Reduce"),
            gettext_lazy("Reduced. This is the narrower version; the one before stays as history."),
            (
                gettext_lazy("What you do not keep is taken away at once."),
                gettext_lazy("The narrower version has to be certified anew."),
            ),
            "circle-minus",
        ),
        Act(
            "suspend",
            "trust.suspend_relationship",
            Status.SUSPENDED,
            (Status.ACTIVE,),
            gettext_lazy("Suspend"),
            gettext_lazy("Suspended. Gateways that ask the registry deny it from now on."),
            (
                gettext_lazy("It stops at once and may be resumed."),
                gettext_lazy("Only security resumes it, and only somebody independent."),
            ),
            "circle-pause",
            tone="danger",
            breaks=True,
        ),
        Act(
            "resume",
            "trust.resume_relationship",
            Status.ACTIVE,
            (Status.SUSPENDED,),
            gettext_lazy("Resume"),
            gettext_lazy("Back in force."),
            (gettext_lazy("It is in force again at once."),),
            "circle-play",
            tone="primary",
            independent=True,
        ),
        Act(
            "revoke",
            "trust.revoke_relationship",
            Status.REVOKED,
            (Status.ACTIVE, Status.SUSPENDED),
            gettext_lazy("Revoke"),
            gettext_lazy("Revoked. Its history stays."),
            (
                gettext_lazy("This cannot be undone; it would have to be asked for and approved again."),
                gettext_lazy("Its certification ends."),
            ),
            "ban",
            tone="danger",
            breaks=True,
        ),
    )
}
WORDLESS = {"approve", "withdraw"}


def _granted_tools(grant: Grant) -> list[dict[str, Any]]:
    """Each tool a grant covers as the server lists it now; `tool` is None for a name the server does not list."""
    listed = {tool.name: tool for tool in grant.server.tools.filter(retired_at=None)}
    return [{"name": name, "tool": listed.get(name)} for name in (listed if grant.all_tools else grant.tools)]


class ActView(View):
    """Confirm one act on one relationship: what happens, what breaks, why; then one service call."""

    act: str = ""
    kind: str = ""
    request: Request

    def _form(self, thing: Any, data: Any = None) -> Form:
        initial = {"version": thing.etag}
        if self.act in WORDLESS:
            return VersionForm(data, initial=initial)
        if self.act == "secret-source":
            initial["secret_source"] = thing.secret_source_id
            return SecretSourceForm(data, initial=initial, connection=thing)
        if self.act == "reduce" and self.kind == "grant":
            tools = thing.tools or list(thing.server.tools.filter(retired_at=None).values_list("name", flat=True))
            return ReduceGrantForm(data, initial=initial | {"kept_tools": tools}, tools=tools)
        if self.act == "reduce":
            initial |= {"access": thing.access, "kept_scopes": thing.scopes}
            return ReduceConnectionForm(data, initial=initial, connection=thing)
        return ReasonForm(data, initial=initial)

    def _call(self, thing: Any) -> Callable[..., Any]:
        by_kind = {
            "approve": (services.approve_grant, services.approve_connection),
            "reduce": (services.reduce_grant, services.reduce_connection),
        }
        if self.act in by_kind:
            service: Any = by_kind[self.act][self.kind == "connection"]
            target = {self.kind: thing}
        elif self.act == "secret-source":
            service, target = services.connect_secret_source, {"connection": thing}
        else:
            service, target = getattr(services, f"{self.act}_relationship"), {"relationship": thing}

        def call(*, version: str, **facts: Any) -> Any:
            return service(actor=self.request.actor, expected_version=version or None, **target, **facts)

        return call

    def _page(self, thing: Any, form: Form) -> HttpResponse:
        act = ACTS[self.act]
        context = {
            "nav": NAV,
            "kind": self.kind,
            "thing": thing,
            "act": act,
            "title": act.title(thing),
            "verdict": verdict(self.request.actor, thing) if self.act == "approve" else None,
            "breaks": act.breaks,
        }
        if self.kind == "grant":
            context["tools"] = _granted_tools(thing)
        if act.breaks:
            agents, hidden = queries.losses(self.request.actor, cut=self.kind, id=thing.pk, now=clock.now())  # type: ignore[arg-type]
            context |= {"agents": agents, "hidden": hidden}
        return answer(self.request, "trust/act.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing = _visible(request.actor, self.kind, pk)
        act = ACTS[self.act]
        require(request.actor, act.permission_on(thing), thing)
        if thing.status not in act.before:
            raise Conflict(
                _("This is %(status)s; that no longer applies.") % {"status": thing.get_status_display().lower()}
            )
        return self._page(thing, self._form(thing))

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = _visible(request.actor, self.kind, pk)
        form = self._form(thing, request.POST)
        done = run(form, self._call(thing))
        if done is None:
            return self._page(thing, form)
        messages.success(request, str(ACTS[self.act].done))
        return redirect(f"trust:{self.kind}", done.pk)


# --- Panels ----------------------------------------------------------------------------------------------


def _subject(actor: Actor, model: type[Model], pk: UUID) -> Any:
    require(actor, "trust.view")
    found = seen_by(actor, model).filter(pk=pk).first()  # type: ignore[arg-type]
    if found is None:
        raise NotFound
    return found


def _panel(request: Request, fragment: str, thing: Any, title: str, context: dict[str, Any]) -> HttpResponse:
    """The fragment for htmx; for whoever follows the link, the same inside a page."""
    kind = thing.subject_type
    context |= {"thing": thing, "kind": kind, "page_url": reverse(f"catalog:{kind}", args=[thing.pk])}
    if request.htmx:
        response = render(request, f"trust/{fragment}", context)
    else:
        response = render(
            request, "trust/panel.html", context | {"nav": f"{kind}s", "fragment": f"trust/{fragment}", "title": title}
        )
    response["Vary"] = "HX-Request"
    return response


@require_safe
def server_panel(request: Request, pk: UUID) -> HttpResponse:
    """The trust path, as a picture or as a table (`?view=table`)."""
    server = _subject(request.actor, Server, pk)
    path = paths.of_server(request.actor, server)
    as_table = request.GET.get("view") == "table"
    context = {"path": path, "as_table": as_table, "picture": "" if as_table else draw(path)}
    return _panel(request, "_server_panel.html", server, _("Trust path"), context)


@require_safe
def server_relationships(request: Request, pk: UUID) -> HttpResponse:
    """Grants on a server and its connections, with what waits or rests."""
    server = _subject(request.actor, Server, pk)
    actor = request.actor
    context = {
        "grants": _open(actor, Grant, server=server).select_related("agent"),
        "connections": _open(actor, Connection, server=server).select_related("system", "secret_source"),
        "may_request": server.lifecycle != "retired" and allows(actor, "trust.request_grant"),
    }
    return _panel(request, "_server_relationships.html", server, _("Grants and connections"), context)


def _open(actor: Actor, model: Any, **ends: Any) -> QuerySet[Any]:
    return model.objects.visible_to(actor).current().filter(**ends).order_by("status", "-id")[:100]


@require_safe
def agent_panel(request: Request, pk: UUID) -> HttpResponse:
    agent = _subject(request.actor, Agent, pk)
    context = {
        "reach": queries.reach(request.actor, agent),
        "grants": _open(request.actor, Grant, agent=agent).select_related("server"),
        "may_request": agent.standing == "active" and allows(request.actor, "trust.request_grant"),
    }
    return _panel(request, "_agent_panel.html", agent, _("What it reaches"), context)


@require_safe
def system_panel(request: Request, pk: UUID) -> HttpResponse:
    system = _subject(request.actor, System, pk)
    context = {
        "access": queries.access(request.actor, system),
        "connections": _open(request.actor, Connection, system=system).select_related("server"),
        "may_request": system.standing == "active" and allows(request.actor, "trust.request_connection"),
    }
    return _panel(request, "_system_panel.html", system, _("Who reaches it"), context)


@require_safe
def server_impact(request: Request, pk: UUID) -> HttpResponse:
    """What breaks when a server is suspended or retired."""
    server = _subject(request.actor, Server, pk)
    return _panel(
        request, "_server_impact.html", server, _("What breaks"), {"blast": queries.blast_radius(request.actor, server)}
    )


@require_safe
def agent_impact(request: Request, pk: UUID) -> HttpResponse:
    agent = _subject(request.actor, Agent, pk)
    return _panel(
        request, "_agent_impact.html", agent, _("What it loses"), {"reach": queries.reach(request.actor, agent)}
    )


@require_safe
def system_impact(request: Request, pk: UUID) -> HttpResponse:
    system = _subject(request.actor, System, pk)
    return _panel(
        request, "_system_impact.html", system, _("Who loses it"), {"access": queries.access(request.actor, system)}
    )
