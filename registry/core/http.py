"""The request as our middleware leaves it, so that views are type-checked with what they really get; and files."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_htmx.middleware import HtmxDetails

from registry.core.actors import Actor


class Request(HttpRequest):
    """`actor` comes from `accounts.middleware`, `htmx` from django-htmx. Only for annotations."""

    actor: Actor
    htmx: HtmxDetails


def is_file(response: HttpResponseBase) -> bool:
    """Whether the answer is taken away and not looked at: what is counted as an export and noted as one."""
    return response.headers.get("Content-Disposition", "").startswith("attachment")
