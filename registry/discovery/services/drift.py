"""Drift: what a server is believed to list against what people approved, and the acts that settle it."""

from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Server, Tool
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict, Invalid
from registry.core.events import publish
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent
from registry.discovery.comparison import Difference, compare, worst
from registry.discovery.events import DriftFound
from registry.discovery.models import Drift, DriftState, Snapshot, Watch
from registry.discovery.states import DRIFT

SETTLER = Actor.system("approved definitions")
MOST_DIFFERENCES = 500


@transaction.atomic
def measure_drift(*, actor: Actor, watch: Watch, snapshot: Snapshot) -> Drift | None:
    """Compare what is believed with what is approved; open, replace or end the watch's drift. The caller locks it.

    Nothing approved yet is no drift: then the tools simply wait for their first approval. Only this watch's own looks
    end its drift, or stronger ones (`overrule_weaker`). Returns the drift that is open afterwards.
    """
    require(actor, "discovery.measure_drift", watch.server)
    if watch.approved is None or watch.settled is None:
        settle_watch(actor=actor, watch=watch)
        return None
    if watch.settled_id != watch.approved_id and _approved_beside(watch) and settle_watch(actor=actor, watch=watch):
        return None
    found = Drift.objects.select_for_update(of=("self",)).filter(watch=watch, state=DriftState.OPEN).first()
    if watch.settled_id == watch.approved_id:
        differences: list[Difference] = []
    elif found is not None and (found.before_id, found.after_id) == (watch.approved_id, watch.settled_id):
        _note_flicker(actor, watch, found)
        return found
    else:
        differences = compare(watch.approved, watch.settled, watch.unstable_paths)
    if not differences:
        if found is not None:
            _end(actor, found, DriftState.GONE)
        return None
    if found is not None:
        _end(actor, found, DriftState.SUPERSEDED)
    drift = Drift.objects.create(
        server=watch.server,
        watch=watch,
        before=watch.approved,
        after=watch.settled,
        snapshot=snapshot,
        differences=[each.as_json() for each in differences[:MOST_DIFFERENCES]],
        severity=worst(differences),
        flickers=watch.stability == Watch.Stability.FLICKERS,
    )
    record(
        actor=actor,
        act="drift.found",
        subject=watch.server,
        data={
            "drift": str(drift.pk),
            "severity": drift.severity,
            "before": drift.before_id,
            "after": drift.after_id,
            "seen_by": watch.strength.name.lower(),
            "sentences": [each.sentence for each in differences[:50]],
            "differences": len(differences),
        },
    )
    publish(DriftFound(drift_id=drift.pk))
    return drift


def _note_flicker(actor: Actor, watch: Watch, drift: Drift) -> None:
    if drift.flickers or watch.stability != Watch.Stability.FLICKERS:
        return
    drift.flickers = True
    drift.save(update_fields=["flickers"])
    record(actor=actor, act="drift.flickers", subject=drift.server, data={"drift": str(drift.pk)})


def _beside(watch: Watch) -> QuerySet[Watch]:
    """What other sources saw of the same endpoint under the same identity."""
    same = Watch.objects.filter(server=watch.server_id, endpoint=watch.endpoint_id, identity=watch.identity)
    return same.exclude(pk=watch.pk)


def _approved_beside(watch: Watch) -> bool:
    """Whether people approved exactly these definitions as another source showed them."""
    return _beside(watch).filter(approved=watch.settled_id).exists()


def overrule_weaker(*, actor: Actor, watch: Watch, snapshot: Snapshot) -> int:
    """What this source confirms as approved ends the drift that weaker ones told of earlier; never the other way round.

    Two looks in a row have to show it. The caller holds the watch. Returns how many drifts ended.
    """
    require(actor, "discovery.measure_drift", watch.server)
    if watch.approved_id is None or watch.settled_id != watch.approved_id or not watch.agreeing:
        return 0
    if watch.stability == Watch.Stability.FLICKERS:
        return 0
    told = Drift.objects.filter(
        watch__in=_beside(watch), state=DriftState.OPEN, watch__last_listed__taken_at__lt=snapshot.taken_at
    )
    ended = 0
    for pk in list(told.order_by("pk").values_list("watch_id", flat=True)):
        weaker = _locked(pk)
        if weaker.strength >= watch.strength:
            continue
        for drift in Drift.objects.select_for_update(of=("self",)).filter(watch=weaker, state=DriftState.OPEN):
            _end(actor, drift, DriftState.GONE, _("A stronger look shows what was approved."))
            ended += 1
        weaker.settled, weaker.approved = watch.settled, watch.approved
        weaker.save(update_fields=["settled", "approved"])
    return ended


def _end(actor: Actor, drift: Drift, state: str, reason: str = "") -> None:
    DRIFT.move(drift, state, field="state")
    drift.settled_at, drift.settled_by, drift.reason = clock.now(), actor.user, reason
    drift.save(update_fields=["state", "settled_at", "settled_by", "reason"])
    record(
        actor=actor,
        act=f"drift.{state}",
        subject=drift.server,
        data={"drift": str(drift.pk), "after": drift.after_id, **({"reason": reason} if reason else {})},
    )


