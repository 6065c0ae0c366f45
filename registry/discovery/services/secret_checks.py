"""Is a secret where the catalog says: asked of its store, by the clock and on demand, or attested by a person.

Stores are asked outside of every transaction. What they say is kept as a check; what follows from it stands on the
source. A source that is taken up is due again after `CLAIM`, so that a killed worker only delays it.
"""

import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import SecretSource, Server
from registry.catalog.services import set_verification
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotAllowed
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.discovery import stores
from registry.discovery.models import SecretAttestation, SecretCheck, SecretWatch
from registry.discovery.secret_states import interval
from registry.discovery.stores import Looked

CHECKER = Actor.system("secret sources")
IN_USE = (Lifecycle.ACTIVE, Lifecycle.SUSPENDED)
AGAIN = timedelta(seconds=30)
"""Whoever asks again within this time gets the answer that is there."""
CLAIM = timedelta(minutes=10)
FIRST_RETRY = timedelta(minutes=15)
LONGEST_WORD = timedelta(days=366)
BATCH = 100


# --- On demand -------------------------------------------------------------------------------------------


def check_secret_source(
    *, actor: Actor, source: SecretSource, ask: Callable[[SecretSource], Looked] = stores.check
) -> SecretCheck:
    """Ask the store of `source` now, and keep what it says. Takes seconds. `ask` is what asks.

    What the store says of a draft's source would tell whoever wrote the draft about secrets of others.

    Raises `Conflict` for what is not in use any more, and for kinds no program can look up.
    """
    require(actor, "discovery.check_secret_source", source)
    _in_use(source)
    if source.kind not in stores.STORES:
        raise Conflict(stores.obstacle(source.kind) or _("There is no credential to look up."))
    newest = source.checks.first()
    if newest is not None and newest.at > clock.now() - AGAIN:
        return newest
    return _keep(actor, source, ask(source))


def _in_use(source: SecretSource) -> None:
    if source.retired_at is not None:
        raise Conflict(_("This source is no longer used."))
    if source.server.lifecycle == Lifecycle.RETIRED:
        raise Conflict(_("This server is retired; its sources are no longer looked at."))


@transaction.atomic
def attest_secret_source(
    *, actor: Actor, source: SecretSource, statement: str, until: date, last_rotated_on: date | None = None
) -> SecretAttestation:
    """Give one's word, until a day at most a year away, that the credential is kept where the catalog says.

    Raises `Invalid` for a word without words or end, `SecretRefused` for one that holds a secret.
    """
    require(actor, "discovery.attest_secret_source", source.server)
    if actor.user_id is None:
        raise NotAllowed(_("Only a person can give their word."))
    _in_use(source)
    if source.kind == SecretSource.Kind.NONE:
        raise Conflict(_("There is no credential to attest."))
    statement, today = statement.strip(), clock.today()
    errors: dict[str, list[str]] = {}
    if not statement:
        errors["statement"] = [_("Say what you looked at, and what you saw.")]
    elif len(statement) > 2000:
        errors["statement"] = [_("At most 2,000 characters.")]
    if not today < until <= today + LONGEST_WORD:
        errors["until"] = [_("Choose a day from tomorrow to a year from now.")]
    if last_rotated_on and last_rotated_on > today:
        errors["last_rotated_on"] = [_("This day is yet to come.")]
    if errors:
        raise Invalid(fields=errors)
    refuse_secrets({"statement": statement})
    watch = _watched(source)
    said: SecretAttestation = SecretAttestation.objects.create(
        server_id=source.server_id,
        source=source,
        by_id=actor.user_id,
        statement=statement,
        until=until,
        last_rotated_on=last_rotated_on,
    )
    watch.attestation = said
    watch.save(update_fields=["attestation"])
    record(
        actor=actor,
        act="server.secret_source_attested",
        subject=source.server,
        data={"source": str(source.pk), "until": until, "last_rotated_on": last_rotated_on, "statement": statement},
    )
    return said


# --- By the clock ----------------------------------------------------------------------------------------


def sweep_secret_checks() -> list[UUID]:
    """Keep watches in line with the catalog, and name the sources that are due, each for one worker."""
    watch_sources()
    return due_secret_checks()


