"""What a reviewer has chosen and typed but not saved. It is kept so that nothing typed is lost, and counts nowhere."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from django.db import transaction

from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.facts import reducible
from registry.reviews.models import Decision, UnfinishedAnswer, WorkItem
from registry.reviews.services.items import check_review_version, require_open
from registry.reviews.states import WorkItemState

MAX_REASON = 4000


def keep_unfinished(
    *,
    actor: Actor,
    work_item: WorkItem,
    value: str = "",
    reason: str = "",
    kept: Sequence[str] | None = None,
    until: date | None = None,
    expected_version: str | None = None,
) -> UnfinishedAnswer | None:
    """Keep the form as it stands; None where it says nothing that is not saved already, and nothing is kept then.

    Neither an answer nor an edit: no version rises, no event is recorded, no statistic counts it. What is chosen may be
    incomplete or wrong; that is said when it is saved. Raises `SecretRefused` (a secret is not even kept for a
    moment), `Invalid` for what is too long, `Changed` where the answer was saved meanwhile, and `Conflict`, `TooLate`
    where there is nothing to decide.
    """
    require_decider(actor, "reviews.decide", work_item)
    refuse_secrets({"reason": reason})
    if len(reason) > MAX_REASON:
        raise Invalid(fields={"reason": [f"At most {MAX_REASON} characters."]})
    seen = work_item.item.seen
    possible = reducible(seen.snapshot)
    with transaction.atomic():
        # Behind the lock that saving takes too: what arrives late does not come back after it was saved.
        fresh = _locked(work_item.pk)
        require(actor, "reviews.decide", fresh)
        if fresh.state == WorkItemState.CLOSED:
            raise Conflict("You signed this item or handed it on.")
        require_open(fresh.item)
        check_review_version(fresh, expected_version)
        said = {
            "value": value if value in Decision.Value.values else "",
            "kept": None if kept is None else [atom for atom in possible if atom in kept],
            "until": until,
            "reason": reason,
        }
        if _says_nothing_new(fresh, said, possible):
            forget_unfinished([fresh.pk])
            return None
        row, _new = UnfinishedAnswer.objects.update_or_create(
            work_item=fresh, defaults={**said, "evidence_hash": seen.evidence_hash, "at": clock.now()}
        )
        return row


def _locked(work_item_id: UUID) -> WorkItem:
    rows = WorkItem.objects.select_for_update(of=("self",)).select_related("item__campaign")
    found: WorkItem = rows.defer("item__snapshot").get(pk=work_item_id)
    return found


def _says_nothing_new(work_item: WorkItem, said: Mapping[str, Any], possible: Sequence[str]) -> bool:
    """Whether the form shows just what it would show anyway: the saved draft, else nothing."""
    draft = work_item.decisions.filter(signed_at=None).first()
    value, reason = (draft.value, draft.reason) if draft is not None else ("", "")
    until = draft.until if draft is not None else None
    kept = draft.kept if draft is not None and draft.kept else possible
    switched = said["kept"] is not None and set(said["kept"]) != set(kept)
    return (said["value"], said["reason"], said["until"]) == (value, reason, until) and not switched


@transaction.atomic
def discard_unfinished(*, actor: Actor, work_item: WorkItem) -> None:
    """Forget what is not saved; nothing else changes, and nothing happens where nothing was kept."""
    require_decider(actor, "reviews.decide", work_item)
    forget_unfinished([work_item.pk])


def forget_unfinished(work_item_ids: Iterable[UUID]) -> None:
    UnfinishedAnswer.objects.filter(work_item__in=list(work_item_ids)).delete()


def leave_unfinished(drafts: Iterable[Decision]) -> None:
    """Answers that are taken back stay in the form of their reviewer as what is not saved. What they have typed since
    is newer and stays.
    """
    now = clock.now()
    UnfinishedAnswer.objects.bulk_create(
        [
            UnfinishedAnswer(
                work_item_id=draft.work_item_id,
                value=draft.value,
                kept=draft.kept or None,
                until=draft.until,
                reason=draft.reason,
                evidence_hash=draft.evidence_hash,
                at=now,
            )
            for draft in drafts
        ],
        ignore_conflicts=True,
    )
