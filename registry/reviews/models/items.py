"""Items with their frozen evidence, and in whose hands they are."""

from datetime import datetime
from functools import cached_property
from typing import Any, Self
from uuid import UUID

import orjson
import pgtrigger
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Server, Tier
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.core.permissions import allows
from registry.reviews.facts.composition import compose
from registry.reviews.models.campaigns import Campaign
from registry.reviews.models.subjects import (
    AboutSubject,
    SubjectKind,
    about_what_is_seen_by,
    exactly_one_subject,
)
from registry.reviews.states import FINAL_ITEM, OPEN_ITEM, ItemState, WorkItemState
from registry.trust.states import Status


class EvidenceBlock(models.Model):
    """What surrounds a server, frozen once for all items that rest on it; named by the digest of its canonical JSON.

    An item's snapshot names its block by that digest, so the item's own hash covers the block too.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    text = models.TextField()
    """Its canonical JSON, byte for byte what `digest` was computed over."""

    class Meta:
        triggers = [append_only()]

    def __str__(self) -> str:
        return self.digest

    @cached_property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.text)
        return found


class FrozenEvidence(models.Model):
    """Facts as they were at one instant, with the hashes that name them. The database refuses to change them."""

    snapshot = models.JSONField()
    """`{"facts": material facts of the subject, "context": what is its own of the rest}`."""
    block = models.ForeignKey(EvidenceBlock, models.PROTECT, related_name="+", null=True, db_index=False)
    fingerprint = models.CharField(max_length=64)
    """Digest of the facts."""
    evidence_hash = models.CharField(max_length=64)
    """Digest of the snapshot, which names its block by digest."""

    class Meta:
        abstract = True

    @property
    def evidence(self) -> dict[str, Any]:
        """The snapshot with what surrounds the server filled in: `{"facts", "context"}`."""
        return compose(self.snapshot, self.block.body if self.block is not None else None)


class ItemQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(
            Exists(WorkItem.objects.filter(item=OuterRef("pk"), reviewer_id=actor.user_id))
            | Q(campaign__owner_id=actor.user_id)
            | about_what_is_seen_by(actor)
        )

    def one_visible_to(self, actor: Actor, pk: UUID) -> Any | None:
        """That item, if `visible_to` shows it. Whoever was asked about it is recognised first, for that is quickly
        found; only for others everything else is asked that makes an item visible.
        """
        if not allows(actor, "reviews.view"):
            return None
        one = self.filter(pk=pk).order_by()
        asked = one.filter(work_items__reviewer=actor.user_id).first() if actor.user_id else None
        return asked or one.visible_to(actor).first()


class Item(Record, AboutSubject, FrozenEvidence):
    """One subject in one campaign, with its facts frozen at launch."""

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="items", db_index=False)
    rests_on = models.ForeignKey(Server, models.PROTECT, related_name="review_items", null=True, blank=True)
    """The server it is about or whose relationship it is; empty for an agent. Queues and lists are grouped by it."""
    label = models.CharField(max_length=320)
    tier = models.CharField(max_length=8, choices=Tier)
    stage = models.PositiveSmallIntegerField(default=1)
    due_at = models.DateTimeField()
    """Until this instant answers are taken; the ladder moves it when it escalates."""
    ladder_from = models.DateTimeField(null=True, blank=True)
    """The deadline from which the ladder's days count, once the ladder itself has moved `due_at`."""
    ladder_until = models.DateTimeField(null=True, blank=True)
    """Where the ladder moved `due_at` to. A `due_at` that differs was set by somebody else: another deadline,
    another ladder, counted from there."""
    state = models.CharField(max_length=18, choices=ItemState, default=ItemState.PENDING)
    outcome = models.CharField(max_length=16, blank=True)

    objects = ItemQuerySet.as_manager()

    class Meta:
        ordering = ["campaign", "id"]
        constraints = [
            exactly_one_subject("item_about_one_subject"),
            *(
                models.UniqueConstraint(
                    fields=["campaign", kind], condition=Q(kind=kind), name=f"item_once_per_campaign_and_{kind}"
                )
                for kind in ("server", "grant", "connection", "agent")
            ),
            *(
                models.UniqueConstraint(
                    fields=[kind], condition=Q(kind=kind, state__in=OPEN_ITEM), name=f"item_open_once_per_{kind}"
                )
                for kind in ("server", "grant", "connection", "agent")
            ),
            # One outcome once it is over, and none before or without: what nobody answered says so (invariant 8).
            models.CheckConstraint(
                condition=Q(state=ItemState.SIGNED)
                | Q(state__in=[*OPEN_ITEM, ItemState.OBSOLETE, ItemState.CANCELLED], outcome="")
                | Q(state=ItemState.CERTIFIED, outcome="certify")
                | Q(state=ItemState.CERTIFIED_REDUCED, outcome="certify_reduced")
                | Q(state=ItemState.CERTIFIED_UNTIL, outcome="certify_until")
                | Q(state=ItemState.REVOKED, outcome="revoke")
                | Q(state=ItemState.RETURNED, outcome="return")
                | Q(state=ItemState.LAPSED, outcome="no_response"),
                name="item_outcome_fits_its_state",
            ),
        ]
        indexes = [
            models.Index(fields=["campaign", "state"], name="item_by_state"),
            # Ids follow time: the first and the last of a campaign bound a reviewer's work items in it. What a queue is
            # ordered by stands in the index, because thousands of items lie far apart beside their snapshots.
            models.Index(
                fields=["campaign", "id"],
                include=["state", "tier", "kind", "rests_on", "connection", "agent", "label"],
                name="item_of_campaign",
            ),
        ]
        triggers = [
            kept_forever(),
            pgtrigger.Protect(
                name="snapshot_is_frozen",
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange(
                    "snapshot",
                    "block",
                    "fingerprint",
                    "evidence_hash",
                    "label",
                    "campaign",
                    "kind",
                    *SubjectKind.values,
                ),
            ),
            pgtrigger.Protect(
                name="outcome_is_final",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    f"OLD.state IN ({', '.join(repr(str(state)) for state in FINAL_ITEM)})"
                    " AND (OLD.state, OLD.outcome, OLD.tier) IS DISTINCT FROM (NEW.state, NEW.outcome, NEW.tier)"
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_ITEM

    @property
    def state_word(self) -> str:
        """What its state is called: what ended by a suspension was not revoked."""
        if self.state == ItemState.REVOKED and self.kind in (SubjectKind.SERVER, SubjectKind.AGENT):
            return gettext("Suspended")
        return ""

    @property
    def deadline(self) -> datetime:
        """The instant the ladder's days count from."""
        if self.ladder_from is not None and self.ladder_until == self.due_at:
            return self.ladder_from
        return self.due_at

    @property
    def interested(self) -> dict[str, UUID | None]:
        """Who may not decide on it (invariants 3 and 16): whoever has a stake in it, and whoever runs the campaign.

        An intake also decides on the connections the server asks for.
        """
        people = {**self.subject.interested, "owns this campaign": self.campaign.owner_id}
        if self.kind == SubjectKind.SERVER and self.campaign.kind == Campaign.Kind.INTAKE:
            requested = self.subject.connections.filter(status=Status.REQUESTED).select_related("system")
            people |= {f"requested its connection to {c.system}": c.requested_by_id for c in requested}
        return people

    @property
    def seen(self) -> "Item | ItemRefresh":
        """The facts a reviewer decides on: those of launch, or the newer ones a reviewer has confirmed to have seen."""
        return self.seen_later or self

    @property
    def seen_later(self) -> "ItemRefresh | None":
        """The newest facts a reviewer has confirmed to have seen after launch."""
        return max(self.refreshes.all(), key=lambda refresh: refresh.at, default=None)


class ItemRefresh(FrozenEvidence):
    """Facts that changed after launch and were then seen by the reviewer: beside the snapshot, never over it."""

    item = models.ForeignKey(Item, models.PROTECT, related_name="refreshes")
    seen_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering = ["at", "id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.item} as seen on {self.at:%Y-%m-%d}"


class WorkItem(Record):
    """One reviewer's share of an item in one stage."""

    class Side(models.TextChoices):
        CONSUMER = "consumer", _("For those who use it")
        PROVIDER = "provider", _("For the system it reaches")

    item = models.ForeignKey(Item, models.PROTECT, related_name="work_items")
    stage = models.PositiveSmallIntegerField(default=1)
    side = models.CharField(max_length=8, choices=Side, blank=True)
    reviewer = models.ForeignKey(User, models.PROTECT, related_name="work_items", db_index=False)
    original_reviewer = models.ForeignKey(User, models.PROTECT, related_name="+")
    chosen_because = models.CharField(max_length=300)
    state = models.CharField(max_length=10, choices=WorkItemState, default=WorkItemState.OPEN)
    first_shown_at = models.DateTimeField(null=True, blank=True)
    """When its page was opened first: what the time to a decision counts from."""
    evidence_opened_at = models.DateTimeField(null=True, blank=True)
    """When its reviewer opened all of its evidence, which looking at the page does not."""

    class Meta:
        ordering = ["item", "stage", "id"]
        constraints = [
            # Also says that stages have distinct deciders: nobody gets an item twice, in whatever stage (invariant 4).
            models.UniqueConstraint(fields=["item", "reviewer"], name="work_item_once_per_reviewer")
        ]
        indexes = [
            models.Index(fields=["reviewer", "state"], name="work_item_inbox"),
            models.Index(fields=["reviewer", "item"], include=["state", "id"], name="work_item_queue"),
        ]
        triggers = [
            kept_forever(),
            # Signing, stepping back, handing over, the ladder, the end of a campaign: nobody finishes it after that.
            pgtrigger.Trigger(
                name="unfinished_is_forgotten",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "NEW.reviewer_id <> OLD.reviewer_id"
                    f" OR (NEW.state = '{WorkItemState.CLOSED}' AND OLD.state <> '{WorkItemState.CLOSED}')"
                ),
                func="DELETE FROM reviews_unfinishedanswer WHERE work_item_id = NEW.id; RETURN NULL;",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.item} for {self.reviewer}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        return dict(self.item.interested)


class WorkItemMove(models.Model):
    """Reassignment, delegation, escalation or recusal; append-only."""

    class Kind(models.TextChoices):
        REASSIGNED = "reassigned", _("Reassigned")
        DELEGATED = "delegated", _("Delegated")
        ESCALATED = "escalated", _("Escalated")
        RECUSED = "recused", _("Recused")

    work_item = models.ForeignKey(WorkItem, models.PROTECT, related_name="moves")
    kind = models.CharField(max_length=10, choices=Kind)
    from_reviewer = models.ForeignKey(User, models.PROTECT, related_name="+")
    to_reviewer = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    note = models.TextField(max_length=2000)
    at = models.DateTimeField()

    class Meta:
        ordering = ["at", "id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.kind} {self.work_item}"
