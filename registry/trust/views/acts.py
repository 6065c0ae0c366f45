"""One relationship, and every act on it: what happens, what breaks, why; then one service call."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.http import require_safe

from registry.audit.queries import events_about
from registry.catalog.forms import ReasonForm
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.permissions import allows, require
from registry.trust import paths, queries, services
from registry.trust.chart import error_rate
from registry.trust.consequences import what_breaks
from registry.trust.forms import (
    LIFETIMES,
    ReduceConnectionForm,
    ReduceGrantForm,
    SecretSourceForm,
    VersionForm,
)
from registry.trust.models import Connection, Grant, Observation
from registry.trust.picture import draw
from registry.trust.queries.use import use_of
from registry.trust.question import Question, key_of
from registry.trust.states import RELATIONSHIP, Status
from registry.trust.views.shared import NAV, verdict, visible


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


def consequences(actor: Actor, thing: Grant | Connection) -> dict[str, Any]:
    """What breaks when it is cut, for the page that shows it or asks whether to."""
    asked = Question(ask="cut", of=key_of((thing.kind, thing.pk)))
    return {
        "breaks": what_breaks(actor, thing.kind, thing.pk),
        "explore_url": f"{reverse('trust:explore')}?{asked.query()}",
    }


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
        }
        if self.kind == "grant":
            context["tools"] = _granted_tools(thing)
        if act.breaks:
            context |= consequences(self.request.actor, thing)
        return answer(self.request, "trust/act.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible(request.actor, self.kind, pk)
        act = ACTS[self.act]
        require(request.actor, act.permission_on(thing), thing)
        if thing.status not in act.before:
            raise Conflict(
                _("This is %(status)s; that no longer applies.") % {"status": thing.get_status_display().lower()}
            )
        return self._page(thing, self._form(thing))

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible(request.actor, self.kind, pk)
        form = self._form(thing, request.POST)
        done = run(form, self._call(thing))
        if done is None:
            return self._page(thing, form)
        messages.success(request, str(ACTS[self.act].done))
        return redirect(f"trust:{self.kind}", done.pk)


# --- The relationship ---------------------------------------------------------------------------------------


@require_safe
def relationship(request: Request, kind: str, pk: UUID) -> HttpResponse:
    thing = visible(request.actor, kind, pk)
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
        "usage": _usage(thing),
        "path": draw(paths.of_relationship(request.actor, thing)),
    }
    if kind == "grant":
        context["lifetime"] = dict(LIFETIMES).get(
            thing.max_token_lifetime_seconds, _("%(n)d seconds") % {"n": thing.max_token_lifetime_seconds}
        )
    if thing.status == Status.ACTIVE:
        context |= consequences(request.actor, thing)
    return render(request, "trust/relationship.html", context)


@dataclass(frozen=True)
class Usage:
    """What was seen in use of a relationship. Not `known`: nothing was handed in that could tell."""

    known: bool
    last_used: datetime | None = None
    calls: int = 0
    errors: int = 0

    @property
    def error_rate(self) -> str:
        return error_rate(self.calls, self.errors)


def _usage(thing: Grant | Connection) -> Usage:
    row = {"kind": thing.kind, "id": thing.pk, "agent_id": getattr(thing, "agent_id", None),
           "server_id": thing.server_id, "system_id": getattr(thing, "system_id", None)}  # fmt: skip
    if use := use_of([row], until=clock.now()).get(thing.pk):
        return Usage(True, use["last_used"], use["calls"], use["errors"])
    told = Observation.objects.all()
    if thing.kind == "connection":
        # Only logs that name systems can tell whether this server used one.
        told = told.filter(server=thing.server_id, system__isnull=False)
    return Usage(told.exists())


def _certification(thing: Grant | Connection) -> str:
    if thing.status != Status.ACTIVE:
        return ""
    if thing.certified_until is None:
        return "never_certified"
    now = clock.now()
    if thing.certified_until <= now:
        return "lapsed"
    return "lapsing" if thing.certified_until <= now + clock.days(30) else "certified"
