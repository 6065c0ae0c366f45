"""Addresses that only take an act (POST), and the page each of them belongs to.

Nobody types such an address, but one reloads it after a refused form, and comes to it from the sign-in when the
session ended meanwhile. An act lies below its page (`…/items/<id>/decide/`), so the page is the nearest address above.
"""

from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve


def page_above(path: str) -> str:
    """The nearest address above `path` that leads somewhere, else `/`. It may be an act itself, with a page above."""
    parts = path.strip("/").split("/")
    while parts := parts[:-1]:
        for above in (f"/{'/'.join(parts)}/", f"/{'/'.join(parts)}"):
            if _leads_somewhere(above):
                return above
    return "/"


def _leads_somewhere(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def reads_act(request: HttpRequest, response: HttpResponse) -> bool:
    """Whether a browser asked to see what can only be done. Programs get their 405."""
    return (
        response.status_code == 405
        and request.method in ("GET", "HEAD")
        and "text/html" in request.headers.get("Accept", "")
        and not request.headers.get("HX-Request")
        and request.path != "/"
    )
