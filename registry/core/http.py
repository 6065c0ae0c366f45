"""The request as our middleware leaves it, so that views are type-checked with what they really get."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from registry.core.actors import Actor


class Request(HttpRequest):
    """`actor` comes from `accounts.middleware`, `htmx` from django-htmx. Only for annotations."""

    actor: Actor
    htmx: HtmxDetails
