"""JSON as people write it in configurations, without losing what a plain reader drops: keys that stand there twice."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyjson5

from registry.core.nesting import is_too_deep
from registry.core.secrets import Path

MAX_DEPTH = 60
# What has no end goes to the end of the text, so that no text takes more than one pass.
_TOKENS = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*(?:"|\Z))|//[^\r\n]*|/\*.*?(?:\*/|\Z)|,(?=\s*[}\]])', re.DOTALL)


class Keyed(dict[str, Any]):
    """A JSON object that remembers which of its keys were given more than once; the last value of each counts."""

    repeated: tuple[str, ...] = ()


def keyed(pairs: list[tuple[str, Any]]) -> Keyed:
    """For `object_pairs_hook`."""
    made = Keyed(pairs)
    if len(made) < len(pairs):
        times = Counter(name for name, _value in pairs)
        made.repeated = tuple(name for name in made if times[name] > 1)
    return made


def load(text: str) -> Any:
    """Strict JSON. Raises `ValueError`, `RecursionError`."""
    if is_too_deep(text.encode(errors="surrogatepass")):
        raise RecursionError
    return json.loads(text, object_pairs_hook=keyed, parse_constant=_no_number)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def load_relaxed(text: str) -> Any:
    """JSON with comments and trailing commas, or any other JSON5. Raises `ValueError`, `RecursionError`."""
    try:
        plain = text
        for _each in range(2):  # A comma that trails before a comment does so only once the comment is gone.
            plain = _TOKENS.sub(lambda found: found["text"] or " ", plain)
        return load(plain)
    except ValueError:
        try:
            return pyjson5.decode(text, MAX_DEPTH)
        except pyjson5.Json5Exception:
            # Not "from": a parser's error holds the text, and with it whatever secrets stand in it.
            raise ValueError("neither JSON nor JSON5") from None


def repeated_keys(document: Any) -> Iterator[Path]:
    """Where a key stands more than once, objects that were dropped for a later one excepted."""
    waiting: list[tuple[Path, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            for name in getattr(value, "repeated", ()):
                yield (*path, name)
            waiting += [((*path, str(name)), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), inner) for index, inner in enumerate(value)]
