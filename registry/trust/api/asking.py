"""How a question comes in and its answer goes out: parameters, pages, conditional requests.

A question asked alone is a GET; up to a hundred come in one POST (see `questions`). Both are read by `Given`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, get_args
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.catalog.looks import note_looks
from registry.catalog.models import Agent, Server, System
from registry.core import clock
from registry.core.errors import Invalid, Malformed
from registry.core.filtering import refuse_unknown
from registry.core.pagination import MAX_PAGE_SIZE, PAGE_SIZE, page_limit
from registry.core.rest import actor_of
from registry.trust import queries
from registry.trust.queries import Questions
from registry.trust.queries.answers import Basis, Ref, Rows
from registry.trust.queries.past import records_begin

COMMON = ("as_of", "limit", "cursor")
ANSWER_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
"""What is seen differs from person to person; a private cache asks again each time, with the tag."""
NAMEABLE: dict[str, Any] = {"agent": Agent, "server": Server, "system": System}

AS_OF = OpenApiParameter(
    "as_of",
    OpenApiTypes.DATETIME,
    description="How things stood at this past instant, with its zone. Without it: now.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="ETag of the answer you have; 304 when it still says the same, except for `as_of`.",
)
BASES: tuple[Basis, ...] = get_args(Basis)
BASIS = OpenApiParameter(
    "basis",
    str,
    enum=BASES,
    description="`granted`, without it: what is granted. `both`: the same with its use. `observed`: what of it was "
    "seen in use. The last two add `sightings`: use that nothing in force allows, never counted as granted.",
)
PAGING = [
    OpenApiParameter("limit", int, description=f"Rows per page, at most {MAX_PAGE_SIZE}; {PAGE_SIZE} without it."),
    OpenApiParameter("cursor", str, description="Where a page starts. Follow `next` instead of making one up."),
]


def read_instant(text: str, field: str) -> datetime:
    """An ISO 8601 instant with its zone. Raises `Malformed` for what is none, `Invalid` for the future."""
    try:
        # In an address the plus of a zone that nobody escaped arrives as a blank.
        instant = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
        if instant.tzinfo is None:
            raise ValueError
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        words = "Give an instant with its zone, for example 2026-10-01T00:00:00Z."
        raise Malformed(words, fields={field: [words]}) from None
    if instant > clock.now():
        raise Invalid(fields={field: ["This lies in the future; only the past and the present are known."]})
    return instant


def read_basis(text: str) -> Basis:
    """Raises `Invalid` for what is none."""
    for basis in BASES:
        if basis == (text or "granted"):
            return basis
    raise Invalid(fields={"basis": [f"Choose one of: {', '.join(BASES)}."]})


def given_once(values: QueryDict, names: Collection[str] | None = None) -> dict[str, str]:
    """Raises `Invalid` for a parameter (of `names`) that is given twice: an answer for one of two would mislead."""
    if repeated := [name for name in values if len(values.getlist(name)) > 1 and (names is None or name in names)]:
        raise Invalid(fields={name: ["Give this once; several questions go to trust/ask."] for name in repeated})
    return {name: str(value) for name, value in values.items()}


class Given:
    """What a question was asked with, from an address or from one entry of a bulk question.

    Every reader raises `Invalid` or `Malformed` naming the parameter.
    """

    def __init__(self, values: Mapping[str, Any], takes: Collection[str], *, address: str) -> None:
        """`address` is where the question is asked alone; links to further pages lead there."""
        refuse_unknown(values, {*takes, *COMMON})
        if wrong := [name for name, value in values.items() if not isinstance(value, str | int)]:
            raise Invalid(fields={name: ["Give a text or a number."] for name in wrong})
        self.values = {name: str(value).strip() for name, value in values.items()}
        self.address = address
        self.named: list[Ref] = []
        """The things the question named, as far as they were read."""

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def number(self, name: str, default: int, *, least: int = 1, most: int) -> int:
        text = self.text(name)
        if not text:
            return default
        if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
            raise Invalid(fields={name: [f"Give a number from {least} to {most}."]})
        return int(text)

    @property
    def basis(self) -> Basis:
        return read_basis(self.text("basis"))

    def instant(self, name: str) -> datetime | None:
        text = self.text(name)
        return read_instant(text, name) if text else None

    @property
    def limit(self) -> int:
        return page_limit(self.text("limit"))

    def subject(self, questions: Questions, *kinds: str) -> Ref:
        """The one thing the question is about: `?server=…`. Raises when none is named, or more than one is."""
        given = [kind for kind in kinds if self.text(kind)]
        if len(given) != 1:
            raise Invalid(fields={kinds[0]: [f"Name one {' or '.join(kinds)}."]})
        return self._thing(questions, given[0], self.text(given[0]), field=given[0])

    def end(self, questions: Questions, name: str, *kinds: str) -> Ref:
        """One end of a path: `?from=agent:…`."""
        kind, colon, text = self.text(name).partition(":")
        if kind not in kinds or not colon or not text:
            raise Invalid(fields={name: [f"Name it with its kind: {' or '.join(f'{kind}:ID' for kind in kinds)}."]})
        return self._thing(questions, kind, text, field=name)

    def _thing(self, questions: Questions, kind: str, text: str, *, field: str) -> Ref:
        """By id, which costs nothing here: the graph knows what is there and may be seen. Some also by name."""
        try:
            found = UUID(text)
        except ValueError:
            if kind not in NAMEABLE:
                raise Invalid(fields={field: ["Name it by id."]}) from None
            found = queries.find(questions.actor, NAMEABLE[kind], text, field=field, as_of=questions.past)
        self.named.append((kind, found))
        return kind, found

    def paged(self, **lists: Rows[Any]) -> "Paged":
        """The first page of every list; with a cursor, one page of the list it belongs to."""
        name, _tilde, rest = self.text("cursor").partition("~")
        question, tilde, cursor = rest.partition("~")
        if not name:
            pages = {name: rows.page(None, self.limit) for name, rows in lists.items()}
        elif tilde and name in lists and question == self._asked:
            pages = {name: lists[name].page(cursor, self.limit)}
        elif tilde and name in lists:
            raise Malformed("This cursor belongs to another question; start again from the first page.")
        else:
            raise Malformed("This cursor is none of ours; start again from the first page.")
        further = {
            name: self.link(cursor=f"{name}~{self._asked}~{page.next}") for name, page in pages.items() if page.next
        }
        return Paged({name: page.rows for name, page in pages.items()}, {name: further.get(name) for name in pages})

    @property
    def _asked(self) -> str:
        """Tells questions apart, whatever the page: a cursor goes on with the one it came from."""
        parts = [self.address.rpartition("/")[2]]
        parts += [f"{name}={value}" for name, value in sorted(self.values.items()) if name not in ("cursor", "limit")]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()

    def link(self, **changed: str) -> str:
        return f"{self.address}?{urlencode({**self.values, **changed})}"


@dataclass(frozen=True)
class Paged:
    """`rows` of each list that is shown; `next` is the address of what follows, or None at the end."""

    rows: Mapping[str, tuple[Any, ...]]
    next: Mapping[str, str | None]

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        """The rows of a list, empty where another list was paged."""
        return self.rows.get(name, ())

    def body(self, **lists: list[Any]) -> dict[str, Any]:
        """The lists that are shown, as JSON, and how to go on."""
        return {name: rows for name, rows in lists.items() if name in self.rows} | {"next": dict(self.next)}


def earlier_than_records(questions: Questions) -> str:
    """Words for an instant of which nothing can be known; empty for any other."""
    begin = None if questions.is_present else records_begin()
    return f"Nothing was recorded before {begin:%Y-%m-%dT%H:%M:%SZ}." if begin and questions.as_of < begin else ""


def entity_tag(request: Request, questions: Questions) -> str:
    """Names the answer to this request: same tag, same answer.

    Beside the address and the data it names who asks and what they may see, and how many ends of validity lie behind
    the instant judged: time passes without anything being written. Weak, because `as_of` moves with every answer.
    """
    actor = questions.actor
    parts = (
        request.get_full_path(), request.get_host(), actor.user_id, questions.visibility, questions.data_version,
        questions.epoch,
    )  # fmt: skip
    digest = hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()
    return f'W/"{digest}"'


def unchanged(request: Request, tag: str) -> bool:
    """Whether If-None-Match names this answer, compared weakly (RFC 9110, section 13.1.2)."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or tag.removeprefix("W/") in {each.removeprefix("W/") for each in known}


