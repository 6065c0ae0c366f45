"""Audit packs: asked for, made in the background, kept for a while, made again when asked again.

A pack is written beside its name and moved there when it is whole: a folder never holds half of one. Everything in it
but the audit trail is read in one transaction that sees one instant.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from registry.audit.log import moment, origin, signing_time
from registry.audit.models import Event
from registry.audit.services import export_extract, export_log, record, record_access, seal_events, sign_text
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import canonical_json
from registry.core.errors import Conflict, Invalid, NotFound, RegistryError
from registry.core.events import publish
from registry.core.permissions import require
from registry.reviews.cadence import end_of_day
from registry.reviews.events import PackAsked
from registry.reviews.models import AuditPack, Campaign, Item, Remediation
from registry.reviews.pack_format import (
    BLOCKS,
    CAMPAIGNS,
    DECISIONS,
    EXTRACT,
    FORMAT,
    POPULATION,
    SIGN_OFFS,
    SNAPSHOTS,
    pack_note_text,
)
from registry.reviews.packs import contents, controls, figures, summary
from registry.reviews.packs.archive import PackWriter
from registry.reviews.packs.contents import Scope
from registry.reviews.states import PACK, PACK_UNFINISHED, CampaignState, PackState

PACKER = Actor.system("audit packs")
_ASK_LOCK = 7_301_021
STALE_AFTER = timedelta(minutes=15)
"""Without a file written for so long, its worker is taken for dead."""
LONGEST_PERIOD = timedelta(days=366)


# --- Asking ----------------------------------------------------------------------------------------------


@transaction.atomic
def pack_campaign(*, actor: Actor, campaign: Campaign) -> AuditPack:
    """Ask for the pack of a campaign. One that is being made already is the answer to whoever asks meanwhile.

    Raises `Conflict` before the campaign's population is settled.
    """
    require(actor, "reviews.pack_campaign", campaign)
    if not campaign.population_hash:
        raise Conflict(_("Its population is not settled yet: there is nothing to pack."))
    return _ask(actor, campaign=campaign)


@transaction.atomic
def pack_period(*, actor: Actor, since: Any, until: Any) -> AuditPack:
    """Ask for the pack of the days from `since` to `until`, both included. Raises `Invalid` by field."""
    require(actor, "reviews.pack_period")
    errors = {}
    if until < since:
        errors["until"] = [_("Choose a day that is not before the first one.")]
    elif until - since > LONGEST_PERIOD:
        errors["until"] = [_("At most a year in one pack.")]
    if since > clock.today():
        errors["since"] = [_("This day is yet to come.")]
    if errors:
        raise Invalid(fields=errors)
    return _ask(actor, since=since, until=until)


def _ask(actor: Actor, **about: Any) -> AuditPack:
    if actor.user is None:
        raise Conflict(_("Only a named person asks for an audit pack."))
    with connection.cursor() as cursor:  # two who ask at once are one after the other
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ASK_LOCK])
    found: AuditPack | None = AuditPack.objects.filter(state__in=PACK_UNFINISHED, **about).first()
    if found is not None:
        return found
    pack = AuditPack.objects.create(asked_by=actor.user, progressed_at=clock.now(), **about)
    record(actor=actor, act="pack.requested", subject=pack, data={name: value for name, value in about.items()
                                                                  if name != "campaign"})  # fmt: skip
    publish(PackAsked(pack_id=pack.pk))
    return pack


def note_download(*, actor: Actor, pack: AuditPack) -> Path:
    """The file of a pack, and the evidence that somebody took it. Raises `Conflict` when there is none."""
    require(actor, "reviews.view")
    if not AuditPack.objects.visible_to(actor).filter(pk=pack.pk).exists():
        raise NotFound
    if pack.state != PackState.READY or not pack.path.is_file():
        raise Conflict(_("There is no file: make the pack again."))
    record_access(actor=actor, act="pack.exported", subject=pack, data={"digest": pack.digest})
    return pack.path


# --- Making ----------------------------------------------------------------------------------------------


def make_pack(*, pack_id: UUID) -> AuditPack | None:
    """Write the archive. None when there is nothing to do: somebody else makes it, or it is made.

    Whatever goes wrong, the pack says why and no file is left.
    """
    pack = _claim(pack_id)
    if pack is None:
        return None
    draft = pack.path.with_suffix(f".{os.getpid()}.part")
    try:
        pack.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        manifest_digest = _write(pack, draft)
        digest, size = _digest(draft), draft.stat().st_size
        return _ready(pack, draft, digest=digest, size=size, manifest_digest=manifest_digest)
    except Exception as error:
        draft.unlink(missing_ok=True)
        pack.path.unlink(missing_ok=True)
        _fail(pack_id, error)
        if isinstance(error, RegistryError):
            return None
        raise


@transaction.atomic
def _claim(pack_id: UUID) -> AuditPack | None:
    pack: AuditPack = (
        AuditPack.objects.select_for_update(of=("self",)).select_related("campaign", "asked_by").get(pk=pack_id)
    )
    stale = pack.progressed_at is None or pack.progressed_at < clock.now() - STALE_AFTER
    if pack.state != PackState.WAITING and not (pack.state == PackState.MAKING and stale):
        return None
    PACK.move(pack, PackState.MAKING, field="state")
    pack.progressed_at, pack.processed = clock.now(), 0
    pack.save()
    return pack


def _write(pack: AuditPack, draft: Path) -> str:
    """The archive, up to its signature. Returns the digest of its manifest."""
    while seal_events():
        pass
    made_at = clock.now()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file, PackWriter(file, made_at) as archive:
        with _one_instant():
            scope = _scope(pack)
            steps = _steps(pack, scope, archive, made_at)
            for number, (name, step) in enumerate(steps):
                _progress(pack, name, number, len(steps) + 1)
                step()
        _progress(pack, EXTRACT, len(steps), len(steps) + 1)
        archive.raw(EXTRACT, _trail(pack, scope))
        manifest = canonical_json(
            {
                "format": FORMAT,
                "origin": origin(),
                "made_at": moment(made_at),
                "made_for": pack.asked_by.email,
                "pack": str(pack.pk),
                "about": pack.about,
                "files": sorted(archive.files, key=lambda each: str(each["name"])),
            }
        )
        digest = sha256(manifest).hexdigest()
        archive.sign(manifest, sign_text(pack_note_text(origin(), digest, moment(signing_time()))))
    return digest


@contextmanager
def _one_instant() -> Iterator[None]:
    """A transaction that sees one instant from its first to its last statement; in a transaction already, that one."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _scope(pack: AuditPack) -> Scope:
    if pack.campaign is not None:
        return Scope([Campaign.objects.select_related("owner").get(pk=pack.campaign.pk)])
    assert pack.since is not None and pack.until is not None  # a constraint of the table
    since, until = end_of_day(pack.since - timedelta(days=1)), end_of_day(pack.until)
    since, until = (each + timedelta(microseconds=1) for each in (since, until))
    return Scope(list(_under_way(since, until)), since, until)


