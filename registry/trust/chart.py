"""A part of the trust graph as a picture and as a table: words, tones and links for what `drawing` has placed.

Both are made from the same edges, so the table twin says what the picture shows. What a colour means is also said
by a line style, an icon or a word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from registry.catalog.models import DataClass, Environment, System, Tier
from registry.core.icons import Icon
from registry.core.looks import TIERS
from registry.trust.drawing import GAP, ROOMY, WIDTH, Column, Place, Plan, Route, Vertex, lay_out
from registry.trust.labels import KIND_ICONS, SYSTEM_ICONS, Label, labels, source_name
from registry.trust.picture import shortened
from registry.trust.question import Question, Ref, key_of

if TYPE_CHECKING:
    from registry.trust.queries.neighbourhood import Edge, Neighbourhood, Node

HEIGHT = 42
DRAWER = 22
"""The secret source that hangs under a server."""
MANY = 20
"""From so many relationships on, a line that stands for them is broader still."""
DENSE = 80
"""With more lines than that between groups, lines are faint and their words stand in the boxes they lead to."""
LABELLED = 48
"""With more lines than that, only those that need a word get one."""
NAME_LETTER, MONO_LETTER, SUB_LETTER = 6.6, 6.5, 5.6
"""Mean width of a letter; what does not fit stands in the box's title and in the table."""
PLACES = (0.7, 0.55, 0.82, 0.42)
"""Where along a curve a word is tried, until it stands free."""

COLUMN_TITLES: Mapping[Column, str | Promise] = {
    "agent": gettext_lazy("Agents"),
    "server": gettext_lazy("Servers"),
    "system": gettext_lazy("Systems"),
}
ACCESS: Mapping[str, str | Promise] = {
    "read": gettext_lazy("read"),
    "write": gettext_lazy("read and write"),
    "admin": gettext_lazy("administer"),
}
STATUS_WORDS: Mapping[str, str | Promise] = {
    "active": gettext_lazy("in force"),
    "suspended": gettext_lazy("suspended"),
    "requested": gettext_lazy("requested"),
    "sighting": gettext_lazy("observed, not granted"),
}


@dataclass(frozen=True)
class Loss:
    """What is lost when the thing asked about is cut: in words for the boxes of those who lose, and by key.

    `gone` are the keys of the lines and secret sources that are cut; `whole` says that the boxes asked about go
    themselves, with every line that ends at them.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    whole: bool = False


@dataclass(frozen=True)
class Box:
    """A placed node, as the template writes it: numbers are text, so that no locale adds a comma."""

    key: str
    number: int
    place: Place
    name: str
    sub: str
    icon: Icon
    classes: str
    title: str
    url: str
    mono: bool = False
    group: bool = False
    bars: int = 0
    certified: str = ""
    secrets: Sequence[str] = ()
    secret_shared: int = 0
    secret_url: str = ""
    secret_lost: bool = False
    more: int = 0
    more_url: str = ""

    @property
    def label(self) -> str:
        # The mark of certification takes room in the first line, the bars of the tier in the second.
        return shortened(
            self.name, (WIDTH - (58 if self.certified else 42)) / (MONO_LETTER if self.mono else NAME_LETTER)
        )

    @property
    def line(self) -> str:
        room = WIDTH - 42 - (22 if self.bars else 0) - (38 if self.more else 0)
        return shortened(self.sub, room / SUB_LETTER)

    @property
    def mark(self) -> Icon:
        """The icon that says whether it is certified."""
        return {"yes": Icon.SHIELD_CHECK, "some": Icon.SHIELD}.get(self.certified, Icon.SHIELD_OFF)

    @property
    def bars_x(self) -> str:
        return "131" if self.more else "169"

    @property
    def secret(self) -> str:
        more = f" +{len(self.secrets) - 1}" if len(self.secrets) > 1 else ""
        shared = f" ×{self.secret_shared}" if self.secret_shared > 1 else ""
        return tail(self.secrets[0], (WIDTH - 52) / MONO_LETTER - len(more) - len(shared)) + more + shared

    @property
    def x(self) -> str:
        return f"{self.place.x:g}"

    @property
    def y(self) -> str:
        return f"{self.place.y:g}"

    @property
    def tier_bars(self) -> list[tuple[str, str, str, bool]]:
        """x, y, height and whether it is lit, of the four bars."""
        sizes = ((0, 8, 4), (4.2, 5.4, 6.6), (8.4, 2.8, 9.2), (12.6, 0.2, 11.8))
        return [(f"{x:g}", f"{y:g}", f"{height:g}", bar < self.bars) for bar, (x, y, height) in enumerate(sizes)]


@dataclass(frozen=True)
class Line:
    """A drawn edge; `ends` are the numbers of its boxes. `word` stands at `word_x`, `word_y` where there is room."""

    path: str
    classes: str
    title: str
    ends: str
    url: str = ""
    word: str = ""
    word_x: str = ""
    word_y: str = ""

    @property
    def word_tone(self) -> str:
        """Of the line's classes those that its word shares, each with a space before it."""
        return "".join(f" {each}" for each in self.classes.split() if each in ("w", "lost", "off", "dim"))


