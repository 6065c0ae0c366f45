"""From where a credential may be used: an optional list of networks, as a person writes it and as it is asked."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)

from django.utils.translation import gettext as _

from registry.core.errors import Invalid

MOST = 50
Network = IPv4Network | IPv6Network
EVERYBODY: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("2000::/3"))
"""Where callers on the internet are: all of IPv4, and the part of IPv6 that is routed."""
LARGEST_PART = 16
"""Networks that take in more than a sixteenth of them, be it in many small pieces, restrict nothing."""


def read_networks(entries: Iterable[str]) -> list[str]:
    """Networks in their canonical form, each once. Raises `Invalid` for what is none, or lets in almost everybody."""
    found: dict[Network, None] = {}
    for entry in entries:
        if not entry.strip():
            continue
        try:
            network = ip_network(entry.strip(), strict=False)
        except ValueError:
            said = _("%(entry)s is not a network. Write 10.20.0.0/16, 192.0.2.7 or 2001:db8::/32.")
            raise Invalid(fields={"networks": [said % {"entry": entry.strip()[:50]}]}) from None
        found[network] = None
    if len(found) > MOST:
        raise Invalid(fields={"networks": [_("At most %(n)d networks.") % {"n": MOST}]})
    if any(_takes_in_most(found, everybody) for everybody in EVERYBODY):
        said = _(
            "Together these networks hold so many addresses that they restrict nothing. Name smaller ones, or none."
        )
        raise Invalid(fields={"networks": [said]})
    return [str(network) for network in found]


def _takes_in_most(networks: Iterable[Network], everybody: Network) -> bool:
    union = collapse_addresses([each for each in networks if each.version == everybody.version])  # type: ignore[type-var]
    within = [each for each in union if each.overlaps(everybody)]
    taken = sum(min(each.num_addresses, everybody.num_addresses) for each in within)
    return taken * LARGEST_PART > everybody.num_addresses


@lru_cache(maxsize=1024)
def _parsed(entries: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(entry) for entry in entries)


def _lies_in(network: Network, others: Iterable[Network]) -> bool:
    return any(
        network.version == each.version and network.subnet_of(each)  # type: ignore[arg-type]
        for each in others
    )


def outside(networks: Sequence[str], limits: Sequence[str]) -> list[str]:
    """Which of `networks` are not part of `limits`; of no networks, which means all addresses, `["*"]`."""
    if not limits:
        return []
    allowed = _parsed(tuple(limits))
    return [str(each) for each in _parsed(tuple(networks)) if not _lies_in(each, allowed)] if networks else ["*"]


def common(networks: Sequence[str], limits: Sequence[str]) -> list[str] | None:
    """What both let in; `None` when that is nothing, as an empty list would mean everybody."""
    if not networks or not limits:
        return list(networks or limits)
    ours, theirs = _parsed(tuple(networks)), _parsed(tuple(limits))
    both = [each for each in ours if _lies_in(each, theirs)] + [each for each in theirs if _lies_in(each, ours)]
    return list(dict.fromkeys(map(str, both))) or None


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
