"""The queue of the workbench as its page shows it: entries with their addresses, tabs, filter, ways to page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django import forms
from django.http import QueryDict
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from registry.catalog.models import Tier
from registry.core.http import Request
from registry.reviews.models import Campaign, Item, SubjectKind
from registry.reviews.models.decisions import answer_word
from registry.reviews.presentation import KIND_ICONS, Signal, queue_name, signal, size
from registry.reviews.queue import Changed, Counts, Grouping, Line, Lineup, Question, Tab, evidence_of, lineup
from registry.reviews.services import bulk
from registry.reviews.states import ItemState

REMEMBERED = "review_grouping"
"""Session key: the last campaign in which the reader chose a view, and the view."""
VIEWS: Mapping[str, Any] = {
    Grouping.SERVER: gettext_lazy("By server, highest tier first"),
    Grouping.SYSTEM: gettext_lazy("By system, highest tier first"),
    Grouping.TEAM: gettext_lazy("By team, highest tier first"),
    Grouping.FLAT: gettext_lazy("One list, highest tier first"),
}


_FIELD = {"class": "input"}
_NO_ITEM = UUID(int=0)


class QueueFilter(forms.Form):
    """What narrows the queue down. Its values are part of every address of the workbench."""

    q = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        required=False,
        widget=forms.TextInput(
            attrs={"type": "search", "autocomplete": "off", "class": "input", "placeholder": gettext_lazy("Name")}
        ),
    )
    tier = forms.ChoiceField(
        label=gettext_lazy("Tier"),
        required=False,
        widget=forms.Select(attrs=_FIELD),
        choices=[("", gettext_lazy("Any tier")), *sorted(Tier.choices, key=lambda pair: -Tier(pair[0]).rank)],
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"),
        required=False,
        widget=forms.Select(attrs=_FIELD),
        choices=[("", gettext_lazy("Any kind")), *SubjectKind.choices],
    )
    changed = forms.ChoiceField(
        label=gettext_lazy("Changes"),
        required=False,
        widget=forms.Select(attrs=_FIELD),
        choices=[("", gettext_lazy("Changed or not")), *Changed.choices],
    )


@dataclass(frozen=True)
class Address:
    """Where in the workbench one is: everything an address says beside the item."""

    campaign: Campaign
    question: Question

    def query(self, **changed: Any) -> str:
        """The query string of this place, or of one that differs in `changed` (fields of `Question`)."""
        question = replace(self.question, **changed)
        data = QueryDict(mutable=True)
        for name, value, usual in (
            ("show", question.tab, Tab.OPEN),
            ("by", question.grouping, ""),
            ("q", question.text, ""),
            ("tier", question.tier, ""),
            ("kind", question.kind, ""),
            ("changed", question.changed, ""),
        ):
            if value and value != usual and (name != "by" or value != self.campaign.grouping):
                data[name] = value
        return f"?{data.urlencode()}" if data else ""

    @cached_property
    def _around(self) -> tuple[str, str]:
        """What stands before and after the item's id in the address of its page; resolved once for all entries."""
        before, _id, after = reverse("reviews:item", args=[self.campaign.pk, _NO_ITEM]).rpartition(str(_NO_ITEM))
        return before, f"{after}{self.query()}#item"

    def item(self, pk: UUID) -> str:
        """The page of an item; its heading has the focus, so that reading starts there."""
        before, after = self._around
        return f"{before}{pk}{after}"

    @property
    def kept(self) -> list[tuple[str, str]]:
        """Name and value of what a new filter keeps of this address."""
        data = QueryDict(self.query(text="", tier="", kind="", changed="").removeprefix("?"))
        return [(name, str(value)) for name, value in data.items()]

    @property
    def bench(self) -> str:
        return reverse("reviews:workbench", args=[self.campaign.pk])

    @property
    def start(self) -> str:
        return f"{reverse('reviews:workbench', args=[self.campaign.pk])}{self.query()}"


def address_of(request: Request, campaign: Campaign) -> Address:
    """The place this request names; an unknown value counts as none. A view once chosen is remembered."""
    form = QueueFilter(request.GET)
    form.is_valid()
    given = form.cleaned_data
    by, show = request.GET.get("by", ""), request.GET.get("show", "")
    if by in Grouping.values:
        if request.session.get(REMEMBERED) != [str(campaign.pk), by]:
            request.session[REMEMBERED] = [str(campaign.pk), by]
    else:
        pk, by = request.session.get(REMEMBERED) or ("", "")
        if pk != str(campaign.pk) or by not in Grouping.values:
            by = campaign.grouping
    return Address(
        campaign,
        Question(
            tab=show if show in Tab.values else Tab.OPEN,
            grouping=by,
            text=given.get("q", ""),
            tier=given.get("tier", ""),
            kind=given.get("kind", ""),
            changed=given.get("changed", ""),
        ),
    )


@dataclass(frozen=True)
class Entry:
    """A line of the queue."""

    line: Line
    name: str
    group: str
    url: str
    current: bool
    signal: Signal
    size: str

    @property
    def word(self) -> str:
        return answer_word(self.line.kind, self.line.value)

    @property
    def icon(self) -> str:
        return KIND_ICONS[self.line.kind]

    @property
    def todo(self) -> bool:
        return self.line.tab == Tab.OPEN

    @property
    def together(self) -> bool:
        """Whether it may be decided together with others: what is new, changed or of a high tier is looked at alone."""
        same = not self.line.since and self.line.state != ItemState.INVALIDATED
        return self.todo and same and self.line.tier in bulk.TIERS


