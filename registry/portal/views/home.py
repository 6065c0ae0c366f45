"""My work, and the search over everything."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from registry.catalog.models import Server
from registry.core.errors import NotSignedIn
from registry.core.http import Request
from registry.core.permissions import allows, require
from registry.portal.found import found_outside
from registry.portal.queries import my_work, search


@require_safe
def home(request: Request) -> HttpResponse:
    if request.actor.kind == "anonymous":
        raise NotSignedIn
    # Somebody who was let in but has no role yet sees whom to ask, not an error.
    if not allows(request.actor, "catalog.view"):
        return render(request, "portal/no_role.html", {"nav": "work"})
    work = my_work(request.actor)
    empty = not work.tasks and not work.servers and not Server.objects.visible_to(request.actor).exists()
    return render(
        request,
        "portal/home.html",
        {
            "nav": "work",
            "work": work,
            "found": found_outside(request.actor),
            "first_steps": empty and request.actor.takes_part,
            "may_import": allows(request.actor, "discovery.import_servers"),
        },
    )


@require_safe
def search_page(request: Request) -> HttpResponse:
    require(request.actor, "catalog.view")
    text = request.GET.get("q", "")[:200]
    context = {"nav": "search", "text": text, "sections": search(request.actor, text)}
    return render(request, "portal/search.html", context)
