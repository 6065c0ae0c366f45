"""Present evidence, read for one subject or many."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connection

from registry.catalog.models import Agent, Server
from registry.reviews.facts.composition import Json, compose
from registry.reviews.facts.subjects import evidence_select
from registry.trust.models import Connection, Grant

ACCESS_LADDER = (Connection.Access.READ, Connection.Access.WRITE, Connection.Access.ADMIN)


@dataclass(frozen=True)
class Evidence:
    """What a subject is at this moment, in the form in which it would be frozen.

    `snapshot` is what an item stores; `block` is what surrounds the server, stored once under `block_digest` (None
    for an agent). `rests_on` is the server it is about or whose relationship it is. `in_place` is False when there is
    nothing left to certify: revoked, expired, retired, withdrawn.
    """

    subject: Any
    rests_on: UUID | None
    label: str
    tier: str
    in_place: bool
    snapshot: Json
    block: Json | None
    block_digest: str | None
    fingerprint: str
    evidence_hash: str

    @property
    def facts(self) -> Json:
        facts: Json = self.snapshot["facts"]
        return facts

    @cached_property
    def evidence(self) -> Json:
        """`{"facts", "context"}` as people read it, like `Item.evidence` of what was frozen."""
        return compose(self.snapshot, self.block)

    @property
    def context(self) -> Json:
        context: Json = self.evidence["context"]
        return context


def collect(kind: str, ids: Iterable[UUID], *, subjects: Mapping[UUID, Any] | None = None) -> dict[UUID, Evidence]:
    """Evidence of many subjects of one kind, in two queries. Raises `KeyError` for an id that does not exist.

    `subjects` are theirs where the caller has them at hand: one query less, by far the larger one.
    """
    wanted = list(dict.fromkeys(ids))
    if kind not in _SUBJECTS:
        raise ValueError(f"{kind} is not reviewed")
    found = _present(kind, _SUBJECTS[kind].in_bulk(wanted) if subjects is None else subjects)
    return {pk: found[pk] for pk in wanted}


def evidence_of(subject: Any) -> Evidence:
    """The present evidence of one server, grant, connection or agent, in one query."""
    return _present(subject._meta.model_name, {subject.pk: subject})[subject.pk]


def _present(kind: str, subjects: Mapping[UUID, Any]) -> dict[UUID, Evidence]:
    rows: dict[UUID, Any] = {}
    blocks: dict[str, Json] = {}
    with connection.cursor() as cursor:
        cursor.execute(_PRESENT[kind], [list(subjects)])
        for pk, *columns, block in cursor.fetchall():
            rows[pk] = columns
            if block is not None and columns[5] not in blocks:
                blocks[columns[5]] = json.loads(block)
    return {pk: _evidence(subjects[pk], blocks, *row) for pk, row in rows.items()}


def reducible(snapshot: Json) -> list[str]:
    """What a reduction may keep, as the atoms `Decision.kept` is made of: tools, or `access:read` and scopes."""
    facts = snapshot["facts"]
    if facts["kind"] == "grant":
        return list(facts["tool_names"])
    if facts["kind"] == "connection":
        ladder = [str(level) for level in ACCESS_LADDER]
        held = ladder[: ladder.index(facts["access"]) + 1]
        return [*(f"access:{level}" for level in held), *facts["scopes"]]
    return []


def _evidence(
    subject: Any,
    blocks: dict[str, Json],
    rests_on: UUID | None,
    label: str,
    tier: str,
    in_place: bool,
    snapshot: str,
    block_digest: str | None,
    fingerprint: str,
    evidence_hash: str,
) -> Evidence:
    return Evidence(
        subject=subject,
        rests_on=rests_on,
        label=label,
        tier=tier,
        in_place=in_place,
        snapshot=json.loads(snapshot),
        block=blocks[block_digest] if block_digest else None,
        block_digest=block_digest,
        fingerprint=fingerprint,
        evidence_hash=evidence_hash,
    )


_SUBJECTS: dict[str, Any] = {
    "server": Server.objects.select_related("owner", "deputy", "team"),
    "grant": Grant.objects.select_related("agent__owner", "agent__issuer", "agent__server", "server__team__lead"),
    "connection": Connection.objects.select_related("system__owner", "secret_source", "server__team__lead"),
    "agent": Agent.objects.select_related("owner", "issuer", "server", "team__lead"),
}
_PRESENT = {
    kind: "SELECT subject_id, rests_on, label, tier, in_place, snapshot::text, block_digest, fingerprint, "  # noqa: S608
    f"evidence_hash, block FROM ({evidence_select(kind, 'SELECT unnest(%s::uuid[])')}) AS present"
    for kind in _SUBJECTS
}
