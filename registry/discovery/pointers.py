"""Where two listings differ: JSON pointers into a tree that names tools instead of numbering them.

`/tools/search/inputSchema/properties/q/default`: the path stays the same whatever else is listed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

from registry.core.canonical import canonical_json

MOST_POINTER = 290
ORDER = "#order"
"""After a pointer: only the order of what stands there varies."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Any = _Absent()
Keys = tuple[str, ...]


class Listed(Protocol):
    """A `models.Definitions` or a `definitions.Normal`."""

    @property
    def tools(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def instructions(self) -> str: ...
    @property
    def prompts(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def resource_templates(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def tool_digests(self) -> Mapping[str, str]: ...
    @property
    def typed(self) -> bool: ...


class Leaf(NamedTuple):
    """One place that differs; `ABSENT` on the side that has nothing there."""

    keys: Keys
    before: Any
    after: Any

    @property
    def pointer(self) -> str:
        return pointer_of(self.keys)


def pointer_of(keys: Iterable[str]) -> str:
    """RFC 6901."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def tree(listed: Listed) -> dict[str, Any]:
    """The listing by names: `{"tools": {name: …}, "instructions": …, "prompts": {…}, "resource_templates": {…}}`."""
    return {
        "tools": {str(tool["name"]): dict(tool) for tool in listed.tools},
        "instructions": listed.instructions,
        "prompts": _by(listed.prompts, "name"),
        "resource_templates": _by(listed.resource_templates, "uriTemplate"),
    }


def _by(rows: Iterable[Mapping[str, Any]], key: str) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for row in rows:
        name, number = str(row[key]), 1
        while name in named:
            number += 1
            name = f"{row[key]} ({number})"
        named[name] = dict(row)
    return named


def leaves(before: Any, after: Any, keys: Keys = ()) -> Iterator[Leaf]:
    """Every smallest place that differs. A list of plain values is one place; so is whatever exists on one side."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from leaves(before.get(key, ABSENT), after.get(key, ABSENT), (*keys, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after) and _nested(before, after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from leaves(old, new, (*keys, str(index)))
    elif not same(before, after):
        yield Leaf(keys, before, after)


def same(before: Any, after: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are one number, 1 and true are not."""
    if before is ABSENT or after is ABSENT:
        return before is after
    return canonical_json(before) == canonical_json(after)


def _nested(*lists: list[Any]) -> bool:
    return any(isinstance(each, Mapping | list) for rows in lists for each in rows)


# --- Paths that vary by themselves -----------------------------------------------------------------------


def unstable_path(leaf: Leaf) -> str:
    """A place that differs between two looks although nobody released anything; `ORDER` where it may be let off."""
    keys = leaf.keys
    while len(pointer_of(keys)) > MOST_POINTER:
        keys = keys[:-1]
    order = keys == leaf.keys and varies_by_itself(leaf)
    return pointer_of(keys) + (ORDER if order else "")


def reordered(before: Any, after: Any) -> bool:
    """The same parts in another order: of a list, or of what commas and blanks part in a text."""
    if isinstance(before, list) and isinstance(after, list):
        return sorted(map(canonical_json, before)) == sorted(map(canonical_json, after))
    if isinstance(before, str) and isinstance(after, str):
        return _parts(before) == _parts(after)
    return False


def _parts(text: str) -> list[str]:
    for separator in ",;|":
        text = text.replace(separator, " ")
    return sorted(text.split())


def varies_by_itself(leaf: Leaf) -> bool:
    """Whether only an order differs that means nothing: of a list in a schema, or of a default joined from a set.

    Never a description, a name or a hint: there another order says something else.
    """
    in_schema = len(leaf.keys) > 3 and leaf.keys[0] == "tools" and leaf.keys[2] in ("inputSchema", "outputSchema")
    if not in_schema or (isinstance(leaf.before, str) and leaf.keys[-1] != "default"):
        return False
    return reordered(leaf.before, leaf.after)


def is_unstable(leaf: Leaf, paths: Collection[str]) -> bool:
    """Whether `leaf` is one of `paths` and, as each of them, differs in its order only."""
    return bool(paths) and leaf.pointer + ORDER in paths and varies_by_itself(leaf)


def stable_leaves(before: Listed, after: Listed, paths: Collection[str] = ()) -> list[Leaf]:
    """Where two listings differ besides where they vary by themselves."""
    return [leaf for leaf in leaves(tree(before), tree(after)) if not is_unstable(leaf, paths)]


def applied(before: Mapping[str, Any], changes: Iterable[Leaf]) -> dict[str, Any]:
    """`before` with these changes made: what the other side would be if nothing else had varied."""
    result: Any = deepcopy(before)
    for leaf in changes:
        *above, last = leaf.keys
        holder = result
        for key in above:
            holder = holder[int(key)] if isinstance(holder, list) else holder[key]
        if isinstance(holder, list):
            holder[int(last)] = leaf.after
        elif leaf.after is ABSENT:
            del holder[last]
        else:
            holder[last] = leaf.after
    return dict(result)