@transaction.atomic
def approve_drift(*, actor: Actor, drift: Drift, reason: str, seen_digest: str, expected_version: str) -> Drift:
    """Approve the new definitions: an independent person's act. Certification is another matter, and another act.

    `seen_digest` is `Drift.after` as the person saw it. Raises `Invalid` without a reason, `Changed` when another
    digest or version was seen, `Conflict` when the server is believed to list something else by now.
    """
    server = Server.objects.select_for_update(of=("self",)).get(pk=drift.server_id)
    require_decider(actor, "discovery.approve_drift", server)
    require_recent(actor, _("Approve new definitions"))
    refuse_secrets({"reason": reason})
    reason = reason.strip()
    if not reason:
        raise Invalid(fields={"reason": [_("Say why these definitions are right.")]})
    watch = _locked(drift.watch_id)
    drift = Drift.objects.select_for_update(of=("self",)).select_related("server", "after").get(pk=drift.pk)
    drift.check_version(expected_version)
    DRIFT.check(drift.state, DriftState.APPROVED)
    if seen_digest != drift.after_id:
        raise Changed(_("These are not the definitions you saw. Look at them again."))
    if watch.settled_id != drift.after_id:
        raise Conflict(_("It lists something else by now. Look again."))
    others = Drift.objects.select_for_update(of=("self",)).filter(server=server, state=DriftState.OPEN)
    same = list(others.exclude(pk=drift.pk).order_by("pk"))
    if any(each.after_id != drift.after_id for each in same):
        raise Conflict(
            _("Others saw it list something else still. Certify the server in a review: that approves it all.")
        )
    _end(actor, drift, DriftState.APPROVED, reason)
    _approve(watch)
    for each in same:
        # Another source saw the very same.
        _end(actor, each, DriftState.APPROVED, reason)
        _approve(_locked(each.watch_id))
    catalog.approve_tools(actor=_decider(actor), server=server)
    return drift


def _approve(watch: Watch) -> None:
    watch.approved = watch.settled
    watch.save(update_fields=["approved"])


def _decider(actor: Actor) -> Actor:
    """The same person without the limits of a token: what follows from an approval needs no scope of another room."""
    return actor.beyond_scopes()


def _locked(pk: UUID) -> Watch:
    rows = Watch.objects.select_for_update(of=("self",)).select_related("server", "settled", "approved", "last_listed")
    found: Watch = rows.get(pk=pk)
    return found


# --- Approved elsewhere ----------------------------------------------------------------------------------


@transaction.atomic
def settle_watch(*, actor: Actor = SETTLER, watch: Watch) -> bool:
    """Take over an approval that a review gave: when every tool a watch lists is approved as it lists it, and so is
    what the server says besides, then that is what drift is measured against from here on."""
    require(actor, "discovery.measure_drift", watch.server)
    settled = watch.settled
    if settled is None or watch.settled_id == watch.approved_id:
        return False
    server = Server.objects.get(pk=watch.server_id)
    if server.said_digest != server.approved_said_digest or server.lifecycle == Lifecycle.DRAFT:
        return False
    rows = Tool.objects.filter(server=server, retired_at=None).values_list("name", "digest", "approved_digest")
    approved = {name: digest for name, digest, pinned in rows if digest == pinned}
    # How another watch defines a tool, where that one speaks for the catalog; the difference is part of what is said.
    others = Watch.objects.filter(server=server, settled__isnull=False).exclude(pk=watch.pk).select_related("settled")
    elsewhere = {item for other in others if other.settled for item in other.settled.tool_digests.items()}
    earlier = watch.approved.tool_digests if watch.approved else {}
    for name, value in settled.tool_digests.items():
        pinned = approved.get(name)
        if pinned is None or (value not in (pinned, earlier.get(name)) and (name, pinned) not in elsewhere):
            return False
    watch.approved = settled
    watch.save(update_fields=["approved"])
    for drift in Drift.objects.select_for_update(of=("self",)).filter(watch=watch, state=DriftState.OPEN):
        _end(actor, drift, DriftState.APPROVED, _("Approved with the review of its server."))
    return True


def settle_server(*, server_id: UUID) -> int:
    """Look at every watch of a server whose approvals may have changed. Returns how many moved."""
    return _settle(Watch.objects.filter(server=server_id))


def settle_all() -> int:
    """Every watch that waits for an approval, for events that got lost."""
    return _settle(Watch.objects.all())


def _settle(watches: QuerySet[Watch]) -> int:
    waiting = watches.filter(settled__isnull=False).exclude(Q(approved__isnull=False) & Q(approved=F("settled")))
    moved = 0
    for pk in list(waiting.order_by("pk").values_list("pk", flat=True)):
        with transaction.atomic():
            moved += settle_watch(watch=_locked(pk))
    return moved
