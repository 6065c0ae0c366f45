"""What is material in a listing, what a digest survives, and what is never kept."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog.services import tool_digest
from registry.discovery.definitions import MAX_TOOLS, Unusable, normalise
from registry.discovery.seen import Listing
from tests.discovery.listings import listing, tool

# Assembled, so that no scanner takes the test for a leak.
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


def test_a_tools_digest_is_the_catalogs():
    plain = tool("search", title="Search")
    facts = {
        "name": "search",
        "title": "Search",
        "description": plain["description"],
        "definition": {"inputSchema": plain["inputSchema"], "annotations": plain["annotations"]},
    }
    assert normalise(listing(plain)).tool_digests == {"search": tool_digest(facts)}


def test_what_is_not_material_changes_nothing():
    plain = normalise(listing(tool("a"), tool("b")))
    noisy = [
        {**reversed_keys(tool("b")), "icons": [{"src": "https://x.example/i.png"}], "_meta": {"at": 1}},
        {"execution": {"taskSupport": "optional"}, **tool("a"), "outputSchema": None, "title": None},
    ]
    assert normalise(listing(*noisy)).digest == plain.digest


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Searches the documents!"},
        {"title": "Search"},
        {"inputSchema": {"type": "object"}},
        {"outputSchema": {"type": "object"}},
        {"annotations": {"readOnlyHint": False}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_material_changes_the_digest(change):
    assert normalise(listing({**tool("a"), **change})).digest != normalise(listing(tool("a"))).digest


def test_instructions_prompts_and_templates_are_material():
    plain = normalise(listing(tool("a")))
    assert normalise(listing(tool("a"), instructions="Be kind.")).digest != plain.digest
    assert normalise(listing(tool("a"), prompts=[{"name": "p"}])).digest != plain.digest
    template = [{"uriTemplate": "file:///{x}", "name": "f"}]
    assert normalise(listing(tool("a"), resource_templates=template)).digest != plain.digest


def test_a_secret_is_not_kept_but_counts():
    secretive = tool("a", description=f"Call with --token {SECRET} please.")
    other = tool("a", description=f"Call with --token {SECRET[:-1]}x please.")
    kept = normalise(listing(secretive, instructions=f"Authorization: Bearer {SECRET}"))
    assert SECRET not in repr(kept)
    assert "[REDACTED]" in kept.tools[0]["description"]
    assert kept.tool_digests["a"] != normalise(listing(other)).tool_digests["a"]
    as_key = tool("b", inputSchema={"type": "object", "properties": {SECRET: {"type": "string"}}})
    assert SECRET not in repr(normalise(listing(as_key)))


def test_names_neither_hide_each_other_nor_grow_without_end():
    long = "x" * 5000
    kept = normalise(listing(tool("a"), tool("a", description="Another."), tool(long), tool(long + "y")))
    assert len(kept.tools) == len(kept.tool_digests) == 4
    assert all(len(each["name"]) <= 128 for each in kept.tools)
    again = normalise(listing(tool(long + "y"), tool("a", description="Another."), tool(long), tool("a")))
    assert (again.digest, again.tool_digests) == (kept.digest, kept.tool_digests)


def test_what_json_or_the_database_cannot_hold_is_carried():
    odd = tool(
        "a", description="nul \x00 and half \ud800 a pair", inputSchema={"maximum": 2**64, "enum": [10**400, 1.5]}
    )
    kept = normalise(listing(odd))
    assert "\x00" not in repr(kept.tools)
    assert "\ud800" not in kept.tools[0]["description"]
    same = tool(
        "a",
        description="nul \x00 and half \ud800 a pair",
        inputSchema={"maximum": float(2**64), "enum": [10**400, 1.5]},
    )
    assert normalise(listing(same)).digest == kept.digest


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"properties": {"x": value}}
    return value


@pytest.mark.parametrize(
    ("bad", "too_large"),
    [
        (listing(*(tool(f"t{n}") for n in range(MAX_TOOLS + 1))), True),
        (listing(tool("a", description="x" * 6_000_000)), True),
        (Listing(tools=[tool("a", inputSchema=nested(5000))]), False),
        (Listing(tools=[{"description": "No name."}]), False),
        (Listing(tools=[{"name": ""}]), False),
        (Listing(tools=["a"]), False),  # type: ignore[list-item]
        (Listing(prompts=[{"title": "No name."}]), False),
    ],
    ids=["many", "large", "deep", "nameless", "empty name", "no object", "nameless prompt"],
)
def test_what_cannot_be_kept_says_why(bad, too_large):
    with pytest.raises(Unusable) as refused:
        normalise(bad)
    assert refused.value.too_large is too_large
    assert str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(min_size=1, max_size=20)},
        optional={
            "title": st.text(max_size=9),
            "description": st.text(max_size=30),
            "inputSchema": JSON,
            "_meta": JSON,
        },
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(TOOLS, st.text(max_size=30), st.randoms(use_true_random=False))
def test_any_listing_has_one_digest_whatever_its_order(tools, instructions, random):
    shuffled = [reversed_keys(each) for each in deepcopy(tools)]
    random.shuffle(shuffled)
    first = normalise(Listing(tools=tools, instructions=instructions))
    again = normalise(Listing(tools=shuffled, instructions=instructions))
    assert again == first
    assert len(first.tool_digests) == len(tools)
