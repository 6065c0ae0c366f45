"""What happens when nobody answers: rungs that were climbed, and what the clock did by itself."""

from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.core.permissions import allows
from registry.reviews.models.items import Item, WorkItem
from registry.reviews.states import AutomaticActionState


class LadderStep(models.Model):
    """One rung was climbed for one work item; the database refuses the same one twice (invariant 14)."""

    class Act(models.TextChoices):
        REMIND = "remind", _("Remind")
        DEPUTY = "deputy", _("Tell the reviewer's deputy too")
        ESCALATE = "escalate", _("Escalate")
        SUSPEND = "suspend", _("Suspend")
        LAPSE = "lapse", _("Let it lapse")
        REVOKE = "revoke", _("Revoke")

    work_item = models.ForeignKey(WorkItem, models.PROTECT, related_name="ladder_steps")
    rung = models.CharField(max_length=60, help_text=_("Deadline, day and act; a later deadline is another ladder."))
    act = models.CharField(max_length=8, choices=Act)
    at = models.DateTimeField()
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["work_item", "rung"], name="ladder_step_once")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.rung} for {self.work_item}"


class AutomaticActionQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """As visible as the item it is about."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(item__in=Item.objects.visible_to(actor))


class AutomaticAction(Record):
    """What the clock does to a subject nobody answered for. Above the circuit breaker it waits for a second person."""

    class Kind(models.TextChoices):
        SUSPEND = "suspend", _("Suspend")
        LAPSE = "lapse", _("Let it lapse")
        REVOKE = "revoke", _("Revoke")

    item = models.ForeignKey(Item, models.PROTECT, related_name="automatic_actions")
    kind = models.CharField(max_length=8, choices=Kind)
    state = models.CharField(max_length=9, choices=AutomaticActionState, default=AutomaticActionState.PLANNED)
    due_at = models.DateTimeField()
    """When its rung came: the deadline plus the rung's days."""
    done_at = models.DateTimeField(null=True, blank=True)
    suspended = models.JSONField(default=list, blank=True)
    """What it suspended, to resume exactly that: `[["server"|"grant"|"connection", id], …]`."""
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    """Who released or declined it when the breaker held it back. Released, it is PLANNED again and carries a name."""
    decided_at = models.DateTimeField(null=True, blank=True)
    restored_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    restored_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, max_length=2000)
    """Why it was released, declined, restored or dropped."""

    objects = AutomaticActionQuerySet.as_manager()

    class Meta:
        ordering = ["due_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["item", "kind", "due_at"],
                # Dropped because somebody answered: if that answer falls away, the rung comes again.
                condition=~Q(state=AutomaticActionState.DROPPED),
                name="automatic_action_once_per_rung",
            ),
            # The next rung waits for what became of the last one.
            models.UniqueConstraint(
                fields=["item"],
                condition=Q(state__in=[AutomaticActionState.PLANNED, AutomaticActionState.HELD]),
                name="automatic_action_pending_once_per_item",
            ),
            models.CheckConstraint(
                condition=~Q(state="restored") | (Q(restored_by__isnull=False) & ~Q(reason="")),
                name="automatic_action_restored_with_reason",
            ),
        ]
        indexes = [models.Index(fields=["state", "due_at"], name="automatic_action_due")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.kind} {self.item}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        return dict(self.item.interested)
