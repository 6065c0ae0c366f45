"""What a server lists of itself, reduced to what is material, and its digests.

The digest per tool is the catalog's: SHA-256 over the RFC 8785 form of name, title, description, inputSchema,
outputSchema and annotations. `_meta`, icons, the order of tools and of keys, and the server's own name and version are
no part of it, because they change without anything having changed. Digests are of what the server said; what is kept
is the same with secrets blanked out, so a cleaned text still has its right digest.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfc8785 import CanonicalizationError

from registry.catalog.services import ObservedTool, tool_digest
from registry.core.canonical import SAFE_INTEGER, canonical_json, digest
from registry.core.secrets import redact
from registry.discovery.formats.reading import claimed_class, cleaned
from registry.discovery.seen import Listing

MAX_BYTES = 5 * 1024 * 1024
"""Real lists reach 121 kB."""
MAX_TOOLS = 5000
MAX_DEPTH = 60
MOST_NAME, MOST_TITLE = 128, 200

TOOL = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
PROMPT = ("name", "title", "description", "arguments")
TEMPLATE = ("uriTemplate", "name", "title", "description", "mimeType")


class Unusable(Exception):
    """A listing that cannot be kept. `too_large` says which of the two reasons it is; the message is for people."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        self.too_large = too_large
        super().__init__(message)


@dataclass(frozen=True)
class Normal:
    """A listing in the form of `models.Definitions`, which has the same fields. Sorted, cleaned, storable."""

    digest: str
    tools: list[dict[str, Any]]
    instructions: str
    prompts: list[dict[str, Any]]
    resource_templates: list[dict[str, Any]]
    tool_digests: dict[str, str]
    size: int
    typed: bool = False


def normalise(listing: Listing) -> Normal:
    """The material part of `listing`, digested as listed and cleaned for keeping. Raises `Unusable`."""
    if len(listing.tools) > MAX_TOOLS:
        raise Unusable(f"It lists {len(listing.tools)} tools; at most {MAX_TOOLS} are taken in.", too_large=True)
    tools = _material(listing.tools, TOOL, "tool")
    prompts = _material(listing.prompts, PROMPT, "prompt")
    templates = _material(listing.resource_templates, TEMPLATE, "resource template")
    instructions = _carried(listing.instructions if isinstance(listing.instructions, str) else "")
    try:
        digested = sorted(((tool_digest(_facts(tool)), tool) for tool in tools), key=lambda each: _order(*each))
        others = {"prompts": _sorted(prompts), "resource_templates": _sorted(templates)}
        size = len(canonical_json({"tools": tools, "instructions": instructions, **others}))
    except (CanonicalizationError, RecursionError) as error:
        raise Unusable("It holds something JSON cannot carry exactly.") from error
    if size > MAX_BYTES:
        raise Unusable(f"It lists {size:,} bytes; at most {MAX_BYTES:,} are taken in.", too_large=True)
    names = _names(tool["name"] for _, tool in digested)
    return Normal(
        digest=digest(
            {"tools": [[tool["name"], value] for value, tool in digested], "instructions": instructions, **others}
        ),
        tools=[{**_kept(tool), "name": name} for name, (_, tool) in zip(names, digested, strict=True)],
        instructions=redact(_storable(instructions)),
        prompts=[_kept(each) for each in others["prompts"]],
        resource_templates=[_kept(each) for each in others["resource_templates"]],
        tool_digests={name: value for name, (value, _) in zip(names, digested, strict=True)},
        size=size,
    )


def said_digest(instructions: str, prompts: Sequence[Any], templates: Sequence[Any], *more: str) -> str:
    """One digest of what a server says besides its tools, as kept; empty when it says nothing."""
    if not (instructions or prompts or templates or more):
        return ""
    return digest(
        {
            "instructions": instructions,
            "prompts": list(prompts),
            "resource_templates": list(templates),
            "more": sorted(more),
        }
    )


def observed(tool: Mapping[str, Any], digest_: str) -> ObservedTool:
    """A kept tool as the catalog writes it down."""
    definition = {key: tool[key] for key in ("inputSchema", "outputSchema", "annotations") if key in tool}
    return {
        "name": tool["name"],
        "title": _text(tool.get("title"))[:MOST_TITLE],
        "description": _text(tool.get("description")),
        "definition": definition,
        "digest": digest_,
        "claimed_class": claimed_class(tool.get("annotations")),
    }


# --- What is material ------------------------------------------------------------------------------------


def _material(rows: Iterable[Any], keys: tuple[str, ...], what: str) -> list[dict[str, Any]]:
    material = []
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(row.get(keys[0]), str) or not row[keys[0]]:
            raise Unusable(f"It lists a {what} without a name.")
        # Some serializers write null where others write nothing.
        material.append({key: _carried(row[key]) for key in keys if row.get(key) is not None})
    return material


def _facts(tool: Mapping[str, Any]) -> Any:
    """The catalog's `ToolFacts` of a raw tool."""
    return {
        "name": tool["name"],
        "title": tool.get("title", ""),
        "description": tool.get("description", ""),
        "definition": {key: tool[key] for key in TOOL[3:] if key in tool},
    }


def _order(value: str, tool: Mapping[str, Any]) -> tuple[str, str]:
    """By name as UTF-16 does not matter here; equal names by digest, so that their order cannot be seen either."""
    return tool["name"], value


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=canonical_json)


def _carried(value: Any, depth: int = 0) -> Any:
    """JSON as RFC 8785 carries it: numbers are doubles, half of a surrogate pair is a replacement character."""
    if depth > MAX_DEPTH:
        raise Unusable("It is nested too deeply.")
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case bool() | None:
            return value
        case int():
            return value if abs(value) <= SAFE_INTEGER else _double(value)
        case float():
            return value if value - value == 0 else str(value)
        case Mapping():
            return {_carried(str(key)): _carried(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple():
            return [_carried(inner, depth + 1) for inner in value]
    raise Unusable("It holds something JSON cannot carry exactly.")


def _double(value: int) -> float | str:
    try:
        return float(value)
    except OverflowError:
        return str(value)


# --- What is kept ----------------------------------------------------------------------------------------


def _names(raw: Iterable[str]) -> list[str]:
    """The names as kept: unique, without secrets, short enough. A second tool of a name must not hide behind the
    first, nor one with an endless name behind a limit."""
    used: Counter[str] = Counter()
    names = []
    for name in raw:
        kept = redact(_storable(name))
        if len(kept) > MOST_NAME - 8:
            kept = f"{kept[: MOST_NAME - 30]}…{digest(name)[:16]}" if len(kept) > MOST_NAME else kept
        used[kept] += 1
        names.append(kept if used[kept] == 1 else f"{kept[: MOST_NAME - 8]} ({used[kept]})")
    return names


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = _storable(cleaned(row))
    return kept


def _storable(value: Any) -> Any:
    """PostgreSQL keeps no NUL; its picture tells that there was one."""
    match value:
        case str():
            return value.replace("\x00", "␀")
        case Mapping():
            # A secret may also be a key; nothing shorter than the shortest token is looked at.
            keys = {key: redact(_storable(key)) if len(key) > 15 else _storable(key) for key in value}
            return {keys[key]: _storable(inner) for key, inner in value.items()}
        case list():
            return [_storable(inner) for inner in value]
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
