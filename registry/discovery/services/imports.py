"""Acts of an import: read everything first, then each entry in a transaction of its own.

An entry's draft, its result and the job's progress commit together, so that a killed worker leaves no entry half
done and whoever takes the job up again goes on exactly where it ended.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import structlog
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import Server
from registry.catalog.services import import_server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotAllowed, RegistryError
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.discovery.entries import facts_digest
from registry.discovery.events import ImportQueued
from registry.discovery.formats.bounds import MAX_ROWS
from registry.discovery.models import ImportJob, ImportResult, PendingEntry, Shadow
from registry.discovery.plan import File, plan
from registry.discovery.queries import counts, outdated
from registry.discovery.services.sightings import record_sighting
from registry.discovery.sighting_words import reasons as told_of
from registry.discovery.states import JOB, UNFINISHED, EntryKind, JobState, Outcome

log = structlog.get_logger(__name__)

MAX_ENTRIES = MAX_ROWS
PREVIEW_KEPT = timedelta(hours=24)
BATCH = 100


@transaction.atomic
def request_import(
    *,
    actor: Actor,
    files: Sequence[File],
    source: str = "",
    state: Literal[JobState.PREVIEW, JobState.QUEUED] = JobState.QUEUED,
) -> ImportJob:
    """Keep what was read as a job: queued for the worker, or as a preview that `start_import` lets go.

    The order in the files is kept, and an entry is only applied when it is newer than those before it. Raises
    `Invalid` without entries or with too many, `SecretRefused` for a source that holds one.
    """
    require(actor, "discovery.import_servers")
    source = (source.strip() or ", ".join(file.name for file in files))[:300]
    refuse_secrets({"source": source})
    total = sum(len(file.rows) for file in files)
    if not total:
        raise Invalid(fields={"entries": [_("There is no entry in this.")]})
    if total > MAX_ENTRIES:
        raise Invalid(fields={"entries": [_("At most %(n)d entries at a time; split them.") % {"n": MAX_ENTRIES}]})
    job = ImportJob.objects.create(
        requested_by=actor.user, source=source, state=state, total=total, progressed_at=clock.now()
    )
    PendingEntry.objects.bulk_create((PendingEntry(job=job, **vars(each)) for each in plan(files)), batch_size=500)
    if state == JobState.QUEUED:
        _queued(actor, job)
    return job


def _queued(actor: Actor, job: ImportJob) -> None:
    record(actor=actor, act="import.started", subject=job, data={"source": job.source, "entries": job.total})
    publish(ImportQueued(job_id=job.pk))


def _locked(job: ImportJob) -> ImportJob:
    return ImportJob.objects.select_for_update(of=("self",)).get(pk=job.pk)


@transaction.atomic
def start_import(*, actor: Actor, job: ImportJob) -> ImportJob:
    """Let a preview go, or take up a failed import where it ended."""
    require(actor, "discovery.import_servers")
    require(actor, "discovery.direct_import", job)
    job = _locked(job)
    JOB.move(job, JobState.QUEUED, field="state")
    job.state_reason, job.progressed_at, job.finished_at = "", clock.now(), None
    job.save(update_fields=["state", "state_reason", "progressed_at", "finished_at"])
    _queued(actor, job)
    return job


@transaction.atomic
def stop_import(*, actor: Actor, job: ImportJob, reason: str = "") -> ImportJob:
    """End it after the entry that is being done. What was imported stays; the rest is forgotten."""
    require(actor, "discovery.direct_import", job)
    refuse_secrets({"reason": reason})
    job = _locked(job)
    was_preview = job.state == JobState.PREVIEW
    JOB.move(job, JobState.STOPPED, field="state")
    job.state_reason = reason.strip()[:2000] or _("Stopped by %(who)s.") % {"who": actor.label}
    job.finished_at = clock.now()
    job.save(update_fields=["state", "state_reason", "finished_at"])
    job.pending.all().delete()
    if not was_preview:
        record(actor=actor, act="import.stopped", subject=job, data=counts(job))
    return job


@transaction.atomic
def expire_previews() -> int:
    """Previews nobody confirmed within a day hold other people's files for nothing."""
    stale = ImportJob.objects.filter(state=JobState.PREVIEW, progressed_at__lt=clock.now() - PREVIEW_KEPT)
    ids = list(stale.select_for_update(skip_locked=True).values_list("pk", flat=True))
    PendingEntry.objects.filter(job__in=ids).delete()
    return ImportJob.objects.filter(pk__in=ids).update(
        state=JobState.STOPPED,
        state_reason=_("Nobody confirmed this preview within a day."),
        finished_at=clock.now(),
        updated_at=clock.now(),
        version=F("version") + 1,
    )


# --- The work --------------------------------------------------------------------------------------------


def run_import(*, job_id: UUID | str) -> None:
    """Do what is left of a job. Safe to repeat, to interrupt anywhere, and to run twice at once."""
    job = ImportJob.objects.select_related("requested_by").filter(pk=job_id, state__in=UNFINISHED).first()
    if job is None:
        return
    actor = Actor.person(job.requested_by) if job.requested_by else Actor.system("import")
    try:
        require(actor, "discovery.import_servers")
        _begin(job)
        done = -1
        while batch := list(job.pending.filter(position__gt=done)[:BATCH]):
            for entry in batch:
                if not _import_next(actor, job, entry.pk):
                    return
            done = batch[-1].position
        _finish(actor, job)
    except OperationalError:
        raise  # The database is away; the sweep takes the job up when it is back.
    except NotAllowed as error:
        _fail(actor, job, error.message)
    except Exception:
        log.exception("import_failed", job_id=str(job.pk))
        _fail(actor, job, _("Something went wrong on our side; it is logged. Resume to go on where it ended."))


