"""From where a credential may be used: an optional list of networks, as a person writes it and as it is asked."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.utils.translation import gettext as _

from registry.core.errors import Invalid

MOST = 50
Network = IPv4Network | IPv6Network


def read_networks(entries: Iterable[str]) -> list[str]:
    """Networks in their canonical form, each once. Raises `Invalid` for what is none, or allows everybody."""
    found: dict[str, None] = {}
    for entry in entries:
        if not entry.strip():
            continue
        try:
            network = ip_network(entry.strip(), strict=False)
        except ValueError:
            said = _("%(entry)s is not a network. Write 10.20.0.0/16, 192.0.2.7 or 2001:db8::/32.")
            raise Invalid(fields={"networks": [said % {"entry": entry.strip()[:50]}]}) from None
        if network.prefixlen == 0:
            raise Invalid(fields={"networks": [_("A network of all addresses restricts nothing. Leave it empty.")]})
        found[str(network)] = None
    if len(found) > MOST:
        raise Invalid(fields={"networks": [_("At most %(n)d networks.") % {"n": MOST}]})
    return list(found)


@lru_cache(maxsize=1024)
def _parsed(entries: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(entry) for entry in entries)


def may_come_from(address: str | None, networks: Sequence[str]) -> bool:
    """Whether a caller at `address` is in one of these networks. Without networks anybody is."""
    if not networks:
        return True
    try:
        caller = ip_address(address or "")
    except ValueError:
        return False
    if isinstance(caller, IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
    return any(caller.version == network.version and caller in network for network in _parsed(tuple(networks)))
