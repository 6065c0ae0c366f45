"""What the tools of a grant can do. Pure, over the arrays of one view."""

import numpy as np

from registry.trust.graph.snapshot import NONE, Ints, Links, View

_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def effects(view: View, calls: Links) -> Ints:
    """Per grant (`near` is its server) the bits of what its tools do, as its server lists them at the time."""
    snapshot = view.snapshot
    details = snapshot.grants.column("detail", calls.number)
    lists, which = np.unique(details, return_inverse=True)
    # A server and a list of tools occur together in very many grants; each such pair is looked at once.
    pairs, pair_of = np.unique(calls.near.astype(np.int64) * max(len(lists), 1) + which, return_inverse=True)
    servers, sets = pairs // max(len(lists), 1), pairs % max(len(lists), 1)
    tools = snapshot.tools
    listed = np.flatnonzero((tools.effect != 0) & (tools.server != NONE))
    every = np.zeros(len(snapshot.servers), dtype=np.int8)
    np.bitwise_or.at(every, tools.server[listed], tools.effect[listed])
    found = np.zeros(len(pairs), dtype=np.int8)
    wildcard = lists[sets] == 0
    found[wildcard] = every[servers[wildcard]]
    names = [snapshot.toolsets.get(int(key), np.empty(0, dtype=np.int64)) for key in lists]
    counts = np.array([len(each) for each in names], dtype=np.int64)
    some = np.flatnonzero(~wildcard)
    lengths = counts[sets[some]]
    if not lengths.sum():
        return found[pair_of]
    every_name = np.concatenate(names)
    begins = np.cumsum(counts) - counts
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1]) + np.repeat(begins[sets[some]] - (ends - lengths), lengths)
    wanted = _key(np.repeat(servers[some], lengths), every_name[place])
    known = _key(tools.server[listed], tools.name[listed])
    order = np.argsort(known)
    spot = np.minimum(np.searchsorted(known, wanted, sorter=order), max(len(known) - 1, 0))
    if len(known):
        match = known[order[spot]] == wanted
        effect = np.where(match, tools.effect[listed][order[spot]], 0).astype(np.int8)
        np.bitwise_or.at(found, np.repeat(some, lengths), effect)
    return found[pair_of]


def _key(servers: Ints, names: Ints) -> Ints:
    """One number for a server and the name of a tool (itself a 64-bit hash)."""
    found: Ints = names.astype(np.int64).view(np.uint64) + servers.astype(np.uint64) * _SPREAD
    return found
