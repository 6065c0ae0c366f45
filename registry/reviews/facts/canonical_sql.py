"""Canonical JSON (RFC 8785) composed as text inside PostgreSQL.

Each function takes and returns SQL expressions, never values of users. What they yield has the exact bytes that
`core.canonical.canonical_json` gives for the same value, so that SHA-256 over it is the same digest: members in the
order of their names, no white space, and strings as `to_json(text)` escapes them, which is what RFC 8785 section
3.2.2.2 asks for (`tests/reviews/test_facts.py` proves it over hostile strings).

An expression that is NULL makes the whole text NULL, and the database refuses to store that: a forgotten `or_null`
is loud.
"""

from collections.abc import Iterable, Sequence

MAX_SAFE_INTEGER = 2**53 - 1
"""Beyond it a JSON number is no longer exact, and RFC 8785 has no form for it."""


def any_of(values: Iterable[str]) -> str:
    """The right side of IN, of values that the code itself names."""
    return f"({', '.join(repr(str(value)) for value in values)})"


def text(expression: str) -> str:
    return f"to_json({expression})::text"


def plain(expression: str) -> str:
    """A string that cannot hold anything to escape: ids, digests, hexadecimal."""
    return f"('\"' || {expression} || '\"')"


def or_null(expression: str) -> str:
    return f"coalesce({expression}, 'null')"


def boolean(expression: str) -> str:
    return f"({expression})::text"


def number(expression: str) -> str:
    return f"({expression})::text"


def large_number(expression: str) -> str:
    return number(f"CASE WHEN {expression} > {MAX_SAFE_INTEGER} THEN {MAX_SAFE_INTEGER} ELSE {expression} END")


def day(expression: str) -> str:
    """As `date.isoformat()`, whatever the session's DateStyle."""
    return plain(f"to_char({expression}, 'YYYY-MM-DD')")


def instant(expression: str) -> str:
    """As `datetime.isoformat(timespec="microseconds")` in UTC, whatever the session's time zone."""
    return plain(f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')""")


def strings(array: str) -> str:
    """A text array in its own order."""
    return f"to_json({array})::text"


def sorted_strings(array: str) -> str:
    return (
        f"""(SELECT '[' || coalesce(string_agg(to_json(each)::text, ',' ORDER BY each COLLATE "C"), '') || ']' """  # noqa: S608
        f"FROM unnest({array}) AS each)"
    )


def members(expression: str, order: str) -> str:
    """The members of a list, aggregated over the rows of a group; `listing` puts the brackets around them."""
    return f"string_agg({expression}, ',' ORDER BY {order})"


def listing(aggregated: str) -> str:
    """A list from `members`; of no rows an empty one."""
    return f"('[' || coalesce({aggregated}, '') || ']')"


def obj(**values: str) -> str:
    """An object of SQL expressions that are JSON text themselves; ASCII names only."""
    pieces: list[str] = []
    for name in sorted(values):
        pieces += [f"""'{"," if pieces else "{"}"{name}":'""", values[name]]
    return _joined([*pieces, "'}'"])


def digest(expression: str) -> str:
    return f"encode(sha256(convert_to({expression}, 'UTF8')), 'hex')"


def _joined(pieces: Sequence[str]) -> str:
    """Concatenation as a balanced tree: `||` copies both sides, and a chain would copy the beginning every time."""
    if len(pieces) == 1:
        return pieces[0]
    middle = len(pieces) // 2
    return f"({_joined(pieces[:middle])} || {_joined(pieces[middle:])})"
