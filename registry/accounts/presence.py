"""Sign-in, sign-out and failed sign-in as evidence: the only receivers of Django signals in this product."""

from typing import Any

import structlog
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from registry.accounts import browser
from registry.accounts.models import BrowserSession, User
from registry.accounts.services import record_presence

log = structlog.get_logger(__name__)


def _note(user: User, act: str, request: HttpRequest | None, **more: str) -> None:
    record_presence(
        user=user,
        act=act,
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
        data={"address": request.META.get("REMOTE_ADDR", "") if request is not None else "", **more},
    )


def signed_in(sender: Any, request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    if request is not None:
        browser.begin(request, user)
    attempt = getattr(request, "oidc", None)
    _note(user, "user.signed_in", request, **({"provider": attempt.provider.name} if attempt else {}))


def signed_out(sender: Any, request: HttpRequest | None, user: User | None, **kwargs: Any) -> None:
    if request is not None and (row := browser.row_of(request)):
        BrowserSession.objects.filter(pk=row).delete()
    if user is not None:
        because = getattr(request, "session_ended", "")
        if because:
            _note(user, "user.session_ended", request, because=because)
        else:
            _note(user, "user.signed_out", request)


def sign_in_failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    """An address nobody has is only logged, without the address: people type passwords into that field."""
    user = User.objects.filter(email__iexact=credentials.get("username") or "").first()
    if user is None:
        log.warning("sign_in_failed", reason="unknown address")
    else:
        _note(user, "user.sign_in_failed", request)


def connect() -> None:
    user_logged_in.connect(signed_in, dispatch_uid="presence.signed_in")
    user_logged_out.connect(signed_out, dispatch_uid="presence.signed_out")
    user_login_failed.connect(sign_in_failed, dispatch_uid="presence.sign_in_failed")