class QuestionView(APIView, ABC):
    """One question. Subclasses say what it `takes`, its `counts` and `lists`, and how it is answered."""

    room = "trust"
    takes: ClassVar[Collection[str]] = ()
    counts: ClassVar[Collection[str]] = ()
    lists: ClassVar[Collection[str]] = ()
    hides: ClassVar[Collection[str] | None] = None
    """What is counted of the hidden, where that is not what is counted of the rest."""

    def get(self, request: Request) -> Response:
        address = request.build_absolute_uri(request.path)
        given = Given(given_once(request.query_params), self.takes, address=address)
        questions = queries.ask(actor_of(request), as_of=given.instant("as_of"))
        tag = entity_tag(request, questions)
        headers = {"ETag": tag, **ANSWER_HEADERS}
        if unchanged(request, tag):
            return Response(status=304, headers=headers)
        body = self.respond(questions, given)
        links = [f'<{url}>; rel="next"' for url in (body.get("next") or {}).values() if url]
        return Response(body, headers=headers | ({"Link": ", ".join(links)} if links else {}))

    def respond(self, questions: Questions, given: Given) -> dict[str, Any]:
        """The whole body: what every answer says, and the answer."""
        note = earlier_than_records(questions)
        head = {"as_of": questions.as_of, "data_version": questions.data_version, "note": note}
        if note:
            nothing = dict.fromkeys(self.counts, 0)
            return head | {
                "counts": nothing,
                "hidden": nothing if self.hides is None else dict.fromkeys(self.hides, 0),
                **{name: [] for name in self.lists},
                "next": dict.fromkeys(self.lists),
            }
        answered = self.answer(questions, given)
        note_looks(questions.actor, given.named)
        return head | answered

    @abstractmethod
    def answer(self, questions: Questions, given: Given) -> dict[str, Any]: ...
