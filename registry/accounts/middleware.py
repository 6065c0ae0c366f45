"""Puts `request.actor` on every request: who acts, as services want to know it."""

from collections.abc import Callable

import structlog
from auditlog.context import set_actor
from django.http import HttpRequest, HttpResponse

from registry.core.actors import Actor
from registry.core.http import Request


class ActorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Request) -> HttpResponse:
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        user = request.user if request.user.is_authenticated else None
        request.actor = Actor.person(user, request_id) if user else Actor.anonymous()
        # Field-level history (django-auditlog) names the same person as the evidence does.
        with set_actor(user, remote_addr=request.META.get("REMOTE_ADDR")):
            response = self.get_response(request)
        if request_id:
            response["X-Request-ID"] = request_id
        return response
