"""The geometry of the explorer's picture, over random graphs: nothing overlaps, nothing is left to chance."""

import random
import time
from collections.abc import Sequence
from itertools import combinations, pairwise

import pytest

from registry.trust.drawing import (
    DEEPEST,
    GAP,
    HEAD,
    NARROW,
    ROOMY,
    SPACE,
    TALL,
    WIDTH,
    Levels,
    Plan,
    Vertex,
    isotonic,
    lay_out,
)

Graph = tuple[list[Vertex], list[tuple[str, str]]]


def graph(seed: int, agents: int = 8, servers: int = 7, systems: int = 6, chains: int = 4, arcs: int = 30) -> Graph:
    """A random graph; chains between servers may run in circles, servers may carry a secret source."""
    chance = random.Random(seed)  # noqa: S311
    vertices = [Vertex(f"a{n}", "agent") for n in range(chance.randint(0, agents))]
    vertices += [Vertex(f"s{n}", "server", HEAD + 22 * chance.randint(0, 1)) for n in range(chance.randint(1, servers))]
    vertices += [Vertex(f"y{n}", "system") for n in range(chance.randint(0, systems))]
    chance.shuffle(vertices)
    of = {kind: [each.key for each in vertices if each.column == kind] for kind in ("agent", "server", "system")}
    found = set()
    for _ in range(arcs):
        if of["agent"]:
            found.add((chance.choice(of["agent"]), chance.choice(of["server"])))
        if of["system"]:
            found.add((chance.choice(of["server"]), chance.choice(of["system"])))
    for _ in range(chains):
        found.add((chance.choice(of["server"]), chance.choice(of["server"])))
    return vertices, sorted((source, target) for source, target in found if source != target)


GRAPHS = [graph(seed) for seed in range(150)]


def edges(plan: Plan) -> list[tuple[float, float, float, float]]:
    return [(place.x, place.y, place.x + WIDTH, place.y + place.height) for place in plan.places.values()]


def test_boxes_keep_their_distance_and_stay_on_the_paper() -> None:
    for vertices, arcs in GRAPHS:
        plan = lay_out(vertices, arcs)
        assert set(plan.places) == {vertex.key for vertex in vertices}
        for one, other in combinations(edges(plan), 2):
            gap = GAP if len(plan.columns) <= ROOMY else NARROW
            apart = one[2] + gap <= other[0] or other[2] + gap <= one[0]
            assert apart or one[3] + SPACE <= other[1] + 0.11 or other[3] + SPACE <= one[1] + 0.11, (one, other)
        for left, top, right, bottom in edges(plan):
            assert left >= 0
            assert right <= plan.width
            assert top > 0
            assert bottom <= plan.height


def test_trust_runs_from_left_to_right_and_only_circles_run_back() -> None:
    for vertices, arcs in GRAPHS:
        plan = lay_out(vertices, arcs)
        column = {vertex.key: vertex.column for vertex in vertices}
        for (source, target), route in zip(arcs, plan.routes, strict=True):
            ahead = plan.places[source].rank < plan.places[target].rank
            assert ahead is not route.backward
            assert ahead or column[source] == column[target] == "server"
            if ahead:
                start, end = route.points[0], route.points[-1]
                assert start == (plan.places[source].x + WIDTH, pytest.approx(plan.places[source].middle, abs=0.06))
                assert end == (plan.places[target].x, pytest.approx(plan.places[target].middle, abs=0.06))
                assert all(one[0] <= other[0] for one, other in pairwise(route.points))


def test_no_line_runs_through_a_box() -> None:
    for vertices, arcs in GRAPHS:
        plan = lay_out(vertices, arcs)
        for (source, target), route in zip(arcs, plan.routes, strict=True):
            if route.backward:
                continue
            for (x, y), (to_x, _to_y) in list(pairwise(route.points))[1::2]:  # the lanes, through a column
                for key, place in plan.places.items():
                    if key not in (source, target) and x <= place.x < to_x:
                        assert not place.y < y < place.y + place.height


def test_the_same_graph_gives_the_same_picture_whatever_the_order_of_its_arcs() -> None:
    for vertices, arcs in GRAPHS[:40]:
        first = lay_out(vertices, arcs)
        assert lay_out(vertices, arcs) == first


def test_columns_say_what_stands_in_them() -> None:
    for vertices, arcs in GRAPHS:
        plan = lay_out(vertices, arcs)
        column = {vertex.key: vertex.column for vertex in vertices}
        for key, place in plan.places.items():
            assert plan.columns[place.rank] == (place.x, column[key])


def test_a_chain_of_servers_takes_a_column_each() -> None:
    names = [f"s{n}" for n in range(4)]
    vertices = [Vertex("a", "agent"), *(Vertex(name, "server") for name in names), Vertex("y", "system")]
    plan = lay_out(vertices, list(pairwise(["a", *names, "y"])))
    assert [plan.places[key].rank for key in ("a", *names, "y")] == list(range(6))
    assert len({place.middle for place in plan.places.values()}) == 1  # one straight line


