"""Acts on API tokens."""

import hashlib
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from registry.accounts.models import ApiToken, User
from registry.accounts.networks import outside, read_networks
from registry.accounts.services import lineage
from registry.audit.services import record
from registry.core import clock
from registry.core import scopes as core_scopes
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.inert import visible
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent

log = structlog.get_logger(__name__)
WARNED_BEFORE = timedelta(days=7)
TOKEN_PREFIX = "stw_"  # noqa: S105 - the public marker of a token, not one
MAX_TOKEN_DAYS = 365
MAX_OVERLAP_HOURS = 72
PROVISION = "accounts:provision"


def token_hash(token: str) -> str:
    """SHA-256 suffices: a token is 256 random bits, so there is nothing to guess slowly."""
    return hashlib.sha256(token.encode()).hexdigest()


def expand_scopes(scopes: Iterable[str]) -> list[str]:
    """`read` and `write` stand for that scope in every room. Raises `Invalid` for a scope that does not exist."""
    expanded, strange = core_scopes.expand(scopes)
    if strange:
        known = ", ".join(["read", "write", *core_scopes.known()])
        raise Invalid(fields={"scopes": [f"{strange[0]!r} is not a scope. Known: {known}"]})
    if not expanded:
        raise Invalid(fields={"scopes": ["Choose at least one scope."]})
    return sorted(expanded)


def refuse_beyond(actor: Actor, wanted: Iterable[str]) -> None:
    """Raise `Invalid` if an actor with scopes would hand on one it does not have."""
    if actor.scopes is not None and (
        beyond := sorted(scope for scope in wanted if not core_scopes.covers(actor.scopes, scope))
    ):
        raise Invalid(fields={"scopes": [f"This {actor.credential} lacks {', '.join(beyond)} and cannot hand it on."]})


def refuse_provisioning(user: User, wanted: Collection[str]) -> None:
    """The directory's scope needs an administrator behind it, who is then asked for it."""
    if PROVISION in wanted and "administrator" not in user.roles:
        raise Invalid(fields={"scopes": [f"Only an administrator's credential can have {PROVISION}."]})


def _new_secret() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def _days(days: int) -> list[str]:
    return [] if 1 <= days <= MAX_TOKEN_DAYS else [f"A token lives 1 to {MAX_TOKEN_DAYS} days."]


@transaction.atomic
def create_token(
    *,
    actor: Actor,
    user: User,
    name: str,
    scopes: Iterable[str],
    days: int,
    purpose: str = "",
    networks: Iterable[str] = (),
) -> tuple[ApiToken, str]:
    """Create a token and return it with its secret, which cannot be read again.

    One that a token makes ends with it at the latest, and without `networks` gets those of its maker (`lineage`).
    Raises `Invalid` for unknown scopes, for scopes and networks that the acting token itself lacks, for a life outside
    1 to 365 days, or for networks that are none.
    """
    require(actor, "accounts.create_token")
    require_recent(actor, _("Make an API token"))
    if not actor.is_person(user.pk):
        require(actor, "accounts.create_token_for_another")
    errors: dict[str, list[str]] = {}
    if wrong := _days(days):
        errors["days"] = wrong
    if not name.strip():
        errors["name"] = ["Give the token a name that says where it is used."]
    if not user.is_active:
        errors["user"] = [f"{user.email} is not active."]
    if errors:
        raise Invalid(fields=errors)
    refuse_secrets({"name": name, "purpose": purpose})
    wanted = expand_scopes(scopes)
    refuse_beyond(actor, wanted)
    refuse_provisioning(user, wanted)
    allowed, parent = read_networks(networks), lineage.maker(actor)
    if parent is not None:
        allowed = lineage.networks_within(allowed or parent.networks, parent.networks)
    secret = _new_secret()
    token = ApiToken.objects.create(
        user=user,
        name=name.strip(),
        purpose=purpose.strip(),
        prefix=secret[:12],
        sha256=token_hash(secret),
        scopes=wanted,
        networks=allowed,
        parent=parent,
        expires_at=lineage.no_later(clock.now() + timedelta(days=days), parent),
    )
    record(
        actor=actor,
        act="token.created",
        subject=token,
        data={
            "user": str(user.pk),
            "scopes": token.scopes,
            "networks": token.networks,
            "expires_at": token.expires_at,
            **({"parent": str(parent.pk)} if parent is not None else {}),
        },
    )
    return token, secret


def _locked(token: ApiToken) -> ApiToken:
    token = ApiToken.objects.select_for_update(of=("self",)).select_related("user", "parent").get(pk=token.pk)
    if token.revoked_at:
        raise Conflict("This token is revoked already.")
    return token


@transaction.atomic
def edit_token(
    *,
    actor: Actor,
    token: ApiToken,
    name: str | None = None,
    purpose: str | None = None,
    scopes: Iterable[str] | None = None,
    networks: Iterable[str] | None = None,
    expected_version: str | None = None,
) -> ApiToken:
    """Say better what a token is for, or let it do less. Who needs more makes another token.

    Only a person lets it be used from more places. Raises `Invalid` for a scope that it does not have already, and for
    networks beyond those of the token that acts, or that made this one.
    """
    require(actor, "accounts.change_token", token)
    token = _locked(token)
    token.check_version(expected_version)
    before = {"name": token.name, "purpose": token.purpose, "scopes": token.scopes, "networks": token.networks}
    if name is not None:
        if not name.strip():
            raise Invalid(fields={"name": ["Give the token a name that says where it is used."]})
        token.name = name.strip()
    if purpose is not None:
        token.purpose = purpose.strip()
    refuse_secrets({"name": token.name, "purpose": token.purpose})
    if scopes is not None:
        wanted = expand_scopes(scopes)
        if beyond := [scope for scope in wanted if not core_scopes.covers(token.scopes, scope)]:
            said = f"A token only ever loses scopes. It does not have {', '.join(beyond)}."
            raise Invalid(fields={"scopes": [said]})
        token.scopes = wanted
    if networks is not None:
        allowed = read_networks(networks)
        if outside(allowed, token.networks):
            require_recent(actor, _("Let an API token be used from more places"))
        own = token.networks if actor.kind == "token" else []
        token.networks = lineage.networks_within(allowed, own, token.parent.networks if token.parent else [])
    after = {name: getattr(token, name) for name in before}
    if changed := [name for name in before if before[name] != after[name]]:
        token.save(update_fields=changed)
        record(
            actor=actor,
            act="token.edited",
            subject=token,
            data={"before": {name: before[name] for name in changed}, "after": {name: after[name] for name in changed}},
        )
        lineage.hold_children(actor, token)
    return token


