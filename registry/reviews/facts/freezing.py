"""Freezing evidence: for one subject, or in the database for a hundred thousand without passing through Python."""

from collections.abc import Iterable
from typing import Any

from django.db import connection

from registry.core.canonical import canonical_json
from registry.reviews.facts.canonical_sql import digest
from registry.reviews.facts.evidence import Evidence
from registry.reviews.facts.servers import PARTS, server_parts
from registry.reviews.facts.subjects import evidence_select

FOR_MANY = "SET LOCAL work_mem = '128MB'; SET LOCAL jit = off; SET LOCAL enable_nestloop = off"
"""How a transaction is told that it works on very many rows: they are sorted and hashed in memory, expressions are
run rather than compiled, and tables that were filled a moment ago, of which the planner knows nothing yet, are not
taken for small ones and joined row by row."""
_COLUMNS = ", ".join(PARTS)


def freeze(evidence: Evidence) -> dict[str, Any]:
    """The columns of `FrozenEvidence` for a new row; its block is stored if it is not there yet."""
    keep_blocks([evidence])
    return {
        "snapshot": evidence.snapshot,
        "block_id": evidence.block_digest,
        "fingerprint": evidence.fingerprint,
        "evidence_hash": evidence.evidence_hash,
    }


def keep_blocks(evidence: Iterable[Evidence]) -> None:
    blocks = {each.block_digest: each.block for each in evidence if each.block_digest}
    if not blocks:
        return
    rows = sorted(blocks.items())
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO reviews_evidenceblock (digest, text) SELECT digest, text "
            "FROM unnest(%s::text[], %s::text[]) AS kept(digest, text) ON CONFLICT DO NOTHING",
            [[name for name, _ in rows], [canonical_json(body).decode() for _, body in rows]],
        )


def write_blocks(servers: str, params: Any = ()) -> None:
    """Freeze the surroundings of every server whose id the SQL `servers` yields, for `frozen_select` to refer to.

    Call it in the transaction that then uses `frozen_select`: the parts it computes stay in a temporary table until
    the transaction ends, so that items and blocks tell of the same instant. Sets the transaction up `FOR_MANY` rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{FOR_MANY}; DROP TABLE IF EXISTS pg_temp.frozen_part")
        cursor.execute(
            "CREATE TEMPORARY TABLE frozen_part (server_id uuid PRIMARY KEY, name text, label text, tier text, "
            "in_place boolean, facts text, reach text, tool_list text, definitions text, tool_names text[], "
            "tool_facts text[], block_digest text) "
            # Out-of-line values would be fetched once for every grant.
            "WITH (toast_tuple_target = 8160) ON COMMIT DROP"
        )
        cursor.execute(
            f"""
WITH part AS MATERIALIZED (SELECT *, {digest("block")} AS block_digest FROM ({server_parts(servers)}) AS part OFFSET 0),
kept AS (
  INSERT INTO reviews_evidenceblock (digest, text) SELECT block_digest, block FROM part ORDER BY block_digest
  ON CONFLICT DO NOTHING
)
INSERT INTO frozen_part ({_COLUMNS}, block_digest) SELECT {_COLUMNS}, block_digest FROM part""",  # noqa: S608
            params or None,
        )


def frozen_select(kind: str, subjects: str) -> str:
    """SQL of `subject_id, rests_on, label, tier, in_place, snapshot, block_digest, fingerprint, evidence_hash`.

    For the subjects whose ids the SQL `subjects` yields in one uuid column; all their servers must have been given
    to `write_blocks` in this transaction (agents rest on none). A subject whose server was not is left out.
    """
    return evidence_select(kind, subjects, parts="frozen_part")
