"""One view of the explorer: a question, what it is about, the answer in words, the picture, and what is selected.

It brings together what others do: `question` reads the address, `lookup` finds what was named, `queries.ask` answers,
`chart` draws. The page and its exports show one `Explorer`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.template.defaultfilters import date as format_date
from django.utils.functional import Promise
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from registry.accounts.models import Team
from registry.catalog.models import DataClass, Environment, SecretSource, Tier
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.trust.chart import Chart, Loss, Row, data_word, some
from registry.trust.consequences import Fact, blast_facts, impact_facts
from registry.trust.labels import UNSEEN, Label, ends_of, labels
from registry.trust.lookup import Found, find, worth_asking
from registry.trust.models import Connection, Observation
from registry.trust.queries import Questions, ask
from registry.trust.queries.answers import BlastRadius, Impact, Path, Paths
from registry.trust.queries.neighbourhood import Edge, Facets, Neighbourhood, Node
from registry.trust.queries.past import records_begin
from registry.trust.question import (
    ASKS,
    CERTIFIED,
    COLOURS,
    GROUPS,
    REPEATED,
    STATUSES,
    Question,
    Ref,
    key_of,
    ref_of,
    refs,
)

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
    """An end of a path's relationship; `label` is None for what may not be seen, which `unseen` says of its kind."""

    label: Label | None
    unseen: str | Promise


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
    def compromised_words(self) -> str:
        return {
            "person": _("If their account is taken over"),
            "issuer": _("If it vouches for the wrong ones"),
            "secret_source": _("If it leaks"),
        }.get(self.kind, _("If it is compromised"))

    @property
    def cut_words(self) -> str:
        return {
            "person": _("If all they own stops"),
            "issuer": _("If it is no longer accepted"),
            "secret_source": _("If it is revoked"),
        }.get(self.kind, _("If it is cut"))

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
        self._blasts: dict[Ref, BlastRadius] = {}
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
    def granted_url(self) -> str:
        return self._but(basis="granted")

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
        if self.question.ask or self.state != "answered" or not self.hood.nodes:
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
            upwards=question.ask != "reach",
            downwards=question.ask != "reaches",
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
    def grouped_words(self) -> str:
        """Why not every thing has a box of its own; empty where each has."""
        if not self.hood.grouped:
            return ""
        if self.question.group == "none":
            return _("more than %(n)d boxes cannot be read, so the rest stands in groups") % {"n": DRAWN}
        by = {"team": _("grouped by team"), "kind": _("grouped by kind")}
        return by.get(self.question.group) or _("grouped, because there is too much to draw")

    @property
    def ignored_words(self) -> str:
        count = self.hood.ignored
        words = ngettext(
            "%(n)d thing that this address opens or folds is left out: it is not there, or you may not see it.",
            "%(n)d things that this address opens or folds are left out: they are not there, or you may not see them.",
            count,
        )
        return words % {"n": count} if count else ""

    @cached_property
    def use_unknown(self) -> bool:
        """Whether use was asked for and nothing was observed: then nobody can say."""
        if self.question.basis == "granted":
            return False
        return not Observation.objects.filter(first_used__lte=self.questions.as_of).exists()

    @cached_property
    def before_records(self) -> str:
        """Words for a day of which nothing can be known; empty for any other."""
        begin = None if self.questions.is_present else records_begin()
        if not begin or self.questions.as_of >= begin:
            return ""
        return _("Nothing was recorded before %(day)s.") % {"day": format_date(localtime(begin), "j F Y")}

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
        known = labels(ends, self.question.as_of)
        return [self._listed(number, path, known) for number, path in enumerate(self.paths.paths, start=1)]

    def _listed(self, number: int, path: Path, known: Mapping[Ref, Label]) -> ListedPath:
        chosen = self.question.path == number
        return ListedPath(
            number=number,
            steps=[Step(known.get(end) if end else None, UNSEEN[kind]) for end, kind in ends_of(path)],
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
        """What to write into the boxes of those who lose something; a group says how many of it do."""
        if self.impact is None or self.subject is None:
            return None
        words: dict[str, str] = {}
        keys: set[str] = set()
        grouped: dict[tuple[str, str], int] = {}
        for agent in _first(self.impact.agents, MARKED):
            key, lost = self.hood.where("agent", agent.id), len(agent.loses) + agent.hidden_loses
            if key.startswith("group:"):
                if lost or not (agent.keeps or agent.hidden_keeps):
                    grouped[key, "system" if lost else "tool"] = grouped.get((key, "system" if lost else "tool"), 0) + 1
            elif key and lost:
                keys.add(key)
                words[key] = ngettext("loses %(n)d system", "loses %(n)d systems", lost) % {"n": lost}
            elif key and (agent.keeps or agent.hidden_keeps):
                words[key] = _("keeps all")
            elif key:
                words[key] = _("loses its tools")
        for system in _first(self.impact.systems, MARKED):
            key = self.hood.where("system", system.id)
            if key.startswith("group:"):
                if system.unserved or system.lost_by:
                    grouped[key, "lost"] = grouped.get((key, "lost"), 0) + 1
            elif key and system.unserved:
                keys.add(key)
                words[key] = _("no server reaches it then")
            elif key and system.lost_by:
                keys.add(key)
                words[key] = ngettext("%(n)d agent loses it", "%(n)d agents lose it", system.lost_by) % {
                    "n": system.lost_by
                }
        for (key, how), count in sorted(grouped.items(), key=lambda pair: pair[0][1] == "tool"):
            keys.add(key)
            sayings = {
                "system": ngettext("%(n)d loses a system", "%(n)d lose a system", count),
                "tool": ngettext("%(n)d loses its tools", "%(n)d lose their tools", count),
                "lost": ngettext("agents lose %(n)d of these", "agents lose %(n)d of these", count),
            }
            words.setdefault(key, sayings[how] % {"n": count})
        whole = self.subject.kind not in ("secret_source", "grant", "connection")
        return Loss(words, frozenset(keys), frozenset() if whole else self._gone(self.subject), whole)

    def _gone(self, subject: Found) -> frozenset[str]:
        """The lines that are cut, and of a secret every source it is named by."""
        if subject.kind != "secret_source":
            return frozenset({subject.key})
        secret = SecretSource.objects.filter(pk=subject.id).values("kind", "reference").get()
        sources = SecretSource.objects.filter(**secret).values_list("pk", flat=True)
        connections = Connection.objects.visible_to(self.actor).filter(secret_source__in=list(sources))
        return frozenset(
            [key_of(("secret_source", pk)) for pk in sources]
            + [key_of(("connection", pk)) for pk in connections.order_by().values_list("pk", flat=True)]
        )

    @cached_property
    def sentence(self) -> str:
        """The answer in words, from the very queries that panels and the API answer with: never from what is drawn."""
        if self.before_records:
            return self.before_records
        if self.use_unknown and self.question.basis == "observed":
            return _("Use is unknown: no log source has reported anything yet.")
        if self.paths is not None:
            return self._path_words(self.paths)
        if self.impact is not None:
            return self._impact_words(self.impact)
        words = [self._answer_words(), self._left_words()]
        return " ".join(each for each in words if each)

    def _path_words(self, paths: Paths) -> str:
        ends = {"name": self._name, "target": self.target.label.name if self.target else ""}
        count = paths.counts["paths"]
        if not count:
            return _("No path leads from %(name)s to %(target)s.") % ends
        if not paths.complete:
            words = _("More than %(n)d paths lead from %(name)s to %(target)s; these are the shortest.")
        else:
            words = ngettext(
                "%(n)d path leads from %(name)s to %(target)s.", "%(n)d paths lead from %(name)s to %(target)s.", count
            )
        return words % {"n": count, **ends}

    def _impact_words(self, impact: Impact) -> str:
        counts = impact.counts
        if not counts["agents"]:
            return _("Nothing that is in force depends on %(name)s.") % {"name": self._name}
        owned = self.subject is not None and self.subject.kind in ("team", "person")
        name = _("what %(name)s owns") % {"name": self._name} if owned else self._name
        words = ngettext(
            "Without %(name)s, %(n)d of %(all)s no longer reaches something.",
            "Without %(name)s, %(n)d of %(all)s no longer reach something.",
            counts["losing_systems"],
        )
        return words % {"name": name, "n": counts["losing_systems"], "all": some("agent", counts["agents"])}

    @property
    def _name(self) -> str:
        return self.subject.label.name if self.subject else ""

    def _answer_words(self) -> str:
        ask_, subject, basis = self.question.ask, self.subject, self.question.basis
        seen = basis == "observed"
        words: str | Promise
        if ask_ == "reaches" and subject is not None:
            counts = self.questions.access(subject.id, basis=basis).counts  # type: ignore[arg-type]
            words = (
                ngettext(
                    "%(agents)s was seen to use %(name)s, through %(servers)s.",
                    "%(agents)s were seen to use %(name)s, through %(servers)s.",
                    counts["agents"],
                )
                if seen
                else ngettext(
                    "%(agents)s reaches %(name)s, through %(servers)s.",
                    "%(agents)s reach %(name)s, through %(servers)s.",
                    counts["agents"],
                )
            )
        elif ask_ == "reach" and subject is not None and subject.kind == "agent":
            counts = self.questions.reach(subject.id, basis=basis).counts  # type: ignore[arg-type]
            words = (
                _("%(name)s was seen to use %(systems)s, through %(servers)s.")
                if seen
                else _("%(name)s reaches %(systems)s, through %(servers)s.")
            )
        elif subject is not None:
            counts = self.blast(subject).counts
            words = _AROUND if ask_ == "around" else _THROUGH[subject.kind]
            if ask_ == "reach" and subject.kind == "server" and not counts["servers"]:
                words = _("%(name)s reaches %(systems)s.")
        else:
            counts = self.questions.stats().counts
            words = _("The whole estate: %(agents)s, %(servers)s, %(systems)s.")
        found = {f"{kind}s": some(kind, counts.get(f"{kind}s", 0)) for kind in _KINDS}
        return str(words) % {"name": self._name, **found}

    def _left_words(self) -> str:
        """What of it is in the picture, where filters or the basis leave something out."""
        question, left = self.question, self.hood.total
        granted = question.ask in ("reaches", "") or (self.subject is not None and self.subject.kind == "agent")
        if question.basis == "observed" and not (granted and question.ask) and not self.nothing:
            return _("Shown is only what was seen in use.")
        if not question.narrowed:
            return ""
        if self.nothing:
            return _("The filters hide all of it.")
        shown = ", ".join(some(kind, left[kind]) for kind in _KINDS if left.get(kind))
        return _("The filters leave %(things)s.") % {"things": shown}

    def blast(self, thing: Found) -> BlastRadius:
        """Asked once for what both the sentence and the panel speak of."""
        if thing.ref not in self._blasts:
            self._blasts[thing.ref] = self.questions.blast_radius(thing.kind, thing.id)  # type: ignore[arg-type]
        return self._blasts[thing.ref]

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
        names = labels([*refs(question.expanded), *refs(question.folded)], question.as_of)
        chips = []
        for word, keys in ((_("Expanded"), question.expanded), (_("Folded"), question.folded)):
            for key in keys:
                ref = ref_of(key)
                label = names.get(ref) if ref and key in self.chart.nodes else None
                if label:
                    chips.append((word, label.name, self.link(question.closing(key))))
        for key in filter(_is_group, question.opened):
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
        # An agent that is a server is drawn as that server; asked about is still the agent.
        ref = ref_of(key)
        place = self.aliases.get(ref, key) if ref else key
        node = self.chart.nodes.get(place)
        if node is not None and node.id is None:
            edges = self._beside(place)
            return Selected(
                "group",
                self.chart.labels[place],
                node=node,
                links=self._group_links(node),
                edges=edges[:LISTED],
                more_edges=max(len(edges) - LISTED, 0),
            )
        found = find(self.actor, key, [ref[0]]) if ref else []
        if not found:
            return None
        thing = found[0]
        edge = next((each for each in self.hood.edges if each.id and f"{each.kind}:{each.id}" == key), None)
        impact: Impact | None
        blast: BlastRadius | None
        try:
            impact = self.questions.impact(thing.kind, thing.id)  # type: ignore[arg-type]
            blast = self.blast(thing) if thing.kind in _BLASTS else None
        except NotFound:  # it is there now, but was not then
            impact, blast = None, None
        edges = self._beside(place)
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
_AROUND = gettext_lazy("Around %(name)s: %(agents)s, %(servers)s, %(systems)s.")
_THROUGH: Mapping[str, str | Promise] = {
    "server": gettext_lazy("%(name)s reaches %(systems)s, itself or by calling %(servers)s."),
    "secret_source": gettext_lazy("Whoever has %(name)s reaches %(systems)s, by %(servers)s."),
    "issuer": gettext_lazy("Agents that %(name)s vouches for reach %(systems)s, through %(servers)s."),
    "team": gettext_lazy("What %(name)s owns reaches %(systems)s, through %(servers)s."),
    "person": gettext_lazy("What %(name)s owns reaches %(systems)s, through %(servers)s."),
}
_BLASTS = ("agent", "server", "system", "secret_source", "issuer", "team", "person")


def _is_group(key: str) -> bool:
    """Whether a key could be one of a group; an address may hold anything."""
    start, _colon, rest = key.partition(":")
    return start == "group" and rest.partition(":")[0] in _KINDS


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
