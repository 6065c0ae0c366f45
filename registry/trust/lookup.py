"""From what somebody typed to the thing they mean, over every kind that a question may be about.

Asked with the eyes of the actor: what may not be seen is neither found nor suggested.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Case, Q, QuerySet, When

from registry.accounts.models import Team, User
from registry.catalog.models import Agent, DataClass, Issuer, SecretSource, Server, System, Tier
from registry.core.actors import Actor
from registry.trust.labels import KIND_WORDS, Label, labels
from registry.trust.models import Connection, Grant, seen_by
from registry.trust.question import Ref, key_of, ref_of

OFFERED = 8
"""Suggestions per kind."""


@dataclass(frozen=True)
class Found:
    """A thing that a text names."""

    ref: Ref
    label: Label

    @property
    def key(self) -> str:
        return key_of(self.ref)

    @property
    def kind(self) -> str:
        return self.ref[0]

    @property
    def id(self) -> UUID:
        return self.ref[1]

    @property
    def kind_word(self) -> str:
        return str(KIND_WORDS[self.kind])


def find(actor: Actor, text: str, kinds: Sequence[str]) -> list[Found]:
    """The things that `text` names: by key "kind:id", by their exact name, else by part of it.

    One is the answer; several, the reader has to choose; none, there is nothing here that they may see.
    """
    if (ref := ref_of(text)) is not None:
        return _found([ref] if ref[0] in kinds and _is_seen(actor, ref) else [])
    for condition in (_exactly, _partly):
        found = _search(actor, text, kinds, condition)
        if found:
            return found
    return []


def suggest(actor: Actor, text: str, kinds: Sequence[str]) -> list[Found]:
    """What `text` may be going to name."""
    return _search(actor, text.strip(), kinds, _partly)


def worth_asking(actor: Actor) -> list[Found]:
    """A system, an agent and a server in service that questions are likely to be about: the most sensitive first."""
    worst = (
        ("system", System, {"standing": "active"}, ("data_class", DataClass.values[::-1])),
        ("agent", Agent, {"standing": "active", "grants__status": "active"}, None),
        ("server", Server, {"lifecycle": "active"}, ("tier", Tier.values)),
    )
    refs: list[Ref] = []
    for kind, model, condition, ranking in worst:
        rows = seen_by(actor, model).filter(**condition)
        if ranking:
            field, order = ranking
            rows = rows.annotate(rank=Case(*(When(**{field: value}, then=n) for n, value in enumerate(order))))
        refs += [
            (kind, pk) for pk in rows.order_by(*(["rank"] if ranking else []), "name").values_list("pk", flat=True)[:1]
        ]
    return _found(refs)


def _search(actor: Actor, text: str, kinds: Sequence[str], condition: Callable[[str, str], Q]) -> list[Found]:
    if "\0" in text:  # PostgreSQL has no such character, so nothing is called that
        return []
    refs: list[Ref] = []
    for kind in kinds:
        if kind not in _NAMES:
            continue
        visible, wanted = _VISIBLE[kind], Q()
        for name in _NAMES[kind]:
            wanted |= condition(name, text)
        rows = visible(actor).filter(wanted) if text else visible(actor)
        refs += [(kind, pk) for pk in rows.order_by(_NAMES[kind][0], "pk").values_list("pk", flat=True)[:OFFERED]]
    return _found(refs)


def _exactly(name: str, text: str) -> Q:
    kind, colon, reference = text.partition(":")
    if name == "reference" and colon:
        return Q(kind=kind, reference=reference) | Q(reference=text)
    return Q(**{f"{name}__iexact": text})


def _partly(name: str, text: str) -> Q:
    wanted = Q()
    for word in text.split():
        wanted &= Q(**{f"{name}__icontains": word})
    return wanted


def _found(refs: Sequence[Ref]) -> list[Found]:
    """One of each: a secret that several servers use is one thing."""
    known = labels(refs)
    found = {(ref if ref[0] != "secret_source" else known[ref].name): Found(ref, known[ref]) for ref in refs}
    return list(found.values())


def _is_seen(actor: Actor, ref: Ref) -> bool:
    kind, pk = ref
    return _VISIBLE[kind](actor).filter(pk=pk).exists()


_VISIBLE: Mapping[str, Callable[[Actor], QuerySet[Any]]] = {
    "agent": lambda actor: seen_by(actor, Agent),
    "server": lambda actor: seen_by(actor, Server),
    "system": lambda actor: seen_by(actor, System),
    # One row stands for a secret that several servers may use.
    "secret_source": lambda actor: SecretSource.objects.filter(
        server__in=seen_by(actor, Server).order_by().values("pk"), retired_at=None
    ).exclude(kind=SecretSource.Kind.NONE),
    "issuer": lambda actor: Issuer.objects.all(),
    "team": lambda actor: Team.objects.all(),
    "person": lambda actor: User.objects.all(),
    "grant": lambda actor: Grant.objects.visible_to(actor),
    "connection": lambda actor: Connection.objects.visible_to(actor),
}
_NAMES: Mapping[str, Sequence[str]] = {
    "agent": ("name", "spiffe_id", "client_id"),
    "server": ("name", "title"),
    "system": ("name",),
    "secret_source": ("reference",),
    "issuer": ("name", "uri"),
    "team": ("name", "slug"),
    "person": ("name", "email"),
}
