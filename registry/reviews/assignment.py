"""Choosing reviewers: by rule and load, never anybody who is barred, and deterministic.

The same subjects in the same order with the same pools always give the same reviewers, so that an interrupted launch
goes on as if nothing had happened. Who is chosen depends on rows only: on rules, pools and loads as a campaign froze
them (`Campaign.stages`), on who is barred, and on who is away that day.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, NamedTuple
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import Team, User
from registry.catalog.models import Agent, DataClass, Server
from registry.core import clock
from registry.core.bulk import Sql, among
from registry.reviews.barred import Bars, barred
from registry.reviews.models import Campaign, Item, SubjectKind, TemplateStage, WorkItem
from registry.reviews.pools import POOL_RULES, Rule, away, may_review, pools
from registry.reviews.seats import asked_before
from registry.reviews.states import WorkItemState
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD

Side = WorkItem.Side
SIDES = (str(Side.CONSUMER), str(Side.PROVIDER))
Named = Mapping[str, Sequence[tuple[UUID, str]]]
"""Whom the subject itself names, by part (`lead`, `consumer`, `provider`): their ids, each with the name of the team
they lead or the system they own."""
OWNS_CAMPAIGN = "owns this campaign"
_BARS_NOBODY: Bars = {}
_NAMES_NOBODY: Named = {}


class Choice(NamedTuple):
    """A reviewer for one seat. `original` was meant and is away; `reviewer` stands in."""

    reviewer: User
    because: str
    side: str = ""
    original: User | None = None

    @property
    def meant(self) -> User:
        return self.original or self.reviewer


class _Person:
    """Somebody who can be asked, and what they have to do. Compared by identity: this is looked at very often."""

    __slots__ = ("load", "user")

    def __init__(self, user: User, load: int = 0) -> None:
        self.user = user
        self.load = load


class _Place(NamedTuple):
    """Who would do the work, and for whom when it is not their own."""

    worker: _Person
    absent: _Person | None = None


class _Line:
    """One pool, the least loaded first. Loads are shared between pools, so an entry may be out of date: it is put
    back with the present load when it comes up, which is right because loads only grow."""

    def __init__(self, places: Sequence[_Place]) -> None:
        self.places = places
        self.heap = [(place.worker.load, number) for number, place in enumerate(places)]
        heapify(self.heap)
        self._of: dict[UUID, list[int]] = defaultdict(list)
        for number, place in enumerate(places):
            for person in filter(None, place):
                self._of[person.user.pk].append(number)

    def shut(self, people: Iterable[UUID]) -> set[int]:
        """Places at which these people are, or are stood in for."""
        return {number for person in people for number in self._of.get(person, ())}

    def take(self, shut: Collection[int], taken: Collection[_Person]) -> _Place | None:
        """The least loaded one whose place is not `shut` and who is not `taken`."""
        aside, found, heap = [], None, self.heap
        while heap:
            load, number = heap[0]
            place = self.places[number]
            worker = place.worker
            if worker.load != load:
                heapreplace(heap, (worker.load, number))
            elif number in shut or worker in taken:
                aside.append(heappop(heap))
            else:
                worker.load += 1
                heapreplace(heap, (worker.load, number))
                found = place
                break
        for entry in aside:
            heappush(heap, entry)
        return found


class Assigner:
    """Hands out the seats of one stage, subject by subject, and keeps count.

    `stage` as in `Campaign.stages`. `people` are those of its pools and whoever else may come into question; `away`
    maps who is out of office to who stands in; `given` is what was handed out before, beyond the frozen loads.
    """

    def __init__(
        self,
        stage: Mapping[str, Any],
        people: Mapping[UUID, User],
        *,
        away: Mapping[UUID, UUID] | None = None,
        given: Mapping[str, int] | None = None,
        group: str = "",
    ) -> None:
        self.rules: list[str] = [stage["reviewer_rule"], *stage["fallback"]]
        self.wanted: int = stage["reviewers_per_item"]
        self.away = away or {}
        self.group = group
        self.members = {rule: [UUID(str(pk)) for pk, _load in pool] for rule, pool in stage["pools"].items()}
        self.before = {UUID(str(pk)): load for pool in stage["pools"].values() for pk, load in pool}
        self.people = {
            pk: _Person(user, self.before.get(pk, 0) + (given or {}).get(str(pk), 0)) for pk, user in people.items()
        }
        self._lines: dict[tuple[str, bool], _Line] = {}
        self._words: dict[tuple[str, int, int], str] = {}
        self._seats = self.seats

    @classmethod
    def of(cls, stage: Mapping[str, Any], *, given: Mapping[str, int] | None = None) -> "Assigner":
        """With the people of the stage's pools, and of those who stand in today, read from the database."""
        out = away(clock.today())
        members = {UUID(pk) for people in stage["pools"].values() for pk, _load in people}
        people = User.objects.in_bulk({*members, *map(UUID, given or ()), *out.values()})
        team = Team.objects.filter(pk=stage["group"]).first() if stage["group"] else None
        return cls(stage, people, away=out, given=given, group=team.name if team else "")

    @property
    def load(self) -> dict[UUID, int]:
        """What everybody has to do by now."""
        return {pk: person.load for pk, person in self.people.items()}

    @property
    def given(self) -> dict[str, int]:
        """What was handed out beyond the loads the stage was frozen with: `given` of whoever continues."""
        more = ((pk, load - self.before.get(pk, 0)) for pk, load in self.load.items())
        return {str(pk): number for pk, number in more if number}

    def learn(self, named: Iterable[Named]) -> None:
        """Read the people that subjects name; once for many subjects."""
        ids = {pk for each in named for part in each.values() for pk, _name in part}
        if missing := ids - self.people.keys():
            self.people.update((pk, _Person(user)) for pk, user in User.objects.in_bulk(missing).items())

    @property
    def seats(self) -> list[str]:
        """The side of each seat of one item: empty where sides do not matter."""
        return _seats(self.rules[0], self.wanted)

    def choose(
        self,
        kind: str,
        *,
        named: Named = _NAMES_NOBODY,
        barred: Bars = _BARS_NOBODY,
        without: Collection[UUID] = (),
        seats: Sequence[str] | None = None,
    ) -> list[Choice]:
        """Reviewers of one subject, all different people: one for each seat, fewer when nobody is left for one."""
        taken = {self.people[pk] for pk in without if pk in self.people}
        chosen = []
        for side in self._seats if seats is None else seats:
            found = self._choose(kind, side, named, barred, taken)
            if found is not None:
                chosen.append(self._choice(*found, side))
                taken.add(found[0].worker)
        return chosen

    def _choose(
        self, kind: str, side: str, named: Named, barred: Bars, taken: Collection[_Person]
    ) -> tuple[_Place, str] | None:
        """The place of one seat and why; None when nobody is left for it."""
        passed: set[UUID] = set()
        for rule in self.rules:
            if rule in POOL_RULES:
                line = self._line(rule, kind)
                shut = line.shut(barred) if barred else ()
                place = line.take(shut, taken)
                if place is not None:
                    return place, self._because(rule, len(line.places) - len(shut), len(shut) + len(passed))
                continue
            for pk, because in _asked_first(rule, side, named):
                place = self._place(pk, kind)
                if pk in barred or (place is not None and place.worker.user.pk in barred):
                    passed.add(pk)
                elif place is not None and place.worker not in taken:
                    place.worker.load += 1
                    return place, because + _barred_words(len(passed))
        return None

    def _place(self, pk: UUID, kind: str) -> _Place | None:
        """This person, or who stands in while they are away; None when neither may be asked about such things."""
        person = self.people.get(pk)
        if person is None:
            return None
        if pk not in self.away:
            return _Place(person) if may_review(person.user, kind) else None
        stand_in = self.people.get(self.away[pk])
        if stand_in is None or self.away[pk] in self.away or not may_review(stand_in.user, kind):
            return None
        return _Place(stand_in, person)

    def _line(self, rule: str, kind: str) -> _Line:
        key = (rule, kind == SubjectKind.SERVER)
        if key not in self._lines:
            found = [place for pk in self.members.get(rule, ()) if (place := self._place(pk, kind))]
            # One place for each person: who is away and has a stand-in in the same pool just drops out.
            own = {place.worker.user.pk: place for place in found if place.absent is None}
            standing_in = {place.worker.user.pk: place for place in reversed(found) if place.absent is not None}
            self._lines[key] = _Line([place for _pk, place in sorted((standing_in | own).items())])
        return self._lines[key]

    def _choice(self, place: _Place, because: str, side: str) -> Choice:
        if place.absent is None:
            return Choice(place.worker.user, because, side)
        standing_in = _("Stands in for %(name)s, who is away.") % {"name": place.absent.user.name}
        return Choice(place.worker.user, f"{standing_in} {because}", side, place.absent.user)

    def _because(self, rule: str, free: int, shut: int) -> str:
        """Why the least loaded one of a pool; many items share the same words."""
        key = (rule, free, shut)
        if key not in self._words:
            where = {Rule.SECURITY: _("security"), Rule.GROUP: self.group}.get(Rule(rule), _("the pool"))
            chosen = ngettext(
                "The only independent reviewer in %(where)s.",
                "Has the fewest items of %(count)d independent reviewers in %(where)s.",
                free,
            ) % {"count": free, "where": where}
            self._words[key] = chosen + _barred_words(shut)
        return self._words[key]


