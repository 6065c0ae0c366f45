"""The only door for outgoing HTTP.

Whoever registers a server chooses an address that this registry then asks, so every request is a request on somebody
else's word. `registry.core.addresses` says where requests may go; this module holds connections to it: a name is
resolved, every address it leads to is judged, and the connection goes to an address that was judged, in one step, so
that a name which changes its answer gains nothing. TLS still verifies the name. Redirects stay within the origin.

Nothing is taken from the environment except `OUTBOUND_PROXY`; there are no credentials except what a caller passes,
and they never leave the origin they were meant for.
"""

import json as jsonlib
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from threading import Thread
from typing import Any, Self

import httpcore2
import httpx2
from django.conf import settings
from django.utils.translation import gettext as _

from registry.core.addresses import (
    Address,
    AllowList,
    BadAddress,
    Target,
    judge,
    judge_name,
    kind_of,
    literal_of,
    read_url,
)
from registry.core.errors import RegistryError

USER_AGENT = "steward-registry"
CHUNK = 65_536


class OutboundError(RegistryError):
    """What went wrong on the way to somebody else's server."""

    code, status, title = "outbound-failed", 502, "The other server could not be asked"


class Refused(OutboundError):
    code, status, title = "outbound-refused", 422, "This address is not asked"


class LeavesOrigin(Refused):
    """A redirect to another origin; `location` is where it points."""

    title = "It redirects to another host"

    def __init__(self, message: str = "", *, location: str = "") -> None:
        super().__init__(message)
        self.location = location


class BadRedirect(OutboundError):
    """It redirects to what is no web address, or again and again within its own origin."""

    code, title = "outbound-redirect", "The other server redirects wrongly"


class Unreachable(OutboundError):
    code, title = "outbound-unreachable", "The other server could not be reached"


class Unreadable(OutboundError):
    code, title = "outbound-unreadable", "The other server's answer could not be read"


class TimedOut(OutboundError):
    code, status, title = "outbound-timed-out", 504, "The other server took too long"


class TooLarge(OutboundError):
    code, title = "outbound-too-large", "The other server said more than is taken in"


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes of one request with its redirects. `size` counts what is left after decompression."""

    connect: float = 5
    read: float = 10
    total: float = 30
    size: int = 5_000_000
    redirects: int = 3


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx2.Headers
    content: bytes
    url: str
    certificate_ends: datetime | None = None

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Raises `Unreadable`."""
        try:
            return jsonlib.loads(self.content)
        except (ValueError, RecursionError):
            raise Unreadable(_("The answer is not JSON.")) from None


# --- Where a connection may go ---------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _allow_list(entries: tuple[str, ...]) -> AllowList:
    return AllowList(entries)


def allowed() -> AllowList:
    return _allow_list(tuple(settings.OUTBOUND_ALLOW))


def _resolve(host: str, port: int, timeout: float) -> list[Address]:
    """Every address `host` has. The system's resolver knows no time limit, so it is left behind when it takes long."""
    if literal := literal_of(host):
        return [literal]
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    if not found:
        raise TimedOut(_("The name %(host)s was not resolved in time.") % {"host": host})
    if isinstance(found[0], Exception):
        raise Unreachable(_("There is no host named %(host)s.") % {"host": host})
    return list(dict.fromkeys(ip_address(each[4][0]) for each in found[0]))


def _parsed(url: str) -> Target:
    try:
        target = read_url(url)
        httpx2.URL(url)
    except BadAddress as error:
        raise Refused(str(error)) from None
    except httpx2.InvalidURL:
        raise Refused(_("This is not an address.")) from None
    return target


def check(url: str) -> list[Address]:
    """Where `url` leads, or `Refused`, `Unreachable`, `TimedOut`. For clients that make connections of their own;
    through a `Door` it is not needed, and it does not pin."""
    target = _parsed(url)
    addresses = _resolve(target.host, target.port, Limits.connect)
    if said := judge(target, addresses, allowed()):
        raise Refused(said)
    return addresses


def is_public(url: str) -> bool:
    """Whether `url` would be asked without any entry of OUTBOUND_ALLOW. Raises as `check` does for what is no URL."""
    target = _parsed(url)
    return not judge(target, _resolve(target.host, target.port, Limits.connect), AllowList(()))


def kind_behind(url: str) -> str:
    """Which kind of address inside a network `url` leads to (`kind_of`), or "" for a public one and for none."""
    try:
        target = _parsed(url)
        addresses = _resolve(target.host, target.port, Limits.connect)
    except OutboundError:
        return ""
    return next((kind for address in addresses if (kind := kind_of(address))), "")


def leads_inside(url: str) -> bool:
    """Whether `url` leads to anything but public addresses, or nowhere: what may not be told of to everybody."""
    try:
        target = _parsed(url)
        addresses = _resolve(target.host, target.port, Limits.connect)
    except Refused:
        return False
    except OutboundError:
        return True
    return any(map(kind_of, addresses))


