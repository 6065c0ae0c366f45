"""Micro-certifications: what calls for a review now becomes one campaign over exactly those subjects.

Gathering is one transaction behind one lock. Killed anywhere it has not happened; run twice it finds nothing the
second time, because every trigger it took is handled by then.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.audit.services import record
from registry.core.actors import Actor
from registry.core.bulk import among, set_each
from registry.core.canonical import digest
from registry.core.permissions import require
from registry.reviews.drift import in_place
from registry.reviews.models import Campaign, Template, Trigger
from registry.reviews.services.launch import launch_subjects
from registry.reviews.services.triggers import open_items

GATHERER = Actor.system("micro-certifications")
AT_ONCE = 2000
"""More than this many triggers become several campaigns: a change that touches everything is worked off in parts, one
call after the other."""
_LOCK = 7_301_003


@transaction.atomic
def gather_triggers(*, now: datetime, actor: Actor = GATHERER) -> Campaign | None:
    """Turn the open triggers into one campaign; None when there are none, or all were absorbed.

    A trigger whose subject is under review already is absorbed by that item (invariant 15); one whose subject ended
    meanwhile is handled without a review.
    """
    require(actor, "reviews.launch_campaign")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return None
    waiting = list(
        Trigger.objects.select_for_update(of=("self",)).filter(handled_at=None).order_by("created_at", "id")[:AT_ONCE]
    )
    about: dict[tuple[str, UUID], list[Trigger]] = defaultdict(list)
    for trigger in waiting:
        about[trigger.kind, trigger.subject_pk].append(trigger)
    absorbed = _under_review(about)
    _absorb({trigger.pk: item for key, item in absorbed.items() for trigger in about.pop(key)}, now)
    ended = about.keys() - _in_place(about)
    _handle([trigger for key in ended for trigger in about.pop(key)], now)
    if not about:
        return None
    causes = Counter(trigger.get_cause_display() for triggers in about.values() for trigger in triggers)
    template = Template.objects.filter(for_changes=True, enabled=True).first()
    campaign = launch_subjects(
        actor=actor,
        kind=Campaign.Kind.MICRO,
        name=_name(len(about), next(iter(about.values()))[0], causes),
        period=f"{now:%Y-%m-%d %H:%M:%S}",
        subjects=list(about),
        template=template,
        cause=", ".join(f"{cause} ({number})" for cause, number in sorted(causes.items())),
    )
    taken = [trigger for triggers in about.values() for trigger in triggers]
    _handle(taken, now, campaign=campaign)
    record(
        actor=actor,
        act="campaign.triggers_gathered",
        subject=campaign,
        data={
            "triggers": len(taken),
            "causes": dict(Counter(trigger.cause for trigger in taken)),
            "digest": digest(sorted(str(trigger.pk) for trigger in taken)),
        },
    )
    return campaign


def _handle(triggers: Sequence[Trigger], now: datetime, **outcome: object) -> None:
    Trigger.objects.filter(pk__in=among([trigger.pk for trigger in triggers])).update(handled_at=now, **outcome)


def _absorb(items: Mapping[UUID, UUID], now: datetime) -> None:
    """These triggers, by id, belong to items that are open already."""
    set_each(Trigger, "absorbed_by", items)
    Trigger.objects.filter(pk__in=among(items)).update(handled_at=now)


def _under_review(about: Mapping[tuple[str, UUID], object]) -> dict[tuple[str, UUID], UUID]:
    """Which of these subjects have an open item, and which item."""
    return {(kind, pk): item for kind, ids in _by_kind(about).items() for pk, item in open_items(kind, ids).items()}


def _in_place(about: Mapping[tuple[str, UUID], object]) -> set[tuple[str, UUID]]:
    """Subjects of which there is still something to certify."""
    return {(kind, pk) for kind, ids in _by_kind(about).items() for pk in in_place(kind, ids)}


def _by_kind(about: Mapping[tuple[str, UUID], object]) -> dict[str, list[UUID]]:
    ids: dict[str, list[UUID]] = defaultdict(list)
    for kind, pk in about:
        ids[kind].append(pk)
    return ids


def _name(number: int, first: Trigger, causes: Mapping[str, int]) -> str:
    """What it is about, in the words people use for it."""
    cause = next(iter(causes)) if len(causes) == 1 else _("Several causes")
    if number == 1:
        return f"{cause}: {first.subject}"[:160]
    return ngettext("%(cause)s: %(number)d subject", "%(cause)s: %(number)d subjects", number) % {
        "cause": cause,
        "number": number,
    }