@dataclass(frozen=True)
class Row:
    """A line of the table twin."""

    kind: str
    source: Label
    target: Label
    source_many: bool
    """That end is a group: its name alone would not tell agents of a team from its servers."""
    target_many: bool
    what: str
    status: str
    status_word: str | Promise
    certified: bool
    certified_words: str
    hot: bool
    tier: str
    environment: str
    data_class: str
    basis: str
    calls: int | None
    errors: int | None
    last_used: object
    members: int
    id: UUID | None
    url: str
    page: str

    @property
    def error_rate(self) -> str:
        return error_rate(self.calls, self.errors)


class Chart:
    """The picture and the table of one neighbourhood, read through one question."""

    def __init__(
        self,
        hood: "Neighbourhood",
        question: Question,
        *,
        address: str,
        on_path: frozenset[tuple[str, str]] | None = None,
        loss: Loss | None = None,
    ) -> None:
        self.hood, self.question, self.address = hood, question, address
        self.on_path = on_path
        self.path_keys = frozenset(key for pair in on_path or () for key in pair)
        self.loss = loss or Loss()
        self.nodes: dict[str, Node] = {node.key: node for node in hood.nodes}
        self.labels = self._labels()
        written = {edge.target for edge in hood.edges if edge.hot and edge.status == "active"}
        self.written = frozenset(written)

    # --- Names -------------------------------------------------------------------------------------------

    def _labels(self) -> dict[str, Label]:
        refs: list[Ref] = [(node.kind, node.id) for node in self.hood.nodes if node.id is not None]
        refs += [("team", node.team) for node in self.hood.nodes if node.id is None and node.team is not None]
        known = labels(refs, self.question.as_of)
        return {node.key: self._label(node, known) for node in self.hood.nodes}

    def _label(self, node: "Node", known: Mapping[Ref, Label]) -> Label:
        if node.id is not None:
            return known.get((node.kind, node.id)) or Label(_("No longer there"), icon=KIND_ICONS[node.kind])
        many = some(node.kind, node.members)
        if node.key.startswith("hidden:"):
            return Label(many, _("you may not see them"), Icon.EYE_OFF)
        _group, _kind, by, *rest = [*node.key.split(":"), ""]
        if "rest" in (by, *rest[1:]):
            name = ngettext("+ %(n)d more", "+ %(n)d more", node.members) % {"n": node.members}
            return Label(name, many, Icon.ELLIPSIS)
        if by == "team":
            team = known.get(("team", node.team)) if node.team else None
            return Label(team.name if team else _("Without a team"), many, Icon.USERS)
        kinds: dict[str, str] = {str(value): str(word) for value, word in System.Kind.choices}
        word = kinds.get(node.word, node.word.replace("_", " ").capitalize())
        return Label(word or _("Others"), many, SYSTEM_ICONS.get(node.word, KIND_ICONS[node.kind]))

    def link(self, question: Question) -> str:
        query = question.query()
        return f"{self.address}?{query}" if query else self.address

    # --- Picture -----------------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> Plan:
        vertices = [
            Vertex(
                node.key,
                node.kind,  # type: ignore[arg-type]
                HEIGHT + (DRAWER if node.secrets else 0),
                loose=node.id is None,
            )
            for node in self._ordered()
        ]
        return lay_out(vertices, [(edge.source, edge.target) for edge in self.hood.edges])

    def _ordered(self) -> list["Node"]:
        """By name within a kind, groups and what is hidden last: the order where the arcs leave a choice."""
        return sorted(
            self.hood.nodes,
            key=lambda node: (node.id is None, node.key.startswith("hidden:"), self.labels[node.key].name, node.key),
        )

    @property
    def width(self) -> str:
        return f"{self.plan.width:g}"

    @property
    def height(self) -> str:
        return f"{self.plan.height:g}"

    @property
    def dense(self) -> bool:
        return self.hood.grouped and len(self.hood.edges) > DENSE

    @property
    def wide(self) -> bool:
        """Too wide to be read when it is made to fit."""
        return len(self.plan.columns) > ROOMY

    @property
    def breadth(self) -> int:
        """How many columns its narrowest legible size is for."""
        return min(len(self.plan.columns), 9)

    @property
    def columns(self) -> list[tuple[str, str | Promise]]:
        seen: set[str] = set()
        titles = []
        for rank, (x, column) in enumerate(self.plan.columns):
            if rank in self.plan.continued:
                continue
            titles.append((f"{x:g}", COLUMN_TITLES[column] if column not in seen else _("called by servers")))
            seen.add(column)
        return titles

    @cached_property
    def boxes(self) -> list[Box]:
        return [self._box(node, self.numbers[node.key]) for node in self._reading_order]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Short names of the boxes, by which lines say where they lead."""
        return {node.key: number for number, node in enumerate(self._reading_order)}

    @cached_property
    def _reading_order(self) -> list["Node"]:
        """From the left and from the top, as the tab key goes."""
        places = self.plan.places
        return sorted(self.hood.nodes, key=lambda node: (places[node.key].rank, places[node.key].y))

    def _box(self, node: "Node", number: int) -> Box:
        label = self.labels[node.key]
        group = node.id is None
        certified = self._certified(node)
        return Box(
            key=node.key,
            number=number,
            place=self.plan.places[node.key],
            name=label.name,
            sub=self.loss.words.get(node.key) or self._sub(node, label),
            icon=label.icon,
            classes=self._classes(node, certified),
            title=self._title(node, label, certified),
            url=self._url(node, label),
            mono=label.mono,
            group=group and not node.key.startswith("hidden:"),
            bars=TIERS[node.tier].bars if node.tier and node.kind == "server" else 0,
            certified=certified,
            secrets=[source_name(each.kind, each.reference) for each in node.secrets],
            secret_shared=max((each.shared for each in node.secrets), default=0),
            secret_url=self._secret_url(node),
            secret_lost=any(key_of(("secret_source", each.id)) in self.loss.gone for each in node.secrets),
            more=0 if group else node.more_agents + node.more_servers + node.more_systems,
            more_url=self.link(self.question.expanding(node.key)),
        )

    def _certified(self, node: "Node") -> str:
        """ "yes", "no", "some" of a group, or nothing where there is nothing to certify."""
        if node.kind == "system" or node.key.startswith("hidden:"):
            return ""
        if node.members > 1:
            return "yes" if node.certified_members == node.members else "some" if node.certified_members else "no"
        return "yes" if node.certified else "no"

    def _sub(self, node: "Node", label: Label) -> str:
        if node.id is None:
            if node.kind == "system" and self.dense and node.key in self.written:
                return _("%(many)s, written to") % {"many": label.sub}
            if node.kind == "system" and node.data_class:
                return _("%(many)s, up to %(class)s") % {"many": label.sub, "class": data_word(node.data_class).lower()}
            return label.sub
        if node.kind == "system":
            return f"{data_word(node.data_class)}, {label.sub.lower()}"
        if node.kind == "server":
            words = [environment_word(node.environment)]
            if node.state and node.state != "active":
                words.insert(0, node.state)
            return ", ".join(words)
        return label.sub if node.state in ("", "active") else f"{node.state}, {label.sub}"

    def _classes(self, node: "Node", certified: str) -> str:
        classes = []
        if node.id is None:
            classes.append("unseen" if node.key.startswith("hidden:") else "group")
        if self._is_cut(node.key):
            classes.append("cut")
        elif node.seed:
            classes.append("seed")
        if self.question.colour == "certification":
            classes += [f"c-{certified}"] if certified else []
        elif node.key in self.loss.keys:
            classes.append("lost")
        elif node.key in self.written:
            classes.append("hot")
        elif node.state and node.state != "active":
            classes.append("rest")
        if node.key == self.question.selected:
            classes.append("sel")
        if self.on_path is not None and node.key not in self.path_keys:
            classes.append("dim")
        return " ".join(classes)

    def _title(self, node: "Node", label: Label, certified: str) -> str:
        words = [label.name]
        if node.kind == "server" and node.id is not None and label.sub != label.name:
            words.append(label.sub)
        words.append(self.loss.words.get(node.key) or self._sub(node, label))
        if node.tier and node.kind == "server":
            words.append(_("%(tier)s tier") % {"tier": str(TIERS[node.tier].word).lower()})
        if certified:
            words.append({"yes": _("certified"), "no": _("not certified"), "some": _("partly certified")}[certified])
        if node.key in self.written:
            words.append(_("written to by a server"))
        if node.agent:
            words.append(_("calls other servers"))
        return ", ".join(word for word in words if word)

    def _url(self, node: "Node", label: Label) -> str:
        """Choosing a box shows it beside the picture; choosing it again opens its page, or the group."""
        if node.key.startswith("hidden:"):
            return ""
        if node.key == self.question.selected:
            return label.url if node.id is not None else self.link(self.question.opening(node.key))
        return self.link(self.question.selecting(node.key))

    def _secret_url(self, node: "Node") -> str:
        if not node.secrets:
            return ""
        worst = max(node.secrets, key=lambda each: each.shared)
        return self.link(Question(ask="cut", of=key_of(("secret_source", worst.id)), on=self.question.on))

    @cached_property
    def lines(self) -> list[Line]:
        """What matters most is drawn last, on top."""
        taken = [(place.x, place.y, place.x + WIDTH, place.y + place.height) for place in self.plan.places.values()]
        few = len(self.hood.edges) <= LABELLED and not self.hood.grouped
        drawn = []
        pairs = sorted(
            zip(self.hood.edges, self.plan.routes, strict=True),
            key=lambda pair: (self._weight(pair[0]), pair[1].points[0], pair[1].points[-1]),
            reverse=True,
        )
        for edge, route in pairs:  # the most important first, so that its word gets the best place
            word, (x, y) = self._word(edge, few), (0.0, 0.0)
            if word and (spot := _free_spot(route, word, taken)):
                x, y = spot
            elif word:
                word = ""
            drawn.append(
                Line(
                    path=route.path,
                    classes=self._line_classes(edge),
                    title=self._line_title(edge),
                    ends=f"{self.numbers[edge.source]} {self.numbers[edge.target]}",
                    url=self.link(self.question.selecting(f"{edge.kind}:{edge.id}")) if edge.id else "",
                    word=word,
                    word_x=f"{x:.1f}",
                    word_y=f"{y:.1f}",
                )
            )
        return drawn[::-1]

    def _weight(self, edge: "Edge") -> tuple[bool, bool, bool]:
        highlighted = self.on_path is not None and (edge.source, edge.target) in self.on_path
        return highlighted, edge.hot and edge.status == "active", edge.status == "active"

    def _word(self, edge: "Edge", few: bool) -> str:
        if self.dense:
            return ""
        if edge.kind == "connection" and edge.access:
            if edge.hot or few:
                return {"read": _("read"), "write": _("write"), "admin": _("admin")}[edge.access]
            return ""
        return _("every tool") if edge.all_tools and few else ""

    def _line_classes(self, edge: "Edge") -> str:
        classes = ["e"]
        if edge.status == "sighting" or (edge.basis == "observed"):
            classes.append("seen")
        elif edge.status != "active":
            classes.append("off")
        elif self.question.colour == "certification":
            classes.append("c-yes" if edge.certified else "c-no")
        elif self._is_lost(edge):
            classes.append("lost")
        elif edge.hot:
            classes.append("w")
        if edge.basis == "both":
            classes.append("both")
        if edge.members > 1:
            classes.append("several" if edge.members < MANY else "many")
        if f"{edge.kind}:{edge.id}" == self.question.selected:
            classes.append("sel")
        if self.on_path is not None:
            classes.append("on" if (edge.source, edge.target) in self.on_path else "dim")
        return " ".join(classes)

    def _is_cut(self, key: str) -> bool:
        return self.loss.whole and self.nodes[key].seed and key not in self.question.expanded

    def _is_lost(self, edge: "Edge") -> bool:
        if f"{edge.kind}:{edge.id}" in self.loss.gone or self._is_cut(edge.source) or self._is_cut(edge.target):
            return True
        return edge.source in self.loss.keys and edge.target in self.loss.keys

    def _line_title(self, edge: "Edge") -> str:
        ends = f"{self.labels[edge.source].name} → {self.labels[edge.target].name}"
        words = [what(edge), str(STATUS_WORDS.get(edge.status, edge.status))]
        if edge.status == "active":
            words.append(_("certified") if edge.certified else _("not certified"))
        return f"{ends}: {', '.join(word for word in words if word)}"

    # --- Table -------------------------------------------------------------------------------------------

    @cached_property
    def sorted_edges(self) -> list["Edge"]:
        """The most dangerous first."""
        order = {"admin": 0, "write": 1, "read": 2, "": 3}
        return sorted(
            self.hood.edges,
            key=lambda edge: (
                edge.kind != "connection",
                not edge.hot,
                order[edge.access],
                self.labels[edge.source].name,
                self.labels[edge.target].name,
            ),
        )

    @cached_property
    def rows(self) -> list[Row]:
        """One row per line of the picture."""
        return [self._row(edge) for edge in self.sorted_edges]

    def _row(self, edge: "Edge") -> Row:
        source, target = self.nodes[edge.source], self.nodes[edge.target]
        server = target if edge.kind == "grant" else source
        if edge.members > 1:
            shares = {"n": edge.certified_members, "of": edge.members}
            certified_words = _("%(n)d of %(of)d certified") % shares
        else:
            certified_words = _("certified") if edge.certified else _("not certified")
        return Row(
            kind=edge.kind,
            source=self.labels[edge.source],
            target=self.labels[edge.target],
            source_many=source.id is None,
            target_many=target.id is None,
            what=what(edge),
            status=edge.status,
            status_word=STATUS_WORDS.get(edge.status, edge.status),
            certified=edge.certified,
            certified_words=certified_words if edge.status == "active" else "",
            hot=edge.hot,
            # A group has none of its own: its worst would be said of things that have another.
            tier=server.tier if server.id else "",
            environment=server.environment if server.id else "",
            data_class=target.data_class if edge.kind == "connection" and target.id else "",
            basis=edge.basis,
            calls=edge.calls,
            errors=edge.errors,
            last_used=edge.last_used,
            members=edge.members,
            id=edge.id,
            url=self.link(self.question.but(selected=f"{edge.kind}:{edge.id}")) if edge.id else "",
            page=f"trust:{edge.kind}" if edge.id else "",
        )


# --- Words -----------------------------------------------------------------------------------------------


def some(kind: str, count: int) -> str:
    """ "3 agents"."""
    words = {
        "agent": ngettext("%(n)d agent", "%(n)d agents", count),
        "server": ngettext("%(n)d server", "%(n)d servers", count),
        "system": ngettext("%(n)d system", "%(n)d systems", count),
    }
    return words[kind] % {"n": count}


def what(edge: "Edge") -> str:
    """What an edge allows; a sighting allows nothing."""
    if edge.status == "sighting":
        calls = edge.calls or 0
        return ngettext("%(n)d call seen", "%(n)d calls seen", calls) % {"n": calls}
    if edge.members > 1:
        many = {
            "grant": ngettext("%(n)d grant", "%(n)d grants", edge.members),
            "connection": ngettext("%(n)d connection", "%(n)d connections", edge.members),
        }[edge.kind] % {"n": edge.members}
        if edge.access:
            return _("%(many)s, up to %(access)s") % {"many": many, "access": ACCESS[edge.access]}
        return many
    if edge.kind == "connection":
        return str(ACCESS.get(edge.access, edge.access))
    if edge.all_tools:
        return _("every tool")
    return ngettext("%(n)d tool", "%(n)d tools", edge.tools) % {"n": edge.tools}


def error_rate(calls: int | None, errors: int | None) -> str:
    """The share of calls that failed, as a percentage; empty where nothing was observed."""
    if not calls:
        return ""
    share = 100 * (errors or 0) / calls
    return _("under 0.1 %") if 0 < share < 0.1 else f"{share:.3g} %"


def tail(reference: str, room: float) -> str:
    """A reference cut in its middle: where secrets are kept, and which one of them it is."""
    most = int(room)
    if len(reference) <= most:
        return reference
    kind, _colon, path = reference.partition(":")
    return f"{kind}:…{path[len(kind) + 2 - most :]}" if len(kind) + 6 < most else shortened(reference, room)


def data_word(value: str) -> str:
    return str(DataClass(value).label) if value else ""


def environment_word(value: str) -> str:
    return str(Environment(value).label) if value else ""


def tier_word(value: str) -> str:
    return str(Tier(value).label) if value else ""


# --- Words on lines --------------------------------------------------------------------------------------

_Area = tuple[float, float, float, float]


def _free_spot(route: Route, word: str, taken: list[_Area]) -> tuple[float, float] | None:
    """Where the middle of `word` may stand along `route` without covering a box or another word; it is then taken."""
    if route.backward:
        return None
    half = min(len(word) * 3.1 + 3, GAP / 2)
    for part in PLACES:
        x, y = route.at(part)
        area = (x - half, y - 14, x + half, y + 1)
        if not any(_overlap(area, other) for other in taken):
            taken.append(area)
            return x, y - 4
    return None


def _overlap(one: _Area, other: _Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
