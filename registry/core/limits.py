"""How often one principal may ask: counters that every process shares, at a fraction of a statement per call.

A window of time per policy and principal is one row. A process takes calls from it in advance, one at first, then twice
as many each time, and gives them out from memory: whoever calls once costs one statement, whoever calls a thousand
times a few dozen. Near the limit it takes few, so that no process sits on what another is refused; and who is over the
limit is refused from memory until the window ends (docs/adr/0010-rate-limits.md has the figures).

Counters that cannot be asked let calls pass: they guard against too much, not against the wrong ones.
"""

import hashlib
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from threading import Lock
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from registry.core.actors import Actor
from registry.core.errors import Malformed, RegistryError, TooBig, TooLong
from registry.core.models import RateCount

log = structlog.get_logger(__name__)
MOST_REMEMBERED = 20_000
_TAKE = """
INSERT INTO core_ratecount AS kept (key, ends, used) VALUES (%s, %s, %s)
ON CONFLICT (key) DO UPDATE SET
    used = CASE WHEN kept.ends >= excluded.ends THEN kept.used ELSE 0 END + excluded.used,
    ends = GREATEST(kept.ends, excluded.ends)
RETURNING used
"""
"""A clock that is behind counts in the window of the one ahead, it does not begin a new one."""


class TooOften(RegistryError):
    code, status, title = "too-often", 429, "Too many requests"

    def __init__(self, wait: int) -> None:
        self.wait = wait
        super().__init__(_("The limit of this window is used up. Try again in %(n)d seconds.") % {"n": wait})


@dataclass(frozen=True)
class Limit:
    """`most` calls in `seconds`, under a name that clients read in the headers."""

    name: str
    most: int
    seconds: int

    @property
    def policy(self) -> str:
        return f'"{self.name}";q={self.most};w={self.seconds}'


@dataclass
class State:
    """What is left of a window, as `RateLimit` says it (draft-ietf-httpapi-ratelimit-headers)."""

    limit: Limit
    left: int
    ends_in: int
    refused: bool = False

    def headers(self) -> dict[str, str]:
        said = {
            "RateLimit-Policy": self.limit.policy,
            "RateLimit": f'"{self.limit.name}";r={self.left};t={self.ends_in}',
        }
        return said | ({"Retry-After": str(self.ends_in)} if self.refused else {})


@dataclass
class _Share:
    """What this process took of a window and has not given out. `used` is what all had taken when it last asked."""

    ends: int
    mine: int = 0
    used: int = 0
    taken: int = 0


_shares: dict[str, _Share] = {}
_lock = Lock()


def limit(name: str) -> Limit | None:
    """The limit of this name as RATE_LIMITS has it; None where there is none."""
    found = settings.RATE_LIMITS.get(name)
    return Limit(name, *found) if found else None


def sweep(now: float) -> int:
    """Delete the counts of windows that ended an hour ago; returns how many."""
    deleted, _each = RateCount.objects.filter(ends__lt=int(now) - 3600).delete()
    return deleted


def forget() -> None:
    """Give up what this process holds, as a restart does."""
    with _lock:
        _shares.clear()


