"""Where a question is asked from: one state of the data at one instant, and what the actor may not see of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models import CharField, Value

from registry.catalog.models import Agent, Server, System
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.permissions import allows
from registry.trust.graph.snapshot import NONE, Bools, Nodes, View, micros, raw
from registry.trust.graph.store import State
from registry.trust.graph.walk import mask
from registry.trust.models import Connection, Grant, may_see_all

MODELS: Mapping[str, type[Any]] = {"agent": Agent, "server": Server, "system": System}


def hidden_ids(actor: Actor) -> dict[str, list[UUID]] | None:
    """Confidential things the actor may not see, per kind, in one statement; None for who may see all.

    Judged by the present, also for questions about the past: what is confidential now is named to nobody else.
    """
    if may_see_all(actor):
        return None
    found: dict[str, list[UUID]] = {kind: [] for kind in MODELS}
    sql, params = _hidden_to(actor)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        for kind, id in cursor.fetchall():
            found[kind].append(id)
    return found


_SOMEBODY = UUID(int=0)
_composed: dict[tuple[bool, bool], tuple[str, list[Any]]] = {}


def _hidden_to(actor: Actor) -> tuple[str, list[Any]]:
    """The statement with its values. Every question of all but a few asks it, and composing it anew takes ten times
    as long as its answer; so it is composed once per kind of actor, with a stand-in for the person.
    """
    sort = allows(actor, "catalog.view"), actor.user_id is None
    if sort not in _composed:
        sql, values = _composed_for(actor)
        _composed[sort] = sql, [_put(value, actor.user_id, _SOMEBODY) for value in values]
    composed, stand_ins = _composed[sort]
    return composed, [_put(param, _SOMEBODY, actor.user_id) for param in stand_ins]


def _put(param: Any, old: Any, new: Any) -> Any:
    """`new` in place of `old`, which stands alone or in a list."""
    if isinstance(param, list):
        return [_put(each, old, new) for each in param]
    return new if param == old else param


def _composed_for(actor: Actor) -> tuple[str, tuple[Any, ...]]:
    parts = [
        model.objects.filter(confidential=True)
        .exclude(pk__in=model.objects.visible_to(actor).filter(confidential=True).order_by().values("pk"))
        .order_by()
        .values_list(Value(kind, output_field=CharField()), "pk")
        for kind, model in MODELS.items()
    ]
    sql, params = parts[0].union(*parts[1:], all=True).query.sql_with_params()
    return sql, tuple(params)


@dataclass(frozen=True)
class Standpoint:
    """`hidden` masks what may not be named, per kind and number; None: nothing is hidden."""

    actor: Actor
    as_of: datetime
    state: State
    view: View
    epoch: int
    hidden: Mapping[str, Bools] | None
    visibility: str

    @classmethod
    def taken(cls, actor: Actor, as_of: datetime, state: State) -> "Standpoint":
        view, epoch = state.view(micros(as_of))
        ids = hidden_ids(actor)
        if ids is None:
            return cls(actor, as_of, state, view, epoch, None, "all")
        hidden, digest = {}, blake2b(digest_size=9)
        for kind in MODELS:
            nodes = state.snapshot.nodes(kind)
            known = nodes.ids.numbers(raw(ids[kind]))
            hidden[kind] = mask(len(nodes), known[known != NONE])
            digest.update(kind.encode() + b"".join(sorted(id.bytes for id in ids[kind])))
        return cls(actor, as_of, state, view, epoch, hidden, digest.hexdigest())

    def nodes(self, kind: str) -> Nodes:
        return self.view.snapshot.nodes(kind)

    def hides(self, kind: str) -> Bools | None:
        return None if self.hidden is None else self.hidden[kind]

    def is_hidden(self, kind: str, number: int) -> bool:
        return self.hidden is not None and bool(self.hidden[kind][number])

    def find(self, kind: str, id: UUID) -> int:
        """The number of an agent, server or system. Raises `NotFound`."""
        number = self.nodes(kind).ids.number(id)
        if number == NONE or not self.nodes(kind).state[number] or self.is_hidden(kind, number):
            raise self.not_found(kind)
        return number

    def knows(self, kind: str, id: UUID) -> bool:
        """Whether `find` would find it."""
        number = self.nodes(kind).ids.number(id)
        return bool(number != NONE and self.nodes(kind).state[number] and not self.is_hidden(kind, number))

    def find_all(self, kind: str, ids: Collection[UUID]) -> dict[UUID, int]:
        """The numbers of several of one kind. Raises `NotFound` when one of them is missing."""
        nodes, hidden = self.nodes(kind), self.hides(kind)
        numbers = nodes.ids.numbers(raw(list(ids)))
        seen = (numbers != NONE) & (nodes.state[numbers] != 0)
        if hidden is not None:
            seen &= ~hidden[numbers]
        if not seen.all():
            raise self.not_found(kind)
        return dict(zip(ids, numbers.tolist(), strict=True))

    def find_edge(self, kind: str, id: UUID) -> int:
        """The number of a grant or connection that is open and of which both ends may be seen. Raises `NotFound`."""
        edges = self.view.snapshot.edges(kind)
        number = int(edges.numbers(raw([id]))[0])
        near, far = ("agent", "server") if kind == "grant" else ("server", "system")
        if number == NONE:
            raise self.not_found(kind)
        source, target = (int(edges.column(side, np.array([number]))[0]) for side in ("source", "target"))
        if self.is_hidden(near, source) or self.is_hidden(far, target):
            raise self.not_found(kind)
        return number

    def ended(self, kind: str, id: UUID) -> bool:
        """Whether there was such a grant or connection that may be seen: the graph holds what is open, not its row."""
        if kind not in ("grant", "connection") or int(self.view.snapshot.edges(kind).numbers(raw([id]))[0]) != NONE:
            return False
        near, far = ("agent", "server") if kind == "grant" else ("server", "system")
        model: Any = Grant if kind == "grant" else Connection
        ends = model.objects.filter(pk=id).values_list(f"{near}_id", f"{far}_id").first()
        return ends is not None and all(map(self.knows, (near, far), ends))

    def not_found(self, kind: str) -> NotFound:
        return NotFound(f"There is no such {kind.replace('_', ' ')} that you may see.")