@transaction.atomic
def watch_sources() -> int:
    """Sources of servers in use whose store can be asked are due at some time. Returns how many were new."""
    now = clock.now()
    wanted = _asked_by_the_clock()
    watched = SecretWatch.objects.filter(source=OuterRef("pk"), due_at__isnull=False)
    missing = wanted.filter(~Exists(watched)).select_related("server").order_by("pk")[: BATCH * 10]
    made = SecretWatch.objects.bulk_create(
        [
            # Spread, so that an import of thousands does not ask a store for all of them at once.
            SecretWatch(source=each, due_at=now + random.uniform(0, 0.1) * interval(each.server.tier))  # noqa: S311
            for each in missing
        ],
        update_conflicts=True,
        update_fields=["due_at"],
        unique_fields=["source"],
    )
    SecretWatch.objects.filter(due_at__isnull=False).exclude(source__in=wanted).update(due_at=None)
    return len(made)


def _asked_by_the_clock() -> QuerySet[SecretSource]:
    kinds = stores.connected()
    return SecretSource.objects.filter(retired_at=None, server__lifecycle__in=IN_USE, kind__in=kinds)


@transaction.atomic
def due_secret_checks() -> list[UUID]:
    """Take up sources whose time has come; at most a batch, the rest next time."""
    now = clock.now()
    due = SecretWatch.objects.filter(due_at__lte=now).order_by("due_at").select_for_update(skip_locked=True)
    taken = [watch.pk for watch in due[:BATCH]]
    SecretWatch.objects.filter(pk__in=taken).update(due_at=now + CLAIM)
    return taken


def run_secret_check(*, source_id: UUID | str) -> None:
    """Look one up. Running it twice asks twice and changes nothing else."""
    source = _asked_by_the_clock().select_related("server").filter(pk=source_id).first()
    if source is not None:
        _keep(CHECKER, source, stores.check(source))


# --- What was seen ---------------------------------------------------------------------------------------


@transaction.atomic
def _keep(actor: Actor, source: SecretSource, looked: Looked) -> SecretCheck:
    now = clock.now()
    watch = _watched(source)
    before = watch.last.outcome if watch.last else ""
    seen: SecretCheck = SecretCheck.objects.create(
        server_id=source.server_id,
        source=source,
        at=now,
        by_id=actor.user_id,
        outcome=looked.outcome,
        detail=looked.detail[:500],
        rotation_enabled=looked.rotation_enabled,
        last_rotated_at=looked.last_rotated_at,
        last_changed_at=looked.last_changed_at,
        last_accessed_at=looked.last_accessed_at,
        facts=dict(looked.facts),
    )
    answered = looked.outcome != SecretCheck.Outcome.CANNOT_CHECK
    watch.last = seen
    watch.failures = 0 if answered else min(watch.failures + 1, 1000)
    if source.server.lifecycle in IN_USE and source.kind in stores.connected():
        watch.due_at = _next(source.server, watch, now)
    watch.save(update_fields=["last", "failures", "due_at"])
    if answered:
        set_verification(
            actor=CHECKER,
            source=source,
            verification=looked.outcome,
            at=now,
            last_rotated_on=_rotated_on(source.last_rotated_on, looked),
        )
    if not actor.is_system or before != looked.outcome:
        record(
            actor=actor,
            act="server.secret_source_checked",
            subject=source.server,
            data={"source": str(source.pk), "check": str(seen.pk), "before": before, "after": str(looked.outcome)},
        )
    return seen


def _watched(source: SecretSource) -> SecretWatch:
    SecretWatch.objects.get_or_create(source=source)
    locked: SecretWatch = (
        SecretWatch.objects.select_for_update(of=("self",)).select_related("last", "attestation").get(source=source)
    )
    return locked


def _rotated_on(declared: date | None, looked: Looked) -> date | None:
    """The day the store knows of, where it is later than the declared one or shows that that cannot be true."""
    rotated = looked.last_rotated_at.date() if looked.last_rotated_at else None
    changed = looked.last_changed_at.date() if looked.last_changed_at else None
    if declared is None:
        return rotated
    # A day of grace, for people write days of their own time zone.
    if changed and declared > changed + timedelta(days=1):
        return rotated or changed
    return max(declared, rotated) if rotated else declared


def _next(server: Server, watch: SecretWatch, now: datetime) -> datetime:
    """By tier, a little off so that looks do not bunch; sooner, then later, while the store cannot be asked."""
    wait = interval(server.tier)
    if watch.failures:
        wait = min(FIRST_RETRY * 2 ** min(watch.failures - 1, 12), wait)
    return now + wait * random.uniform(0.9, 1.1)  # noqa: S311