def _under_way(since: datetime, until: datetime) -> QuerySet[Campaign]:
    """Campaigns, intakes and micro-certifications of which any day lies in the period, in the order of their launch."""
    ended = Q(completed_at__lt=since) | Q(state=CampaignState.CANCELLED, updated_at__lt=since)
    return (
        Campaign.objects.exclude(population_hash="")
        .annotate(began=Coalesce("launched_at", "created_at"))
        .filter(began__lt=until)
        .exclude(ended)
        .select_related("owner")
        .order_by("began", "id")
    )


Step = tuple[str, Callable[[], Any]]


def _steps(pack: AuditPack, scope: Scope, archive: PackWriter, made_at: datetime) -> list[Step]:
    rows = figures.campaign_rows(scope)
    counts = figures.statistics(scope, rows)
    mapped = controls.control_rows(counts)
    key = {"columns": list(contents.SIGN_OFF_COLUMNS)}
    steps: list[Step] = [
        ("summary.html", lambda: archive.put("summary.html", summary.page(pack, scope, rows, counts, mapped, made_at))),
        ("VERIFY.md", lambda: archive.put("VERIFY.md", summary.verify_text(pack))),
        ("controls.csv", lambda: archive.csv("controls.csv", controls.COLUMNS, mapped)),
        ("statistics.json", lambda: archive.put("statistics.json", canonical_json(counts) + b"\n")),
        (CAMPAIGNS, lambda: archive.jsonl(CAMPAIGNS, rows)),
        (POPULATION, lambda: archive.jsonl(POPULATION, contents.population(scope))),
        (
            "population.csv",
            lambda: archive.csv("population.csv", contents.POPULATION_COLUMNS, contents.population(scope)),
        ),
        (
            "assignments.csv",
            lambda: archive.csv("assignments.csv", contents.ASSIGNMENT_COLUMNS, contents.assignments(scope)),
        ),
        (DECISIONS, lambda: archive.jsonl(DECISIONS, contents.decisions(scope))),
        (
            "decisions.csv",
            lambda: archive.csv("decisions.csv", contents.DECISION_COLUMNS, contents.decisions(scope)),
        ),
        (SIGN_OFFS, lambda: archive.jsonl(SIGN_OFFS, contents.sign_offs(scope))),
        ("sign-offs.csv", lambda: archive.csv("sign-offs.csv", key["columns"], contents.sign_offs(scope))),
        (
            "remediations.csv",
            lambda: archive.csv("remediations.csv", contents.REMEDIATION_COLUMNS, contents.remediations(scope)),
        ),
        (
            "challenges.csv",
            lambda: archive.csv("challenges.csv", contents.CHALLENGE_COLUMNS, contents.challenges(scope)),
        ),
        (
            "exceptions.csv",
            lambda: archive.csv("exceptions.csv", contents.EXCEPTION_COLUMNS, contents.exceptions(scope)),
        ),
        (BLOCKS, lambda: archive.lines(BLOCKS, contents.blocks(scope), hashed=False)),
        (SNAPSHOTS, lambda: archive.lines(SNAPSHOTS, contents.snapshots(scope), hashed=False)),
    ]
    if scope.is_period:
        steps.append(("access.csv", lambda: archive.csv("access.csv", contents.ACCESS_COLUMNS, contents.access(scope))))
    return steps


