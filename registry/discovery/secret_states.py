"""What is known of secret sources now: one answer for pages, lists, filters, CSV and API, for many at once."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db.models import (
    BooleanField,
    Case,
    CharField,
    DateField,
    DateTimeField,
    Expression,
    ExpressionWrapper,
    F,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Greatest

from registry.catalog.models import SecretSource, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.permissions import allows
from registry.discovery import stores
from registry.discovery.states import SecretState

STALE_AFTER = 3
"""Looks that may fail in a row before a verification no longer counts."""


def interval(tier: str) -> timedelta:
    """A tier nobody computed yet counts as medium."""
    days: Mapping[str, float] = settings.SECRET_CHECK_INTERVAL_DAYS
    return timedelta(days=days.get(tier) or days["medium"])


def limit(tier: str) -> timedelta:
    """How long what a store said counts."""
    return interval(tier) * STALE_AFTER


def sources_visible_to(actor: Actor) -> QuerySet[SecretSource]:
    """Sources in use of the servers one may see, each with what is known of it."""
    visible = SecretSource.objects.filter(server__in=Server.objects.visible_to(actor), retired_at=None)
    return with_state(visible.exclude(server__lifecycle="retired"))


def with_state(sources: QuerySet[SecretSource], now: datetime | None = None) -> QuerySet[SecretSource]:
    """`state`, `rotate_by` (a day, where an interval and the last rotation are known) and `overdue` on each row.

    The store's word counts before a person's, both before what could not be asked; bad news does not grow stale.
    """
    now = now or clock.now()
    fresh = Q(verified_at__gte=_oldest(now))
    attested = Q(watch__attestation__until__gte=now.date())
    state = Case(
        When(kind=SecretSource.Kind.NONE, then=Value(SecretState.NOT_NEEDED)),
        When(verification=SecretSource.Verification.DELETED, then=Value(SecretState.DELETED)),
        When(verification=SecretSource.Verification.NOT_FOUND, then=Value(SecretState.NOT_FOUND)),
        When(Q(verification=SecretSource.Verification.VERIFIED) & fresh, then=Value(SecretState.VERIFIED)),
        When(attested, then=Value(SecretState.ATTESTED)),
        When(
            Q(verification=SecretSource.Verification.VERIFIED) | Q(watch__attestation__isnull=False),
            then=Value(SecretState.STALE),
        ),
        When(
            Q(watch__last__isnull=False) | Q(kind__in=[kind for kind in stores.STORES if stores.obstacle(kind)]),
            then=Value(SecretState.CANNOT_CHECK),
        ),
        default=Value(SecretState.NEVER),
        output_field=CharField(),
    )
    told: Expression = Greatest(F("last_rotated_on"), F("watch__attestation__last_rotated_on"))
    by = ExpressionWrapper(F("rotated_on") + F("rotation_interval_days"), output_field=DateField())
    return sources.annotate(
        state=state,
        rotated_on=told,
        rotate_by=by,
        overdue=Case(When(rotate_by__lt=Value(now.date()), then=Value(True)), default=Value(False),
                     output_field=BooleanField()),
    )  # fmt: skip


def _oldest(now: datetime) -> Case:
    """Before which a verification is stale, by the tier of the server."""
    tiers = list(settings.SECRET_CHECK_INTERVAL_DAYS)
    cases = [When(server__tier=tier, then=Value(now - limit(tier))) for tier in tiers]
    return Case(*cases, default=Value(now - limit("medium")), output_field=DateTimeField())


def explained_to(actor: Actor, sources: QuerySet[SecretSource]) -> QuerySet[SecretSource]:
    """Those of which `actor` sees more than the state: dates, what the store said, what people said."""
    if allows(actor, "discovery.view_secret_checks"):
        return sources
    if actor.user_id is None:
        return sources.none()
    mine = Q(server__owner=actor.user_id) | Q(server__deputy=actor.user_id) | Q(server__operator=actor.user_id)
    return sources.filter(mine)


def is_explained_to(actor: Actor, source: SecretSource) -> bool:
    return allows(actor, "discovery.view_secret_checks", source.server)


def shown(sources: QuerySet[SecretSource]) -> QuerySet[SecretSource]:
    """With what a row shows beside its state."""
    return sources.select_related("server", "watch__last__by", "watch__attestation__by")


def age(source: SecretSource, today: date) -> int | None:
    """Days since the last rotation anybody knows of; of a source that came from `with_state`."""
    rotated: date | None = source.rotated_on  # type: ignore[attr-defined]
    return (today - rotated).days if rotated else None


__all__ = [
    "age", "explained_to", "interval", "is_explained_to", "limit", "shown", "sources_visible_to", "with_state",
]  # fmt: skip
