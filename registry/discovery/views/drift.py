"""Pages of drift: the list, one drift with its sentences first, and the panel "Definitions" of a server's page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from registry.catalog.looks import note_look
from registry.catalog.models import Server
from registry.core import clock
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars, require_decider
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.discovery import services
from registry.discovery.comparison import LEVELS
from registry.discovery.evidence import signed
from registry.discovery.filters import DriftFilter
from registry.discovery.models import Definitions, Drift, DriftState, Snapshot, Watch

NAV = "drift"
SIGNS_SHOWN = 20
LIKE_SHOWN = 4
"""So many sentences of one kind stand in the open; the others fold away."""


class ApprovalForm(forms.Form):
    version = forms.CharField(widget=forms.HiddenInput)
    after = forms.CharField(widget=forms.HiddenInput)
    reason = forms.CharField(
        label=gettext_lazy("Why these definitions are right"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Kept as evidence. Say also why the signs above are harmless, where there are any."),
    )


@require_safe
def drifts(request: Request) -> HttpResponse:
    require(request.actor, "discovery.view")
    visible = Drift.objects.visible_to(request.actor).select_related("server")
    filterset = DriftFilter(request.GET, visible)
    context = {
        "nav": NAV,
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, count=True),
    }
    return render(request, "discovery/drifts.html", context)


def _drift(request: Request, pk: UUID) -> Drift:
    require(request.actor, "discovery.view")
    visible = Drift.objects.visible_to(request.actor).select_related(
        "server",
        "before",
        "after",
        "snapshot__endpoint",
        "snapshot__by",
        "settled_by",
        "watch__server",
        "watch__pusher",
    )
    found: Drift = get_object_or_404(visible, pk=pk)
    return found


@require_safe
def drift(request: Request, pk: UUID) -> HttpResponse:
    found = _drift(request, pk)
    return _page(request, found, ApprovalForm(initial={"version": found.etag, "after": found.after_id}))


@require_POST
def approve(request: Request, pk: UUID) -> HttpResponse:
    found = _drift(request, pk)
    require_decider(request.actor, "discovery.approve_drift", found.server)
    form = ApprovalForm(request.POST)

    def act(*, version: str, after: str, reason: str) -> Drift:
        return services.approve_drift(
            actor=request.actor, drift=found, reason=reason, seen_digest=after, expected_version=version
        )

    if run(form, partial(act)):
        messages.success(request, _("The new definitions are approved. A review certifies the server."))
        return redirect("discovery:drift", pk)
    return _page(request, found, form)


def _page(request: Request, found: Drift, form: ApprovalForm) -> HttpResponse:
    tools = sorted({each["tool"] for each in found.differences if each["tool"]})
    stands = found.state == DriftState.OPEN
    signs = signed([found.snapshot])
    context = {
        "nav": NAV,
        "drift": found,
        "server": found.server,
        "groups": _groups(found.differences),
        "sides": _sides(found.before, found.after, tools),
        "barred": bars(request.actor.user_id, found.server) if stands else [],
        "may_approve": stands and allows(request.actor, "discovery.approve_drift", found.server),
        "open": stands,
        "signs": signs,
        "weighty": [each for each in signs if each.weighs],
        "strength": Watch.Strength(found.watch.strength).label,
        "uncertified": found.server.certified_until is None or found.server.certified_until < clock.now(),
    }
    return answer(request, "discovery/drift.html", form, context)


def _groups(differences: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Differences by severity, and within it those of one kind together, so that thirteen alike read as one line."""
    groups = []
    for level in reversed(LEVELS):
        kinds: dict[str, list[Any]] = {}
        for each in differences:
            if each["severity"] == level:
                kinds.setdefault(each["rule"], []).append(_worded(each))
        if kinds:
            rows = [{"shown": rows[:LIKE_SHOWN], "more": rows[LIKE_SHOWN:]} for rows in kinds.values()]
            # What weighs is read without a click; what is long scrolls.
            groups.append({"severity": level, "kinds": rows, "unfolded": level in ("critical", "high")})
    return groups


def _worded(difference: Mapping[str, Any]) -> dict[str, Any]:
    fields = [
        {"pointer": each["pointer"], "before": _text(each, "before"), "after": _text(each, "after")}
        for each in difference["fields"]
    ]
    return {"sentence": difference["sentence"], "fields": fields}


def _text(holder: Mapping[str, Any], side: str) -> str | None:
    """A value as text: strings as they are, anything else as JSON; None where there is nothing."""
    if side not in holder:
        return None
    value = holder[side]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)


def _sides(before: Definitions, after: Definitions, names: Iterable[str]) -> list[dict[str, Any]]:
    """Each tool that changed, whole, as approved and as listed now."""
    old, new = ({tool["name"]: tool for tool in side.tools} for side in (before, after))
    return [
        {
            "name": name,
            "before": _text({"before": old[name]}, "before") if name in old else None,
            "after": _text({"after": new[name]}, "after") if name in new else None,
        }
        for name in names
    ]


# --- The panel of a server's page ------------------------------------------------------------------------


@require_safe
def definitions_panel(request: Request, pk: UUID) -> HttpResponse:
    """How stable what it lists is, when it was last looked at, what drifted, and what looks suspicious."""
    require(request.actor, "discovery.view")
    server: Server = get_object_or_404(Server.objects.visible_to(request.actor), pk=pk)
    note_look(request.actor, server)
    related = ("endpoint", "last", "last_listed", "pusher")
    watches = list(Watch.objects.filter(server=server).select_related(*related).order_by("pushed", "id"))
    open_drifts = list(Drift.objects.filter(server=server, state=DriftState.OPEN).order_by("-id"))
    signs = signed(watch.last_listed for watch in watches)
    context = {
        "server": server,
        "watches": watches,
        "drifts": open_drifts,
        "signs": signs[:SIGNS_SHOWN],
        "more_signs": max(len(signs) - SIGNS_SHOWN, 0),
        "looks": Snapshot.objects.filter(server=server).count(),
        "nav": "servers",
        "title": _("Definitions"),
        "fragment": "discovery/_definitions.html",
    }
    template = "discovery/_definitions.html" if request.htmx else "discovery/definitions.html"
    response = render(request, template, context)
    response["Vary"] = "HX-Request"
    return response
