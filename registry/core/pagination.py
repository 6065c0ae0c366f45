"""Keyset pages: a page is found by the last row one saw, so that page 1,000 costs what page 1 costs.

The API answers `{"results": […], "next": URL or null, "previous": URL or null}` plus the Link header (RFC 8288).
HTML lists use `keyset_page` and `components/_pager.html`. Either URL repeats the filters, so a page can be followed
without remembering the question.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.core.exceptions import FieldError, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response

from registry.core.errors import Invalid, Malformed

M = TypeVar("M", bound=Model)
COUNT_UP_TO = 1000
OLDER, NEWER = "older", "newer"


PAGE_SIZE, MAX_PAGE_SIZE = 50, 200


def page_limit(text: str) -> int:
    """Rows per page as asked for. Raises `Invalid` for what is no number from 1 upwards."""
    if not text:
        return PAGE_SIZE
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not int(text):
        raise Invalid(fields={"limit": [f"Give a number from 1 to {MAX_PAGE_SIZE}."]})
    return min(int(text), MAX_PAGE_SIZE)


class KeysetPagination(CursorPagination):
    page_size = PAGE_SIZE
    page_size_query_param = "limit"
    max_page_size = MAX_PAGE_SIZE
    # UUIDv7 ids are unique and ordered by time, so one column is a stable key.
    ordering = "-id"

    def get_page_size(self, request: Any) -> int:
        """`?limit=`, at most `max_page_size`. Raises `Invalid` for what is no such number."""
        return page_limit(request.query_params.get(self.page_size_query_param, ""))

    def decode_cursor(self, request: Any) -> Any:
        """Raise `Malformed` for a cursor that is none of ours, also when it decodes."""
        try:
            cursor = super().decode_cursor(request)
            if type(self).ordering == "-id" and cursor is not None and cursor.position is not None:
                UUID(str(cursor.position))
        except (NotFound, ValueError) as error:
            raise Malformed("This cursor is none of ours; start again from the first page.") from error
        return cursor

    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        links = [
            f'<{url}>; rel="{rel}"'
            for rel, url in (("next", response.data["next"]), ("prev", response.data["previous"]))
            if url
        ]
        if links:
            response["Link"] = ", ".join(links)
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        url = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": url, "previous": url},
        }


@dataclass(frozen=True)
class Page(Generic[M]):
    """`older` and `newer` are URLs, or None at either end. `counted` is exact up to a limit, then `capped`."""

    items: list[M]
    older: str | None
    newer: str | None
    counted: int | None = None
    capped: bool = False

    def __iter__(self) -> Iterator[M]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def keyset_page(
    queryset: QuerySet[M],
    request: HttpRequest,
    *,
    order: str | Sequence[str] = "-id",
    size: int = 50,
    count: bool = False,
) -> Page[M]:
    """One page of `queryset` in `order`: columns that are together unique and never null, `-` for descending.

    Raises `Malformed` for a cursor that is none. `count` asks for the number of rows, up to 1,000.
    """
    columns = [order] if isinstance(order, str) else list(order)
    backwards = NEWER in request.GET and OLDER not in request.GET
    cursor = request.GET.get(NEWER if backwards else OLDER)
    walk = [_flipped(column) for column in columns] if backwards else columns
    rows = queryset.order_by(*walk)
    if cursor is not None:
        try:
            rows = rows.filter(_beyond(walk, _decode(cursor, len(columns))))
        except (ValueError, TypeError, ValidationError, FieldError) as error:
            raise Malformed("This page link is damaged. Start again from the first page.") from error
    found = list(rows[: size + 1])
    more, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    has_newer = more if backwards else cursor is not None
    has_older = cursor is not None if backwards else more
    if found:
        older = _link(request, OLDER, columns, found[-1]) if has_older else None
        newer = _link(request, NEWER, columns, found[0]) if has_newer else None
    else:
        # What stood here is gone; the way back is the first page.
        older, newer = None, _first(request) if cursor is not None else None
    counted = queryset.order_by()[: COUNT_UP_TO + 1].count() if count else None
    return Page(
        items=found,
        older=older,
        newer=newer,
        counted=min(counted, COUNT_UP_TO) if counted is not None else None,
        capped=counted is not None and counted > COUNT_UP_TO,
    )


def _flipped(column: str) -> str:
    return column[1:] if column.startswith("-") else f"-{column}"


def _beyond(columns: Sequence[str], values: Sequence[Any]) -> Q:
    """Rows after `values` in this order: past the first column, or level with it and past the next, and so on."""
    beyond, level = Q(), Q()
    for column, value in zip(columns, values, strict=True):
        name, past = (column[1:], "lt") if column.startswith("-") else (column, "gt")
        beyond |= level & Q(**{f"{name}__{past}": value})
        level &= Q(**{name: value})
    if len(columns) > 1:
        # Implied by the rest, and the one condition that lets the database start in the middle of the index.
        name, past = (columns[0][1:], "lte") if columns[0].startswith("-") else (columns[0], "gte")
        beyond &= Q(**{f"{name}__{past}": values[0]})
    return beyond


def _decode(cursor: str, length: int) -> list[Any]:
    values = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if (
        not isinstance(values, list)
        or len(values) != length
        or not all(isinstance(v, str | int | float) for v in values)
    ):
        raise ValueError("not a cursor")
    return values


def _value(row: Any, column: str) -> Any:
    for part in column.lstrip("-").split("__"):
        row = getattr(row, part)
    return row


def _link(request: HttpRequest, direction: str, columns: Sequence[str], row: Model) -> str:
    values = json.dumps([_value(row, column) for column in columns], cls=ExactEncoder)
    query = _without_cursor(request)
    query[direction] = urlsafe_b64encode(values.encode()).decode().rstrip("=")
    return f"{request.path}?{query.urlencode()}"


def _first(request: HttpRequest) -> str:
    return f"{request.path}?{_without_cursor(request).urlencode()}"


def _without_cursor(request: HttpRequest) -> Any:
    query = request.GET.copy()
    for name in (OLDER, NEWER):
        query.pop(name, None)
    return query


class ExactEncoder(DjangoJSONEncoder):
    """Keeps the microseconds that Django's own encoder cuts off; without them a page would repeat its last row."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, datetime) else super().default(o)
