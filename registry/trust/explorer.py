"""One view of the explorer: a question, what it is about, the answer in words, the picture, and what is selected.

It brings together what others do: `question` reads the address, `lookup` finds what was named, `queries.ask` answers,
`chart` draws. The page and its exports show one `Explorer`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from registry.accounts.models import Team
from registry.catalog.models import DataClass, Environment, Tier
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.trust.chart import Chart, Loss, Row, data_word, some
from registry.trust.consequences import Fact, blast_facts, impact_facts
from registry.trust.labels import Label, labels
from registry.trust.lookup import Found, find, worth_asking
from registry.trust.queries import Questions, ask
from registry.trust.queries.answers import BlastRadius, Impact, Path, Paths
from registry.trust.queries.neighbourhood import Edge, Facets, Neighbourhood, Node
from registry.trust.question import ASKS, CERTIFIED, COLOURS, GROUPS, REPEATED, STATUSES, Question, Ref, ref_of, refs

DRAWN = 150
"""Boxes in one picture; past that a person reads nothing and things are grouped."""
SURVEYED = 60
"""Boxes in the picture of everything, where nobody looks for one line yet."""
MEMBERS = 30
ROWS = 400
"""Rows of the table twin."""
LISTED = 8
"""Rows in the panel of what is selected."""
MARKED = 2000
"""Losses that are written into boxes; a picture never shows more."""
EVERYTHING = 20_000
"""Lines in an export; whoever needs more takes the export of the whole graph."""


@dataclass(frozen=True)
class Choice:
    """A value of a facet, with how many things have it (None: not counted)."""

    value: str
    word: str | Promise
    chosen: bool
    count: int | None


@dataclass(frozen=True)
class FacetGroup:
    name: str
    title: str | Promise
    choices: Sequence[Choice]
    single: bool = False

    @property
    def picked(self) -> bool:
        return any(choice.chosen for choice in self.choices)


@dataclass(frozen=True)
class Step:
    """An end of a path's relationship; `label` is None for what may not be seen."""

    label: Label | None


@dataclass(frozen=True)
class ListedPath:
    number: int
    steps: Sequence[Step]
    access: str
    certified: bool
    url: str
    chosen: bool
    hidden: bool


@dataclass(frozen=True)
class Beside:
    """A line that ends at what is selected, and whether its other end is what it leads `to` or comes `from`."""

    row: Row
    way: str

    @property
    def other(self) -> Label:
        return self.row.target if self.way == "to" else self.row.source


@dataclass(frozen=True)
class Selected:
    """What is selected, for the panel beside the picture."""

    kind: str
    label: Label
    node: Node | None = None
    edge: Edge | None = None
    found: Found | None = None
    blast: BlastRadius | None = None
    impact: Impact | None = None
    facts: Sequence[Fact] = ()
    cut: Sequence[Fact] = ()
    links: Sequence[tuple[str | Promise, str, str]] = ()
    edges: Sequence[Beside] = ()
    more_edges: int = 0

    @property
    def data_word(self) -> str:
        return data_word(self.node.data_class) if self.node else ""