def _seats(rule: str, wanted: int) -> list[str]:
    if rule == Rule.BOTH_SIDES:
        return [*SIDES, *[""] * max(0, wanted - len(SIDES))]
    return [""] * wanted


def seats_of_stage(stage: Mapping[str, Any]) -> list[str]:
    """The side of each seat that a stage, as in `Campaign.stages`, asks to be filled for an item."""
    return _seats(stage["reviewer_rule"], stage["reviewers_per_item"])


def _barred_words(count: int) -> str:
    if not count:
        return ""
    told = ngettext("%(count)d person is barred.", "%(count)d people are barred.", count)
    return f" {told % {'count': count}}"


def _asked_first(rule: str, side: str, named: Named) -> Iterable[tuple[UUID, str]]:
    """Whom a rule that names particular people asks, in order, and why."""
    parts = {
        Rule.TEAM_LEAD: ("lead",),
        Rule.SYSTEM_OWNER: ("provider",),
        Rule.BOTH_SIDES: (side,) if side else SIDES,
    }[Rule(rule)]
    words = {
        "lead": _("Leads %(name)s, the responsible team."),
        "consumer": _("Leads %(name)s, for those who use it."),
        "provider": _("Owns %(name)s, which this reaches."),
    }
    for part in parts:
        for pk, name in named.get(part, ()):
            yield pk, words[part] % {"name": name}


