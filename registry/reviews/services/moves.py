"""Row locks and state moves of campaigns and items: what every act of this room stands on.

Rows are locked in one order everywhere, campaign, then items by id, then their work items, so that acts wait for each
other but never in a circle.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import F, Prefetch, prefetch_related_objects

from registry.audit.services import build_event, record, record_all
from registry.core import clock
from registry.core.actors import Actor
from registry.reviews.desk import SUBJECTS
from registry.reviews.models import Campaign, Decision, Item, WorkItem
from registry.reviews.states import CAMPAIGN, ITEM, WORK_ITEM, CampaignState, ItemState, WorkItemState


def locked_campaign(campaign_id: UUID) -> Campaign:
    fresh: Campaign = Campaign.objects.select_for_update(of=("self",)).get(pk=campaign_id)
    return fresh


def move_campaign(actor: Actor, campaign: Campaign, after: CampaignState, **data: Any) -> None:
    """Check, set and save the state with its evidence; the caller holds the row."""
    before = campaign.state
    CAMPAIGN.move(campaign, after, field="state")
    campaign.save()
    record(actor=actor, act=f"campaign.{after}", subject=campaign, data={"before": before, **data})


_AROUND = (
    "campaign__template", "server", "grant__agent__server", "grant__server", "connection__server",
    "connection__system", "agent__server",
)  # fmt: skip
"""Everything that independence looks at, of items of any kind."""


def locked_item(item_id: UUID) -> Item:
    rows = Item.objects.select_for_update(of=("self",)).select_related("campaign", "block")
    item: Item = rows.prefetch_related("refreshes__block").get(pk=item_id)
    prefetch_related_objects([item], Prefetch(item.kind, SUBJECTS[item.kind]))
    return item


def locked_items(item_ids: Iterable[UUID]) -> list[Item]:
    """Many items in the order of their ids, in a fixed number of queries.

    Fetched apart from the items: they share their campaign and their servers, which are large rows.
    """
    rows = Item.objects.select_for_update(of=("self",)).filter(pk__in=list(item_ids)).order_by("pk")
    return list(rows.prefetch_related(*_AROUND, "refreshes"))


def locked_work_item(work_item_id: UUID) -> WorkItem:
    """The work item and, before it, its item: always in this order."""
    item_id = WorkItem.objects.values_list("item", flat=True).get(pk=work_item_id)
    item = locked_item(item_id)
    fresh: WorkItem = WorkItem.objects.select_for_update(of=("self",)).select_related("reviewer").get(pk=work_item_id)
    fresh.item = item
    return fresh


def move_item(actor: Actor, item: Item, after: ItemState, **data: object) -> None:
    before = item.state
    ITEM.move(item, after, field="state")
    item.save(update_fields=["state", "outcome"])
    record(actor=actor, act=f"item.{after}", subject=item, data={"before": before, **data})


def move_items(
    actor: Actor,
    items: Sequence[Item],
    *path: ItemState,
    said: Callable[[Item], Mapping[str, object]] = lambda _item: {},
) -> None:
    """Move many items along `path` with evidence of each step; states and outcomes are written in bulk.

    `said(item)` is what the evidence adds. Raises `IllegalTransition` for the first that may not move, before
    anything is written. The caller holds the rows.
    """
    events, written = [], defaultdict(list)
    for item in items:
        for after in path:
            before = item.state
            ITEM.move(item, after, field="state")
            data = {"before": before, **said(item)}
            events.append(build_event(actor=actor, act=f"item.{after}", subject=item, data=data))
        item.version += 1
        written[(item.state, item.outcome)].append(item.pk)
    for (state, outcome), ids in written.items():
        Item.objects.filter(pk__in=ids).update(
            state=state, outcome=outcome, version=F("version") + 1, updated_at=clock.now()
        )
    record_all(events)


def close_work(work_items: Iterable[WorkItem]) -> None:
    """Close work items, with whatever unsigned draft is in them. The caller holds their items."""
    rows = list(work_items)
    Decision.objects.filter(work_item__in=rows, signed_at=None).delete()
    for row in rows:
        WORK_ITEM.move(row, WorkItemState.CLOSED, field="state")
        row.version += 1
    WorkItem.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=WorkItemState.CLOSED, version=F("version") + 1, updated_at=clock.now()
    )
