"""Where things stand in the explorer's picture: a layered drawing, agents left, servers between, systems right.

Pure geometry after Sugiyama: ranks, order within a rank by barycentres, positions by isotonic regression. Nothing
here knows words, colours or the database. The same input gives the same picture, boxes never overlap, and 1,000
boxes take less than 30 ms.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Column = Literal["agent", "server", "system"]
Key = str

WIDTH = 192
HEAD = 42
GAP, NARROW = 118, 72
"""Between two columns: room for a curve and a word on it; less where there are more than `ROOMY` of them."""
ROOMY = 3
TALL = 16
"""Boxes that a column holds in any case; one taller than that and than all others goes on in a column beside it."""
SPACE = 12
"""Between two boxes of a column."""
LANE = 8
"""The height an arc needs where it passes between the boxes of a column."""
TOP = 30
"""Room for the titles of the columns."""
MARGIN = 4
SWEEPS, FEW_SWEEPS = 20, 4
"""How often a column is sorted anew; what a person can still follow is worth more care than what they cannot."""
CAREFUL = 300
"""Up to so many boxes and lanes."""
ROUNDS = 3
BULGE = 44
"""How far an arc swings out that comes back to its own column."""
DEEPEST = 6
"""Columns of servers; what is chained deeper stands in the last one."""


@dataclass(frozen=True, slots=True)
class Vertex:
    """A box to place. Arcs meet its head, the upper `head` of its height; below hangs what belongs to it.

    `loose` servers (groups, which mostly call each other in circles) do not stand behind those that call them.
    """

    key: Key
    column: Column
    height: float = HEAD
    head: float = HEAD
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A placed box; `rank` counts the columns drawn, from the left."""

    x: float
    y: float
    height: float
    rank: int
    head: float = HEAD

    @property
    def middle(self) -> float:
        """Where arcs leave and arrive."""
        return self.y + self.head / 2


