"""Pages of the catalog: servers, systems, agents, issuers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import date as format_date
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.http import require_POST, require_safe

from registry.catalog import services
from registry.catalog.filters import AgentFilter, IssuerFilter, ServerFilter, SystemFilter
from registry.catalog.forms import LOOKUPS, OFFERED, AgentForm, IssuerForm, ReasonForm, SystemForm
from registry.catalog.history import history_of
from registry.catalog.looks import note_look
from registry.catalog.models import Agent, Issuer, Server, System
from registry.catalog.queries import (
    as_server_json,
    completeness,
    duplicates,
    orphaned_facts,
    seen_by_others,
    withdrawn_among,
)
from registry.catalog.states import SERVER, Lifecycle, Standing
from registry.core import clock, limits
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotFound
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.panels import PlacedPanel, panels_for
from registry.core.permissions import allows, require


def _visible(actor: Actor, model: Any, pk: UUID, *related: str) -> Any:
    """The thing, or `NotFound`: what one may not see does not exist."""
    require(actor, "catalog.view")
    found = model.objects.visible_to(actor).with_owner_question().select_related(*related).filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


# --- Lists -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SavedView:
    """A shipped list: a name and a query."""

    title: str | Promise
    query: str


SERVER_VIEWS = (
    SavedView(gettext_lazy("All"), ""),
    SavedView(gettext_lazy("Mine"), "owner=me"),
    SavedView(gettext_lazy("Active, not certified"), "lifecycle=active&certified=false"),
    SavedView(gettext_lazy("Lapses in 30 days"), "lapses_within=30"),
    SavedView(gettext_lazy("Needs an owner"), "owner_missing=true"),
    SavedView(gettext_lazy("Owner has left"), "orphaned=true"),
    SavedView(
        gettext_lazy("Can change confidential data"),
        "tool_class=write&tool_class=destructive&tool_class=execute&data_class=confidential&data_class=restricted",
    ),
    SavedView(gettext_lazy("Drafts"), "lifecycle=draft"),
)


SERVERS_PER_PAGE = 28
"""Rows with a ring, a meter and two times each: what fits into 60 kB of page."""


def _list(
    request: Request,
    template: str,
    queryset: QuerySet[Any],
    filter_class: type[Any],
    context: dict[str, Any],
    size: int = 50,
) -> HttpResponse:
    """The list pattern: filters whose state is the URL, newest first, keyset pages."""
    filterset = filter_class(request.GET, queryset=queryset, request=request)
    # What a damaged address asks for is nothing, said at the filter; never everything.
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    page = keyset_page(rows, request, size=size, count=True)
    return render(
        request,
        template,
        {"filter": filterset, "chosen": chosen(filterset, request), "page": page, **context},
    )


@require_safe
def servers(request: Request) -> HttpResponse:
    require(request.actor, "catalog.view")
    queryset = Server.objects.visible_to(request.actor).with_owner_question().select_related("owner", "team")
    query = request.GET.copy()
    for paging in ("older", "newer"):
        query.pop(paging, None)
    return _list(
        request,
        "catalog/servers.html",
        queryset,
        ServerFilter,
        {
            "nav": "servers",
            "views": SERVER_VIEWS,
            "query": query.urlencode(),
            "may_register": allows(request.actor, "catalog.register_server"),
        },
        size=SERVERS_PER_PAGE,
    )


@require_safe
def servers_completeness(request: Request) -> HttpResponse:
    """How many of the listed servers lack something; a fragment, because it reads all of them."""
    require(request.actor, "catalog.view")
    filterset = ServerFilter(request.GET, queryset=Server.objects.visible_to(request.actor), request=request)
    rows = filterset.qs if filterset.is_valid() else Server.objects.none()
    counts = (
        rows.exclude(lifecycle=Lifecycle.RETIRED)
        .order_by()
        .aggregate(
            total=Count("pk"),
            ownerless=Count("pk", filter=Q(owner=None) | Q(owner__is_active=False)),
            deputyless=Count("pk", filter=Q(deputy=None) | Q(deputy__is_active=False)),
            unaccepted=Count("pk", filter=Q(owner__isnull=False, owner_accepted_at=None)),
            uncertified=Count(
                "pk",
                filter=Q(lifecycle=Lifecycle.ACTIVE) & (Q(certified_until=None) | Q(certified_until__lte=clock.now())),
            ),
        )
    )
    lacking = max(counts["ownerless"], counts["deputyless"])
    segments = [
        ("ok", counts["total"] - lacking, _("with owner and deputy")),
        ("warn", lacking, _("without")),
    ]
    return render(request, "catalog/_completeness.html", {"counts": counts, "segments": segments, "nav": "servers"})


@require_safe
def systems(request: Request) -> HttpResponse:
    require(request.actor, "catalog.view")
    return _list(
        request,
        "catalog/systems.html",
        System.objects.visible_to(request.actor).with_owner_question().select_related("owner", "team"),
        SystemFilter,
        {"nav": "systems", "may_register": allows(request.actor, "catalog.register_system")},
    )


@require_safe
def agents(request: Request) -> HttpResponse:
    require(request.actor, "catalog.view")
    return _list(
        request,
        "catalog/agents.html",
        Agent.objects.visible_to(request.actor).with_owner_question().select_related("owner", "team", "issuer"),
        AgentFilter,
        {"nav": "agents", "may_register": allows(request.actor, "catalog.register_agent")},
    )


@require_safe
def issuers(request: Request) -> HttpResponse:
    require(request.actor, "catalog.view")
    return _list(
        request,
        "catalog/issuers.html",
        Issuer.objects.select_related("team").annotate(agent_count=Count("agents")),
        IssuerFilter,
        {"nav": "agents", "may_manage": allows(request.actor, "catalog.manage_issuers")},
    )


@require_safe
def options(request: Request, kind: str) -> HttpResponse:
    """Suggestions for a lookup field, as `<option>` elements of its datalist."""
    require(request.actor, "catalog.view")
    if kind not in LOOKUPS:
        raise NotFound
    field = LOOKUPS[kind]()
    # An input sends itself under its own name, whatever form it stands in: the one parameter is what was typed.
    text = next((request.GET[name] for name in request.GET), "").replace("\0", "")
    found = field.narrow(field.candidates(request.actor), text[:200])[:OFFERED]
    offered = [{"value": field.text_of(each), "label": str(each)} for each in found]
    return render(request, "catalog/_options.html", {"offered": offered})


# --- Server ----------------------------------------------------------------------------------------------

TABS = {
    "overview": gettext_lazy("Overview"),
    "tools": gettext_lazy("Tools"),
    "trust": gettext_lazy("Trust"),
    "discovery": gettext_lazy("Observed"),
    "reviews": gettext_lazy("Reviews"),
    "history": gettext_lazy("History"),
}
UPPER = {"trust", "reviews", "discovery"}
"""Tabs filled by the panels of the room of that name; without panels they are not shown."""
RELATED = ("owner", "deputy", "operator", "team", "created_by", "submitted_by")


@require_safe
def server(request: Request, pk: UUID, tab: str = "overview") -> HttpResponse:
    if tab not in TABS:
        raise NotFound
    thing: Server = _visible(request.actor, Server, pk, *RELATED)
    note_look(request.actor, thing)
    panels = panels_for("server", thing.pk)
    rooms = {panel.room for panel in panels}
    tools = list(thing.tools.filter(retired_at=None))
    context: dict[str, Any] = {
        "nav": "servers",
        "server": thing,
        "tab": tab,
        "tabs": [
            {"name": name, "title": title, "count": len(tools) if name == "tools" else None}
            for name, title in TABS.items()
            if name not in UPPER or name in rooms
        ],
        "tools": tools,
        "unapproved": [tool for tool in tools if not tool.approved],
        "certification": _certification(thing),
        "by_name": reverse("catalog:server_by_name", args=thing.name.split("/", 1)),
        "panels": _panels_of(tab, panels),
        **orphaned_facts(thing, request.actor),
        **_aside(thing),
        **_actions(request.actor, thing),
    }
    if thing.lifecycle == Lifecycle.DRAFT:
        context["report"] = completeness(thing)
        context["withdrawn"] = thing.pk in withdrawn_among([thing.pk])
        context["duplicates"] = duplicates(thing, request.actor)[:5]
    if tab == "history":
        context["changes"] = history_of(thing)
    return render(request, "catalog/server.html", context)


def _certification(thing: Server) -> tuple[str, str]:
    """State and words of the chip beside the name; empty for what was never in service."""
    until, now = thing.certified_until, clock.now()
    if until is None:
        return ("never_certified", "") if thing.lifecycle == Lifecycle.ACTIVE else ("", "")
    day = format_date(timezone.localdate(until), "j F Y")
    if until <= now:
        return "lapsed", _("Certification lapsed on %(day)s") % {"day": day}
    state = "lapsing" if until <= now + clock.days(30) else "certified"
    return state, _("Certified until %(day)s") % {"day": day}


def _panels_of(tab: str, panels: list[PlacedPanel]) -> list[PlacedPanel]:
    """The overview shows what upper rooms know, a room's tab that room."""
    return [panel for panel in panels if panel.room == tab or (tab == "overview" and panel.room in UPPER)]


