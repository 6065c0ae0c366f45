"""Pages that belong to no room: theme switch, help, and what is shown when something goes wrong."""

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.template import loader
from django.urls import is_valid_path
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from registry.core.context import THEMES
from registry.core.errors import Broken, Malformed, NotAllowed, NotFound, RegistryError
from registry.core.rest import problem

YEAR = 365 * 24 * 3600


def safe_next(request: HttpRequest, fallback: str = "/") -> str:
    """The page to return to, if it is one of ours; else `fallback`."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if ours else fallback


@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Remember light, dark or (empty) the system's choice in a cookie, so that no page flashes."""
    theme = request.POST.get("theme", "")
    response = HttpResponseRedirect(safe_next(request))
    if theme in THEMES:
        response.set_cookie("theme", theme, max_age=YEAR, samesite="Lax", secure=request.is_secure(), httponly=False)
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


QUESTIONS = (
    (_("Who is accountable?"), _("One named owner who accepted it, one deputy, one team.")),
    (_("What is it for, and where does that end?"), _("A bounded purpose with scope, data classes and an end date.")),
    (_("Which credentials does it hold, and from where?"), _("References to secret sources, never values.")),
    (_("Who may call it, and what can it reach?"), _("Trust relationships: agents to servers, servers to systems.")),
    (_("What did it really do, for whom?"), _("The delegated-action log with the original request context.")),
    (_("How do we cut it off, what breaks, did it work?"), _("A revocation path with ordered steps, rehearsed.")),
)
WORDS = (
    (_("Server"), _("An MCP server as a governed thing with an owner; not one running process.")),
    (_("System"), _("A downstream system that servers act on: a database, a ticket system, a cloud API.")),
    (_("Agent"), _("Whatever calls servers: an AI agent, a client application, a workload.")),
    (_("Grant"), _("An agent may call certain tools of a server, for a purpose, until a date.")),
    (_("Connection"), _("A server may act on a system, at an access level, with a secret source, until a date.")),
    (_("Tier"), _("Inherent risk, from critical to low, computed from facts by a documented method.")),
    (
        _("Certificate"),
        _("The result of a signed review. It ends by time, by a change of the facts, or by revocation."),
    ),
    (_("Campaign"), _("One run of a review over everything in its scope, each item with its facts frozen.")),
    (_("Independent"), _("Nobody decides on what they own, deputise, registered or requested.")),
)


@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    return render(request, "core/help.html", {"nav": "help", "questions": QUESTIONS, "words": WORDS})


SCIM = "/scim/"
MACHINES = ("/api/", "/v0.1/", "/r/", SCIM)


def _told_to_machines(request: HttpRequest, error: RegistryError) -> HttpResponse:
    """In the form that belongs to the address: RFC 7644 section 3.12, or RFC 9457."""
    if request.path.startswith(SCIM):
        said = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "detail": error.message}
        return JsonResponse(
            said | {"status": str(error.status)}, status=error.status, content_type="application/scim+json"
        )
    body = problem(error, request.get_full_path())
    return JsonResponse(body, status=error.status, content_type="application/problem+json")


def error_page(request: HttpRequest, error: RegistryError) -> HttpResponse:
    if request.path.startswith(MACHINES):
        return _told_to_machines(request, error)
    template = "components/_error.html" if request.headers.get("HX-Request") else "core/error.html"
    return render(request, template, {"error": error, "status": error.status}, status=error.status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, Malformed())


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, NotAllowed(str(exception)))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Nothing is here; one slash too many leads to where something is, as one too few does (`APPEND_SLASH`)."""
    bare = request.path_info.rstrip("/")
    if request.method in ("GET", "HEAD") and request.path_info == f"{bare}/" and bare and is_valid_path(bare):
        return HttpResponsePermanentRedirect(request.get_full_path().replace(f"{bare}/", bare, 1))
    return error_page(request, NotFound())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open too long, or that came from elsewhere."""
    return error_page(
        request,
        NotAllowed(
            str(_("This form has expired or came from another site. Go back, reload the page and send it again."))
        ),
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Rendered without request context: whatever broke (the database, a context processor) is not asked again."""
    if request.path.startswith(MACHINES):
        return _told_to_machines(request, Broken())
    page = loader.get_template("core/server_error.html").render({"status": 500})
    return HttpResponse(page, status=500)
