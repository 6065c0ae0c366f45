"""The browsers one is signed in with, and ending them."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from registry.accounts import browser, services
from registry.accounts.views.signed_in import signed_in
from registry.core.http import Request


@require_POST
def end_session(request: Request, pk: Any) -> HttpResponse:
    services.end_session(actor=signed_in(request), session_id=pk)
    messages.success(request, _("That browser is signed out."))
    return redirect("accounts:account")


@require_POST
def end_others(request: Request) -> HttpResponse:
    ended = services.end_other_sessions(actor=signed_in(request), keep=browser.row_of(request))
    messages.success(
        request,
        ngettext("%(n)d other browser is signed out.", "%(n)d other browsers are signed out.", ended) % {"n": ended}
        if ended
        else _("There was no other browser."),
    )
    return redirect("accounts:account")
