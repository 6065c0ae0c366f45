"""Text of strangers, made harmless to look at: what cannot be seen is spelled out, so that nothing hides in it."""

import re
import unicodedata

# Characters that draw nothing or turn what follows around: controls, zero-width and bidirectional marks, tag
# characters (U+E0000), fillers, and the variation selectors that carry hidden bytes (U+FE00, U+E0100). With controls
# and marks of annotation these are all that Unicode calls default ignorable.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_JOINERS = "\u200c\u200d"
_SELECTORS = "\ufe0e\ufe0f"
# What U+FE0E and U+FE0F turn into text or a picture, and nothing else: emoji, and digits under a keycap.
_PRESENTED = re.compile(
    "(?:[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    "\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff](?=[\ufe0e\ufe0f])|[#*0-9](?=\ufe0f\u20e3))."
)


def hidden(text: str) -> list[int]:
    """Positions of characters that hide. A joiner between letters or signs beyond ASCII does its proper work, and so
    does one selector after an emoji."""
    found = []
    for match in INVISIBLE.finditer(text):
        at = match.start()
        if match[0] in _JOINERS and 0 < at < len(text) - 1 and _joins(text[at - 1]) and _joins(text[at + 1]):
            continue
        if match[0] in _SELECTORS and at > 0 and _PRESENTED.match(text, at - 1):
            continue
        found.append(at)
    return found


def _joins(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character)[0] in "LMS"


def visible(text: str) -> str:
    """`text` with what hides spelled as `[U+200B]`. Still to be escaped for HTML, as any text."""
    places = hidden(text)
    if not places:
        return text
    parts, start = [], 0
    for at in places:
        parts += [text[start:at], f"[U+{ord(text[at]):04X}]"]
        start = at + 1
    return "".join([*parts, text[start:]])


# How characters of INVISIBLE begin in UTF-8. Pages are full of dashes and quotes that begin alike, so the last byte
# counts too; a page without any of these, as nearly all are, costs a few passes of memchr.
_ENCODED = re.compile(
    rb"\xe2(?:\x80[\x8b-\x8f\xa8-\xae]|\x81[\xa0-\xaf])|\xf3\xa0[\x80-\xbf]|\xef\xbb\xbf|\xc2[\x80-\x9f\xad]|\xd8\x9c"
    rb"|\xcd\x8f|\xe1(?:\x85[\x9f\xa0]|\x9e[\xb4\xb5]|\xa0[\x8b-\x8f])|\xe3\x85\xa4|\xef\xbe\xa0|\xef\xbf[\xb0-\xbb]"
    rb"|\xef\xb8[\x80-\x8f]|\xf0\x9b\xb2[\xa0-\xa3]|\xf0\x9d\x85[\xb3-\xba]"
)


def visible_page(page: bytes) -> bytes:
    """A whole HTML page with what hides in it spelled out. None of our own words need such characters."""
    return visible(page.decode()).encode() if _ENCODED.search(page) else page
