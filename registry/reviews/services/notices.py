"""Who hears at once of what becomes of a remediation, or of reviews that were put into their hands: mails, written in
the transaction of what they tell of."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import Role, User
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.permissions import require
from registry.reviews.models import (
    Campaign,
    Challenge,
    ExceptionRecord,
    Item,
    Letter,
    Remediation,
    SubjectKind,
    WorkItem,
)
from registry.reviews.services.letters import compose, write_letter, write_letters
from registry.reviews.states import CampaignState, WorkItemState

Details = list[tuple[str, object]]
POSTMAN = Actor.system("notices")
AT_ONCE = 500
_WHOSE = (
    "server__owner",
    "server__deputy",
    "grant__server__owner",
    "grant__server__deputy",
    "grant__agent__owner",
    "connection__server__owner",
    "connection__server__deputy",
    "connection__system__owner",
    "agent__owner",
)
"""The people `concerned` looks at."""


def concerned(item: Item) -> list[User]:
    """Whose access it is: owner and deputy of the server, owner of the agent, owner of the system reached."""
    subject = item.subject
    server = subject if item.kind == SubjectKind.SERVER else getattr(subject, "server", None)
    agent = subject if item.kind == SubjectKind.AGENT else getattr(subject, "agent", None)
    system = getattr(subject, "system", None)
    people = [
        getattr(server, "owner", None),
        getattr(server, "deputy", None),
        getattr(agent, "owner", None),
        getattr(system, "owner", None),
    ]
    return list({person.pk: person for person in people if person is not None}.values())


def overseers(row: Remediation) -> list[User]:
    """Who looks after what goes wrong: the owner of the campaign and security."""
    security = Q(roles__contains=["security"])
    return list(User.objects.filter(security | Q(pk=row.item.campaign.owner_id), is_active=True).order_by("pk"))


def tell_of_challenge_window(row: Remediation) -> None:
    _write(
        row,
        concerned(row.item),
        occasion=f"challenge:{row.pk}",
        subject=_("%(item)s: you may object until %(day)s"),
        lead=_("A review decided to take this away. If something you answer for depends on it, object before then."),
        label=_("Look at it, or object"),
        why=_("You get this because it is yours, or you depend on it."),
        details=[(_("Until"), f"{row.challenge_until:%A %d %B %Y, %H:%M} UTC"), (_("Why"), row.reason)],
    )


@transaction.atomic
def tell_of_cuts(*, now: datetime, actor: Actor = POSTMAN) -> int:
    """Whose access went without time to object hear of it afterwards: one letter for all that went meanwhile.

    Returns how many letters. Whatever is told of is marked in the same transaction; the next call goes on.
    """
    require(actor, "reviews.carry_out")
    rows = list(
        Remediation.objects.select_for_update(of=("self",), skip_locked=True)
        .filter(told_at=None, challenge_until=None, dispatched_at__isnull=False)
        .select_related("item__campaign", *(f"item__{path}" for path in _WHOSE))
        .defer("item__snapshot")
        .order_by("dispatched_at", "pk")[:AT_ONCE]
    )
    theirs: dict[User, list[Remediation]] = defaultdict(list)
    for row in rows:
        for person in concerned(row.item):
            if person.is_active:
                theirs[person].append(row)
    Remediation.objects.filter(pk__in=[row.pk for row in rows]).update(told_at=now)
    return write_letters([_cut_letter(person, gone) for person, gone in theirs.items()])


def _cut_letter(person: User, rows: Sequence[Remediation]) -> Letter:
    """`rows` are what went, the first to go first."""
    subject = _("%(item)s: access was taken away") % {"item": rows[0].item.label}
    if len(rows) > 1:
        subject = _("Access was taken away from %(n)d things of yours") % {"n": len(rows)}
    one = len(rows) == 1
    path = reverse("reviews:remediation", args=[rows[0].pk]) if one else reverse("reviews:remediations")
    return compose(
        key=f"cut {person.pk} {digest(sorted(str(row.pk) for row in rows))[:32]}",
        template="cut",
        to=person,
        subject=subject,
        context={"rows": rows[:NAMED], "more": max(len(rows) - NAMED, 0), "one": one, "url": settings.BASE_URL + path},
    )


def tell_of_errand(row: Remediation) -> None:
    _write(
        row,
        concerned(row.item),
        occasion=f"errand:{row.errand}",
        subject=_("%(item)s: something has to be done outside of the registry"),
        lead=_(
            "The registry has ended its part. The rest is yours to do; report the ticket or change when it is done."
        ),
        label=_("Report it done"),
        why=_("You get this because it is yours."),
        details=[(_("To do"), row.instruction)],
    )


def tell_of_trouble(row: Remediation, what: str) -> None:
    """NOT_VERIFIED or REGRESSED; once per round and state."""
    _write(
        row,
        overseers(row),
        occasion=f"{row.state}:{row.errand}",
        subject=_("%(item)s: seen again after it was taken away")
        if row.state == "regressed"
        else _("%(item)s: not seen to be gone"),
        lead=_(
            "A review took this away, but it is not shown to be gone. Carry it out again, or agree on an exception."
        ),
        label=_("Open the remediation"),
        why=_("You get this because you own the campaign, or look after security."),
        details=[(_("What is known"), what)],
    )


def tell_of_challenge(challenge: Challenge) -> None:
    row = challenge.remediation
    _write(
        row,
        [person for person in overseers(row) if person.pk != challenge.by_id],
        occasion=f"objection:{challenge.pk}",
        subject=_("%(item)s: somebody objects"),
        lead=_("Nothing is taken away before somebody independent has decided on the objection."),
        label=_("Decide on it"),
        why=_("You get this because you own the campaign, or look after security."),
        details=[(_("Who objects"), challenge.by), (_("Why"), challenge.reason)],
    )


def tell_of_answer(challenge: Challenge) -> None:
    _write(
        challenge.remediation,
        [challenge.by],
        occasion=f"objection-answered:{challenge.pk}",
        subject=_("%(item)s: your objection was upheld") if challenge.upheld else _("%(item)s: your objection failed"),
        lead=_("It is reviewed once more.") if challenge.upheld else _("It is taken away now."),
        label=_("Open the remediation"),
        why=_("You get this because you objected."),
        details=[(_("Decided by"), challenge.decided_by), (_("Answer"), challenge.answer)],
    )


def tell_of_exception(exception: ExceptionRecord) -> None:
    """Asked for, approved, refused or ended: the key is the state, so each is told once."""
    row, asked = exception.remediation, exception.ended_at is None and exception.approved_at is None
    security = [
        person for person in overseers(row) if "security" in person.roles and person.pk != exception.requested_by_id
    ]
    _write(
        row,
        security
        if asked
        else [exception.requested_by, *(security if exception.approved_at and exception.ended_at else [])],
        occasion=f"exception-{exception.state}:{exception.pk}",
        subject={
            "requested": _("%(item)s: an exception is asked for"),
            "active": _("%(item)s: the exception is approved"),
            "refused": _("%(item)s: the exception is refused"),
        }.get(exception.state, _("%(item)s: the exception has ended")),
        lead=_("An exception keeps, for a time, access that a review took away."),
        label=_("Decide on it") if asked else _("Open the remediation"),
        why=_("You get this because you look after security.") if asked else _("You get this because it concerns you."),
        details=[
            (_("Why"), exception.reason),
            (_("Compensating control"), exception.compensating_control),
            (_("Until"), f"{exception.expires_at:%A %d %B %Y}"),
            *([(_("Refused because"), exception.refused_because)] if exception.refused_because else []),
            *([(_("Ended because"), exception.ended_because)] if exception.ended_because else []),
        ],
    )


NAMED = 12
"""So many items a letter names; the rest it counts."""


def tell_of_hand_over(work_items: Sequence[WorkItem], to: User, lead: str, note: str = "") -> None:
    """These reviews are theirs from now on: one letter for each campaign that runs already.

    `lead` says who put them there. The versions of the work items name the occasion: handed on again is told again.
    """
    running: dict[Campaign, list[WorkItem]] = defaultdict(list)
    for work_item in work_items:
        if work_item.item.campaign.state == CampaignState.ACTIVE and to.is_active:
            running[work_item.item.campaign].append(work_item)
    for campaign, theirs in running.items():
        labels = sorted(work_item.item.label for work_item in theirs)
        occasion = digest(sorted([str(work_item.pk), work_item.version] for work_item in theirs))
        subject = ngettext(
            "%(count)d review is yours now in %(campaign)s",
            "%(count)d reviews are yours now in %(campaign)s",
            len(labels),
        )
        write_letter(
            key=f"handed {to.pk} {occasion}",
            template="handed",
            to=to,
            campaign=campaign,
            subject=subject % {"count": len(labels), "campaign": campaign.name},
            context={
                "lead": lead,
                "note": note,
                "labels": labels[:NAMED],
                "more": max(len(labels) - NAMED, 0),
                "due": min(work_item.item.due_at for work_item in theirs),
                "url": settings.BASE_URL + reverse("reviews:workbench", args=[campaign.pk]),
            },
        )


def in_charge_of(campaign: Campaign) -> list[User]:
    """Its owner. When nobody owns it any more, every campaign manager who may see it, for its name may say what it is
    about; where none of them may, the administrators."""
    if campaign.owner is not None and campaign.owner.is_active:
        return [campaign.owner]
    seeing = [each for each in managers() if Campaign.objects.one_visible_to(Actor.person(each), campaign.pk)]
    return seeing or list(User.objects.filter(is_active=True, roles__contains=[Role.ADMINISTRATOR]).order_by("pk"))


def managers() -> list[User]:
    return list(User.objects.filter(is_active=True, roles__contains=[Role.CAMPAIGN_MANAGER]).order_by("pk"))


def tell_of_stuck(item: Item) -> bool:
    """Whoever runs the campaign hears that nobody independent is left for a place of an item; once for each time."""
    held = item.work_items.exclude(state=WorkItemState.CLOSED).count()
    told = []
    for person in in_charge_of(item.campaign):
        # A manager who stands in for an owner who left need not be one who may see what it is about.
        seen = Item.objects.one_visible_to(Actor.person(person), item.pk) is not None
        letter = write_letter(
            key=f"stuck {item.pk} {item.version}.{held} {person.pk}",
            template="stuck",
            to=person,
            campaign=item.campaign,
            subject=_("%(item)s needs a reviewer") % {"item": item.label} if seen else _("An item needs a reviewer"),
            context={
                "name": item.label if seen else _("something you may not see"),
                "held": held,
                "url": settings.BASE_URL + reverse("reviews:campaign", args=[item.campaign_id]),
            },
        )
        told.append(letter)
    return any(told)


def _write(
    row: Remediation,
    people: Iterable[User],
    *,
    occasion: str,
    subject: str,
    lead: str,
    label: str,
    why: str,
    details: Details,
) -> None:
    item = row.item
    day = f"{row.challenge_until:%d %B}" if row.challenge_until else ""
    context = {
        "item": item,
        "lead": lead,
        "details": details,
        "label": label,
        "why": why,
        "url": settings.BASE_URL + reverse("reviews:remediation", args=[row.pk]),
    }
    for person in people:
        if person.is_active:
            write_letter(
                key=f"{occasion}:{person.pk}",
                template="remediation",
                to=person,
                campaign=item.campaign,
                subject=subject % {"item": item.label, "day": day},
                context=context,
            )