@dataclass(frozen=True)
class Group:
    """Entries that stand together. `count` is how many match in all, drawn or not."""

    key: str
    name: str
    mono: bool
    count: int
    entries: Sequence[Entry] = field(default_factory=tuple)
    full: str = ""
    """The name of a server that goes by its title."""


@dataclass(frozen=True)
class Queue:
    """What the left pane shows."""

    address: Address
    drawn: Lineup
    current: UUID | None
    form: QueueFilter

    @cached_property
    def groups(self) -> Sequence[Group]:
        """Read when they are drawn: a redirect to the first line needs no evidence."""
        return _groups(self.address, self.drawn, self.current)

    @property
    def counts(self) -> Counts:
        return self.drawn.counts

    @property
    def question(self) -> Question:
        return self.address.question

    @property
    def tabs(self) -> list[tuple[str, Any, int, bool]]:
        """Address, word, number, whether it is the one shown."""
        numbers = {Tab.OPEN: self.counts.todo, Tab.DECIDED: self.counts.unsigned, Tab.SIGNED: self.counts.signed}
        return [
            (f"{self.address.query(tab=tab) or '?'}", tab.label, numbers[tab], tab == self.question.tab) for tab in Tab
        ]

    @property
    def views(self) -> list[tuple[str, Any, bool]]:
        """Address, word, whether it is the one shown. The default is named too: the reader may have chosen another."""
        return [
            (f"{self._with('by', grouping)}", Grouping(grouping).label, grouping == self.question.grouping)
            for grouping in Grouping.values
        ]

    @property
    def view(self) -> Any:
        return VIEWS[self.question.grouping]

    def _with(self, name: str, value: str) -> str:
        data = QueryDict(self.address.query().removeprefix("?"), mutable=True)
        data[name] = value
        return f"?{data.urlencode()}"

    @property
    def earlier(self) -> str:
        """Where the lines before those drawn are; empty when there are none."""
        return self._with("until", str(self.drawn.lines[0].id)) if self.drawn.earlier else ""

    @property
    def later(self) -> str:
        return self._with("after", str(self.drawn.lines[-1].id)) if self.drawn.later else ""

    @property
    def unfiltered(self) -> str:
        return self.address.query(text="", tier="", kind="", changed="") or "?"

    @property
    def next(self) -> str:
        return self.address.item(self.drawn.next) if self.drawn.next else ""

    @property
    def previous(self) -> str:
        return self.address.item(self.drawn.previous) if self.drawn.previous else ""

    @cached_property
    def bulk(self) -> str:
        """Where several are decided at once; empty when nothing here can be."""
        if not any(entry.together for group in self.groups for entry in group.entries):
            return ""
        return reverse("reviews:bulk", args=[self.address.campaign.pk])


def queue_of(request: Request, campaign: Campaign, current: Item | None = None) -> Queue:
    """The reader's queue around the item they look at, or the page their address asks for."""
    address = address_of(request, campaign)
    here = current.pk if current is not None else None
    drawn = lineup(
        request.actor,
        campaign,
        address.question,
        current=here,
        after=id_of(request.GET.get("after")),
        until=id_of(request.GET.get("until")),
    )
    return Queue(address, drawn, here, QueueFilter(request.GET))


def id_of(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _groups(address: Address, drawn: Lineup, current: UUID | None) -> list[Group]:
    evidence = evidence_of(drawn)
    by_server = address.question.grouping == Grouping.SERVER
    names = _names(drawn.lines)
    groups: list[Group] = []
    for line in drawn.lines:
        if line.id not in evidence:
            continue
        entry = Entry(
            line=line,
            name=queue_name(evidence[line.id]) if by_server else line.label,
            group=line.group_id,
            url=address.item(line.id),
            current=line.id == current,
            signal=signal(evidence[line.id]),
            size=size(evidence[line.id]),
        )
        if not groups or groups[-1].key != line.group_id:
            name = names.get(line.group_id) or _unnamed(address.question.grouping, line)
            title = line.group_title
            mono = by_server and bool(line.group_id) and not title
            groups.append(
                Group(line.group_id, title or name, mono, drawn.groups.get(line.group_id, 0), [], name if title else "")
            )
        groups[-1].entries.append(entry)  # type: ignore[attr-defined]
    return groups


def _names(lines: Sequence[Line]) -> dict[str, str]:
    """How each group is called: its full name, because `mcp` alone says nothing, with what tells it from another of
    the same name.
    """
    groups = {line.group_id: line for line in lines if line.group_id}
    called = Counter(line.group_name for line in groups.values())
    return {
        key: f"{line.group_name}, {line.group_note}"
        if line.group_note and called[line.group_name] > 1
        else line.group_name
        for key, line in groups.items()
    }


def _unnamed(grouping: str, line: Line) -> str:
    if grouping == Grouping.FLAT:
        return ""
    if line.kind == SubjectKind.AGENT and grouping != Grouping.TEAM:
        return _("Agents")
    return {Grouping.SYSTEM: _("Reaches no system"), Grouping.TEAM: _("No team")}.get(Grouping(grouping), _("Others"))