class _Clock:
    """How long there still is. Shared by everything that happens for one request."""

    def __init__(self) -> None:
        self.until = float("inf")

    def left(self, wanted: float | None) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimedOut(_("It took longer than it may."))
        return left if wanted is None else min(wanted, left)


class _Stream(httpcore2.NetworkStream):
    """A connection whose every wait ends with the request's time, however slowly the other side drips."""

    def __init__(self, inner: httpcore2.NetworkStream, clock: _Clock) -> None:
        self._inner = inner
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._clock.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._clock.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._clock.left(timeout)), self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    """Resolves, judges and connects in one step. `target` is the origin the pool wants to reach next."""

    def __init__(self, clock: _Clock, opened: AllowList, vouched: frozenset[int] | None, proxied: bool) -> None:
        self._inner = httpcore2.SyncBackend()
        self._clock = clock
        self._opened = opened
        self._vouched = vouched
        self._proxied = proxied
        self.target: Target | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        if self._proxied or self.target is None:
            # The operator named the proxy. What it may reach was judged as far as can be seen from here.
            return _Stream(self._inner.connect_tcp(host, port, self._clock.left(timeout)), self._clock)
        addresses = _resolve(self.target.host, port, self._clock.left(timeout))
        if said := judge(self.target, addresses, self._opened, self._vouched):
            raise Refused(said)
        for number, address in enumerate(addresses, start=1):
            try:
                stream = self._inner.connect_tcp(str(address), port, self._clock.left(timeout))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(addresses):
                    raise
            else:
                return _Stream(stream, self._clock)
        raise Unreachable(_("There is no host named %(host)s.") % {"host": host})


class _Transport(httpx2.HTTPTransport):
    """httpx2's transport over a pool whose connections `_Backend` makes."""

    def __init__(self, clock: _Clock, tls: ssl.SSLContext, opened: AllowList, vouched: frozenset[int] | None) -> None:
        self._opened = opened
        self._vouched = vouched
        self._proxied = bool(settings.OUTBOUND_PROXY)
        self._backend = _Backend(clock, opened, vouched, self._proxied)
        # httpx2 has no argument for the network backend; its pool is the one thing that is made differently here.
        if self._proxied:
            proxy = httpx2.Proxy(settings.OUTBOUND_PROXY)
            self._pool = httpcore2.HTTPProxy(
                str(proxy.url), proxy_auth=proxy.raw_auth, ssl_context=tls, network_backend=self._backend
            )
        else:
            self._pool = httpcore2.ConnectionPool(ssl_context=tls, network_backend=self._backend, max_connections=4)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._backend.target = target = _parsed(str(request.url))
        if self._proxied:
            self._judge_from_afar(target)
        return super().handle_request(request)

    def _judge_from_afar(self, target: Target) -> None:
        """Behind a proxy only it knows where names lead; what is visible from here is refused all the same."""
        literal = literal_of(target.host)
        if literal is not None:
            said = judge(target, [literal], self._opened, self._vouched)
        elif target.host.lower() == "localhost" or target.host.lower().endswith(".localhost"):
            said = judge(target, [ip_address("127.0.0.1")], self._opened, self._vouched)
        else:
            said = judge_name(target, self._opened, self._vouched)
        if said:
            raise Refused(said)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's authorities, or those of SSL_CERT_FILE; read once, for it takes tens of milliseconds."""
    return httpx2.create_ssl_context()


# --- Asking ----------------------------------------------------------------------------------------------


@dataclass
class Stream:
    """An answer that is still coming in. What was read counts against the limit, whoever reads it."""

    response: httpx2.Response
    limits: Limits
    certificate_ends: datetime | None
    received: int = field(default=0, init=False)

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def headers(self) -> httpx2.Headers:
        return self.response.headers

    @property
    def url(self) -> str:
        return str(self.response.url)

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of the body, decompressed. Raises `TimedOut`, `TooLarge`, `Unreachable`, `Unreadable`."""
        decode = _decoder(self.headers.get("Content-Encoding", ""))
        with _translated(self.url):
            # As it arrives: to wait until a chunk is full would be to wait for ever for a stream that stays open.
            for raw in self.response.iter_raw():
                for piece in decode(raw):
                    self.received += len(piece)
                    if self.received > self.limits.size:
                        raise TooLarge(
                            _("The answer is longer than %(size)s bytes.") % {"size": f"{self.limits.size:,}"}
                        )
                    yield piece

    def lines(self) -> Iterator[str]:
        """The body line by line, as they come, for event streams."""
        rest = b""
        for piece in self:
            # A lone carriage return is not taken as the end of a line: nobody sends it, and it would split CR LF.
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.removesuffix(b"\r").decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def answer(self) -> Answer:
        return Answer(self.status, self.headers, b"".join(self), self.url, self.certificate_ends)


def _decoder(encoding: str) -> Any:
    """Takes raw pieces, gives decoded ones of limited size: a small piece may stand for gigabytes of zeros."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return lambda raw: (raw,)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable(_("It answers compressed in a way nobody asked for."))
    inflate = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever its head says

    def decode(raw: bytes) -> Iterator[bytes]:
        try:
            # zlib may hold back output although it has taken all input, so it is asked until it gives nothing more.
            while piece := inflate.decompress(raw, CHUNK):
                yield piece
                raw = inflate.unconsumed_tail
        except zlib.error:
            raise Unreadable(_("Its compressed answer is damaged.")) from None

    return decode