@transaction.atomic
def _begin(job: ImportJob) -> None:
    fresh = _locked(job)
    if fresh.state == JobState.QUEUED:
        JOB.move(fresh, JobState.RUNNING, field="state")
        fresh.progressed_at = clock.now()
        fresh.save(update_fields=["state", "progressed_at"])


@transaction.atomic
def _import_next(actor: Actor, job: ImportJob, pending_id: int) -> bool:
    """Do one entry, unless another worker has it. Returns False when the job was stopped."""
    with connection.cursor() as cursor:
        # A crash may lose the last moments, but entry, result and evidence together, and the job goes on from there.
        # What people are told, that the import has finished, is flushed, and with it everything before.
        cursor.execute("SET LOCAL synchronous_commit = off")
    pending = PendingEntry.objects.select_for_update(skip_locked=True).filter(pk=pending_id).first()
    if pending is None:
        return True
    # Counting up takes the job's row lock, which a stop waits for; version and ETag are for people's acts.
    moved = ImportJob.objects.filter(pk=job.pk, state=JobState.RUNNING).update(
        processed=F("processed") + 1, progressed_at=clock.now()
    )
    if not moved:
        return False
    shadow = None
    if pending.kind == EntryKind.SIGHTING:
        outcome, reasons, server, shadow = _see_entry(actor, job, pending)
    else:
        outcome, reasons, server = _import_entry(actor, job, pending)
    ImportResult.objects.create(
        job=job,
        position=pending.position,
        file=pending.file,
        index=pending.index,
        name=pending.name,
        outcome=outcome,
        reasons=reasons,
        server=server,
        shadow=shadow,
    )
    pending.delete()
    return True


def _import_entry(actor: Actor, job: ImportJob, pending: PendingEntry) -> tuple[str, list[str], Server | None]:
    known = Server.objects.filter(name=pending.name).first() if pending.name else None
    facts: dict[str, Any] | None = pending.facts
    if facts is None:
        return pending.settled, pending.said, known
    if known is not None and (older := outdated(known, facts["release"])):
        return Outcome.SKIPPED, [older], known
    try:
        with transaction.atomic():
            done = import_server(actor=actor, source=pending.file or job.source, digest=facts_digest(facts), **facts)
    except RegistryError as error:
        reasons = [f"{path}: {said}" for path, messages in error.fields.items() for said in messages]
        return Outcome.REFUSED, reasons or [error.message], None
    except OperationalError:
        raise
    except DatabaseError:
        # The entry cannot be stored; the others can. The database's own words may quote the row, so they stay out.
        log.warning("import_entry_not_storable", job_id=str(job.pk), position=pending.position)
        return Outcome.REFUSED, [_("It holds something the database cannot store.")], None
    return done.outcome, done.reasons or pending.said, done.server


def _see_entry(
    actor: Actor, job: ImportJob, pending: PendingEntry
) -> tuple[str, list[str], Server | None, Shadow | None]:
    seen: dict[str, Any] = pending.facts or {}
    try:
        with transaction.atomic():
            done = record_sighting(actor=actor, seen=seen, job=job)
    except OperationalError:
        raise
    except DatabaseError:
        log.warning("import_entry_not_storable", job_id=str(job.pk), position=pending.position)
        return Outcome.REFUSED, [_("It holds something the database cannot store.")], None, None
    if done.sighting is None:
        return Outcome.SKIPPED, [_("told before, unchanged"), *told_of(seen)], done.server, done.shadow
    return Outcome.SEEN, told_of(seen), done.server, done.shadow


@transaction.atomic
def _finish(actor: Actor, job: ImportJob) -> None:
    fresh = _locked(job)
    if fresh.state != JobState.RUNNING or fresh.pending.exists():
        return  # Stopped meanwhile, or another worker still has an entry in hand and finishes the job.
    JOB.move(fresh, JobState.FINISHED, field="state")
    fresh.finished_at = clock.now()
    fresh.save(update_fields=["state", "finished_at"])
    record(actor=actor, act="import.finished", subject=fresh, data=counts(fresh))


@transaction.atomic
def _fail(actor: Actor, job: ImportJob, reason: str) -> None:
    fresh = _locked(job)
    if fresh.state not in UNFINISHED:
        return
    JOB.move(fresh, JobState.FAILED, field="state")
    fresh.state_reason, fresh.finished_at = reason[:2000], clock.now()
    fresh.save(update_fields=["state", "state_reason", "finished_at"])
    record(actor=actor, act="import.failed", subject=fresh, data=counts(fresh))


def import_entries(*, actor: Actor, files: Sequence[File], source: str = "") -> ImportJob:
    """Import here and now, as the command does: the same job, run to its end by the caller."""
    with transaction.atomic():
        job = request_import(actor=actor, files=files, source=source, state=JobState.PREVIEW)
        JOB.move(job, JobState.QUEUED, field="state")
        job.save(update_fields=["state"])
        record(actor=actor, act="import.started", subject=job, data={"source": job.source, "entries": job.total})
    run_import(job_id=job.pk)
    job.refresh_from_db()
    if job.state == JobState.FAILED:
        raise Conflict(job.state_reason)
    return job
