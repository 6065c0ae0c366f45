"""The picture of a trust path: valid SVG, nothing lost, nothing overlapping."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.trust.picture import (
    HEIGHT,
    MOST,
    AgentEdge,
    Node,
    SystemEdge,
    TrustPath,
    draw,
    layout,
    sentence,
    shortened,
)

SVG = "{http://www.w3.org/2000/svg}"


def path(agents: int = 2, systems: int = 2, secrets: int = 1, hidden: int = 0) -> TrustPath:
    return TrustPath(
        server=Node("warehouse-sql", "6 tools", "server", tone="me", mono=True),
        agents=[AgentEdge(Node(f"Agent {n}", "2 tools"), pending=n == 1) for n in range(agents)],
        systems=[SystemEdge(Node(f"System {n}", "Database"), "read", hot=n == 0) for n in range(systems)],
        secrets=[Node(f"vault:kv/{n}", "rotated", "key-round", mono=True) for n in range(secrets)],
        hidden_agents=hidden,
        hidden_systems=hidden,
    )


def parsed(svg: str) -> ElementTree.Element:
    with_namespace = svg.strip().replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return ElementTree.fromstring(with_namespace)  # noqa: S314 - our own markup


def test_the_picture_is_well_formed_and_says_what_it_shows() -> None:
    root = parsed(draw(path()))
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.attrib["id"] == root.attrib["aria-labelledby"]
    assert "1 agent has a grant on warehouse-sql." in (title.text or "")
    assert "It can change confidential data in System 0." in (title.text or "")
    classes = [line.attrib["class"] for line in root.findall(f"{SVG}path")]
    assert classes == ["e", "e off", "e w", "e", "e key"]
    assert "style=" not in draw(path())


def test_names_are_escaped() -> None:
    nasty = TrustPath(server=Node('<script>"&'), agents=[AgentEdge(Node("<b>", url='/x?a="b"'))])
    assert "<script>" not in draw(nasty)
    parsed(draw(nasty))


def test_what_leads_somewhere_is_a_link() -> None:
    linked = TrustPath(server=Node("s", url="/servers/1/"), systems=[SystemEdge(Node("y", url="/y/"), "read")])
    assert {link.attrib["href"] for link in parsed(draw(linked)).findall(f"{SVG}a")} == {"/servers/1/", "/y/"}


def test_more_than_fit_become_one_box() -> None:
    drawing = layout(path(agents=MOST + 5, systems=MOST))
    labels = [box.node.label for box in drawing.boxes]
    assert f"+ {5 + 1} more" in labels
    assert sum(label.startswith("Agent") for label in labels) == MOST - 1
    assert sum(label.startswith("System") for label in labels) == MOST


def test_what_may_not_be_seen_is_counted() -> None:
    labels = [box.node.label for box in layout(path(hidden=3)).boxes]
    assert {"3 agents", "3 systems"} <= set(labels)
    assert "4 agents have a grant" in sentence(path(hidden=3))


@pytest.mark.parametrize(("text", "room", "expected"), [("short", 10, "short"), ("much too long", 8, "much to…")])
def test_long_names_are_shortened(text: str, room: int, expected: str) -> None:
    assert shortened(text, room) == expected


@given(agents=st.integers(0, 12), systems=st.integers(0, 12), secrets=st.integers(0, 4), hidden=st.integers(0, 2))
def test_boxes_never_overlap_and_stay_inside(agents: int, systems: int, secrets: int, hidden: int) -> None:
    drawing = layout(path(agents, systems, secrets, hidden))
    for index, box in enumerate(drawing.boxes):
        assert box.y >= 0
        assert box.y + HEIGHT <= float(drawing.height)
        for other in drawing.boxes[index + 1 :]:
            assert box.x != other.x or abs(box.y - other.y) >= HEIGHT
    drawn = len([box for box in drawing.boxes if box.x != 300])
    assert len([line for line in drawing.lines if line.tone != "key"]) == drawn
