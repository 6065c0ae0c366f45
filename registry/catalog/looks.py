"""Looks at what is confidential leave evidence, whichever door they come through: pages, panels, questions, REST."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from registry.audit.services import record_access
from registry.catalog.models import Agent, Server, System
from registry.core.actors import Actor

_MODELS: Mapping[str, type[Any]] = {"agent": Agent, "server": Server, "system": System}


def note_look(actor: Actor, thing: Agent | Server | System) -> None:
    """Called by whoever shows `thing`; nothing happens unless it is confidential."""
    if thing.confidential:
        record_access(actor=actor, act=f"{thing.subject_type}.viewed", subject=thing)


def note_looks(actor: Actor, things: Iterable[tuple[str, UUID]]) -> None:
    """The same for things that were shown and are known by kind and id, as the trust graph knows them.

    One statement per kind, beside those of what is confidential.
    """
    asked: dict[str, set[UUID]] = {}
    for kind, pk in things:
        if kind in _MODELS:
            asked.setdefault(kind, set()).add(pk)
    for kind, ids in asked.items():
        for thing in _MODELS[kind].objects.filter(pk__in=ids, confidential=True):
            note_look(actor, thing)