def _aside(thing: Server) -> dict[str, Any]:
    """What the right column says: purpose, secret sources, revocation path, endpoints."""
    steps = list(thing.revocation_steps.filter(retired_at=None))
    return {
        "purpose": thing.purpose,
        "endpoints": list(thing.endpoints.filter(retired_at=None)),
        "sources": [
            {"source": source, "lifetime": _lifetime(source.max_lifetime_seconds)}
            for source in thing.secret_sources.filter(retired_at=None)
        ],
        "steps": steps,
        "minutes": sum(step.expected_minutes for step in steps),
    }


def _lifetime(seconds: int | None) -> str:
    """A credential's life in the largest unit that divides it."""
    if not seconds:
        return ""
    if seconds % 86400 == 0:
        return ngettext("%(n)d day", "%(n)d days", seconds // 86400) % {"n": seconds // 86400}
    if seconds % 3600 == 0:
        return ngettext("%(n)d hour", "%(n)d hours", seconds // 3600) % {"n": seconds // 3600}
    minutes = max(seconds // 60, 1)
    return ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}


def _actions(actor: Actor, thing: Server) -> dict[str, bool]:
    """Which buttons are shown: the state allows it and so does the permission."""
    edits = allows(actor, "catalog.edit_server", thing)
    state = thing.lifecycle
    return {
        "may_edit": edits and state not in (Lifecycle.SUBMITTED, Lifecycle.RETIRED),
        "may_submit": edits and state == Lifecycle.DRAFT,
        "may_withdraw": edits and state == Lifecycle.SUBMITTED,
        "may_accept": thing.owner_accepted_at is None and allows(actor, "catalog.accept_ownership", thing),
        "may_suspend": SERVER.allows(state, Lifecycle.SUSPENDED) and allows(actor, "catalog.suspend_server", thing),
        "may_resume": state == Lifecycle.SUSPENDED and allows(actor, "catalog.resume_server", thing),
        "may_retire": SERVER.allows(state, Lifecycle.RETIRED) and allows(actor, "catalog.retire_server", thing),
    }


@require_safe
def server_by_name(request: Request, namespace: str, short: str) -> HttpResponse:
    """The stable address people write down: `/servers/com.example/warehouse-sql/`."""
    require(request.actor, "catalog.view")
    found = Server.objects.visible_to(request.actor).filter(name=f"{namespace}/{short}").first()
    if found is None:
        raise NotFound
    return redirect("catalog:server", found.pk)


@require_safe
@limits.counts_as("export")
def server_json(request: Request, pk: UUID) -> HttpResponse:
    """The server as an entry of the official format, to copy or download."""
    thing: Server = _visible(request.actor, Server, pk)
    return JsonResponse(as_server_json(thing), json_dumps_params={"indent": 2, "ensure_ascii": False})


@require_POST
def submit(request: Request, pk: UUID) -> HttpResponse:
    thing: Server = _visible(request.actor, Server, pk)
    try:
        services.submit_server(actor=request.actor, server=thing, expected_version=request.POST.get("version") or None)
    except Invalid:
        messages.warning(request, _("Something is still missing; the checklist says what."))
    else:
        messages.success(request, _("Submitted. An independent reviewer will look at it."))
    return redirect("catalog:server", thing.pk)


@require_POST
def withdraw(request: Request, pk: UUID) -> HttpResponse:
    thing: Server = _visible(request.actor, Server, pk)
    services.withdraw_server(actor=request.actor, server=thing)
    messages.success(request, _("Withdrawn. Change what you like and submit it again."))
    return redirect("catalog:server", thing.pk)


@require_POST
def accept(request: Request, pk: UUID) -> HttpResponse:
    thing: Server = _visible(request.actor, Server, pk)
    services.accept_ownership(actor=request.actor, server=thing)
    messages.success(request, _("You own %(server)s now.") % {"server": thing.label})
    return redirect("catalog:server", thing.pk)


@dataclass(frozen=True)
class Ending:
    """A confirmation page: what it does, in words, and the one service call behind it."""

    service: Callable[..., Server]
    permission: str
    title: str | Promise
    button: str | Promise
    done: str | Promise
    consequences: tuple[str | Promise, ...]
    tone: str = "danger"
    icon: str = "power"


LIFECYCLE_ACTS: dict[str, Ending] = {
    "suspend": Ending(
        services.suspend_server,
        "catalog.suspend_server",
        gettext_lazy("Suspend this server"),
        gettext_lazy("Suspend"),
        gettext_lazy("Suspended. Gateways that ask the registry deny its calls from now on."),
        (
            gettext_lazy("Every agent with a grant loses this server until it is resumed."),
            gettext_lazy("Grants, connections and certificates stay as they are."),
            gettext_lazy("Only security can resume it, and only somebody who is not accountable for it."),
        ),
        icon="circle-pause",
    ),
    "resume": Ending(
        services.resume_server,
        "catalog.resume_server",
        gettext_lazy("Resume this server"),
        gettext_lazy("Resume"),
        gettext_lazy("Back in service."),
        (gettext_lazy("Agents with an active grant may call it again at once."),),
        tone="primary",
        icon="circle-play",
    ),
    "retire": Ending(
        services.retire_server,
        "catalog.retire_server",
        gettext_lazy("Retire this server"),
        gettext_lazy("Retire for good"),
        gettext_lazy("Retired. Its history stays."),
        (
            gettext_lazy("This cannot be undone; a successor is registered under its own name."),
            gettext_lazy("Its certification ends and its grants and connections are revoked."),
            gettext_lazy("Revoke its credentials at their source: the registry cannot."),
        ),
        icon="archive",
    ),
}


class LifecycleView(View):
    """Suspend, resume or retire a server: says what breaks, asks why, then acts."""

    act: str = ""

    def _page(self, thing: Server, form: ReasonForm) -> HttpResponse:
        context = {
            "nav": "servers",
            "server": thing,
            "ending": LIFECYCLE_ACTS[self.act],
            "panels": [panel for panel in panels_for("server-impact", thing.pk) if self.act != "resume"],
            "steps": list(thing.revocation_steps.filter(retired_at=None)) if self.act != "resume" else [],
        }
        return answer(self.request, "catalog/server_confirm.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing: Server = _visible(request.actor, Server, pk, *RELATED)
        require(request.actor, LIFECYCLE_ACTS[self.act].permission, thing)
        return self._page(thing, ReasonForm(initial={"version": thing.etag}))

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing: Server = _visible(request.actor, Server, pk, *RELATED)
        ending = LIFECYCLE_ACTS[self.act]
        form = ReasonForm(request.POST)

        def act(*, reason: str, version: str) -> Server:
            return ending.service(actor=request.actor, server=thing, reason=reason, expected_version=version or None)

        if run(form, act) is None:
            return self._page(thing, form)
        messages.success(request, str(ending.done))
        return redirect("catalog:server", thing.pk)


# --- Systems and agents ----------------------------------------------------------------------------------


@require_safe
def system(request: Request, pk: UUID) -> HttpResponse:
    thing: System = _visible(request.actor, System, pk, "owner", "team", "created_by")
    note_look(request.actor, thing)
    return render(request, "catalog/system.html", {"nav": "systems", **_subject(request.actor, thing, "system")})


@require_safe
def agent(request: Request, pk: UUID) -> HttpResponse:
    thing: Agent = _visible(request.actor, Agent, pk, "owner", "team", "created_by", "issuer", "server")
    note_look(request.actor, thing)
    return render(request, "catalog/agent.html", {"nav": "agents", **_subject(request.actor, thing, "agent")})


@require_safe
def issuer(request: Request, pk: UUID) -> HttpResponse:
    """Issuers are confidential to nobody who may read the catalog."""
    require(request.actor, "catalog.view")
    thing = Issuer.objects.select_related("team").filter(pk=pk).first()
    if thing is None:
        raise NotFound
    context = {
        "nav": "agents",
        "thing": thing,
        "agents": Agent.objects.visible_to(request.actor).filter(issuer=thing).count(),
        "panels": panels_for("issuer", thing.pk),
        "may_retire": thing.standing == Standing.ACTIVE and allows(request.actor, "catalog.manage_issuers", thing),
    }
    return render(request, "catalog/issuer.html", context)


def _subject(actor: Actor, thing: System | Agent, kind: str) -> dict[str, Any]:
    return {
        "thing": thing,
        "panels": panels_for(kind, thing.pk),
        **orphaned_facts(thing, actor),
        "changes": history_of(thing, limit=10),
        "may_edit": thing.standing == Standing.ACTIVE and allows(actor, f"catalog.edit_{kind}", thing),
    }


class GovernedEdit(View):
    """Register or change a system or an agent; the same form for both."""

    model: ClassVar[type[Any]]
    form_class: ClassVar[type[Any]]
    request: Request
    kind: ClassVar[str]
    register: ClassVar[Callable[..., Any]]
    update: ClassVar[Callable[..., Any]]

    def _thing(self, pk: UUID | None) -> Any:
        actor = self.request.actor
        if pk is None:
            require(actor, f"catalog.register_{self.kind}")
            return None
        thing = _visible(actor, self.model, pk, "owner", "team")
        require(actor, f"catalog.edit_{self.kind}", thing)
        return thing

    def _page(self, thing: Any, form: Any, version: str) -> HttpResponse:
        context = {"nav": f"{self.kind}s", "thing": thing, "version": version, "kind": self.kind}
        return answer(self.request, "catalog/governed_form.html", form, context)

    def get(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        thing = self._thing(pk)
        names = self.form_class.base_fields
        initial = (
            {name: getattr(thing, name) for name in names}
            if thing is not None
            else {"owner": request.actor.user, **{name: request.GET[name] for name in names if name in request.GET}}
        )
        form = self.form_class(initial=initial, actor=request.actor)
        form.explain_visibility(thing)
        return self._page(thing, form, thing.etag if thing else "")

    def post(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        thing = self._thing(pk)
        form = self.form_class(request.POST, actor=request.actor)
        form.explain_visibility(thing)
        version = request.POST.get("version", "")
        act = (
            partial(type(self).register, actor=request.actor)
            if thing is None
            else partial(type(self).update, actor=request.actor, expected_version=version or None, **{self.kind: thing})
        )
        saved = run(form, act)
        if saved is None:
            return self._page(thing, form, version)
        messages.success(request, _("%(thing)s is saved.") % {"thing": saved})
        if told := seen_by_others(thing.confidential if thing is not None else False, saved):
            messages.info(request, told)
        return redirect(f"catalog:{self.kind}", saved.pk)


class SystemEdit(GovernedEdit):
    model = System
    form_class = SystemForm
    kind = "system"
    register = services.register_system
    update = services.update_system


class AgentEdit(GovernedEdit):
    model = Agent
    form_class = AgentForm
    kind = "agent"
    register = services.register_agent
    update = services.update_agent


class IssuerNew(View):
    def get(self, request: Request) -> HttpResponse:
        require(request.actor, "catalog.manage_issuers")
        return answer(request, "catalog/issuer_form.html", IssuerForm(), {"nav": "agents"})

    def post(self, request: Request) -> HttpResponse:
        require(request.actor, "catalog.manage_issuers")
        form = IssuerForm(request.POST)
        saved = run(form, partial(services.register_issuer, actor=request.actor))
        if saved is None:
            return answer(request, "catalog/issuer_form.html", form, {"nav": "agents"})
        messages.success(request, _("%(issuer)s is accepted from now on.") % {"issuer": saved})
        return redirect("catalog:issuers")


class RetireView(View):
    """End a system, an agent or an issuer: says what follows, asks why."""

    request: Request
    kind: str = ""
    known: ClassVar[dict[str, tuple[type[Model], str, Callable[..., Any]]]] = {
        "system": (System, "catalog.edit_system", services.retire_system),
        "agent": (Agent, "catalog.edit_agent", services.retire_agent),
        "issuer": (Issuer, "catalog.manage_issuers", services.retire_issuer),
    }

    def _thing(self, pk: UUID) -> Any:
        model, permission, _service = self.known[self.kind]
        actor = self.request.actor
        if model is Issuer:
            require(actor, "catalog.view")
            thing = Issuer.objects.filter(pk=pk).first()
            if thing is None:
                raise NotFound
        else:
            thing = _visible(actor, model, pk)
        require(actor, permission, thing)
        if thing.standing == Standing.RETIRED:
            raise Conflict(_("This is retired already."))
        return thing

    def _page(self, thing: Any, form: ReasonForm) -> HttpResponse:
        context = {
            "nav": "systems" if self.kind == "system" else "agents",
            "thing": thing,
            "kind": self.kind,
            "panels": panels_for(f"{self.kind}-impact", thing.pk),
        }
        return answer(self.request, "catalog/retire.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        return self._page(self._thing(pk), ReasonForm())

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = self._thing(pk)
        service = self.known[self.kind][2]
        form = ReasonForm(request.POST)

        def act(*, reason: str, version: str) -> Any:
            return service(actor=request.actor, reason=reason, **{self.kind: thing})

        if run(form, act) is None:
            return self._page(thing, form)
        messages.success(request, _("%(thing)s is retired. Its history stays.") % {"thing": thing})
        return redirect(f"catalog:{self.kind}", thing.pk)
