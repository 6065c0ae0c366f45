"""The queue of the workbench: one reviewer's items of a campaign, in reading order."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _

from registry.catalog.models import Server, Tier
from registry.core.http import Request
from registry.reviews.desk import queue
from registry.reviews.models import Campaign, Decision, Item, WorkItem
from registry.reviews.presentation import KIND_ICONS, Signal, answer_word, signal, size
from registry.reviews.states import OPEN_ITEM, WorkItemState

SHOWN = 80
"""Entries drawn at once: a window around the current one."""


@dataclass
class Entry:
    """A line of the queue."""

    item: Item
    work_item: WorkItem
    name: str
    server: Server
    group: str
    url: str
    current: bool = False
    signal: Signal | None = None
    size: str = ""

    @property
    def decision(self) -> Decision | None:
        """The unsigned answer, else the signed one."""
        return next(iter(self.work_item.decisions.all()), None)

    @property
    def word(self) -> str:
        return answer_word(self.item.kind, self.decision.value) if self.decision else ""

    @property
    def answer(self) -> str:
        return self.word or (str(self.decision.get_value_display()) if self.decision else "")

    @property
    def todo(self) -> bool:
        return self.work_item.state == WorkItemState.OPEN and self.item.state in OPEN_ITEM


@dataclass
class Queue:
    """What there is, and the part of it that is drawn."""

    entries: list[Entry]
    shown: list[Entry] = field(default_factory=list)
    hidden: int = 0

    @property
    def todo(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.todo]

    @property
    def drafted(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.work_item.state == WorkItemState.RESPONDED]

    @property
    def signed(self) -> list[Entry]:
        return [e for e in self.entries if e.work_item.state == WorkItemState.CLOSED and e.decision is not None]

    def after(self, item: Item) -> Entry | None:
        """The next undecided entry after `item`, from the top again at the end."""
        places = [entry.item.pk for entry in self.entries]
        here = places.index(item.pk) if item.pk in places else -1
        following = self.entries[here + 1 :] + self.entries[: max(here, 0)]
        return next((entry for entry in following if entry.todo), None)

    def neighbour(self, item: Item, step: int) -> Entry | None:
        """The entry beside `item` among those that are drawn."""
        places = [entry.item.pk for entry in self.shown]
        if item.pk not in places:
            return None
        place = places.index(item.pk) + step
        return self.shown[place] if 0 <= place < len(self.shown) else None


def queue_of(request: Request, campaign: Campaign, current: Item | None = None) -> Queue:
    """By server, the servers with the highest tier first; `?show=` chooses decided or signed ones."""
    show = request.GET.get("show", "")
    entries = []
    for work_item in queue(campaign, request.actor):
        item = work_item.item
        subject = item.subject
        server = subject if item.kind == "server" else subject.server
        name = {"server": _("The server itself"), "grant": "", "connection": ""}[item.kind] or (
            subject.agent.name if item.kind == "grant" else subject.system.name
        )
        url = reverse("reviews:item", args=[campaign.pk, item.pk])
        entries.append(
            Entry(
                item,
                work_item,
                name,
                server,
                "",
                f"{url}?show={show}" if show else url,
                item == current,
            )
        )
    groups = _groups(entry.server for entry in entries)
    worst: dict[UUID, int] = {}
    for entry in entries:
        entry.group = groups[entry.server.pk]
        worst[entry.server.pk] = max(worst.get(entry.server.pk, 0), Tier(entry.item.tier).rank)
    kinds = list(KIND_ICONS)
    entries.sort(
        key=lambda e: (
            *(-worst[e.server.pk], e.group, e.server.pk),
            *(-Tier(e.item.tier).rank, kinds.index(e.item.kind), e.name, e.item.pk),
        )
    )
    found = Queue(entries)
    # An address without a choice shows what is to do, and the current item wherever it stands.
    match show:
        case "decided":
            wanted = found.drafted
        case "signed":
            wanted = found.signed
        case _:
            wanted = [entry for entry in entries if entry.todo or entry.current]
    places = [place for place, entry in enumerate(wanted) if entry.current]
    start = max(0, min(places[0] - SHOWN // 2, len(wanted) - SHOWN)) if places else 0
    found.shown = wanted[start : start + SHOWN]
    found.hidden = len(wanted) - len(found.shown)
    frozen = Item.objects.visible_to(request.actor).filter(pk__in=[e.item.pk for e in found.shown])
    snapshots = dict(frozen.values_list("pk", "snapshot"))
    for entry in found.shown:
        entry.signal = signal(snapshots[entry.item.pk])
        entry.size = size(snapshots[entry.item.pk])
    return found


def _groups(servers: Iterable[Server]) -> dict[UUID, str]:
    """How each server is called in the queue: as short as tells it from the others, `com.atlassian/mcp` is no `mcp`."""
    names = {
        server.pk: (server.name.rpartition("/")[2], server.name, f"{server.name}, {server.environment}")
        for server in servers
    }
    called = [Counter(each[i] for each in names.values()) for i in range(3)]
    return {
        pk: next((name for i, name in enumerate(each) if called[i][name] == 1), each[2]) for pk, each in names.items()
    }
