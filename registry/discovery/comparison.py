"""What changed between two listings of one server: the set of tools, each tool, and what else the server says.

Pure. `compare` answers `Difference`s, worst first; together their pointers cover every place that differs. Severity is
a table (`SEVERITY`), explained in docs/discovery.md.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _

from registry.discovery.formats.reading import claimed_class
from registry.discovery.meaning import likeness, same_meaning
from registry.discovery.pointers import ABSENT, Keys, Leaf, Listed, applied, is_unstable, leaves, pointer_of, same, tree
from registry.discovery.schemas import SchemaChange, compare_schemas

Json = Mapping[str, Any]

LEVELS = ("low", "medium", "high", "critical")
SEVERITY: Mapping[str, str] = {
    # the set of tools
    "added_destructive": "critical",  # or one that claims nothing: the protocol's default is destructive
    "added_write": "high",
    "added_read": "medium",
    "removed": "low",
    "renamed": "medium",  # a rename defeats whoever pins names
    "renamed_not_read": "high",
    # what it says about its own effects
    "claim_raised": "high",  # it says that it may do more: no longer read-only, now destructive, open world
    "claim_lowered": "medium",  # it says that it does less: the words changed, perhaps not the deed
    "annotated": "low",
    # what it accepts
    "loosened": "medium",
    "tightened": "low",
    "reshaped": "medium",
    "told": "low",  # defaults, examples, titles
    "default": "medium",  # what happens when the caller says nothing
    "order": "low",
    # what models read
    "meaning": "high",
    "wording": "low",
    "instructions": "high",
    "prompt_added": "medium",
    "prompt_changed": "medium",
    "prompt_removed": "low",
    "output": "low",
    # what was typed in and approved, against what is listed
    "typed_words": "medium",
    "typed_said": "medium",
    "typed_schema": "low",  # nobody knew what it takes; now it is seen
    "unseen": "high",  # the digest differs in what is not kept
    "other": "medium",
}

MOST_SHOWN = 4000
"""Characters of a value in a field's difference; the whole is in the definitions."""
RENAME_LIKENESS = 0.75
MOST_PAIRS = 4000


@dataclass(frozen=True)
class FieldChange:
    pointer: str
    before: Any
    after: Any

    def as_json(self) -> dict[str, Any]:
        """What is absent on one side is left out, so that it is told from null."""
        sides = {"before": self.before, "after": self.after}
        return {"pointer": self.pointer, **{name: _short(side) for name, side in sides.items() if side is not ABSENT}}


@dataclass(frozen=True)
class Difference:
    """`kind`: added, removed, renamed, changed (a tool), instructions, prompt, resource_template.

    `rule` is its row in `SEVERITY`. `sentence` quotes names as listed, so it is shown like a stranger's text.
    """

    kind: str
    tool: str
    sentence: str
    rule: str
    fields: tuple[FieldChange, ...] = field(default=())

    @property
    def severity(self) -> str:
        return SEVERITY[self.rule]

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tool": self.tool,
            "sentence": self.sentence,
            "rule": self.rule,
            "severity": self.severity,
            "fields": [each.as_json() for each in self.fields],
        }


def worst(differences: Iterable[Difference]) -> str:
    """The highest severity among them, `low` for none."""
    return max((each.severity for each in differences), key=LEVELS.index, default=LEVELS[0])


def compare(before: Listed, after: Listed, ignoring: Collection[str] = ()) -> list[Difference]:
    """Every difference, worst first. `ignoring`: paths that vary by themselves (`pointers.is_unstable`).

    What was typed in is compared by name and as far as it was known.
    """
    if before.typed:
        return _ranked(_against_typed(before, after))
    old, new = tree(before), tree(after)
    found = list(leaves(old, new))
    varying = [leaf for leaf in found if is_unstable(leaf, ignoring)]
    if varying:
        found = [leaf for leaf in found if not is_unstable(leaf, ignoring)]
        new = applied(old, found)
    noisy = {leaf.keys[1] for leaf in varying if leaf.keys[0] == "tools"}
    differences = [*_tools(old["tools"], new["tools"]), *_said(old, new)]
    differences += _unseen(before, after, old["tools"], new["tools"], noisy)
    differences += _rest(found, differences)
    return _ranked(differences)