# --- Whom subjects name ----------------------------------------------------------------------------------

_LEAD = {"server": "team", "grant": "server__team", "connection": "server__team", "agent": "team"}
_CONSUMER = _LEAD | {"grant": "agent__team"}
_REACHES = {
    "server": "connections",
    "grant": "server__connections",
    "connection": "",
    "agent": "grants__server__connections",
}
_MODELS: Mapping[str, type[Any]] = {"server": Server, "grant": Grant, "connection": Connection, "agent": Agent}


def named_by(kind: str, ids: Collection[UUID] | Sql, rules: Iterable[str]) -> dict[UUID, Named]:
    """Whom each of these subjects names as far as `rules` ask for it, in a fixed number of queries.

    `ids` may be SQL that yields them.
    """
    wanted = set(rules)
    found: dict[UUID, dict[str, list[tuple[UUID, str]]]] = defaultdict(lambda: defaultdict(list))
    about = _MODELS[kind].objects.filter(pk__in=among(ids))
    for rule, part, paths in ((Rule.TEAM_LEAD, "lead", _LEAD), (Rule.BOTH_SIDES, "consumer", _CONSUMER)):
        if rule in wanted:
            team = paths[kind]
            leads = about.filter(**{f"{team}__lead__isnull": False})
            for pk, lead, name in leads.values_list("pk", f"{team}__lead", f"{team}__name"):
                found[pk][part].append((lead, name))
    if wanted & {Rule.SYSTEM_OWNER, Rule.BOTH_SIDES}:
        for pk, owner, name in _owners_reached(kind, about):
            found[pk]["provider"].append((owner, name))
    return dict(found)


def _owners_reached(kind: str, about: Any) -> list[tuple[UUID, UUID, str]]:
    """Owners of the systems each subject reaches, the most sensitive data first."""
    reach = _REACHES[kind]
    path = f"{reach}__system" if reach else "system"
    held = {f"{reach}__status__in": HELD} if reach else {}
    if kind == SubjectKind.AGENT:
        held["grants__status__in"] = HELD
    rows = about.filter(**held, **{f"{path}__owner__isnull": False}).values_list(
        "pk", f"{path}__owner", f"{path}__name", f"{path}__data_class", f"{reach}__pk" if reach else "pk"
    )
    # Equally sensitive systems in the order their connections were made.
    ordered = sorted(rows, key=lambda row: (-DataClass(row[3]).rank, row[4]))
    return list(dict.fromkeys((pk, owner, name) for pk, owner, name, _data_class, _connection in ordered))


# --- Items that exist already ----------------------------------------------------------------------------


def reviewers_for(
    items: Sequence[Item], *, stage: int, without: Mapping[UUID, Collection[UUID]] | None = None
) -> dict[UUID, list[Choice]]:
    """Reviewers for the seats of `stage` that nobody holds: item id → choices, empty where nobody is left.

    Whoever held or stepped back from an item in any stage is not asked again (invariant 4), nor anybody in `without`.
    Loads are those of this moment. The number of queries grows with campaigns and kinds, not with items.
    """
    refused = asked_before(items)
    for pk, people in (without or {}).items():
        refused[pk] |= set(people)
    found: dict[UUID, list[Choice]] = {}
    for assigner, group in _by_stage(items, stage):
        open_seats = _open_seats(group, stage, assigner.seats)
        for item, named, bars_ in _surroundings(group, assigner):
            found[item.pk] = assigner.choose(
                item.kind, named=named, barred=bars_, without=refused[item.pk], seats=open_seats[item.pk]
            )
    return found


