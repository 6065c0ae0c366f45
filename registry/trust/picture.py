"""The trust path of a server as a picture: agents, the server, its secret sources, systems.

`draw` is pure: from what is to be seen to SVG, by way of a Django template. Positions are numbers in attributes,
because the content security policy allows no inline style. Reading order and the table twin carry the same facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.core.icons import Icon

MOST = 8
"""Boxes per side; past that a person reads nothing, so the rest becomes one box and the table."""

Tone = Literal["", "me", "hot", "amb"]


@dataclass(frozen=True)
class Node:
    """A box. `mono` for names that are identifiers, `url` where it leads."""

    label: str
    sub: str = ""
    icon: str = Icon.BOT
    url: str = ""
    tone: Tone = ""
    mono: bool = False


@dataclass(frozen=True)
class AgentEdge:
    """Agent → server; `pending` is asked for or suspended, drawn dashed."""

    agent: Node
    pending: bool = False


@dataclass(frozen=True)
class SystemEdge:
    """Server → system; `label` is the access in words, `hot` marks writing to confidential data."""

    system: Node
    label: str
    hot: bool = False
    pending: bool = False


@dataclass(frozen=True)
class TrustPath:
    """What the picture shows. `hidden_*` counts what the reader may not see."""

    server: Node
    agents: Sequence[AgentEdge] = ()
    systems: Sequence[SystemEdge] = ()
    secrets: Sequence[Node] = ()
    hidden_agents: int = 0
    hidden_systems: int = 0
    id: str = "trust-path"


# --- Layout, in the units of the viewBox -----------------------------------------------------------------

LEFT, MIDDLE, RIGHT = (0, 174), (300, 184), (618, 182)  # x and width of the three columns
TOP, HEIGHT, STEP = 24, 38, 52


@dataclass(frozen=True)
class Box:
    """A placed node. What the template writes into attributes is text, so that no locale adds a comma."""

    node: Node
    x: int
    y: float
    width: int

    @property
    def top(self) -> str:
        return f"{self.y:g}"

    @property
    def text_x(self) -> int:
        return self.x + 31

    @property
    def icon_x(self) -> int:
        return self.x + 10

    @property
    def icon_y(self) -> str:
        return f"{self.y + 12:g}"

    @property
    def label_y(self) -> str:
        return f"{self.y + (16.5 if self.node.sub else 23):g}"

    @property
    def sub_y(self) -> str:
        return f"{self.y + 29.5:g}"

    @property
    def middle(self) -> float:
        return self.y + HEIGHT / 2

    @property
    def label(self) -> str:
        # Monospace letters are wider; what does not fit is in the box's title and in the table.
        return shortened(self.node.label, (self.width - 39) / (6.5 if self.node.mono else 6.4))

    @property
    def sub(self) -> str:
        return shortened(self.node.sub, (self.width - 39) / 5.4)


@dataclass(frozen=True)
class Line:
    """A drawn edge: a path, and words on it."""

    path: str
    tone: str = ""
    label: str = ""
    label_y: str = ""


@dataclass(frozen=True)
class Drawing:
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    height: str = "0"


def shortened(text: str, room: float) -> str:
    most = int(room)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _column(nodes: Sequence[Node], place: tuple[int, int], tallest: int) -> list[Box]:
    """Boxes under each other, centred on the tallest column."""
    start = TOP + (tallest - len(nodes)) * STEP / 2
    return [Box(node, place[0], start + index * STEP, place[1]) for index, node in enumerate(nodes)]


def _some_agents(count: int) -> str:
    return ngettext("%(n)d agent", "%(n)d agents", count) % {"n": count} if count else ""


def _some_systems(count: int) -> str:
    return ngettext("%(n)d system", "%(n)d systems", count) % {"n": count} if count else ""


def _hidden(words: str) -> list[Node]:
    """What the reader may not see: a box that only counts."""
    return [Node(words, _("you may not see them"), Icon.EYE_OFF)] if words else []


def _capped(nodes: Sequence[Node], hidden: Sequence[Node]) -> list[Node]:
    """At most `MOST` boxes, the rest as "+ n more"; then what may not be seen."""
    shown = list(nodes)
    if len(shown) > MOST:
        rest = len(shown) - (MOST - 1)
        more = ngettext("+ %(n)d more", "+ %(n)d more", rest) % {"n": rest}
        shown = [*shown[: MOST - 1], Node(more, _("see the table"), Icon.ELLIPSIS)]
    return [*shown, *hidden]


def _curve(start: Box, end: Box) -> str:
    x1, y1, x2, y2 = start.x + start.width, start.middle, end.x, end.middle
    half = (x1 + x2) / 2
    return f"M{x1} {y1:g}C{half:g} {y1:g} {half:g} {y2:g} {x2} {y2:g}"


def layout(path: TrustPath) -> Drawing:
    """Place everything. Pure geometry, no words of its own but the grouping."""
    agents = _capped([edge.agent for edge in path.agents], _hidden(_some_agents(path.hidden_agents)))
    systems = _capped([edge.system for edge in path.systems], _hidden(_some_systems(path.hidden_systems)))
    secrets = list(path.secrets)
    if len(secrets) > 2:
        rest = len(secrets) - 1
        secrets = [secrets[0], Node(_("+ %(n)d more secret sources") % {"n": rest}, "", Icon.KEY_ROUND)]
    tallest = max(len(agents), len(systems), 1)
    left, right = _column(agents, LEFT, tallest), _column(systems, RIGHT, tallest)
    server = Box(path.server, MIDDLE[0], TOP + (tallest - 1) * STEP / 2, MIDDLE[1])
    below = [Box(node, MIDDLE[0], server.y + 76 + index * STEP, MIDDLE[1]) for index, node in enumerate(secrets)]
    lines = []
    for index, box in enumerate(left):
        known = index < len(path.agents) and box.node is path.agents[index].agent
        lines.append(Line(_curve(box, server), "off" if known and path.agents[index].pending else ""))
    for index, box in enumerate(right):
        edge = path.systems[index] if index < len(path.systems) and box.node is path.systems[index].system else None
        tone = "" if edge is None else "off" if edge.pending else "w" if edge.hot else ""
        label = edge.label if edge else ""
        # Above the line at three quarters of its way, where the curves have parted (x = 578 there).
        y = server.middle + (box.middle - server.middle) * 0.844
        lines.append(Line(_curve(server, box), tone, label, f"{y - 5:g}"))
    if below:
        lines.append(Line(f"M{server.x + server.width / 2:g} {server.y + HEIGHT:g}V{below[0].y:g}", "key"))
    boxes = [*left, server, *below, *right]
    return Drawing(boxes, lines, f"{max(box.y + HEIGHT for box in boxes) + 6:g}")


def sentence(path: TrustPath) -> str:
    """The picture in words, for whoever does not look at it."""
    agents = sum(not edge.pending for edge in path.agents) + path.hidden_agents
    systems = sum(not edge.pending for edge in path.systems) + path.hidden_systems
    pending = sum(edge.pending for edge in path.agents) + sum(edge.pending for edge in path.systems)
    written = [edge.system.label for edge in path.systems if edge.hot and not edge.pending]
    parts = [
        ngettext("%(n)d agent has a grant on %(server)s.", "%(n)d agents have a grant on %(server)s.", agents)
        % {"n": agents, "server": path.server.label},
        ngettext("It acts on %(n)d system.", "It acts on %(n)d systems.", systems) % {"n": systems},
    ]
    if written:
        parts.append(_("It can change confidential data in %(systems)s.") % {"systems": ", ".join(written)})
    if pending:
        words = ngettext("%(n)d more is not in force.", "%(n)d more are not in force.", pending)
        parts.append(words % {"n": pending})
    if path.secrets:
        parts.append(
            _("Its credential comes from %(sources)s.") % {"sources": ", ".join(node.label for node in path.secrets)}
        )
    return " ".join(parts)


def draw(path: TrustPath) -> str:
    """The picture as safe SVG markup."""
    context = {"path": path, "drawing": layout(path), "sentence": sentence(path)}
    return render_to_string("trust/_picture.svg.html", context)