@transaction.atomic
def rotate_token(*, actor: Actor, token: ApiToken, overlap_hours: int = 24, days: int = 90) -> tuple[ApiToken, str]:
    """Give a token a new secret and a new end; the old secret stays good for `overlap_hours`, 0 to 72.

    Returns the token with its new secret, which cannot be read again. A second rotation ends the earliest secret at
    once. A token that rotates lives no longer than it was given; one that a token made, no longer than that.
    Raises `Conflict` for one that has ended, `Invalid` for other hours or days.
    """
    require(actor, "accounts.change_token", token)
    require_recent(actor, _("Rotate an API token"))
    token = _locked(token)
    refuse_beyond(actor, token.scopes)
    now = clock.now()
    if token.expires_at <= now:
        raise Conflict("This token has ended. Make a new one.")
    errors: dict[str, list[str]] = {}
    if wrong := _days(days):
        errors["days"] = wrong
    if not 0 <= overlap_hours <= MAX_OVERLAP_HOURS:
        errors["overlap_hours"] = [f"Both secrets are good for 0 to {MAX_OVERLAP_HOURS} hours."]
    if errors:
        raise Invalid(fields=errors)
    # The old secret was promised to end: rotation must not prolong it.
    until = min(now + timedelta(hours=overlap_hours), token.expires_at)
    life = timedelta(days=days)
    if actor.kind == "token":
        life = min(life, token.expires_at - token.secret_since)
    secret = _new_secret()
    token.previous_prefix, token.previous_sha256 = token.prefix, token.sha256
    token.previous_until, token.previous_used_at = until, None
    token.prefix, token.sha256 = secret[:12], token_hash(secret)
    token.rotated_at, token.expires_at, token.warned_at = now, lineage.no_later(now + life, token.parent), None
    token.save()
    record(
        actor=actor,
        act="token.rotated",
        subject=token,
        data={"previous_prefix": token.previous_prefix, "previous_until": until, "expires_at": token.expires_at},
    )
    lineage.hold_children(actor, token)
    return token, secret


@transaction.atomic
def revoke_token(*, actor: Actor, token: ApiToken) -> ApiToken:
    """End a token, and with it whatever it made."""
    require(actor, "accounts.revoke_token", token)
    require_recent(actor, _("Revoke an API token"))
    token = _locked(token)
    lineage.revoke(actor, token)
    return token


@transaction.atomic
def revoke_tokens_of_leavers() -> int:
    """Revoke what people who left still hold. Their tokens stopped working with them; this makes it final, and said.

    Whoever comes back makes new ones.
    """
    left = ApiToken.objects.filter(user__is_active=False, revoked_at=None)
    actor, now = Actor.system("leavers' credentials"), clock.now()
    tokens = list(left.select_related("user").select_for_update(of=("self",), skip_locked=True).order_by("pk"))
    for token in tokens:
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
        record(actor=actor, act="token.revoked", subject=token, data={"because": "owner left"})
    return len(tokens)


def note_token_use(*, token: ApiToken, now: datetime, address: str | None, earlier_secret: bool = False) -> None:
    """Keep `last_used_at` to the minute: a write per call would cost more than the call."""
    minute = timedelta(minutes=1)
    changes: dict[str, datetime | str | None] = {}
    if token.last_used_at is None or now - token.last_used_at > minute:
        changes = {"last_used_at": now, "last_address": address}
    if earlier_secret and (token.previous_used_at is None or now - token.previous_used_at > minute):
        changes["previous_used_at"] = now
    if changes:
        ApiToken.objects.filter(pk=token.pk).update(**changes)


def warn_of_token_ends() -> int:
    """Write once to whoever has a token that ends within a week, and is in use. Returns how many mails went out.

    Each row is locked until its mail is on its way: two workers do not both write, and a mail server that is down
    leaves the row for the next hour.
    """
    now = clock.now()
    due = ApiToken.objects.usable(now).filter(expires_at__lte=now + WARNED_BEFORE, warned_at=None)
    sent = 0
    for pk in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            rows = due.select_for_update(of=("self",), skip_locked=True).select_related("user")
            token = rows.filter(pk=pk).first()
            if token is None:
                continue
            ApiToken.objects.filter(pk=pk).update(warned_at=now)
            context = {"token": token, "base_url": settings.BASE_URL}
            try:
                send_mail(
                    visible(_("Your token %(name)s ends soon") % {"name": token.name}),
                    visible(render_to_string("accounts/mail/token_ends.txt", context)),
                    None,
                    [token.user.email],
                )
            except (OSError, SMTPException) as error:
                log.warning("token_warning_not_sent", token_id=str(pk), error=type(error).__name__)
                transaction.set_rollback(True)
                continue
            sent += 1
    return sent
