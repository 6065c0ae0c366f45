"""Whether a changed text says something else, or was only polished.

A heuristic, and meant to err on the side of "something else": a text counts as polished when the same words remain
but for spaces, punctuation and capitals, or when at most two words changed by a letter or two each. Words that turn a
sentence round (not, never, only, …), numbers, names with underscores, addresses and markup always count.
"""

import re
from difflib import SequenceMatcher

from registry.core.inert import hidden

MOST_TYPOS = 2
MOST_LETTERS = 2
MOST_COMPARED = 20_000
# fmt: off
TURNING = frozenset({
    "not", "no", "never", "none", "without", "only", "except", "unless", "must", "always", "cannot", "can't",
    "don't", "won't", "may", "should", "shall", "and", "or", "all", "any", "before", "after", "instead", "if", "read",
    "write", "delete", "create", "remove", "update", "overwrite", "execute", "on", "off", "in", "out", "up", "down",
    "to", "from", "true", "false", "first", "last",
})
# fmt: on
_WORD = re.compile(r"[^\s.,;:!?()\[\]{}\"'`*_#>-]+(?:['_./:-][^\s.,;:!?()\[\]{}\"'`*#>-]+)*")
_CARRIES = re.compile(r"[\d_/@<>$%=]")


def same_meaning(before: str, after: str) -> bool:
    """Whether `after` is `before` with nothing but its spelling changed, as far as letters can tell."""
    if len(before) + len(after) > MOST_COMPARED or len(hidden(before)) != len(hidden(after)):
        return False
    old, new = _words(before), _words(after)
    if old == new:
        # Marks that begin markup are no punctuation: `<IMPORTANT>` around the same words says something else.
        return _marks(before) == _marks(after)
    if len(old) != len(new):
        return False
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    return len(changed) <= MOST_TYPOS and all(_typo(a, b) for a, b in changed)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _marks(text: str) -> list[str]:
    return sorted(re.findall(r"[<>{}]", text))


def _typo(before: str, after: str) -> bool:
    if {before, after} & TURNING or _CARRIES.search(before + after) or min(len(before), len(after)) < 4:
        return False
    return distance(before, after, MOST_LETTERS) <= MOST_LETTERS


def distance(before: str, after: str, most: int) -> int:
    """Letters to insert, drop, replace or swap with a neighbour; `most + 1` as soon as it is more."""
    if abs(len(before) - len(after)) > most:
        return most + 1
    above: list[int] = []
    row = list(range(len(after) + 1))
    for i, old in enumerate(before, 1):
        earlier, above, row = above, row, [i]
        for j, new in enumerate(after, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (old != new))
            if i > 1 and j > 1 and old == after[j - 2] and before[i - 2] == new:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]


def likeness(before: str, after: str) -> float:
    """0 to 1, of the first 2,000 characters."""
    return SequenceMatcher(None, before[:2000], after[:2000], autojunk=False).ratio()
