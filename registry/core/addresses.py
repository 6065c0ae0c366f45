"""Where this registry may send requests: rules over URLs and addresses, without any traffic.

Public addresses over https, and nothing else. `OUTBOUND_ALLOW` opens more, entry by entry:
- a network, `10.20.0.0/16`: exactly its addresses;
- a name, `mcp.intranet.example`, or all below one, `*.intranet.example`: wherever it leads, link-local excepted;
- either with a port, `mcp.intranet.example:8443`, `10.20.0.0/16:8443`, `[fd00::7]:8443`: only that one; `:*` is any.
What is allowed this way may also be spoken to over plain http. Without a port in its entry it answers on any port to
what operators configured, but to what anybody may ask for only on 80, 443 and ports the caller vouches for. Cloud
metadata stays closed to names.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from django.utils.translation import gettext as _


def gettext_noop(message: str) -> str:
    """Marks words for translation. Django's own asks the settings, which are being read when they import this."""
    return message


Address = IPv4Address | IPv6Address

# Reserved for something that is not the public internet. Python's own `is_global` differs between its releases.
_CLOSED = [
    (ip_network(network), kind)
    for kind, networks in {
        gettext_noop("unspecified"): "0.0.0.0/8 ::/128",
        gettext_noop("loopback"): "127.0.0.0/8 ::1/128",
        gettext_noop("link-local"): "169.254.0.0/16 fe80::/10 fec0::/10",
        gettext_noop("private"): "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7",
        gettext_noop("carrier-internal"): "100.64.0.0/10",
        gettext_noop("cloud metadata"): "169.254.169.254/32 169.254.170.2/32 168.63.129.16/32 192.0.0.192/32"
        " 100.100.100.200/32"
        " fd00:ec2::254/128 fd20:ce::254/128",
        gettext_noop("multicast"): "224.0.0.0/4 ff00::/8",
        gettext_noop("reserved"): "192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24"
        " 203.0.113.0/24 240.0.0.0/4 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 64:ff9b:1::/48",
    }.items()
    for network in networks.split()
]
_METADATA = [network for network, kind in _CLOSED if kind in ("cloud metadata", "link-local")]
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")
_IPV4_TRANSLATED = IPv6Network("::ffff:0:0:0/96")

_WEB_PORTS = (80, 443)
# Above the privileged ones, and yet nobody's web server: databases, caches and brokers that would take our words.
_OTHER_PORTS = frozenset({1433, 1521, 2049, 2375, 2379, 3306, 5432, 5672, 6000, 6379, 9042, 11211, 27017})
_NUMERIC_END = re.compile(r"(?:\d+|0x[0-9a-f]*)$")
_NAME = re.compile(r"[^\s/?#@\\<>^`{|}%\x00-\x1f\x7f\[\]:]{1,253}")


def kind_of(address: Address) -> str:
    """Why `address` is not public, or "". An IPv4 address inside an IPv6 one counts as itself."""
    inner = _inside(address)
    if inner is not None:
        return kind_of(inner)
    kinds = [kind for network, kind in _CLOSED if address in network]
    if "cloud metadata" in kinds:
        return "cloud metadata"
    return kinds[0] if kinds else ""