def next_reviewers(
    item: Item, *, stage: int, without: Collection[UUID] = (), instead_of: WorkItem | None = None
) -> list[Choice]:
    """Who is to be asked about one item: for the open seats of a stage, or for the one seat of `instead_of`."""
    if instead_of is None:
        return reviewers_for([item], stage=stage, without={item.pk: without})[item.pk]
    refused = asked_before([item])[item.pk] | set(without)
    for assigner, group in _by_stage([item], stage):
        for _item, named, bars_ in _surroundings(group, assigner):
            return assigner.choose(item.kind, named=named, barred=bars_, without=refused, seats=[instead_of.side])
    return []


def replacements(
    items: Sequence[Item], *, stage: int, vacant: Mapping[UUID, Sequence[WorkItem]]
) -> dict[UUID, list[tuple[WorkItem, Choice | None]]]:
    """Somebody else for each of these places of many items, as `reviewers_for` finds them; None where nobody is left.

    A place keeps its side, and two places of an item never come to the same person.
    """
    refused = asked_before(items)
    found: dict[UUID, list[tuple[WorkItem, Choice | None]]] = {}
    for assigner, group in _by_stage(items, stage):
        for item, named, bars_ in _surroundings(group, assigner):
            without = refused[item.pk]
            places = found[item.pk] = []
            for place in vacant[item.pk]:
                chosen = assigner.choose(item.kind, named=named, barred=bars_, without=without, seats=[place.side])
                choice = chosen[0] if chosen else None
                without = without | {each.reviewer.pk for each in chosen}
                places.append((place, choice))
    return found


def open_seats(items: Sequence[Item]) -> dict[UUID, list[str]]:
    """The sides of the seats that nobody holds in the present stage of each of these items of one campaign."""
    found: dict[UUID, list[str]] = {}
    for stage in {item.stage for item in items}:
        group = [item for item in items if item.stage == stage]
        found |= _open_seats(group, stage, seats_of_stage(group[0].campaign.stages[stage - 1]))
    return found


def _open_seats(items: Iterable[Item], stage: int, seats: Sequence[str]) -> dict[UUID, list[str]]:
    left = {item.pk: list(seats) for item in items}
    held = WorkItem.objects.filter(item__in=list(left), stage=stage).exclude(state=WorkItemState.CLOSED)
    for item, side in held.values_list("item", "side"):
        if side in left[item]:
            left[item].remove(side)
        elif left[item]:
            left[item].pop()
    return left


def _by_stage(items: Sequence[Item], stage: int) -> Iterable[tuple[Assigner, list[Item]]]:
    """Items by campaign, each group with the reviewers its stage has now."""
    groups: dict[UUID, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.campaign_id].append(item)
    for group in groups.values():
        yield Assigner.of(present_stage(group[0].campaign, stage)), group


def present_stage(campaign: Campaign, stage: int) -> dict[str, Any]:
    """A stage's rules as they were at launch, with the people and loads of now: who came later can be asked."""
    frozen: dict[str, Any] = campaign.stages[stage - 1]
    template = campaign.template
    live = TemplateStage.objects.filter(template=template, position=stage).first() if template else None
    rules = [frozen["reviewer_rule"], *frozen["fallback"]]
    return {**frozen, "pools": pools(rules, live, frozen["group"])}


def _surroundings(items: Sequence[Item], assigner: Assigner) -> Iterable[tuple[Item, Named, Bars]]:
    """Each item with whom it names and who is barred from it."""
    for kind in SubjectKind.values:
        part = [item for item in items if item.kind == kind]
        if not part:
            continue
        ids = [item.subject_pk for item in part]
        named = named_by(kind, ids, assigner.rules)
        assigner.learn(named.values())
        bars_ = barred(kind, ids)
        for item in part:
            yield item, named.get(item.subject_pk, {}), _with_campaign(item, bars_.get(item.subject_pk, _BARS_NOBODY))


def _with_campaign(item: Item, about_subject: Bars) -> Bars:
    """What the campaign adds: its owner never decides (invariant 16), and an intake bars who asked for connections."""
    campaign = item.campaign
    if campaign.kind == Campaign.Kind.INTAKE:
        people: dict[UUID, list[str]] = {}
        for reason, person in item.interested.items():
            if person is not None:
                people.setdefault(person, []).append(reason)
        return people
    return barred_in(campaign, about_subject)


def barred_in(campaign: Campaign, about_subject: Bars) -> Bars:
    """Who is barred from a subject in this campaign."""
    if campaign.owner_id is None:
        return about_subject
    return {**about_subject, campaign.owner_id: [*about_subject.get(campaign.owner_id, []), OWNS_CAMPAIGN]}
