"""How deeply the text of a document nests, told before anything reads it: in one pass, whatever it holds."""

import re
from array import array
from itertools import accumulate

MOST = 100
"""What is read of a body. What people and publishers write nests ten deep."""
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_STEPS = bytes(1 if sign in b"[{" else 255 for sign in range(256))
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def deepest(raw: bytes) -> int:
    """The most brackets of JSON that are open at once."""
    if not raw.count(b"[") + raw.count(b"{"):
        return 0
    brackets = _STRINGS.sub(b"", raw).translate(None, _ALL_BUT_BRACKETS)
    return max(accumulate(array("b", brackets.translate(_STEPS)), initial=0))


def is_too_deep(raw: bytes, most: int = MOST) -> bool:
    """Few brackets cannot nest deeply; only the rest is looked through."""
    return raw.count(b"[") + raw.count(b"{") > most and deepest(raw) > most
