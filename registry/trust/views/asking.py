"""Asking for a grant or a connection."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views import View

from registry.catalog.models import Agent, Server, System
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.permissions import require
from registry.trust import services
from registry.trust.forms import (
    ConnectionForm,
    GrantForm,
)
from registry.trust.models import seen_by
from registry.trust.views.shared import NAV


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