class Door:
    """Requests that share connections. `lasting`: seconds for everything asked through it, beside each one's limits.

    Used as a context manager, by one thread, one answer at a time. With `inside=False` OUTBOUND_ALLOW does not count:
    for addresses that somebody outside supplied, who must not send us to what was opened for ourselves. With
    `vouched`, entries of OUTBOUND_ALLOW that name no port open only 80, 443 and these: for addresses that anybody may
    have asked for.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        lasting: float | None = None,
        inside: bool = True,
        vouched: frozenset[int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._clock = _Clock()
        self._ends = time.monotonic() + lasting if lasting is not None else float("inf")
        self._client = httpx2.Client(
            transport=_Transport(self._clock, tls or _tls(), allowed() if inside else AllowList(()), vouched),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(self.limits.read, connect=self.limits.connect),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip, deflate"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def fetch(self, method: str, url: str, **options: Any) -> Answer:
        """As `stream`, with the whole body."""
        with self.stream(method, url, **options) as stream:
            return stream.answer()

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Any = None,
        cross_origin: bool = False,
        limits: Limits | None = None,
    ) -> Iterator[Stream]:
        """Ask, and hand out the answer whatever its status. Redirects are followed within the origin, or with
        `cross_origin` anywhere that is allowed, there without the headers that were given.

        Raises `Refused`, `LeavesOrigin`, `Unreachable`, `TimedOut`, `TooLarge`, `Unreadable`.
        """
        limits = limits or self.limits
        self._clock.until = min(time.monotonic() + limits.total, self._ends)
        _parsed(url)
        with _translated(url):
            request = self._client.build_request(
                method, url, headers=dict(headers or {}), params=params, content=content, json=json
            )
            target = _parsed(str(request.url))
            response = self._client.send(request, stream=True)
        try:
            for _hop in range(limits.redirects):
                if response.next_request is None:
                    break
                following = response.next_request
                if following.url.scheme not in ("http", "https"):
                    said = _("%(host)s redirects to what is no web address.") % {"host": target.host}
                    raise BadRedirect(said)
                if _parsed(str(following.url)) != target:
                    if not cross_origin or following.method not in ("GET", "HEAD"):
                        raise LeavesOrigin(
                            _("%(host)s redirects to another host.") % {"host": target.host},
                            location=str(following.url),
                        )
                    following = self._client.build_request(following.method, following.url)
                response.close()
                with _translated(url):
                    response = self._client.send(following, stream=True)
            if response.next_request is not None:
                raise BadRedirect(_("%(host)s redirects to itself again and again.") % {"host": target.host})
            yield Stream(response, limits, _certificate_end(response))
        finally:
            response.close()


def fetch(method: str, url: str, *, limits: Limits | None = None, **options: Any) -> Answer:
    """One request on its own; see `Door.stream`."""
    with Door(limits=limits) as door:
        return door.fetch(method, url, **options)


def _certificate_end(response: httpx2.Response) -> datetime | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate or "notAfter" not in certificate:
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """httpx2's errors as ours, in words that name the host and never the path or its query."""
    host = _host_of(url)
    try:
        yield
    except httpx2.TimeoutException:
        raise TimedOut(_("%(host)s took too long.") % {"host": host}) from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
        raise Refused(_("This is not an address.")) from None
    except httpx2.RemoteProtocolError:
        raise Unreachable(_("%(host)s does not answer as a web server does.") % {"host": host}) from None
    except httpx2.TransportError as error:
        raise Unreachable(_why(error, host)) from None


def _host_of(url: str) -> str:
    try:
        return httpx2.URL(url).host if "://" in url else ""
    except httpx2.InvalidURL:
        return ""


def _why(error: BaseException, host: str) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _("The certificate of %(host)s is not valid: %(why)s.") % {"host": host, "why": cause.verify_message}
        if isinstance(cause, ssl.SSLError):
            return _("%(host)s does not speak TLS.") % {"host": host}
        if isinstance(cause, ConnectionRefusedError):
            return _("%(host)s refuses the connection.") % {"host": host}
        cause = cause.__cause__ or cause.__context__
    return _("%(host)s could not be reached.") % {"host": host}


__all__ = [
    "Answer",
    "BadRedirect",
    "Door",
    "LeavesOrigin",
    "Limits",
    "OutboundError",
    "Refused",
    "Stream",
    "TimedOut",
    "TooLarge",
    "Unreachable",
    "Unreadable",
    "allowed",
    "check",
    "fetch",
    "is_public",
    "kind_behind",
    "kind_of",
    "leads_inside",
]
