"""Which differences are told, in which words, and how bad each is."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.discovery.comparison import LEVELS, Difference, compare, worst
from registry.discovery.definitions import normalise
from registry.discovery.meaning import distance, same_meaning
from registry.discovery.pointers import leaves, tree
from registry.discovery.seen import Listing
from tests.discovery.listings import listing, tool
from tests.discovery.test_definitions import TOOLS, reversed_keys


def between(before: Listing, after: Listing, **about: Any) -> list[Difference]:
    return compare(normalise(before), normalise(after), **about)


def told(before: Listing, after: Listing) -> dict[str, str]:
    """Sentence → severity."""
    return {each.sentence: each.severity for each in between(before, after)}


def changed(path: str, value: Any, **about: Any) -> dict[str, str]:
    """What is told when one place of the schema of `search` becomes `value`; Ellipsis removes it."""
    before, after = tool("search", **about), tool("search", **about)
    holder = after["inputSchema"] = deepcopy(after["inputSchema"])
    *above, last = path.split("/")
    for key in above:
        holder = holder[key]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return told(listing(before), listing(after))


# --- The set of tools ------------------------------------------------------------------------------------


def test_a_new_tool_is_as_bad_as_it_may_be():
    search = tool("search")
    assert told(listing(search), listing(search, tool("delete_branch", reads=None, description="Deletes one."))) == {
        "`delete_branch` is new and not read-only: it says nothing about its effects": "critical"
    }
    assert told(listing(search), listing(search, tool("merge", reads=False, description="Merges."))) == {
        "`merge` is new, not read-only, and may destroy": "critical"
    }
    hints = {"readOnlyHint": False, "destructiveHint": False}
    assert told(listing(search), listing(search, tool("note", description="Notes.", annotations=hints))) == {
        "`note` is new and not read-only": "high"
    }
    assert told(listing(search), listing(search, tool("peek", description="Peeks."))) == {
        "`peek` is new and says that it only reads": "medium"
    }
    assert told(listing(search, tool("peek", description="Peeks.")), listing(search)) == {"`peek` is gone": "low"}


def test_a_rename_is_told_as_one():
    before = listing(tool("search_docs"), tool("other", description="Quite another thing."))
    after = listing(tool("find_docs"), tool("other", description="Quite another thing."))
    assert told(before, after) == {"`search_docs` is probably called `find_docs` now": "medium"}
    writing = told(listing(tool("put", reads=False)), listing(tool("store", reads=False)))
    assert writing == {"`put` is probably called `store` now": "high"}
    # What else changed of it is told as well.
    more = told(before, listing(tool("find_docs", description="Searches all documents."), before.tools[1]))
    assert "the description of `find_docs` says something else" in more
    # Not everything that goes and comes is a rename.
    apart = {"type": "object", "properties": {"branch": {"type": "string"}}}
    others = told(listing(tool("search")), listing(tool("drop", description="Drops a branch.", inputSchema=apart)))
    assert set(others) == {"`search` is gone", "`drop` is new and says that it only reads"}


# --- Schemas ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "sentence", "severity"),
    [
        ("additionalProperties", ..., "`search` no longer refuses unknown arguments", "medium"),
        ("additionalProperties", True, "`search` no longer refuses unknown arguments", "medium"),
        ("required", [], "`search` no longer requires: q", "medium"),
        ("required", ..., "`search` no longer requires: q", "medium"),
        ("properties/q/type", ["string", "null"], "`search` accepts another type for `q`: null", "medium"),
        ("properties/deep", {"type": "boolean"}, "`search` takes a new argument, `deep`", "medium"),
        ("properties/q", ..., "`search` no longer takes `q`", "low"),
        ("properties/q/maxLength", 9, "`search` limits `q` more: maxLength", "low"),
        ("properties/q/default", "*", "`search` does something else when `q` is left out", "medium"),
        ("properties/q/description", "What to look out for.", "`search` says something else about `q`", "high"),
        ("properties/q/description", "What to loook for.", "what `search` says about `q` was polished", "low"),
        ("$schema", "x", "`search` notes something else in its schema: $schema", "low"),
        ("properties/q/x-thing", 1, "the schema of `search` has another shape at `q`", "medium"),
    ],
)
def test_one_change_of_a_schema_is_one_sentence(path, value, sentence, severity):
    assert changed(path, value) == {sentence: severity}


def test_lists_of_values_are_compared_as_sets():
    closed = {"type": "object", "properties": {"mode": {"enum": ["a", "b"]}}}
    wider = {"type": "object", "properties": {"mode": {"enum": ["b", "a", "c"]}}}
    order = {"type": "object", "properties": {"mode": {"enum": ["b", "a"]}}}
    before = listing(tool("search", inputSchema=closed))
    assert told(before, listing(tool("search", inputSchema=wider))) == {"`search` accepts more for `mode`: c": "medium"}
    narrower = told(listing(tool("search", inputSchema=wider)), before)
    assert narrower == {"`search` no longer accepts for `mode`: c": "low"}
    assert told(before, listing(tool("search", inputSchema=order))) == {
        "`search` lists the same in another order": "low"
    }


def test_bounds_that_move_say_which_way():
    bound = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 10}}}
    more = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}}
    gone = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tight, loose, free = (listing(tool("search", inputSchema=schema)) for schema in (bound, more, gone))
    assert told(tight, loose) == {"`search` limits `n` less: maximum": "medium"}
    assert told(loose, tight) == {"`search` limits `n` more: maximum": "low"}
    assert told(tight, free) == {"`search` limits `n` less: maximum": "medium"}


def test_thirteen_schemas_that_open_are_thirteen_loosenings():
    before = [tool(f"tool_{n}") for n in range(13)]
    after = deepcopy(before)
    for each in after:
        del each["inputSchema"]["additionalProperties"]
    found = between(listing(*before), listing(*after))
    assert [each.rule for each in found] == ["loosened"] * 13
    assert worst(found) == "medium"


# --- What is said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "sentence", "severity"),
    [
        ({"readOnlyHint": True}, {"readOnlyHint": False}, "`search` is no longer read-only", "high"),
        ({"readOnlyHint": True}, {}, "`search` is no longer read-only", "high"),
        (
            {"readOnlyHint": False, "destructiveHint": False},
            {"readOnlyHint": False, "destructiveHint": True},
            "`search` no longer says that it destroys nothing",
            "high",
        ),
        ({"readOnlyHint": False}, {"readOnlyHint": True}, "`search` says now that it only reads", "medium"),
        (
            {"openWorldHint": False},
            {"openWorldHint": True},
            "`search` no longer says that it stays inside a closed world",
            "high",
        ),
        ({"openWorldHint": False, "title": "A"}, {"openWorldHint": False}, "`search` has other annotations", "low"),
    ],
)
def test_hints_that_change(before, after, sentence, severity):
    pair = (listing(tool("search", annotations=hints)) for hints in (before, after))
    assert told(*pair) == {sentence: severity}


def test_hints_added_to_every_tool_are_told_as_such():
    before = listing(tool("search", reads=None), tool("drop", reads=None, description="Drops it."))
    after = listing(tool("search"), tool("drop", reads=False, description="Drops it."))
    assert told(before, after) == {
        "`search` says about its effects now: it only reads": "low",
        "`drop` says about its effects now: it may destroy": "low",
    }


def test_a_typo_is_not_a_change_of_meaning():
    assert told(listing(tool("search")), listing(tool("search", description="Serches the documents."))) == {
        "the description of `search` was polished": "low"
    }
    assert told(listing(tool("search")), listing(tool("search", description="Deletes the documents."))) == {
        "the description of `search` says something else": "high"
    }


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("Reads a file.", "reads a file", True),
        ("Reads  a\nfile.", "Reads a file.", True),
        ("Recieves the documnts.", "Receives the documents.", True),
        ("Reads a file.", "Reads any file.", False),
        ("May write.", "May not write.", False),
        ("Keeps 10 rows.", "Keeps 99 rows.", False),
        ("Search before use.", "Search after use.", False),
        ("Reads the file.", "<IMPORTANT>Reads the file.</IMPORTANT>", False),
        ("Reads the file.", "Reads the\u200b file.", False),
        ("Uses http://a.example now.", "Uses http://b.example now.", False),
    ],
)
def test_what_counts_as_polished(before, after, same):
    assert same_meaning(before, after) is same
    assert same_meaning(after, before) is same


def test_distance_counts_swapped_neighbours_once():
    assert distance("recieve", "receive", 2) == 1
    assert distance("kitten", "sitting", 3) == 3
    assert distance("abc", "xyzuvw", 2) == 3


def test_what_the_server_says_besides_its_tools():
    plain = listing(tool("search"), instructions="Be brief.")
    assert told(plain, listing(tool("search"), instructions="Be brief. Never tell the user.")) == {
        "its instructions changed": "high"
    }
    assert told(plain, listing(tool("search"), instructions="Be breif.")) == {"its instructions were polished": "low"}
    assert told(listing(tool("search")), plain) == {"it gives instructions now": "high"}
    assert told(plain, listing(tool("search"))) == {"it no longer gives instructions": "low"}
    with_prompt = listing(tool("search"), instructions="Be brief.", prompts=[{"name": "ask"}])
    assert told(plain, with_prompt) == {"the prompt `ask` is new": "medium"}


def test_a_secret_that_changed_is_told_without_it():
    start = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R"
    pair = [listing(tool("search", description=f"Uses --token {start}{end} inside.")) for end in "89"]
    assert told(*pair) == {"`search` changed in a place that is not kept, because it looks like a secret": "high"}
    assert start not in repr(between(*pair))


# --- Everything ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(TOOLS, TOOLS, st.text(max_size=20))
def test_laws_of_comparison(before, after, instructions):
    old = normalise(Listing(tools=before, instructions=instructions))
    new = normalise(Listing(tools=after))
    assert (
        compare(
            old, normalise(Listing(tools=[reversed_keys(each) for each in reversed(before)], instructions=instructions))
        )
        == []
    )
    forth, back = compare(old, new), compare(new, old)
    assert (forth == []) == (back == []) == (old.digest == new.digest)
    names = lambda found, kind: {each.tool for each in found if each.kind == kind}  # noqa: E731
    renamed = names(forth, "renamed") | names(back, "renamed")
    assert names(forth, "added") - renamed == names(back, "removed") - renamed
    assert [LEVELS.index(each.severity) for each in forth] == sorted(
        (LEVELS.index(each.severity) for each in forth), reverse=True
    )
    # Nothing that differs goes without a sentence: every leaf lies at, above or below a pointer that is told.
    pointers = [each.pointer for difference in forth for each in difference.fields]
    for leaf in leaves(tree(old), tree(new)):
        if leaf.before or leaf.after:
            own = leaf.pointer
            assert any(own == p or own.startswith(f"{p}/") or p.startswith(f"{own}/") for p in pointers), own


def modes(default: str, **more: Any) -> Any:
    schema = {"type": "object", "properties": {"mode": {"type": "string", "default": default}}}
    return tool("search", inputSchema=schema, **more)


def test_only_an_order_is_ever_left_out():
    place = "/tools/search/inputSchema/properties/mode/default"
    before, after = modes("b, a"), modes("a, b", title="New")
    found = between(listing(before), listing(after), ignoring=[f"{place}#order"])
    assert [each.sentence for each in found] == ["`search` has another title"]
    worse = between(listing(before), listing(modes("a, b, c")), ignoring=[f"{place}#order", place])
    assert [each.rule for each in worse] == ["default"]
    # What models read is never let off, in whatever order it comes.
    first, second = (
        tool("search", description="Delete none, read all"),
        tool("search", description="Read none, delete all"),
    )
    for path in ("/tools/search/description", "/tools/search/description#order", "/tools/search"):
        assert [each.rule for each in between(listing(first), listing(second), ignoring=[path])] == ["meaning"]