def test_a_circle_of_servers_is_drawn_with_one_line_back() -> None:
    vertices = [Vertex(name, "server") for name in "pqr"]
    plan = lay_out(vertices, [("p", "q"), ("q", "r"), ("r", "p")])
    assert [route.backward for route in plan.routes] == [False, False, True]
    assert max(x for x, _y in plan.routes[2].points) < plan.width


def test_groups_of_servers_stand_in_one_column_whatever_they_call() -> None:
    vertices = [Vertex(name, "server", loose=True) for name in "pqr"] + [Vertex("y", "system")]
    plan = lay_out(vertices, [("p", "q"), ("q", "r"), ("r", "r"), ("p", "y")])
    assert {plan.places[name].rank for name in "pqr"} == {0}
    assert [route.backward for route in plan.routes] == [True, True, True, False]
    loop = plan.routes[2].points
    assert loop[0] != loop[-1]  # a circle at its own side, that can be seen


def test_a_column_much_taller_than_all_others_goes_on_beside_itself() -> None:
    many = [Vertex(f"a{n:02}", "agent") for n in range(50)]
    few = [*(Vertex(f"s{n}", "server") for n in range(20)), *(Vertex(f"y{n}", "system") for n in range(5))]
    arcs = [(vertex.key, f"s{n % 20}") for n, vertex in enumerate(many)] + [(f"s{n}", f"y{n % 5}") for n in range(20)]
    plan = lay_out(many + few, arcs)
    assert [column for _x, column in plan.columns] == ["agent", "agent", "agent", "server", "system"]
    assert plan.continued == {1, 2}
    assert max(sum(place.rank == rank for place in plan.places.values()) for rank in range(5)) == 20
    assert not any(route.backward for route in plan.routes)


@pytest.mark.parametrize("count", [TALL, 24, 30])
def test_a_column_only_a_little_taller_stays_one(count: int) -> None:
    vertices = [Vertex(f"a{n}", "agent") for n in range(count)] + [Vertex(f"s{n}", "server") for n in range(20)]
    assert len(lay_out(vertices, []).columns) == 2


def test_very_long_chains_end_in_the_last_column() -> None:
    names = [f"s{n}" for n in range(DEEPEST + 5)]
    plan = lay_out([Vertex(name, "server") for name in names], list(pairwise(names)))
    assert len(plan.columns) == DEEPEST


def test_the_order_avoids_crossings() -> None:
    # Two stars whose members come in alternately: sorted by where they lead, nothing crosses.
    vertices = [Vertex(f"a{n}", "agent") for n in range(10)] + [Vertex("s0", "server"), Vertex("s1", "server")]
    plan = lay_out(vertices, [(f"a{n}", f"s{n % 2}") for n in range(10)])
    order = sorted(range(10), key=lambda n: plan.places[f"a{n}"].y)
    assert [n % 2 for n in order] in ([0] * 5 + [1] * 5, [1] * 5 + [0] * 5)


def crossings(columns: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> int:
    """By definition: every pair of links, looked at."""
    total = 0
    for column, beside in pairwise(columns):
        links = [(column.index(slot), beside.index(end)) for slot in column for end in after[slot]]
        total += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(links, 2))
    return total


def test_crossings_are_counted_right() -> None:
    chance = random.Random(3)  # noqa: S311
    for _ in range(60):
        left, right = list(range(6)), list(range(6, 12))
        after = [sorted(set(chance.choices(right, k=chance.randint(0, 4)))) for _ in left] + [[] for _ in right]
        chance.shuffle(right)
        levels = Levels([left, right], after, [[] for _ in range(12)], [1.0] * 12, [1.0] * 12, [])
        assert levels.crossings() == crossings(levels.columns, after)


def test_isotonic_is_the_nearest_rising_sequence() -> None:
    assert isotonic([1, 2, 3]) == [1, 2, 3]
    assert isotonic([3, 1, 2]) == [2, 2, 2]
    assert isotonic([]) == []
    chance = random.Random(5)  # noqa: S311
    for _ in range(50):
        values = [chance.uniform(-9, 9) for _ in range(7)]
        found = isotonic(values)
        assert all(one <= other for one, other in pairwise(found))
        distance = sum((one - other) ** 2 for one, other in zip(values, found, strict=True))
        nearby = [sorted(value + chance.uniform(-0.5, 0.5) for value in found) for _ in range(20)]
        assert all(
            distance <= sum((one - other) ** 2 for one, other in zip(values, each, strict=True)) for each in nearby
        )


def test_nothing_at_all_is_an_empty_sheet() -> None:
    plan = lay_out([], [])
    assert not plan.places
    assert plan.height > 0


def test_a_thousand_boxes_are_placed_within_thirty_milliseconds_of_computing() -> None:
    chance = random.Random(1)  # noqa: S311
    vertices = [Vertex(f"a{n}", "agent") for n in range(500)] + [Vertex(f"s{n}", "server", 64) for n in range(300)]
    vertices += [Vertex(f"y{n}", "system") for n in range(200)]
    arcs = {(f"a{chance.randrange(500)}", f"s{chance.randrange(300)}") for _ in range(875)}
    arcs |= {(f"s{chance.randrange(300)}", f"y{chance.randrange(200)}") for _ in range(875)}
    taken = []
    for _ in range(9):
        start = time.thread_time()
        lay_out(vertices, sorted(arcs))
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.03