class Explorer:
    """Raises `NotAllowed` for who may not read trust. What cannot be found is a state of the page, not an error."""

    def __init__(
        self, actor: Actor, question: Question, *, address: str, shown: Mapping[str, str] | None = None,
        everything: bool = False,
    ) -> None:  # fmt: skip
        """`shown` says of the fields `of` and `to` whose name they showed before they were sent."""
        self.actor, self.address, self.everything = actor, address, everything
        self.questions: Questions = ask(actor, as_of=question.as_of)
        self.question = question
        self.subjects = self._find("of", shown or {})
        self.targets = self._find("to", shown or {})
        # From here on things are named by id: names change, addresses that people share should not.
        if self.subject:
            self.question = self.question.but(of=self.subject.key)
        if self.target:
            self.question = self.question.but(to=self.target.key)

    def _find(self, end: str, shown: Mapping[str, str]) -> list[Found]:
        """What a field of the question may mean: one is the answer, several have to be chosen from."""
        asked, text = ASKS.get(self.question.ask), getattr(self.question, end)
        if asked is None or not text:
            return []
        kinds = getattr(asked, end)
        for same in find(self.actor, shown[end], kinds) if shown.get(end) else ():
            if same.label.name == text:
                return [same]
        return find(self.actor, text, kinds)

    # --- What it is about --------------------------------------------------------------------------------

    @property
    def subject(self) -> Found | None:
        return self.subjects[0] if len(self.subjects) == 1 else None

    @property
    def target(self) -> Found | None:
        return self.targets[0] if len(self.targets) == 1 else None

    @cached_property
    def state(self) -> str:
        """`answered`, or why not: `incomplete` (no subject yet), `missing`, `choose` between several, or `absent`:
        it is there, but was not on the day asked about.
        """
        question = self.question
        if question.ask:
            if not question.complete:
                return "incomplete"
            wanted = [self.subjects, *([self.targets] if question.ask == "path" else [])]
            if any(not found for found in wanted):
                return "missing"
            if any(len(found) > 1 for found in wanted):
                return "choose"
        try:
            _answers = self.hood, self.impact, self.paths, self.sentence
        except NotFound:
            return "absent"
        return "answered"

    @property
    def unfound(self) -> str:
        """The words nothing was found for."""
        return self.question.of if not self.subjects else self.question.to

    @property
    def offers(self) -> list[tuple[Found, str]]:
        """The things to choose from, each with the address of the question about it."""
        if len(self.subjects) > 1:
            return [(each, self.link(self.question.but(of=each.key, selected=""))) for each in self.subjects]
        return [(each, self.link(self.question.but(to=each.key, selected=""))) for each in self.targets]

    def link(self, question: Question) -> str:
        query = question.query()
        return f"{self.address}?{query}" if query else self.address

    def _but(self, **changes: Any) -> str:
        return self.link(self.question.but(**changes))

    # --- Addresses ---------------------------------------------------------------------------------------

    @property
    def kept_facets(self) -> list[tuple[str, str]]:
        """What asking something else keeps: the look and the filters, not what was opened or selected."""
        fresh = self.question.but(opened=(), expanded=(), folded=(), selected="", path=None)
        shown = [(REPEATED[end], found.key) for end, found in (("of", self.subject), ("to", self.target)) if found]
        return [*fresh.hidden_fields("ask", "of", "to", "on", "basis"), *shown]

    @property
    def kept_question(self) -> list[tuple[str, str]]:
        """What filtering keeps: everything but the filters."""
        return self.question.but(path=None).hidden_fields(
            "tiers", "data", "environments", "teams", "statuses", "certified"
        )

    @property
    def picture_url(self) -> str:
        return self._but(table=False)

    @property
    def table_url(self) -> str:
        return self._but(table=True)

    @property
    def widened_url(self) -> str:
        return self.link(self.question.widened())

    @property
    def now_url(self) -> str:
        return self._but(on=None)

    @property
    def unselected_url(self) -> str:
        return self._but(selected="")

    @property
    def colour_links(self) -> list[tuple[str | Promise, str, bool]]:
        return [(word, self._but(colour=value), self.question.colour == value) for value, word in COLOURS.items()]

    @property
    def group_links(self) -> list[tuple[str | Promise, str, bool]]:
        return [
            (word, self._but(group=value, opened=()), self.question.group == value) for value, word in GROUPS.items()
        ]

    @cached_property
    def examples(self) -> list[tuple[str, str]]:
        """Questions about what matters most, for whoever does not know what to ask."""
        if self.question.ask or not self.hood.nodes:
            return []
        asked = {"system": "reaches", "agent": "reach", "server": "cut"}
        found = []
        for thing in worth_asking(self.actor):
            ask_ = ASKS[asked[thing.kind]]
            words = f"{ask_.begins} {thing.label.name}{ask_.ends}"
            found.append((words, self.link(Question(ask=asked[thing.kind], of=thing.key))))
        return found

    # --- The graph ---------------------------------------------------------------------------------------

    @cached_property
    def hood(self) -> Neighbourhood:
        question = self.question
        statuses = frozenset(question.statuses) or frozenset({"active"})
        return self.questions.neighbourhood(
            [self.subject.ref] if self.subject else [],
            to=self.target.ref if self.target else None,
            facets=Facets(
                tiers=frozenset(question.tiers),
                data_classes=frozenset(question.data),
                environments=frozenset(question.environments),
                teams=frozenset(_uuids(question.teams)),
                statuses=statuses,
                certified={"yes": True, "no": False}.get(question.certified),
            ),
            basis=question.basis,  # type: ignore[arg-type]
            expanded=refs(question.expanded),
            collapsed=refs(question.folded),
            group="none" if self.everything else question.group,  # type: ignore[arg-type]
            opened=question.opened,
            most=self._most,
            members=MEMBERS,
        )

    @property
    def _most(self) -> int:
        if self.everything:
            return EVERYTHING
        return DRAWN if self.question.ask or self.question.group == "none" else SURVEYED

    @cached_property
    def chart(self) -> Chart:
        return Chart(self.hood, self.question, address=self.address, on_path=self.on_path, loss=self.loss)

    @property
    def nothing(self) -> bool:
        """A subject that stands alone is no picture."""
        return not self.hood.edges and all(node.seed for node in self.hood.nodes)

    @property
    def hidden_words(self) -> str:
        counted = [some(kind, count) for kind, count in self.hood.hidden.items() if count]
        return _("%(things)s you may not see") % {"things": ", ".join(counted)} if counted else ""

    @property
    def table_rows(self) -> list[Row]:
        return self.chart.rows[:ROWS]

    @property
    def more_rows(self) -> int:
        return max(len(self.chart.rows) - ROWS, 0)

    @cached_property
    def aliases(self) -> Mapping[Ref, str]:
        """The node of each thing in the picture; an agent that is a server stands as that server."""
        found: dict[Ref, str] = {}
        for node in self.hood.nodes:
            if node.id is not None:
                found[(node.kind, node.id)] = node.key
            if node.agent is not None:
                found[("agent", node.agent)] = node.key
        return found

    # --- Paths -------------------------------------------------------------------------------------------

    @cached_property
    def paths(self) -> Paths | None:
        if self.question.ask != "path" or self.subject is None or self.target is None:
            return None
        return self.questions.paths(from_=self.subject.ref, to=self.target.ref)  # type: ignore[arg-type]

    @cached_property
    def listed_paths(self) -> list[ListedPath]:
        if self.paths is None:
            return []
        ends = {ref for path in self.paths.paths for step in path.steps for ref in (step.source, step.target) if ref}
        known = labels(ends)
        return [self._listed(number, path, known) for number, path in enumerate(self.paths.paths, start=1)]

    def _listed(self, number: int, path: Path, known: Mapping[Ref, Label]) -> ListedPath:
        ends = [path.steps[0].source, *(step.target for step in path.steps)]
        chosen = self.question.path == number
        return ListedPath(
            number=number,
            steps=[Step(known.get(end) if end else None) for end in ends],
            access=path.access,
            certified=path.certified,
            url=self.link(self.question.but(path=None if chosen else number)),
            chosen=chosen,
            hidden=path.hidden,
        )

    @cached_property
    def on_path(self) -> frozenset[tuple[str, str]] | None:
        """The edges to stand out: of the chosen path, else of every path through what is selected."""
        number = self.question.path
        if self.paths is not None and number is not None and 0 < number <= len(self.paths.paths):
            return frozenset(self._edges_of(self.paths.paths[number - 1]))
        if self.question.selected and self.question.ask != "path":
            return self._through(self.question.selected)
        return None

    def _edges_of(self, path: Path) -> Iterable[tuple[str, str]]:
        for step in path.steps:
            source = (
                self.aliases.get(step.source, "")
                if step.source
                else f"hidden:{'agent' if step.kind == 'grant' else 'server'}"
            )
            target = (
                self.aliases.get(step.target, "")
                if step.target
                else f"hidden:{'server' if step.kind == 'grant' else 'system'}"
            )
            yield source, target

    def _through(self, key: str) -> frozenset[tuple[str, str]] | None:
        edges = [(edge.source, edge.target) for edge in self.hood.edges]
        ends = next(
            ((edge.source, edge.target) for edge in self.hood.edges if edge.id and f"{edge.kind}:{edge.id}" == key),
            None,
        )
        if ends is None and all(node.key != key for node in self.hood.nodes):
            return None
        if self.hood.grouped and ends is None:
            # What leads from group to group need not lead on from member to member: only what touches it stands out.
            return frozenset(edge for edge in edges if key in edge) or None
        upwards, downwards = ends or (key, key)
        after: dict[str, list[tuple[str, str]]] = {}
        before: dict[str, list[tuple[str, str]]] = {}
        for edge in edges:
            after.setdefault(edge[0], []).append(edge)
            before.setdefault(edge[1], []).append(edge)
        found = {ends} if ends else set()
        for start, links, far in ((downwards, after, 1), (upwards, before, 0)):
            seen, waiting = {start}, [start]
            while waiting:
                for edge in links.get(waiting.pop(), ()):
                    found.add(edge)
                    if edge[far] not in seen:
                        seen.add(edge[far])
                        waiting.append(edge[far])
        return frozenset(found) or None

    # --- The answer in words -----------------------------------------------------------------------------

    @cached_property
    def impact(self) -> Impact | None:
        if self.question.ask != "cut" or self.subject is None:
            return None
        return self.questions.impact(self.subject.kind, self.subject.id)  # type: ignore[arg-type]

    @cached_property
    def loss(self) -> Loss | None:
        """What to write into the boxes of those who lose something."""
        if self.impact is None or self.subject is None:
            return None
        words: dict[str, str] = {}
        keys = {self.aliases.get(self.subject.ref, "")}
        for agent in _first(self.impact.agents, MARKED):
            key = self.aliases.get(("agent", agent.id))
            lost = len(agent.loses) + agent.hidden_loses
            if key and lost:
                keys.add(key)
                words[key] = ngettext("loses %(n)d system", "loses %(n)d systems", lost) % {"n": lost}
            elif key and (agent.keeps or agent.hidden_keeps):
                words[key] = _("keeps all")
            elif key:
                words[key] = _("loses its tools")
        for system in _first(self.impact.systems, MARKED):
            key = self.aliases.get(("system", system.id))
            if key and system.unserved:
                keys.add(key)
                words[key] = _("no server reaches it then")
            elif key and system.lost_by:
                keys.add(key)
                words[key] = ngettext("%(n)d agent loses it", "%(n)d agents lose it", system.lost_by) % {
                    "n": system.lost_by
                }
        return Loss(words, frozenset(keys - {""}), self.aliases.get(self.subject.ref, self.subject.key))

    @cached_property
    def sentence(self) -> str:
        """The answer in one sentence."""
        question, name = self.question, self.subject.label.name if self.subject else ""
        if self.paths is not None:
            target = self.target.label.name if self.target else ""
            count = self.paths.counts["paths"]
            if not count:
                return _("No path. Nothing you may see connects these two.")
            if not self.paths.complete:
                return _("More than %(n)d paths lead from %(name)s to %(target)s; these are the shortest.") % {
                    "n": count, "name": name, "target": target,
                }  # fmt: skip
            words = ngettext(
                "%(n)d path leads from %(name)s to %(target)s.", "%(n)d paths lead from %(name)s to %(target)s.", count
            )
            return words % {"n": count, "name": name, "target": target}
        if self.impact is not None:
            counts = self.impact.counts
            if not counts["agents"]:
                return _("Nothing that is in force depends on %(name)s.") % {"name": name}
            words = ngettext(
                "Without %(name)s, %(n)d of %(all)s no longer reaches something.",
                "Without %(name)s, %(n)d of %(all)s no longer reach something.",
                counts["losing_systems"],
            )
            return words % {"name": name, "n": counts["losing_systems"], "all": some("agent", counts["agents"])}
        total = self.hood.total
        agents, servers, systems = (some(kind, total.get(kind, 0)) for kind in ("agent", "server", "system"))
        if question.ask == "reaches" and self.subject is not None:
            count = total.get("agent", 0)
            if not question.narrowed and question.basis == "granted":
                # Exact, also of agents that stand in the picture as the servers they are.
                count = self.questions.access(self.subject.id).counts["agents"]
            words = ngettext(
                "%(agents)s reaches %(name)s, through %(servers)s.",
                "%(agents)s reach %(name)s, through %(servers)s.",
                count,
            )
            return words % {"agents": some("agent", count), "name": name, "servers": servers}
        if question.ask == "reach":
            own = self.subject is not None and self.subject.kind in ("agent", "server")
            words = (
                _("%(name)s reaches %(systems)s, through %(servers)s.")
                if own
                else _("Through %(name)s one reaches %(systems)s, by %(servers)s.")
            )
            return words % {
                "name": name, "systems": systems, "servers": servers,
            }  # fmt: skip
        if question.ask == "around":
            return _("Around %(name)s: %(agents)s, %(servers)s, %(systems)s.") % {
                "name": name, "agents": agents, "servers": servers, "systems": systems,
            }  # fmt: skip
        return _("The whole estate: %(agents)s, %(servers)s, %(systems)s.") % {
            "agents": agents, "servers": servers, "systems": systems,
        }  # fmt: skip

    @cached_property
    def facts(self) -> list[Fact]:
        """What the picture shows besides, as numbers worth a look."""
        if self.impact is not None:
            return impact_facts(self.impact)
        edges = [edge for edge in self.hood.edges if edge.status == "active"]
        hot = sum(edge.hot_members for edge in edges)
        uncertified = sum(
            edge.members - (edge.certified_members if edge.members > 1 else edge.certified) for edge in edges
        )
        chained = sum(1 for node in self.hood.nodes if node.agent is not None)
        sightings = sum(edge.members for edge in self.hood.edges if edge.status == "sighting")
        found = [
            Fact(hot, ngettext("writes confidential data", "write confidential data", hot), "danger"),
            Fact(
                uncertified, ngettext("relationship not certified", "relationships not certified", uncertified), "warn"
            ),
            Fact(chained, ngettext("server calls servers", "servers call servers", chained), ""),
            Fact(sightings, _("observed without a grant"), "plum"),
        ]
        return [fact for fact in found if fact.count]

    # --- Facets ------------------------------------------------------------------------------------------

    @property
    def _counted(self) -> Mapping[str, Mapping[str, int]]:
        return self.hood.facets if self.state == "answered" else {}

    @cached_property
    def facet_groups(self) -> list[FacetGroup]:
        question, teams_counted = self.question, self._counted.get("team", {})
        team_ids = [*teams_counted, *question.teams]
        teams = {str(pk): name for pk, name in Team.objects.filter(pk__in=_uuids(team_ids)).values_list("pk", "name")}
        ranked = sorted(teams, key=lambda pk: (-teams_counted.get(pk, 0), teams[pk]))[:12]
        ranked += [pk for pk in question.teams if pk in teams and pk not in ranked]
        statuses = question.statuses or ("active",)
        return [
            self._facet("tier", "tier", _("Tier of the server"), Tier.choices, question.tiers),
            self._facet("data", "data_class", _("Data class"), reversed(DataClass.choices), question.data),
            self._facet("env", "environment", _("Environment"), Environment.choices, question.environments),
            self._facet("status", "status", _("Status"), STATUSES.items(), statuses),
            self._facet("certified", "certified", _("Certification"), CERTIFIED.items(), (question.certified,), True),
            self._facet("team", "team", _("Team of the server"), [(pk, teams[pk]) for pk in ranked], question.teams),
        ]

    def _facet(
        self, name: str, facet: str, title: str, choices: Iterable[Any], chosen: Sequence[str], single: bool = False
    ) -> FacetGroup:
        counts = self._counted.get(facet)
        made = [
            Choice(str(value), word, str(value) in chosen, counts.get(str(value), 0) if counts is not None else None)
            for value, word in choices
        ]
        return FacetGroup(name, title, made, single)

    # --- What is open ------------------------------------------------------------------------------------

    @cached_property
    def opened(self) -> list[tuple[str, str, str]]:
        """What was opened, expanded or folded by hand: words, name, and the address without it."""
        question = self.question
        names = labels([*refs(question.expanded), *refs(question.folded)])
        chips = []
        for word, keys in ((_("Expanded"), question.expanded), (_("Folded"), question.folded)):
            for key in keys:
                ref = ref_of(key)
                label = names.get(ref) if ref and key in self.chart.nodes else None
                if label:
                    chips.append((word, label.name, self.link(question.closing(key))))
        for key in question.opened:
            chips.append((_("Opened"), self._group_name(key), self.link(question.closing(key))))
        return chips

    def _group_name(self, key: str) -> str:
        _group, kind, by, value, *_rest = [*key.split(":"), "", "", ""]
        if by == "team" and (ids := _uuids([value])):
            name = Team.objects.filter(pk__in=ids).values_list("name", flat=True).first()
            return f"{name or _('Without a team')}, {some(kind, 2).removeprefix('2 ')}" if kind in _KINDS else key
        return value.replace("_", " ") or _("Others")

    # --- What is selected --------------------------------------------------------------------------------

    @cached_property
    def selected(self) -> Selected | None:
        key = self.question.selected or (self.subject.key if self.subject and self.question.ask != "path" else "")
        if not key or self.state != "answered":
            return None
        key = self.aliases.get(ref, key) if (ref := ref_of(key)) else key
        node = self.chart.nodes.get(key)
        if node is not None and node.id is None:
            edges = self._beside(key)
            return Selected(
                "group",
                self.chart.labels[key],
                node=node,
                links=self._group_links(node),
                edges=edges[:LISTED],
                more_edges=max(len(edges) - LISTED, 0),
            )
        ref = ref_of(key)
        found = find(self.actor, key, [ref[0]]) if ref else []
        if not found:
            return None
        thing = found[0]
        edge = next((each for each in self.hood.edges if each.id and f"{each.kind}:{each.id}" == key), None)
        impact: Impact | None
        blast: BlastRadius | None
        try:
            impact = self.questions.impact(thing.kind, thing.id)  # type: ignore[arg-type]
            blast = self.questions.blast_radius(thing.kind, thing.id) if thing.kind in _BLASTS else None  # type: ignore[arg-type]
        except NotFound:  # it is there now, but was not then
            impact, blast = None, None
        edges = self._beside(key)
        return Selected(
            thing.kind,
            thing.label,
            node=node,
            edge=edge,
            found=thing,
            blast=blast,
            impact=impact,
            facts=blast_facts(blast, thing.kind) if blast else (),
            cut=impact_facts(impact) if impact else (),
            links=self._links(thing, node),
            edges=edges[:LISTED],
            more_edges=max(len(edges) - LISTED, 0),
        )

    def _beside(self, key: str) -> list[Beside]:
        """The lines that end at a node, the most dangerous first."""
        return [
            Beside(row, "to" if edge.source == key else "from")
            for row, edge in zip(self.chart.rows, self.chart.sorted_edges, strict=True)
            if key in (edge.source, edge.target)
        ]

    def _group_links(self, node: Node) -> list[tuple[str | Promise, str, str]]:
        return [(_("Open this group"), self.link(self.question.opening(node.key)), "layers")]

    def _links(self, thing: Found, node: Node | None) -> list[tuple[str | Promise, str, str]]:
        """What to ask next about what is selected."""
        fresh = Question(on=self.question.on, basis=self.question.basis, colour=self.question.colour)
        links: list[tuple[str | Promise, str, str]] = []
        if node is not None and node.id is not None:
            if node.key in self.question.expanded:
                links.append((_("Fold again"), self.link(self.question.closing(node.key)), "circle-minus"))
            elif node.more_agents + node.more_servers + node.more_systems:
                links.append((_("Expand"), self.link(self.question.expanding(node.key)), "plus"))
            if not node.seed and node.key not in self.question.folded and node.key not in self.question.expanded:
                links.append((_("Fold what lies behind"), self.link(self.question.folding(node.key)), "circle-minus"))
        for name, words, icon in NEXT:
            if thing.kind in ASKS[name].of and not (self.question.ask == name and self.question.of == thing.key):
                links.append((words, self.link(fresh.but(ask=name, of=thing.key, selected=thing.key)), icon))
        subject = self.subject
        if subject and subject.kind in ASKS["path"].of and thing.kind in ASKS["path"].to and subject.ref != thing.ref:
            between = _("Paths from %(name)s") % {"name": subject.label.name}
            links.append((between, self.link(fresh.but(ask="path", of=subject.key, to=thing.key)), "route"))
        elif subject and subject.kind in ASKS["path"].to and thing.kind in ASKS["path"].of and subject.ref != thing.ref:
            between = _("Paths to %(name)s") % {"name": subject.label.name}
            links.append((between, self.link(fresh.but(ask="path", of=thing.key, to=subject.key)), "route"))
        return links


NEXT = (
    ("reaches", gettext_lazy("Who reaches it"), "users"),
    ("reach", gettext_lazy("What it reaches"), "target"),
    ("cut", gettext_lazy("What breaks without it"), "unlink"),
    ("around", gettext_lazy("Only what is around it"), "waypoints"),
)
_KINDS = ("agent", "server", "system")
_BLASTS = ("agent", "server", "system", "secret_source", "issuer", "team", "person")


def _first(rows: Any, most: int) -> Iterable[Any]:
    return (rows[position] for position in range(min(len(rows), most)))


def _uuids(texts: Iterable[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(str(text)))
        except ValueError:
            continue
    return found