def spend(wanted: Limit, principal: str) -> State:
    """Count one call of `principal`. `refused` says that it is one too many."""
    now = time.time()
    key = hashlib.sha256(f"{wanted.name}\n{principal}".encode()).hexdigest()[:40]
    # Windows of different principals begin at different moments, so that not all come back in the same second.
    shift = int(key[:8], 16) % wanted.seconds
    ends = int((now + shift) // wanted.seconds + 1) * wanted.seconds - shift
    state = State(wanted, 0, max(1, math.ceil(ends - now)))
    with _lock:
        share = _shares.get(key)
        if share is None or share.ends != ends:
            if len(_shares) >= MOST_REMEMBERED:
                _shares.clear()
            share = _shares[key] = _Share(ends)
        if not share.mine and share.used < wanted.most:
            _take(share, key, wanted)
        state.refused = share.mine <= 0
        share.mine = max(0, share.mine - 1)
        state.left = max(0, wanted.most - share.used) + share.mine
    return state


def _take(share: _Share, key: str, wanted: Limit) -> None:
    """Take the next few calls of this window for this process."""
    room = wanted.most - share.used
    share.taken = max(1, min(share.taken * 2, wanted.most // 20, room // 8))
    try:
        # Mostly the statement commits by itself and holds its row only that long. Where somebody is within a
        # transaction, an error here must not spoil it.
        with transaction.atomic() if connection.in_atomic_block else nullcontext(), connection.cursor() as cursor:
            cursor.execute(_TAKE, [key, share.ends, share.taken])
            share.used = int(cursor.fetchone()[0])
    except DatabaseError as error:
        log.warning("rate_not_counted", limit=wanted.name, error=type(error).__name__)
        share.mine = 1
        return
    share.mine = max(0, share.taken - max(0, share.used - wanted.most))


# --- Whose call, and of which kind -------------------------------------------------------------------------

SAFE = ("GET", "HEAD", "OPTIONS")
SIGN_IN = frozenset({"accounts:sign_in", "accounts:confirm"})
OIDC = frozenset({"accounts:oidc_begin", "accounts:oidc_callback"})
SEARCHES = frozenset({"portal:search", "catalog:options", "trust:explore_options"})
PUBLISHED = ("discovery:open_", "discovery:door_")
ENDINGS = frozenset({"accounts:sign_out", "accounts:oidc_logout"})
"""Never refused: they end sessions, and a provider ends many at once from one address."""


DESCRIPTION = "portal:openapi"
TOKENS_OF_ONE = 3
"""How many tokens' worth of calls all tokens of one person have together: otherwise each new token is a new limit."""
View = TypeVar("View", bound=Callable[..., Any])


def counts_as(name: str, *methods: str) -> Callable[[View], View]:
    """Say of a view, or of an action of a viewset, which limit it falls under; for `methods`, or for all.

    Whatever answers a file is an `export`; said here, it is refused before anything is done (see `count_file`).
    """

    def declared(view: View) -> View:
        view.counts_as = (name, methods)  # type: ignore[attr-defined]
        return view

    return declared


def _declared(view: Any, method: str) -> str:
    """What the view says of itself, or the method of its class that answers."""
    cls = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if cls is not None:
        view = getattr(cls, getattr(view, "actions", {}).get(method.lower(), method.lower()), None)
    name, methods = getattr(view, "counts_as", ("", ()))
    return name if not methods or method in methods else ""


def kind_of(request: HttpRequest) -> str:
    """The name of the limit that a request falls under, or ""."""
    match = request.resolver_match
    name = match.view_name if match is not None else ""
    path = request.path_info
    if name.startswith(PUBLISHED):
        return "published"
    if path.startswith("/scim/"):
        return "scim"
    method = "GET" if request.method == "HEAD" else request.method or "GET"
    if match is not None and (declared := _declared(match.func, method)):
        return declared
    if name.startswith("api:") or name == DESCRIPTION:
        return "api" if request.method in SAFE else "write"
    if name in OIDC or (name in SIGN_IN and request.method not in SAFE):
        return "sign_in"
    if name in SEARCHES:
        return "search"
    return "" if name in ENDINGS else "page"


def waits_for_credential(request: HttpRequest) -> bool:
    """Whether who calls is known only when the REST layer has read the bearer token (accounts.authentication)."""
    bearer = request.headers.get("Authorization", "")[:7].lower() == "bearer "
    view = getattr(request.resolver_match.func, "cls", None) if request.resolver_match is not None else None
    return bearer and bool(getattr(view, "authentication_classes", ()))


def principal_of(actor: Actor | None, address: str) -> str:
    if actor is not None and actor.token_id is not None:
        return f"{actor.kind}:{actor.token_id}"
    return f"person:{actor.user_id}" if actor is not None and actor.user_id else f"address:{_network(address)}"


def _network(address: str) -> str:
    """An address of IPv6 stands for its /64, which one machine has for itself; one of IPv4 for itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False).network_address)


def refuse_oversized(request: HttpRequest) -> None:
    """Raise `TooLong` or `TooBig` by what the request says of itself, before any of its body is read.

    A body that hides its length has none: the server interface hands over only what Content-Length promises.
    """
    if len(request.get_full_path()) > settings.MAX_URL_LENGTH:
        raise TooLong(_("At most %(n)s characters.") % {"n": f"{settings.MAX_URL_LENGTH:,}"})
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise Malformed(_("Content-Length is not a number.")) from None
    form = request.headers.get("Content-Type", "").lower().startswith("multipart/form-data")
    most = settings.MAX_UPLOAD_BYTES if form else settings.MAX_BODY_BYTES
    if length > most:
        raise TooBig(_("At most %(n)s bytes.") % {"n": f"{most:,}"})


def count(request: HttpRequest) -> None:
    """Count this request for whoever it turned out to be. Raises `TooOften`. A second time does nothing."""
    if getattr(request, "rate", None) is None:
        _count(request, kind_of(request))


def count_file(request: HttpRequest) -> None:
    """Count the file this request is answered with, where its view did not say before that it answers one."""
    state = getattr(request, "rate", None)
    if state is None or state.limit.name not in ("export", "anonymous", "published"):
        _count(request, "export")


def _count(request: HttpRequest, kind: str) -> None:
    actor: Actor | None = getattr(request, "actor", None)
    anonymous = actor is None or actor.user_id is None
    if anonymous and kind in ("api", "write", "scim", "export"):
        kind = "anonymous"
    elif anonymous and kind == "page":
        kind = "visit"
    wanted = limit(kind) if kind else None
    if wanted is None:
        return
    who = None if kind in ("published", "sign_in", "anonymous", "visit") else actor
    state = spend(wanted, principal_of(who, str(request.META.get("REMOTE_ADDR", ""))))
    if who is not None and who.kind == "token" and not state.refused:
        together = Limit(f"{wanted.name}-owner", wanted.most * TOKENS_OF_ONE, wanted.seconds)
        of_owner = spend(together, f"person:{who.user_id}")
        state = of_owner if of_owner.refused else state
    request.rate = state  # type: ignore[attr-defined]
    if state.refused:
        raise TooOften(state.ends_in)
