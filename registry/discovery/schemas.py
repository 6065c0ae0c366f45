"""What changed between two JSON Schemas of a tool's arguments, in terms of what a caller may send.

`loosened` lets more through than before, `tightened` less, `reshaped` is neither for certain. Keywords that say
nothing about what is accepted (descriptions, defaults, examples) are `told`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from registry.discovery.pointers import ABSENT, Keys, same

Effect = Literal["loosened", "tightened", "reshaped", "told"]


class SchemaChange(NamedTuple):
    """One change of one keyword. `at` names the argument (`filter.since`, empty for the arguments as a whole),
    `names` what was added or dropped where the keyword lists something."""

    code: str
    effect: Effect
    at: str
    keys: Keys
    before: Any
    after: Any
    names: tuple[str, ...] = ()


LOWER_BOUNDS = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"})
UPPER_BOUNDS = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})
OTHER_BOUNDS = frozenset({"pattern", "format", "const", "multipleOf", "uniqueItems", "contentEncoding"})
NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
INNER = frozenset({"items", "contains", "propertyNames", "not", "if", "then", "else", "unevaluatedProperties"})
CHOICES = frozenset({"anyOf", "oneOf"})
TOLD = frozenset({"title", "description", "default", "examples", "$comment", "deprecated", "$schema", "$id"})


def compare_schemas(before: Any, after: Any, keys: Keys, at: str = "") -> Iterator[SchemaChange]:
    """Every changed keyword, outermost first. `keys` lead to the schema; either side may be missing or a boolean."""
    if same(before, after):
        return
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        yield SchemaChange("schema", _of_whole(before, after), at, keys, before, after)
        return
    for keyword in sorted({*before, *after}):
        old, new = before.get(keyword, ABSENT), after.get(keyword, ABSENT)
        if not same(old, new):
            yield from _keyword(keyword, old, new, (*keys, keyword), at)


def _of_whole(before: Any, after: Any) -> Effect:
    """A schema that came, went, or is only `true` or `false`: false refuses everything, nothing and true allow it."""
    if after is False or _allows_all(before):
        return "tightened"
    return "loosened" if before is False or _allows_all(after) else "reshaped"


def _allows_all(schema: Any) -> bool:
    return schema is ABSENT or schema is None or schema is True or schema == {}


def _keyword(keyword: str, old: Any, new: Any, keys: Keys, at: str) -> Iterator[SchemaChange]:
    if keyword == "type" and not at and _both_objects(old, new):
        # Arguments are an object whether a schema says so or not.
        yield SchemaChange("told", "told", at, keys, old, new)
    elif keyword in TOLD:
        code = keyword if keyword in ("description", "default", "title") else "told"
        yield SchemaChange(code, "told", at, keys, old, new)
    elif keyword in NAMED and _both(Mapping, old, new, empty={}):
        yield from _named(keyword, old or {}, new or {}, keys, at)
    elif keyword == "additionalProperties":
        effect = _of_whole(old, new)
        if _allows_all(old) and _allows_all(new):
            return  # `true` and nothing are the same promise: none
        code = "unknown_allowed" if effect == "loosened" and old is False else "unknown_refused"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from compare_schemas(old, new, keys, _inside(at, "*"))
        else:
            yield SchemaChange(code if False in (old, new) else "schema", effect, at, keys, old, new)
    elif keyword == "required" and _both(list, old, new, empty=[]):
        yield from _listing(keyword, old or [], new or [], keys, at, wider="tightened")
    elif keyword == "enum" and _both(list, old, new):
        yield from _listing(keyword, old, new, keys, at, wider="loosened")
    elif keyword == "type" and ABSENT not in (old, new):
        yield from _listing(keyword, _types(old), _types(new), keys, at, wider="loosened", said=(old, new))
    elif keyword in CHOICES and _both(list, old, new):
        yield from _choices(old, new, keys, at)
    elif keyword in INNER and isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from compare_schemas(old, new, keys, _inside(at, "[]" if keyword == "items" else keyword))
    else:
        yield SchemaChange(_code(keyword), _of_bound(keyword, old, new), at, keys, old, new)


def _both_objects(old: Any, new: Any) -> bool:
    return {"object" if side is ABSENT else str(side) for side in (old, new)} == {"object"}


def _both(kind: type, old: Any, new: Any, *, empty: Any = None) -> bool:
    """Whether both sides are of this kind; where there is something that stands for nothing, one may be missing."""
    return all(isinstance(side, kind) or (side is ABSENT and empty is not None) for side in (old, new))


def _named(keyword: str, old: Mapping[str, Any], new: Mapping[str, Any], keys: Keys, at: str) -> Iterator[SchemaChange]:
    arguments = keyword == "properties"
    for name in sorted({*old, *new}):
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        place = _inside(at, name if arguments else f"{keyword}/{name}")
        if before is ABSENT or after is ABSENT:
            came = before is ABSENT
            code = ("argument_added" if came else "argument_removed") if arguments else "schema"
            effect: Effect = ("loosened" if came else "tightened") if arguments else "reshaped"
            yield SchemaChange(code, effect, place, (*keys, name), before, after)
        else:
            yield from compare_schemas(before, after, (*keys, name), place)


def _listing(
    keyword: str, old: Sequence[Any], new: Sequence[Any], keys: Keys, at: str, *, wider: Effect, said: Any = None
) -> Iterator[SchemaChange]:
    """`required`, `enum`, `type`: what was added and what was dropped count apart; another order counts for nothing."""
    narrower: Effect = "tightened" if wider == "loosened" else "loosened"
    added = [value for value in new if not any(same(value, other) for other in old)]
    dropped = [value for value in old if not any(same(value, other) for other in new)]
    before, after = said or (list(old), list(new))
    if added:
        yield SchemaChange(f"{keyword}_added", wider, at, keys, before, after, _words(added))
    if dropped:
        yield SchemaChange(f"{keyword}_dropped", narrower, at, keys, before, after, _words(dropped))
    if not added and not dropped:
        # No list and an empty one require the same.
        yield SchemaChange("reordered" if old else "told", "told", at, keys, before, after)


def _choices(old: Sequence[Any], new: Sequence[Any], keys: Keys, at: str) -> Iterator[SchemaChange]:
    added = any(not any(same(value, other) for other in old) for value in new)
    dropped = any(not any(same(value, other) for other in new) for value in old)
    effect: Effect = "reshaped" if added and dropped else "loosened" if added else "tightened" if dropped else "told"
    code = "reordered" if effect == "told" else "choices"
    yield SchemaChange(code, effect, at, keys, list(old), list(new))


def _of_bound(keyword: str, old: Any, new: Any) -> Effect:
    """A bound that went lets more through; one that came, less; one that moved, by where it went."""
    known = keyword in LOWER_BOUNDS | UPPER_BOUNDS | OTHER_BOUNDS | {"enum", "type", "additionalProperties"}
    if new is ABSENT:
        return "loosened" if known else "reshaped"
    if old is ABSENT:
        return "tightened" if known else "reshaped"
    numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in (old, new))
    if numbers and keyword in UPPER_BOUNDS:
        return "loosened" if new > old else "tightened"
    if numbers and keyword in LOWER_BOUNDS:
        return "loosened" if new < old else "tightened"
    return "reshaped"


def _code(keyword: str) -> str:
    return "bound" if keyword in LOWER_BOUNDS | UPPER_BOUNDS | OTHER_BOUNDS | {"enum", "type"} else "schema"


def _types(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _words(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple("null" if value is None else str(value)[:80] for value in values)


def _inside(at: str, name: str) -> str:
    return f"{at}.{name}" if at and not name.startswith("[") else f"{at}{name}"