def _ranked(differences: Iterable[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda each: (-LEVELS.index(each.severity), each.tool, each.rule, each.sentence))


# --- The set of tools ------------------------------------------------------------------------------------


def _tools(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    gone, came = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    renamed = _renamed({name: old[name] for name in gone}, {name: new[name] for name in came})
    for name in gone:
        if name not in renamed:
            yield Difference("removed", name, _("`%s` is gone") % name, "removed", _whole(name, old[name], ABSENT))
    for name in came:
        if name not in renamed.values():
            yield _added(name, new[name])
    for before, after in renamed.items():
        yield _rename(before, after, old[before], new[after])
        yield from _tool(after, old[before], new[after])
    for name in sorted(old.keys() & new.keys()):
        yield from _tool(name, old[name], new[name])


def _whole(name: str, before: Any, after: Any) -> tuple[FieldChange, ...]:
    return (FieldChange(pointer_of(("tools", name)), before, after),)


def _class(tool: Json) -> str:
    """What its annotations claim; one that gives none may do anything."""
    return claimed_class(tool.get("annotations")) or "unknown"


def _added(name: str, tool: Json) -> Difference:
    claim = _class(tool)
    sentence = {
        "read": _("`%s` is new and says that it only reads"),
        "write": _("`%s` is new and not read-only"),
        "destructive": _("`%s` is new, not read-only, and may destroy"),
        "unknown": _("`%s` is new and not read-only: it says nothing about its effects"),
    }[claim]
    rule = {"read": "added_read", "write": "added_write"}.get(claim, "added_destructive")
    return Difference("added", name, sentence % name, rule, _whole(name, ABSENT, tool))


def _rename(before: str, after: str, old: Json, new: Json) -> Difference:
    rule = "renamed" if _class(new) == "read" else "renamed_not_read"
    sentence = _("`%(before)s` is probably called `%(after)s` now") % {"before": before, "after": after}
    return Difference("renamed", after, sentence, rule, _whole(before, old, ABSENT) + _whole(after, ABSENT, new))


def _renamed(gone: Mapping[str, Json], came: Mapping[str, Json]) -> dict[str, str]:
    """Old name → new name of tools that went and came alike, best pairs first."""
    if not gone or not came or len(gone) * len(came) > MOST_PAIRS:
        return {}
    pairs = sorted(
        ((_alike(old, new), before, after) for before, old in gone.items() for after, new in came.items()),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    renamed: dict[str, str] = {}
    for score, before, after in pairs:
        if score >= RENAME_LIKENESS and before not in renamed and after not in renamed.values():
            renamed[before] = after
    return renamed


def _alike(old: Json, new: Json) -> float:
    """0 to 1: half by description, half by arguments. Tools that say nothing are like nobody."""
    texts = [str(tool.get("description", "")) for tool in (old, new)]
    arguments = [_arguments(tool) for tool in (old, new)]
    if not any(texts) and not any(arguments):
        return 0
    union = arguments[0] | arguments[1]
    shapes = same(old.get("inputSchema", ABSENT), new.get("inputSchema", ABSENT)) or not union
    by_shape = 1.0 if shapes else len(arguments[0] & arguments[1]) / len(union)
    by_text = likeness(*texts) if all(texts) else 0.5 * (texts[0] == texts[1])
    # A pair without arguments is alike in words or not at all.
    return by_text if not union else (by_shape + by_text) / 2


def _arguments(tool: Json) -> set[str]:
    schema = tool.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return set(properties) if isinstance(properties, Mapping) else set()


# --- One tool --------------------------------------------------------------------------------------------


def _tool(name: str, old: Json, new: Json) -> Iterator[Difference]:
    keys: Keys = ("tools", name)
    if not same(old.get("description", ""), new.get("description", "")):
        yield _text_changed(name, keys, str(old.get("description", "")), str(new.get("description", "")))
    if not same(old.get("title", ""), new.get("title", "")):
        fields = (_field((*keys, "title"), old.get("title", ABSENT), new.get("title", ABSENT)),)
        yield Difference("changed", name, _("`%s` has another title") % name, "told", fields)
    yield from _annotations(name, (*keys, "annotations"), old.get("annotations"), new.get("annotations"))
    for change in compare_schemas(
        old.get("inputSchema", ABSENT), new.get("inputSchema", ABSENT), (*keys, "inputSchema")
    ):
        yield _schema_changed(name, change)
    yield from _output(name, (*keys, "outputSchema"), old.get("outputSchema", ABSENT), new.get("outputSchema", ABSENT))


def _text_changed(name: str, keys: Keys, old: str, new: str) -> Difference:
    fields = (_field((*keys, "description"), old, new),)
    if same_meaning(old, new):
        return Difference("changed", name, _("the description of `%s` was polished") % name, "wording", fields)
    return Difference("changed", name, _("the description of `%s` says something else") % name, "meaning", fields)


HINTS: Mapping[str, tuple[bool, bool]] = {
    "readOnlyHint": (False, True),
    "destructiveHint": (True, False),
    "idempotentHint": (False, True),
    "openWorldHint": (True, False),
}
"""Each hint's value when it is not given, and the value that promises less harm."""


def _annotations(name: str, keys: Keys, old: Any, new: Any) -> Iterator[Difference]:
    before, after = (side if isinstance(side, Mapping) else {} for side in (old, new))
    if not before and any(hint in after for hint in HINTS):
        claim = {
            "read": _("`%s` says about its effects now: it only reads"),
            "write": _("`%s` says about its effects now: it writes, and destroys nothing"),
            "destructive": _("`%s` says about its effects now: it may destroy"),
        }.get(claimed_class(after), _("`%s` says something about its effects now"))
        yield Difference("changed", name, claim % name, "annotated", (_field(keys, _or_absent(old), new),))
        return
    for hint, (silence, harmless) in HINTS.items():
        was, now = before.get(hint, ABSENT), after.get(hint, ABSENT)
        if same(was, now):
            continue
        meant, means = (silence if value is ABSENT else value for value in (was, now))
        fields = (_field((*keys, hint), was, now),)
        if same(meant, means):
            yield Difference("changed", name, _("`%s` words its hints differently") % name, "told", fields)
        else:
            raised = means is not harmless
            rule = "told" if hint == "idempotentHint" else "claim_raised" if raised else "claim_lowered"
            yield Difference("changed", name, _hint_sentence(hint, raised) % name, rule, fields)
    others = [
        leaf for leaf in leaves(before, after, keys) if leaf.keys[len(keys) :][:1] not in {(hint,) for hint in HINTS}
    ]
    if others and (before or after):
        rest = tuple(_field(leaf.keys, leaf.before, leaf.after) for leaf in others)
        yield Difference("changed", name, _("`%s` has other annotations") % name, "told", rest)


def _or_absent(value: Any) -> Any:
    return ABSENT if value is None else value


def _hint_sentence(hint: str, raised: bool) -> str:
    return {
        ("readOnlyHint", True): _("`%s` is no longer read-only"),
        ("readOnlyHint", False): _("`%s` says now that it only reads"),
        ("destructiveHint", True): _("`%s` no longer says that it destroys nothing"),
        ("destructiveHint", False): _("`%s` says now that it destroys nothing"),
        ("idempotentHint", True): _("`%s` no longer says that a repetition changes nothing"),
        ("idempotentHint", False): _("`%s` says now that a repetition changes nothing"),
        ("openWorldHint", True): _("`%s` no longer says that it stays inside a closed world"),
        ("openWorldHint", False): _("`%s` says now that it stays inside a closed world"),
    }[hint, raised]


def _schema_changed(name: str, change: SchemaChange) -> Difference:
    code, at = change.code, change.at
    words = {"tool": name, "at": at, "names": ", ".join(change.names)}
    rule: str = change.effect
    match code:
        case "unknown_allowed":
            sentence = (
                _("`%(tool)s` no longer refuses unknown members of `%(at)s`")
                if at
                else _("`%(tool)s` no longer refuses unknown arguments")
            )
        case "unknown_refused":
            sentence = (
                _("`%(tool)s` refuses unknown members of `%(at)s` now")
                if at
                else _("`%(tool)s` refuses unknown arguments now")
            )
        case "argument_added":
            sentence = _("`%(tool)s` takes a new argument, `%(at)s`")
        case "argument_removed":
            sentence = _("`%(tool)s` no longer takes `%(at)s`")
        case "required_added":
            sentence = _("`%(tool)s` requires now: %(names)s")
        case "required_dropped":
            sentence = _("`%(tool)s` no longer requires: %(names)s")
        case "enum_added":
            sentence = _("`%(tool)s` accepts more for `%(at)s`: %(names)s")
        case "enum_dropped":
            sentence = _("`%(tool)s` no longer accepts for `%(at)s`: %(names)s")
        case "type_added":
            sentence = _("`%(tool)s` accepts another type for `%(at)s`: %(names)s")
        case "type_dropped":
            sentence = _("`%(tool)s` no longer accepts this type for `%(at)s`: %(names)s")
        case "bound":
            words["names"] = change.keys[-1]
            sentence = {
                "loosened": _("`%(tool)s` limits `%(at)s` less: %(names)s"),
                "tightened": _("`%(tool)s` limits `%(at)s` more: %(names)s"),
            }.get(change.effect, _("`%(tool)s` limits `%(at)s` differently: %(names)s"))
        case "default":
            rule, sentence = "default", _("`%(tool)s` does something else when `%(at)s` is left out")
        case "description" if same_meaning(_said_of(change.before), _said_of(change.after)):
            rule, sentence = "wording", _("what `%(tool)s` says about `%(at)s` was polished")
        case "description":
            rule, sentence = "meaning", _("`%(tool)s` says something else about `%(at)s`")
        case "reordered":
            rule, sentence = "order", _("`%(tool)s` lists the same in another order")
        case "told" | "title":
            words["names"] = change.keys[-1]
            sentence = _("`%(tool)s` notes something else in its schema: %(names)s")
        case "choices":
            sentence = _("`%(tool)s` accepts other forms of `%(at)s`")
        case _:
            sentence = _("the schema of `%(tool)s` has another shape at `%(at)s`")
    if not at:
        sentence = sentence.replace(" `%(at)s`", " " + _("its arguments"))
    return Difference("changed", name, sentence % words, rule, (_field(change.keys, change.before, change.after),))


def _said_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _output(name: str, keys: Keys, old: Any, new: Any) -> Iterator[Difference]:
    if same(old, new):
        return
    sentence = (
        _("`%s` describes its answers now")
        if old is ABSENT
        else _("`%s` no longer describes its answers")
        if new is ABSENT
        else _("`%s` describes its answers differently")
    )
    fields = tuple(_field(leaf.keys, leaf.before, leaf.after) for leaf in islice(leaves(old, new, keys), 50))
    yield Difference("changed", name, sentence % name, "output", fields)


# --- What else it says -----------------------------------------------------------------------------------


def _said(old: Json, new: Json) -> Iterator[Difference]:
    before, after = old["instructions"], new["instructions"]
    if before != after:
        fields = (_field(("instructions",), before, after),)
        if not before:
            yield Difference("instructions", "", _("it gives instructions now"), "instructions", fields)
        elif not after:
            yield Difference("instructions", "", _("it no longer gives instructions"), "wording", fields)
        elif same_meaning(before, after):
            yield Difference("instructions", "", _("its instructions were polished"), "wording", fields)
        else:
            yield Difference("instructions", "", _("its instructions changed"), "instructions", fields)
    words = {
        "prompts": (
            "prompt",
            _("the prompt `%s` is new"),
            _("the prompt `%s` is gone"),
            _("the prompt `%s` changed"),
        ),
        "resource_templates": (
            "resource_template",
            _("the resource template `%s` is new"),
            _("the resource template `%s` is gone"),
            _("the resource template `%s` changed"),
        ),
    }
    for group, (kind, came, went, changed) in words.items():
        for name in sorted({*old[group], *new[group]}):
            was, now = old[group].get(name, ABSENT), new[group].get(name, ABSENT)
            if same(was, now):
                continue
            sentence, rule = (
                (came, "prompt_added")
                if was is ABSENT
                else (went, "prompt_removed")
                if now is ABSENT
                else (changed, "prompt_changed")
            )
            yield Difference(kind, "", sentence % name, rule, (_field((group, name), was, now),))


# --- Against what was typed in ---------------------------------------------------------------------------

_HARM = ("read", "write", "destructive", "execute")


def _against_typed(before: Listed, after: Listed) -> Iterator[Difference]:
    old, new = tree(before), tree(after)
    for name in sorted(old["tools"].keys() - new["tools"].keys()):
        yield Difference("removed", name, _("`%s` is gone") % name, "removed", _whole(name, old["tools"][name], ABSENT))
    for name in sorted(new["tools"].keys() - old["tools"].keys()):
        yield _added(name, new["tools"][name])
    for name in sorted(old["tools"].keys() & new["tools"].keys()):
        if before.tool_digests.get(name) != after.tool_digests.get(name):
            yield from _typed_tool(name, old["tools"][name], new["tools"][name])
    for each in _said(old, new):
        yield replace(each, rule="typed_said" if each.kind == "instructions" else each.rule)


def _typed_tool(name: str, old: Json, new: Json) -> Iterator[Difference]:
    keys: Keys = ("tools", name)
    said = 0
    known, claims = str(old.get("approvedClass", "")), claimed_class(new.get("annotations"))
    if known and claims and _HARM.index(claims) > _HARM.index(known):
        words = {"tool": name, "known": known, "claims": claims}
        sentence = _("`%(tool)s` says that its class is %(claims)s; approved was %(known)s") % words
        yield Difference("changed", name, sentence, "claim_raised", (_field((*keys, "annotations"), known, claims),))
        said += 1
    was, now = str(old.get("description", "")), str(new.get("description", ""))
    if was and not same_meaning(was, now):
        fields = (_field((*keys, "description"), was, now),)
        sentence = _("`%s` describes itself in other words than those that were approved") % name
        yield Difference("changed", name, sentence, "typed_words", fields)
        said += 1
    if "inputSchema" in old:
        for change in compare_schemas(old["inputSchema"], new.get("inputSchema", ABSENT), (*keys, "inputSchema")):
            yield _schema_changed(name, change)
            said += 1
    if not said:
        # Its digest is another all the same, so its approval ended: that is told.
        fields = (_field((*keys, "inputSchema"), ABSENT, new.get("inputSchema", ABSENT)),)
        sentence = _("`%s` was only typed in so far; now its definition is seen") % name
        yield Difference("changed", name, sentence, "typed_schema", fields)


# --- What the rest does not say --------------------------------------------------------------------------


def _unseen(
    before: Listed, after: Listed, old: Mapping[str, Any], new: Mapping[str, Any], noisy: Collection[str]
) -> Iterator[Difference]:
    """Tools whose digests differ although what is kept of them does not: a secret changed, which is not kept."""
    for name in sorted((old.keys() & new.keys()) - set(noisy)):
        if before.tool_digests.get(name) != after.tool_digests.get(name) and same(old[name], new[name]):
            sentence = _("`%s` changed in a place that is not kept, because it looks like a secret") % name
            digests = (before.tool_digests.get(name, ABSENT), after.tool_digests.get(name, ABSENT))
            yield Difference("changed", name, sentence, "unseen", (_field(("tools", name, "digest"), *digests),))


def _rest(found: Sequence[Leaf], said: Sequence[Difference]) -> Iterator[Difference]:
    """Places no sentence covers: nothing that differs goes without one."""
    told = {each.pointer for difference in said for each in difference.fields}
    rest: dict[str, list[Leaf]] = {}
    for leaf in found:
        if not _covered(leaf, told) and not _empty(leaf):
            rest.setdefault(leaf.keys[1] if leaf.keys[0] == "tools" else "", []).append(leaf)
    for name, left in sorted(rest.items()):
        sentence = _("`%s` changed in its form only") % name if name else _("something else changed")
        fields = tuple(_field(leaf.keys, leaf.before, leaf.after) for leaf in left[:50])
        yield Difference("changed", name, sentence, "told" if _formal(left) else "other", fields)


def _covered(leaf: Leaf, pointers: Collection[str]) -> bool:
    """Whether one of `pointers` is the leaf's, leads to it, or lies within it."""
    own = leaf.pointer
    above = {pointer_of(leaf.keys[:length]) for length in range(1, len(leaf.keys) + 1)}
    return bool(above & set(pointers)) or any(each.startswith(f"{own}/") for each in pointers)


def _empty(leaf: Leaf) -> bool:
    """An empty text or object and none at all: the same to whoever reads it, and to the digest where it counts."""
    return all(not side and side is not False and side != 0 for side in (leaf.before, leaf.after))


def _formal(left: Iterable[Leaf]) -> bool:
    """`additionalProperties: true` came or went, which changes nothing."""
    return all(
        leaf.keys[-1] == "additionalProperties" and {leaf.before is False, leaf.after is False} == {False}
        for leaf in left
    )


def _field(keys: Keys, before: Any, after: Any) -> FieldChange:
    return FieldChange(pointer_of(keys), before, after)


def _short(value: Any) -> Any:
    """A value as it is kept with a difference: short, for the whole of it is in the definitions."""
    if isinstance(value, str) and len(value) > MOST_SHOWN:
        return value[:MOST_SHOWN] + "…"
    if isinstance(value, Mapping | list) and len(str(value)) > MOST_SHOWN:
        return str(value)[:MOST_SHOWN] + "…"
    return value
