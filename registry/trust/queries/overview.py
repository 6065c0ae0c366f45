"""The estate in numbers, and what became of it between two instants."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from registry.core.errors import Invalid
from registry.trust.graph import store
from registry.trust.graph.snapshot import (
    ACCESS,
    DATA_CLASSES,
    ENVIRONMENTS,
    GONE,
    NEVER,
    NONE,
    REQUESTED,
    STATUSES,
    SUSPENDED,
    TIERS,
    Bools,
    Ints,
    Raw,
    View,
    micros,
    uuid,
)
from registry.trust.graph.walk import mask
from registry.trust.queries.answers import Changed, Difference, Rows, Stats
from registry.trust.queries.hygiene import shared_secrets
from registry.trust.queries.observed import observed_pairs
from registry.trust.queries.standpoint import Standpoint


def stats(stand: Standpoint) -> Stats:
    kept = stand.view.kept
    if "stats" not in kept:
        kept["stats"] = _stats(stand)
    found: Stats = kept["stats"]
    return replace(found, as_of=stand.as_of)


def _stats(stand: Standpoint) -> Stats:
    view, snapshot = stand.view, stand.view.snapshot
    counts = {f"{kind}s": int(stand.nodes(kind).active.sum()) for kind in ("agent", "server", "system")}
    for kind, links in (("grants", view.all_calls), ("connections", view.all_connections)):
        status = snapshot.edges(kind[:-1]).whole("status")
        counts[kind] = len(links.near)
        counts[f"{kind}_certified"] = int(links.certified.sum())
        counts[f"{kind}_suspended"] = int((status == SUSPENDED).sum())
        counts[f"{kind}_requested"] = int((status == REQUESTED).sum())
    everywhere = np.ones(sum(len(stand.nodes(kind)) for kind in ("agent", "server", "system")), dtype=np.bool_)
    seen = observed_pairs(stand, everywhere, len(stand.nodes("agent")), len(stand.nodes("server")))
    counts |= {
        "wildcard_grants": int((snapshot.grants.column("detail", view.all_calls.number) == 0).sum()),
        "chained_servers": len(np.unique(view.chain.near)),
        "shared_secrets": shared_secrets(stand).counts["secrets"],
        "sightings": 0 if seen is None else int((~seen.granted).sum()),
    }
    servers, systems = snapshot.servers, snapshot.systems
    return Stats(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts=counts,
        hidden={},
        by={
            "data_class": _tally(systems.rank[systems.active], DATA_CLASSES),
            "access": _tally(snapshot.connections.column("mark", view.all_connections.number), ACCESS),
            "tier": _tally(servers.rank[servers.active], TIERS),
            "environment": _tally(servers.environment[servers.active], ENVIRONMENTS),
        },
    )


def _tally(values: Ints, words: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(values, minlength=len(words))
    return {word: int(counts[place]) for place, word in reversed(list(enumerate(words))) if word}


# --- Between two instants --------------------------------------------------------------------------------

_WORDS = (*STATUSES, "in force")
_IN_FORCE = len(STATUSES)


def difference(stand: Standpoint, since: datetime) -> Difference:
    if since >= stand.as_of:
        raise Invalid(fields={"from": ["Choose an earlier instant than the other."]})
    state = store.at(since)
    kept, question = stand.view.kept, ("difference", state.version, micros(since), stand.visibility)
    if question not in kept:
        kept[question] = _Between(stand, state.view(micros(since))[0], since)
    between: _Between = kept[question]
    return Difference(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts=between.counts,
        hidden={"rows": between.rows.hidden},
        since=since,
        rows=between.rows,
    )


class _Between:
    """What became of relationships, as columns: a row is made when a page shows it."""

    def __init__(self, stand: Standpoint, before: View, since: datetime) -> None:
        self.counts = {"appeared": 0, "vanished": 0, "changed": 0, "came_into_force": 0, "lost_force": 0}
        hidden = 0
        parts: list[tuple[Any, ...]] = []
        changed = {
            kind: store.changed_between(kind, since, stand.as_of) for kind in (*_ENDS, "agent", "server", "system")
        }
        for place, kind in enumerate(_ENDS):
            ids = _candidates(kind, before, stand.view, changed)
            then, now = _States(before, kind, ids), _States(stand.view, kind, ids)
            terms = then.terms_differ(now)
            differ = (then.code != now.code) | terms
            self.counts["appeared"] += int((differ & (then.code == 0)).sum())
            self.counts["vanished"] += int((differ & (now.code == 0)).sum())
            self.counts["changed"] += int((differ & (then.code != 0) & (now.code != 0)).sum())
            self.counts["came_into_force"] += int(((then.code != _IN_FORCE) & (now.code == _IN_FORCE)).sum())
            self.counts["lost_force"] += int(((then.code == _IN_FORCE) & (now.code != _IN_FORCE)).sum())
            seen = differ & _visible(stand, then, now)
            hidden += int(differ.sum() - seen.sum())
            key = np.full(int(seen.sum()), place)
            parts.append((key, ids[seen], then.code[seen], now.code[seen], terms[seen]))
        for name, view in (("before", before), ("after", stand.view)):
            self.counts[f"in_force_{name}"] = sum(len(_in_force(view, kind)) for kind in _ENDS)
        keys, ids, was, became, terms = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        kinds = list(_ENDS)

        def make(row: int) -> Changed:
            return Changed(
                kind=kinds[keys[row]],
                id=uuid(ids[row]),
                before=_WORDS[was[row]],
                after=_WORDS[became[row]],
                terms=bool(terms[row]),
            )

        self.rows: Rows[Changed] = Rows(keys, ids, make, hidden)


_ENDS = {"grant": ("agent", "server"), "connection": ("server", "system")}


def _in_force(view: View, kind: str) -> Ints:
    return (view.all_calls if kind == "grant" else view.all_connections).number


def _candidates(kind: str, before: View, after: View, changed: Mapping[str, Raw]) -> Raw:
    """Relationships that may differ, sorted: changed themselves or at an end, begun or ended by the clock."""
    parts: list[Raw] = [changed[kind]]
    for view in (before, after):
        edges = view.snapshot.edges(kind)
        start, until = edges.whole("start"), edges.whole("until")
        moved = (start > before.at) & (start <= after.at) | (until > before.at) & (until <= after.at)
        for side, end in zip(("source", "target"), _ENDS[kind], strict=True):
            nodes = view.snapshot.nodes(end)
            known = nodes.ids.numbers(changed[end])
            moved |= mask(len(nodes), known[known != NONE])[edges.whole(side)]
        parts.append(edges.column("ids", np.flatnonzero(moved & (edges.whole("status") != GONE))))
    return np.unique(np.concatenate(parts))


class _States:
    """How relationships stand in one view, in the order of `ids`. Code 0: not open (not yet, or no more)."""

    def __init__(self, view: View, kind: str, ids: Raw) -> None:
        self._view, self._edges, self._kind = view, view.snapshot.edges(kind), kind
        self._numbers = self._edges.numbers(ids)
        self._there = self._numbers != NONE
        known = self._numbers[self._there]
        codes = self._edges.column("status", known).astype(np.int8)
        codes[self._edges.mask(_in_force(view, kind))[known]] = _IN_FORCE
        self.code = np.zeros(len(ids), dtype=np.int8)
        self.code[self._there] = codes

    def _column(self, name: str) -> Ints:
        found = np.full(len(self._numbers), NEVER)
        found[self._there] = self._edges.column(name, self._numbers[self._there])
        return found

    def terms_differ(self, other: "_States") -> Bools:
        found = np.zeros(len(self._numbers), dtype=np.bool_)
        for name in ("mark", "detail", "start", "until"):
            found |= self._column(name) != other._column(name)
        # A status alone switches `until` off; that is no change of terms.
        same_status = self._column("status") == other._column("status")
        return found & self._there & other._there & same_status

    def hidden(self, stand: Standpoint) -> Bools:
        """Whether an end may not be named."""
        found = np.zeros(len(self._numbers), dtype=np.bool_)
        for side, end in zip(("source", "target"), _ENDS[self._kind], strict=True):
            hides = stand.hides(end)
            if hides is None:
                continue
            # Numbers may differ between states; ids do not.
            numbers = stand.nodes(end).ids.numbers(self._view.snapshot.nodes(end).ids.values)
            hidden_here = np.append(hides, False)[numbers]
            found[self._there] |= hidden_here[self._edges.column(side, self._numbers[self._there])]
        return found


def _visible(stand: Standpoint, *states: _States) -> Bools:
    return ~np.logical_or.reduce([state.hidden(stand) for state in states])
