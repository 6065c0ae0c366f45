"""Lists as CSV, streamed row by row, safe to open in a spreadsheet. Everything that writes CSV writes it here.

Every cell is quoted, and what a spreadsheet would run gets an apostrophe in front (CWE-1236): at the start of a cell,
and wherever a cell would start if the spreadsheet splits at semicolons or tabs, as it does in half of Europe. Then
quotes mean nothing to it, so they do not help.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.http import StreamingHttpResponse

_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
FORMULA = (*_SIGNS, "\t", "\r", "\n")
"""With the full-width signs, which East Asian spreadsheets take for the others."""
# What stands before a formula there, or looks like nothing: spaces, quotes, and spaces of other widths.
_STARTS = re.compile(rf"(?:\A|(?<=[;\t\r\n]))(?=[\s\"'\u200b\ufeff]*[{re.escape(_SIGNS)}])|\A(?=[\t\r\n])")
BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel misreads what is not ASCII."""


class _Echo:
    def write(self, line: str) -> str:
        return line


def cell(value: Any) -> str:
    """The value as a text that no spreadsheet runs; of a list its parts, with spaces between."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return _STARTS.sub("'", text)


def line(values: Iterable[Any]) -> str:
    """One row with its line end."""
    writer = csv.writer(_Echo(), quoting=csv.QUOTE_ALL)
    written: str = writer.writerow([cell(value) for value in values])
    return written


def stream_csv(name: str, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> StreamingHttpResponse:
    """`name`.csv, with a byte order mark."""

    def lines() -> Iterator[str]:
        yield BYTE_ORDER_MARK + line(header)
        for row in rows:
            yield line(row)

    return StreamingHttpResponse(
        lines(),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "no-store"},
    )
