"""The browsers people are signed in with: opened at sign-in, checked with the provider, ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from registry.accounts.models import BrowserSession, ExternalIdentity, User
from registry.accounts.openid import client
from registry.accounts.openid.client import Tokens
from registry.accounts.openid.errors import GrantEnded, ProviderFailed, SignInRefused
from registry.accounts.openid.tokens import Claims
from registry.accounts.sealing import seal, unseal
from registry.accounts.services.federation import note_claims
from registry.accounts.services.vouching import note_refusal
from registry.audit.services import record
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.permissions import require

LEASE = timedelta(seconds=30)
"""How long one request may ask the provider before another tries: a refresh token that rotates must be used once."""


def open_session(*, user: User, session_key: str, address: str | None, agent: str) -> BrowserSession:
    """Called by the sign-in itself, whichever way it came about. Times are the real clock's, whatever the story's."""
    now = timezone.now()
    return BrowserSession.objects.create(
        user=user,
        session_key=session_key,
        started_at=now,
        seen_at=now,
        address=address or None,
        agent="".join(each for each in agent if each.isprintable())[:300],
    )


def bind_session(*, session_id: UUID, identity: ExternalIdentity, tokens: Tokens, sid: str) -> None:
    """The provider that vouches for this browser, and what is needed to ask it again and to sign out there."""
    BrowserSession.objects.filter(pk=session_id).update(
        provider=identity.provider, identity=identity, sid=sid[:255], checked_at=timezone.now(), **_sealed(tokens)
    )


def _sealed(tokens: Tokens) -> dict[str, str]:
    given = {"id_token": tokens.id_token, "refresh_token": tokens.refresh_token}
    return {name: seal(value) for name, value in given.items() if value}


@dataclass(frozen=True)
class Standing:
    """What is known about a session. `ended`: a sentence for whoever it belonged to. `unasked`: only a round trip of
    the browser could tell, because the provider gave nothing to refresh with."""

    checked_at: datetime | None = None
    ended: str = ""
    unasked: bool = False


def check_session(*, session_id: UUID) -> Standing:
    """Ask the provider whether it still vouches for this browser, and take over what it says about the person.

    One request asks, others go on meanwhile. While the provider cannot be reached the session lives for
    OIDC_GRACE_SECONDS more and then ends: nobody keeps access because the provider is down.
    """
    now = timezone.now()
    due = now - timedelta(seconds=settings.OIDC_REFRESH_SECONDS)
    mine = (
        BrowserSession.objects.filter(pk=session_id, checked_at__lt=due)
        .filter(Q(asked_at=None) | Q(asked_at__lt=now - LEASE))
        .update(asked_at=now)
    )
    row = BrowserSession.objects.select_related("identity__user").filter(pk=session_id).first()
    if row is None or row.identity is None or row.checked_at is None:
        return Standing(ended=_("Your session was ended. Sign in again."))
    provider = settings.OIDC_PROVIDERS.get(row.provider)
    if provider is None or provider.issuer != row.identity.issuer:
        return Standing(ended=_("The identity provider you signed in with is no longer used here. Sign in again."))
    if not mine:
        return _within_grace(row.checked_at, now)
    refresh_token = unseal(row.refresh_token)
    if not refresh_token:
        BrowserSession.objects.filter(pk=row.pk).update(asked_at=None)  # nobody asks; the next page may send them round
        return Standing(row.checked_at, unasked=True, ended=_within_grace(row.checked_at, now).ended)
    try:
        tokens, claims = client.refresh(provider, refresh_token, row.identity.subject)
        _refreshed(row, row.identity, tokens, claims)
    except SignInRefused as refusal:
        if isinstance(refusal, GrantEnded):
            note_refusal(user=row.identity.user, provider=row.provider)
        return Standing(ended=refusal.message)
    except ProviderFailed:
        return _within_grace(row.checked_at, now)
    return Standing(now)


@transaction.atomic
def _refreshed(row: BrowserSession, identity: ExternalIdentity, tokens: Tokens, claims: Claims) -> None:
    note_claims(identity=identity, claims=claims, complete=bool(tokens.id_token))
    BrowserSession.objects.filter(pk=row.pk).update(checked_at=timezone.now(), asked_at=None, **_sealed(tokens))


def _within_grace(checked_at: datetime, now: datetime) -> Standing:
    limit = timedelta(seconds=settings.OIDC_REFRESH_SECONDS + settings.OIDC_GRACE_SECONDS)
    if now - checked_at <= limit:
        return Standing(checked_at)
    return Standing(ended=_("Your identity provider could not be asked for too long. Sign in again."))


# --- Ending ----------------------------------------------------------------------------------------------


def _end(sessions: QuerySet[BrowserSession]) -> int:
    keys = list(sessions.values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    sessions.delete()
    return len(keys)


def end_sessions_of(*, user: User, keep: UUID | None = None) -> int:
    """End every browser session of somebody, but `keep`. Part of other acts, which asked and leave the evidence."""
    sessions = BrowserSession.objects.filter(user=user)
    return _end(sessions.exclude(pk=keep) if keep else sessions)


def forget_ended_sessions() -> int:
    """Sweep what ended by itself: expired sessions, and rows whose session is gone. Returns how many browsers."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    ended = BrowserSession.objects.exclude(session_key__in=Session.objects.values("session_key"))
    # A sign-in that is being answered has its row before its session is written.
    return ended.filter(started_at__lt=timezone.now() - timedelta(hours=1)).delete()[0]


@transaction.atomic
def end_session(*, actor: Actor, session_id: UUID) -> None:
    """End one of one's own browser sessions. Raises `NotFound` for what is not one's own."""
    require(actor, "accounts.edit_self")
    found = BrowserSession.objects.filter(pk=session_id, user=actor.user)
    row = found.first()
    if row is None:
        raise NotFound
    _end(found)
    record(actor=actor, act="user.session_ended", subject=actor.user, data={"session": str(row.pk), "by": "the person"})


@transaction.atomic
def end_other_sessions(*, actor: Actor, keep: UUID | None) -> int:
    """End all of one's browser sessions but the one this is said in. Returns how many."""
    require(actor, "accounts.edit_self")
    ended = end_sessions_of(user=actor.user, keep=keep)
    if ended:
        record(actor=actor, act="user.sessions_ended", subject=actor.user, data={"number": ended, "by": "the person"})
    return ended


@transaction.atomic
def end_provider_sessions(*, provider: str, issuer: str, subject: str, sid: str) -> int:
    """The provider says somebody signed out there (back-channel logout): of the session it names, or of all."""
    found = BrowserSession.objects.filter(provider=provider, identity__issuer=issuer)
    found = found.filter(sid=sid) if sid else found
    found = found.filter(identity__subject=subject) if subject else found
    people = {row.user_id: row.user for row in found.select_related("user")}
    ended = _end(found)
    for user in people.values():
        record(
            actor=Actor.system(f"sign-in through {provider}"),
            act="user.sessions_ended",
            subject=user,
            data={"by": "the provider", "provider": provider},
        )
    return ended
