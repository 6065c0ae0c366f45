"""Who is away on a day, and who stands in: one hop, never a chain."""

from datetime import date

from django.db.models import Q, QuerySet

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.permissions import allows
from registry.reviews.models import Delegation


def in_force(today: date) -> QuerySet[Delegation]:
    """Delegations that hold on this day."""
    return Delegation.objects.filter(ended_at=None, starts_on__lte=today, ends_on__gte=today)


def visible_delegations(actor: Actor) -> QuerySet[Delegation]:
    """One's own absences, and those one stands in for; administrators see everybody's."""
    rows = Delegation.objects.select_related("delegator", "delegate")
    if allows(actor, "reviews.delegate_others"):
        return rows
    return rows.filter(Q(delegator=actor.user_id) | Q(delegate=actor.user_id))


def stand_in(user: User, today: date) -> User | None:
    """Who stands in for this person on this day; None when they are not away, or when that one has left."""
    away = in_force(today).filter(delegator=user, delegate__is_active=True)
    found = away.select_related("delegate").order_by("starts_on", "pk").first()
    return found.delegate if found else None