@dataclass(frozen=True, slots=True)
class Route:
    """A drawn arc: cubic curves through `points`, from the right of its source to the left of its target.

    `backward` is an arc that does not lead to the right: one that closes a circle of servers, or leads to a server of
    the same column. It leaves to the right and comes back from there.
    """

    points: tuple[tuple[float, float], ...]
    backward: bool = False

    @property
    def path(self) -> str:
        (x, y), *rest = self.points
        parts = [f"M{x:g} {y:g}"]
        if self.backward:
            (end_x, end_y) = rest[-1]
            out = max(x, end_x) + BULGE
            parts.append(f"C{out:g} {y:g} {out:g} {end_y:g} {end_x:g} {end_y:g}")
            return "".join(parts)
        for index, (to_x, to_y) in enumerate(rest):
            if index % 2:  # along a lane, through a column
                parts.append(f"H{to_x:g}")
            else:
                half = (x + to_x) / 2
                parts.append(f"C{half:g} {y:g} {half:g} {to_y:g} {to_x:g} {to_y:g}")
            x, y = to_x, to_y
        return "".join(parts)

    def at(self, part: float) -> tuple[float, float]:
        """The point at `part` (0 to 1) of the last curve, where words go."""
        (x, y), (to_x, to_y) = self.points[-2:]
        rest = 1 - part
        weights = rest**3, 3 * rest**2 * part, 3 * rest * part**2, part**3
        half = (x + to_x) / 2
        xs, ys = (x, half, half, to_x), (y, y, to_y, to_y)
        return (
            sum(weight * value for weight, value in zip(weights, xs, strict=True)),
            sum(weight * value for weight, value in zip(weights, ys, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The finished geometry. `columns` are the left edges with what stands there, left to right; `continued` are the
    numbers of those that go on with the column left of them.
    """

    places: Mapping[Key, Place]
    routes: Sequence[Route]
    columns: Sequence[tuple[float, Column]]
    width: float
    height: float
    continued: frozenset[int] = frozenset()


def lay_out(vertices: Sequence[Vertex], arcs: Sequence[tuple[Key, Key]]) -> Plan:
    """Place `vertices` and route `arcs` (source, target); every arc's ends must be among the vertices.

    The order of `vertices` decides where nothing else does.
    """
    ranks, columns, continued = _split(vertices, *_ranks(vertices, arcs))
    step = WIDTH + (GAP if len(columns) <= ROOMY else NARROW)
    backward = [ranks[source] >= ranks[target] for source, target in arcs]
    levels = _levels(vertices, arcs, backward, ranks, len(columns))
    _order(levels)
    middles = _positions(levels)

    places = {
        vertex.key: Place(
            MARGIN + ranks[vertex.key] * step,
            round(middles[slot] - vertex.head / 2, 1),
            vertex.height,
            ranks[vertex.key],
            vertex.head,
        )
        for slot, vertex in enumerate(vertices)
    }
    routes = [
        _backward(places[source], places[target])
        if back
        else _route(places[source], places[target], [middles[slot] for slot in lanes], step)
        for (source, target), back, lanes in zip(arcs, backward, levels.lanes, strict=True)
    ]
    bottom = max((place.y + place.height for place in places.values()), default=TOP)
    last = len(columns) - 1
    swings_out = any(back and ranks[source] == last for (source, _target), back in zip(arcs, backward, strict=True))
    return Plan(
        places=places,
        routes=routes,
        columns=[(MARGIN + rank * step, column) for rank, column in enumerate(columns)],
        width=2 * MARGIN + max((len(columns) - 1) * step + WIDTH, 0) + (BULGE if swings_out else 0),
        height=round(bottom + MARGIN, 1),
        continued=continued,
    )


# --- Ranks -----------------------------------------------------------------------------------------------


def _ranks(vertices: Sequence[Vertex], arcs: Sequence[tuple[Key, Key]]) -> tuple[dict[Key, int], list[Column]]:
    """The column of each box, and what each column holds. A server stands right of the servers that call it."""
    column = {vertex.key: vertex.column for vertex in vertices}
    loose = {vertex.key for vertex in vertices if vertex.loose}
    callees: dict[Key, list[Key]] = {key: [] for key, kind in column.items() if kind == "server"}
    for source, target in arcs:
        if source in callees and target in callees and source not in loose and target not in loose:
            callees[source].append(target)
    depth = _longest_paths(callees)
    used = sorted({(0, 0) if kind == "agent" else (1, depth[key]) if kind == "server" else (2, 0)
                   for key, kind in column.items()})  # fmt: skip
    number = {place: rank for rank, place in enumerate(used)}
    kinds: tuple[Column, ...] = ("agent", "server", "system")
    ranks = {key: number[(kinds.index(kind), depth[key] if kind == "server" else 0)] for key, kind in column.items()}
    return ranks, [kinds[kind] for kind, _depth in used]


def _split(
    vertices: Sequence[Vertex], ranks: Mapping[Key, int], columns: Sequence[Column]
) -> tuple[dict[Key, int], list[Column], frozenset[int]]:
    """The same with columns that are much taller than all others laid out beside each other."""
    held: list[list[Key]] = [[] for _column in columns]
    for vertex in vertices:
        held[ranks[vertex.key]].append(vertex.key)
    most = max(TALL, sorted([0, 0, *map(len, held)])[-2])
    found: dict[Key, int] = {}
    kinds: list[Column] = []
    continued = []
    for keys, column in zip(held, columns, strict=True):
        # A little taller is no reason: every column more has to be scrolled to.
        parts = -(-len(keys) // most) if 2 * len(keys) > 3 * most else 1
        share = -(-len(keys) // parts)
        for part in range(parts):
            if part:
                continued.append(len(kinds))
            found |= dict.fromkeys(keys[part * share : (part + 1) * share], len(kinds))
            kinds.append(column)
    return found, kinds, frozenset(continued)


def _longest_paths(callees: Mapping[Key, Sequence[Key]]) -> dict[Key, int]:
    """How many servers stand before each one on its longest chain; arcs that close a circle do not count."""
    finished: list[Key] = []
    state: dict[Key, int] = {}  # 1: on the current path, 2: finished
    forward: dict[Key, list[Key]] = {key: [] for key in callees}
    for start in callees:
        if start in state:
            continue
        state[start] = 1
        path = [(start, iter(callees[start]))]
        while path:
            key, rest = path[-1]
            for callee in rest:
                if state.get(callee) == 1:
                    continue
                forward[key].append(callee)
                if callee not in state:
                    state[callee] = 1
                    path.append((callee, iter(callees[callee])))
                    break
            else:
                state[key] = 2
                finished.append(key)
                path.pop()
    depth = dict.fromkeys(callees, 0)
    for key in reversed(finished):
        for callee in forward[key]:
            depth[callee] = min(max(depth[callee], depth[key] + 1), DEEPEST - 1)
    return depth


# --- Order within a column -------------------------------------------------------------------------------


@dataclass(slots=True)
class Levels:
    """Columns of slots. A slot is a box or a lane through which arcs pass a column; slots are numbered, boxes first.

    `after` and `before` are the slots linked to each slot in the next and the previous column.
    """

    columns: list[list[int]]
    after: list[list[int]]
    before: list[list[int]]
    above: list[float]
    below: list[float]  # of the line on which arcs meet the slot
    lanes: list[list[int]]  # of each arc: the lanes it takes

    def crossings(self) -> int:
        """How many pairs of links cross."""
        total = 0
        position = [0] * len(self.above)
        for column, beside in pairwise(self.columns):
            for index, slot in enumerate(beside):
                position[slot] = index
            met: list[int] = []
            for slot in column:
                ends = sorted([position[other] for other in self.after[slot]])
                if met and ends and ends[0] < met[-1]:
                    for end in ends:
                        total += len(met) - bisect_right(met, end)
                    for end in ends:
                        insort(met, end)
                else:
                    met += ends
        return total


def _levels(
    vertices: Sequence[Vertex],
    arcs: Sequence[tuple[Key, Key]],
    backward: Sequence[bool],
    ranks: Mapping[Key, int],
    count: int,
) -> Levels:
    """Slots and the links between neighbouring columns.

    Arcs that pass a column on their way to the same target share one lane there: that bundles them.
    """
    numbers = {vertex.key: slot for slot, vertex in enumerate(vertices)}
    above = [vertex.head / 2 for vertex in vertices]
    below = [vertex.height - vertex.head / 2 for vertex in vertices]
    columns: list[list[int]] = [[] for _ in range(count)]
    for slot, vertex in enumerate(vertices):
        columns[ranks[vertex.key]].append(slot)
    lane_of: dict[tuple[int, int], int] = {}
    lanes: list[list[int]] = []
    links: dict[tuple[int, int], None] = {}
    for (source, target), back in zip(arcs, backward, strict=True):
        taken: list[int] = []
        lanes.append(taken)
        if back:
            continue
        here, end = numbers[source], numbers[target]
        for rank in range(ranks[source] + 1, ranks[target]):
            lane = lane_of.get((rank, end))
            if lane is None:
                lane = lane_of[rank, end] = len(above)
                above.append(LANE / 2)
                below.append(LANE / 2)
                columns[rank].append(lane)
            taken.append(lane)
            links[here, lane] = None
            here = lane
        links[here, end] = None
    after: list[list[int]] = [[] for _ in above]
    before: list[list[int]] = [[] for _ in above]
    for source_slot, target_slot in links:
        after[source_slot].append(target_slot)
        before[target_slot].append(source_slot)
    return Levels(columns, after, before, above, below, lanes)


def _order(levels: Levels) -> None:
    """Sort every column by the mean position of its neighbours, to and fro; the order with fewest crossings stays."""
    columns = levels.columns
    best, fewest = [list(column) for column in columns], levels.crossings()
    position = [0] * len(levels.above)
    for column in columns:
        for index, slot in enumerate(column):
            position[slot] = index
    idle = 0
    for sweep in range(SWEEPS if len(levels.above) <= CAREFUL else FEW_SWEEPS):
        if not fewest or idle == FEW_SWEEPS:
            break
        rightward = sweep % 2 == 0
        for rank in range(1, len(columns)) if rightward else range(len(columns) - 2, -1, -1):
            beside = columns[rank - 1 if rightward else rank + 1]
            _sort(columns[rank], levels.before if rightward else levels.after, position, len(beside))
        idle += 1
        if (now := levels.crossings()) < fewest:
            best, fewest, idle = [list(column) for column in columns], now, 0
    columns[:] = best


def _sort(column: list[int], linked: Sequence[Sequence[int]], position: list[int], beside: int) -> None:
    stretch = beside / max(len(column), 1)
    weight = {}
    for index, slot in enumerate(column):
        others = linked[slot]
        if len(others) == 1:
            weight[slot] = float(position[others[0]])
        elif others:
            weight[slot] = sum([position[each] for each in others]) / len(others)
        else:  # what has no neighbour there stays about where it is
            weight[slot] = index * stretch
    column.sort(key=weight.__getitem__)
    for index, slot in enumerate(column):
        position[slot] = index


# --- Positions -------------------------------------------------------------------------------------------


def _positions(levels: Levels) -> list[float]:
    """The line of every slot: as near to its neighbours as the order and the space between boxes allow."""
    columns = levels.columns
    offsets = [_offsets(column, levels) for column in columns]
    tallest = max((offset[-1] for offset in offsets if offset), default=0)
    middles = [0.0] * len(levels.above)
    for column, offset in zip(columns, offsets, strict=True):
        start = (tallest - offset[-1]) / 2 if offset else 0
        for slot, each in zip(column, offset, strict=True):
            middles[slot] = start + each
    for turn in range(ROUNDS):
        rightward = turn % 2 == 0
        near = levels.before if rightward else levels.after
        for rank in range(1, len(columns)) if rightward else range(len(columns) - 2, -1, -1):
            column, offset = columns[rank], offsets[rank]
            wanted = []
            for slot, packed in zip(column, offset, strict=True):
                others = near[slot]
                middle = sum([middles[each] for each in others]) / len(others) if others else middles[slot]
                wanted.append(middle - packed)
            for slot, packed, start in zip(column, offset, isotonic(wanted), strict=True):
                middles[slot] = start + packed
    top = min((middle - above for middle, above in zip(middles, levels.above, strict=True)), default=0)
    return [middle - top + TOP for middle in middles]


def _offsets(column: Sequence[int], levels: Levels) -> list[float]:
    """Where the slots' lines stand when the boxes of a column are packed as closely as they may be."""
    offsets, edge = [], 0.0
    for slot in column:
        offsets.append(edge + levels.above[slot])
        edge += levels.above[slot] + levels.below[slot] + SPACE
    return offsets


def isotonic(values: Iterable[float]) -> list[float]:
    """The non-decreasing sequence with the least squared distance to `values` (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []  # sum, length
    for value in values:
        total, length = value, 1
        while blocks and blocks[-1][0] * length >= total * blocks[-1][1]:
            earlier, count = blocks.pop()
            total, length = total + earlier, length + count
        blocks.append((total, length))
    return [total / length for total, length in blocks for _ in range(length)]


# --- Routes ----------------------------------------------------------------------------------------------


def _route(source: Place, target: Place, lanes: Sequence[float], step: float) -> Route:
    points = [(source.x + WIDTH, source.middle)]
    for offset, middle in enumerate(lanes, start=1):
        x = source.x + offset * step
        points += [(x, round(middle, 1)), (x + WIDTH, round(middle, 1))]
    points.append((target.x, target.middle))
    return Route(tuple((round(x, 1), round(y, 1)) for x, y in points))


def _backward(source: Place, target: Place) -> Route:
    """Between the right sides of both; leaving below the middle and arriving above it, also at the same box."""
    start, end = (source.x + WIDTH, source.middle + 7), (target.x + WIDTH, target.middle - 7)
    return Route(tuple((round(x, 1), round(y, 1)) for x, y in (start, end)), backward=True)