def _inside(address: Address) -> IPv4Address | None:
    if not isinstance(address, IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or address in _IPV4_TRANSLATED or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


@dataclass(frozen=True)
class Target:
    """One origin somebody wants to reach, as `read_url` took it from a URL."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class BadAddress(ValueError):
    """A sentence for people; it never repeats more of the URL than its host."""


def read_url(url: str) -> Target:
    """Raises `BadAddress` for what is not a plain http(s) URL: other schemes, credentials, odd notations of numbers."""
    if any(mark in url for mark in "\\ \t\r\n") or not url.isprintable():
        raise BadAddress(_("An address has no spaces, control characters or backslashes."))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadAddress(_("This is not an address.")) from None
    if parts.scheme not in ("http", "https"):
        raise BadAddress(_("This is no web address: it begins with neither https:// nor http://."))
    if "@" in parts.netloc:
        raise BadAddress(_("An address with a user name or password in it is not asked."))
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise BadAddress(_("This address names no host."))
    literal = literal_of(host)
    if literal is None and not _NAME.fullmatch(host):
        raise BadAddress(_("This is not the name of a host."))
    # Circled and full-width digits are digits once a client has put them into their plain form.
    plain = unicodedata.normalize("NFKC", host).rstrip(".")
    if literal is None and (_NUMERIC_END.fullmatch(plain.rsplit(".", 1)[-1]) or literal_of(plain)):
        raise BadAddress(_("Write a numeric address as four decimal numbers; other notations hide where they lead."))
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


def literal_of(host: str) -> Address | None:
    """The address `host` is, when it is written as one. A zone (`fe80::1%eth0`) never is."""
    if "%" in host:
        return None
    try:
        return ip_address(host)
    except ValueError:
        return None


ANY_PORT = 0
_WITH_PORT = re.compile(r"(?P<what>\[[0-9a-f:.]+\](?:/\d{1,3})?|[^:\[\]]+):(?P<port>\d{1,5}|\*)")


class AllowList:
    """`OUTBOUND_ALLOW`, read. Raises `ValueError` for an entry that is neither a network nor a name.

    Ports are asked for as `(port, vouched)`: `vouched` are ports that entries without one open besides 80 and 443;
    None is every port.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        # Each with the port it opens; None where the entry names none.
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        self._names: set[tuple[str, int | None]] = set()
        self._below: list[tuple[str, int | None]] = []
        for entry in filter(None, (each.strip().lower() for each in entries)):
            self._read(entry)

    def _read(self, entry: str) -> None:
        try:
            self._networks.append((ip_network(entry), None))
        except ValueError:
            pass
        else:
            return
        what, port = entry, None
        if found := _WITH_PORT.fullmatch(entry):
            what, port = found["what"].replace("[", "").replace("]", ""), _port(found["port"], entry)
            try:
                self._networks.append((ip_network(what), port))
            except ValueError:
                pass
            else:
                return
        if what.startswith("*.") and _NAME.fullmatch(what[2:]):
            self._below.append((what[1:], port))
        elif _NAME.fullmatch(what) and "*" not in what:
            self._names.add((what, port))
        else:
            raise ValueError(
                f"{entry!r} is neither a network (10.0.0.0/8) nor a name (mcp.example, *.example), with or without a"
                " port (mcp.example:8443)"
            )

    def ports_of(self, host: str, address: Address | None = None) -> list[int | None]:
        """Ports of the entries that open `host`, or `address` reached under that name; empty when none does."""
        host = host.lower()
        ports = [port for name, port in self._names if name == host]
        ports += [port for end, port in self._below if host.endswith(end)]
        if address is None:
            return ports
        real = _inside(address) or address
        if any(real in network for network in _METADATA):
            ports = []
        return ports + [port for network, port in self._networks if real in network]

    def names(self, host: str) -> bool:
        return bool(self.ports_of(host))

    def admits(self, host: str, address: Address) -> bool:
        """Whether an entry opens `address`, reached under the name `host`, on some port."""
        return bool(self.ports_of(host, address))


def _port(text: str, entry: str) -> int:
    if text == "*":
        return ANY_PORT
    if not 0 < int(text) < 65536:
        raise ValueError(f"{entry!r} names no port")
    return int(text)


def _opens(ports: Iterable[int | None], port: int, vouched: frozenset[int] | None) -> bool:
    web = vouched is None or port in _WEB_PORTS or port in vouched
    return any(web if each is None else each in (port, ANY_PORT) for each in ports)


def judge(
    target: Target, addresses: Iterable[Address], allowed: AllowList, vouched: frozenset[int] | None = None
) -> str:
    """Why `target`, which leads to `addresses`, is not asked; "" when it may be. One bad address spoils the name."""
    opened = True
    for address in addresses:
        if ports := allowed.ports_of(target.host, address):
            if not _opens(ports, target.port, vouched):
                return _("Port %(port)s of %(host)s is not opened by OUTBOUND_ALLOW.") % {
                    "port": target.port,
                    "host": target.host,
                }
            continue
        opened = False
        if kind := kind_of(address):
            return _("%(host)s leads to a %(kind)s address, which is not asked.") % {
                "host": target.host,
                "kind": _(kind),
            }
    return "" if opened else judge_origin(target)


def judge_name(target: Target, allowed: AllowList, vouched: frozenset[int] | None = None) -> str:
    """As `judge`, where only somebody else knows where the name leads: a proxy."""
    ports = allowed.ports_of(target.host)
    if not ports:
        return judge_origin(target)
    if _opens(ports, target.port, vouched):
        return ""
    said = _("Port %(port)s of %(host)s is not opened by OUTBOUND_ALLOW.")
    return said % {"port": target.port, "host": target.host}


def judge_origin(target: Target) -> str:
    """What can be said of an origin no entry opens, without knowing where it leads."""
    if target.scheme != "https":
        return _("%(host)s is asked over https only.") % {"host": target.host}
    if target.port not in _WEB_PORTS and (target.port < 1024 or target.port in _OTHER_PORTS):
        return _("Port %(port)s is not a web server's.") % {"port": target.port}
    return ""