def _trail(pack: AuditPack, scope: Scope) -> Iterator[bytes]:
    """A period: its part of the log, whole. A campaign: its events, each proved by itself, without drafts, which are
    their authors' business."""
    if pack.campaign is None:
        return export_log(scope.since, scope.until)
    items = Item.objects.filter(campaign=pack.campaign).order_by().values("pk")
    removed = Remediation.objects.filter(item__campaign=pack.campaign).order_by().values("pk")
    told = (
        Q(subject_type="campaign", subject_id=pack.campaign.pk)
        | Q(subject_type="item", subject_id__in=items)
        | Q(subject_type="remediation", subject_id__in=removed)
    )
    return export_extract(Event.objects.filter(told).exclude(act__startswith="decision."))


def _progress(pack: AuditPack, step: str, processed: int, total: int) -> None:
    """Said on a connection of its own: the transaction that reads is not over before the last file."""
    with closing(connections.create_connection(DEFAULT_DB_ALIAS)) as aside, aside.cursor() as cursor:
        cursor.execute(
            "UPDATE reviews_auditpack SET step = %s, processed = %s, total = %s, progressed_at = %s WHERE id = %s",
            [step, processed, total, clock.now(), pack.pk],
        )


def _digest(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


@transaction.atomic
def _ready(pack: AuditPack, draft: Path, *, digest: str, size: int, manifest_digest: str) -> AuditPack:
    fresh: AuditPack = AuditPack.objects.select_for_update(of=("self",)).get(pk=pack.pk)
    PACK.move(fresh, PackState.READY, field="state")
    fresh.digest, fresh.manifest_digest, fresh.size = digest, manifest_digest, size
    fresh.step, fresh.failure, fresh.processed = "", "", fresh.total
    fresh.made_at = clock.now()
    fresh.expires_at = fresh.made_at + clock.days(settings.PACK_DAYS)
    fresh.save()
    record(
        actor=PACKER,
        act="pack.made",
        subject=fresh,
        data={"manifest": manifest_digest, "archive": digest, "size": size, "expires_at": fresh.expires_at},
    )
    draft.replace(fresh.path)
    return fresh


@transaction.atomic
def _fail(pack_id: UUID, error: Exception) -> None:
    pack: AuditPack = AuditPack.objects.select_for_update(of=("self",)).get(pk=pack_id)
    if isinstance(error, RegistryError):
        reason = str(error.message)
    elif isinstance(error, OSError):
        reason = _("The file could not be written: %(why)s.") % {"why": error.strerror or type(error).__name__}
    else:
        reason = _("%(step)s could not be made (%(kind)s).") % {"step": pack.step, "kind": type(error).__name__}
    PACK.move(pack, PackState.FAILED, field="state")
    pack.failure = reason[:300]
    pack.save()
    record(actor=PACKER, act="pack.failed", subject=pack, data={"reason": pack.failure, "step": pack.step})


# --- Afterwards ------------------------------------------------------------------------------------------


def sweep_packs(*, now: datetime) -> list[UUID]:
    """Delete what has expired, and return what waits for a worker or lost it."""
    for pk in AuditPack.objects.filter(state=PackState.READY, expires_at__lte=now).values_list("pk", flat=True):
        _expire(pk, now)
    waiting = Q(state=PackState.WAITING, created_at__lt=now - timedelta(minutes=1))
    lost = Q(state=PackState.MAKING, progressed_at__lt=now - STALE_AFTER)
    return list(AuditPack.objects.filter(waiting | lost).order_by("id").values_list("pk", flat=True))


@transaction.atomic
def _expire(pack_id: UUID, now: datetime) -> None:
    pack: AuditPack = AuditPack.objects.select_for_update(of=("self",)).get(pk=pack_id)
    if pack.state != PackState.READY or pack.expires_at is None or pack.expires_at > now:
        return
    PACK.move(pack, PackState.EXPIRED, field="state")
    pack.save()
    record(actor=PACKER, act="pack.expired", subject=pack, data={"digest": pack.digest})
    transaction.on_commit(lambda: pack.path.unlink(missing_ok=True))
