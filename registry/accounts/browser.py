"""What a browser's session knows about itself, so that most requests need not ask the database.

Epoch seconds of the real clock: a session does not grow older because a test or a story lives on another day.
"""

import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY, login, logout
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from registry.accounts.models import BrowserSession, ExternalIdentity, User
from registry.accounts.openid.client import Tokens
from registry.accounts.openid.tokens import Claims
from registry.accounts.openid.tokens import authenticated_at as proven_at
from registry.accounts.services import bind_session, check_session, open_session
from registry.accounts.session_store import kept_key
from registry.core.http import Request

ROW, STARTED, SEEN, PROVEN, PROVIDER, CHECKED = (
    "browser_session",
    "started_at",
    "seen_at",
    "authenticated_at",
    "provider",
    "checked_at",
)
TOUCH_AFTER = 60
"""Seconds between two writes of "last seen": a write per request would cost more than the request."""


def sign_in(request: HttpRequest, user: User) -> None:
    """One browser is one person: whoever was signed in here before is signed out, with the evidence of it."""
    if request.user.is_authenticated and request.user.pk != user.pk:
        logout(request)
    login(request, user)


def begin(request: HttpRequest, user: User) -> None:
    """Somebody signed in; the session has a new key by now (Django rotates it)."""
    session = request.session
    if session.session_key is None:
        session.save()
    if former := session.get(ROW):  # signed in once more in the same browser
        BrowserSession.objects.filter(pk=former).delete()
    row = open_session(
        user=user,
        session_key=kept_key(session.session_key),
        address=request.META.get("REMOTE_ADDR"),
        agent=request.META.get("HTTP_USER_AGENT", ""),
    )
    session[ROW] = str(row.pk)
    session[STARTED] = session[SEEN] = session[PROVEN] = time.time()


def vouched_for(request: HttpRequest, identity: ExternalIdentity, tokens: Tokens, claims: Claims) -> None:
    """A provider signed them in, or was asked again. How long ago it asked for proof is the provider's word."""
    session = request.session
    session[PROVIDER], session[CHECKED] = identity.provider, time.time()
    session[PROVEN] = proven_at(claims)
    row = row_of(request)
    if row is not None:
        bind_session(session_id=row, identity=identity, tokens=tokens, sid=str(claims.get("sid") or ""))


def proven(request: HttpRequest) -> None:
    """They have just proved who they are; whoever knew the old key of the session has it no longer."""
    request.session[PROVEN] = time.time()
    rotate(request)


def note_proof(request: Request) -> None:
    """As `proven`, in the middle of an act that goes on with this request's actor."""
    proven(request)
    request.actor = replace(request.actor, authenticated_at=authenticated_at(request))


def provider_of(request: HttpRequest) -> str:
    """The provider that vouches for this session; "" for one that began with a password."""
    return str(request.session.get(PROVIDER, ""))


def rotate(request: HttpRequest) -> None:
    """A new key for the same session."""
    request.session.cycle_key()
    follow(request)


def follow(request: HttpRequest) -> None:
    """After the key was changed by Django, so that the session can still be ended from elsewhere."""
    row = row_of(request)
    if row is not None:
        BrowserSession.objects.filter(pk=row).update(session_key=kept_key(request.session.session_key))


def row_of(request: HttpRequest) -> UUID | None:
    found = request.session.get(ROW)
    return UUID(found) if found else None


def authenticated_at(request: HttpRequest) -> datetime:
    """Never empty for a browser: a session that does not say when counts as one of long ago."""
    return datetime.fromtimestamp(request.session.get(PROVEN, 0), UTC)


class RoundTrip(Exception):
    """Only the browser itself can find out whether the provider still vouches for it. `ended` holds if it cannot."""

    def __init__(self, ended: str) -> None:
        super().__init__(ended)
        self.ended = ended


def look(request: HttpRequest) -> str:
    """Why this session is over, as a sentence; "" while it is not. Raises `RoundTrip` when the provider must be asked
    through the browser."""
    session, now = request.session, time.time()
    if SESSION_KEY not in session:
        return ""
    if now - session.get(STARTED, 0) > settings.SESSION_ABSOLUTE_SECONDS:
        return _("You have been signed in for as long as one may. Sign in again.")
    if now - session.get(SEEN, 0) > settings.SESSION_IDLE_SECONDS:
        return _("You were away for a long time, so your session has ended. Sign in again.")
    row = row_of(request)
    if session.get(PROVIDER) and row and now - session.get(CHECKED, 0) > settings.OIDC_REFRESH_SECONDS:
        standing = check_session(session_id=row)
        if standing.unasked and _can_go_round(request):
            raise RoundTrip(standing.ended)
        if standing.ended:
            return standing.ended
        if standing.checked_at is not None:
            session[CHECKED] = standing.checked_at.timestamp()
    if row and now - session[SEEN] > TOUCH_AFTER:
        session[SEEN] = now
        BrowserSession.objects.filter(pk=row).update(
            seen_at=timezone.now(), address=request.META.get("REMOTE_ADDR") or None
        )
    return ""


def _can_go_round(request: HttpRequest) -> bool:
    """A page somebody opens; not a form, which would be lost, nor a fragment or a call, which cannot be sent around."""
    return (
        request.method == "GET"
        and "text/html" in request.headers.get("Accept", "")
        and not request.headers.get("HX-Request")
        and not request.path.startswith("/api/")
    )
