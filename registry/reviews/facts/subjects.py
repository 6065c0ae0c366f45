# ruff: noqa: S608 - SQL composed of constants and of SQL that callers write, never of values
"""The one definition of facts and context of what is reviewed: servers, grants, connections and agents, in SQL.

`facts` are material: their SHA-256 is the fingerprint, and a change of it ends certification. They name things by
id, so that renaming a person or a system is not a change. `context` is what a reviewer also wants to see (names,
descriptions, last rotation, who depends on it) and may change without consequence.

Nothing here depends on the clock or on a language: the same rows always give the same bytes.
"""

from registry.catalog.models import Tier
from registry.catalog.states import Standing
from registry.reviews.facts.canonical_sql import (
    any_of,
    boolean,
    digest,
    instant,
    listing,
    members,
    number,
    obj,
    or_null,
    plain,
    sorted_strings,
    text,
)
from registry.reviews.facts.servers import LABEL, SOURCE, server_parts
from registry.trust.states import HELD

KINDS = ("server", "grant", "connection", "agent")

_HELD = any_of(HELD)
# As an array, which indexes are searched for. A join with the CTE would read whole tables for every chunk of a launch.
_WANTED = "ANY(ARRAY(SELECT id FROM wanted))"
_TIERS = f"ARRAY[{', '.join(repr(str(tier)) for tier in Tier)}]"
# By the issuer's URI, which is in every token: its name in this registry is not material.
_IDENTITY = "coalesce(nullif(agent.spiffe_id, ''), agent.client_id || ' at ' || issuer.uri)"

# --- Grants ----------------------------------------------------------------------------------------------

_BY_NAME = 'granted.name COLLATE "C"'
# A granted tool the server no longer lists stays in the facts: the grant still says it.
_UNLISTED = obj(**{"class": "'\"\"'"}, digest="'\"\"'", name=text("granted.name"))
_GRANTED = f"coalesce(part.tool_facts[array_position(part.tool_names, granted.name::text)], {_UNLISTED})"
_GRANT_FACTS = obj(
    kind="'\"grant\"'",
    agent=plain("agent.id"),
    agent_identity="agent.identity",
    agent_owner="agent.owner",
    agent_environment="agent.environment",
    server=plain("subject.server_id"),
    all_tools=boolean("subject.all_tools"),
    tool_names="CASE WHEN subject.all_tools THEN part.tool_list ELSE granted.names END",
    definitions=plain("CASE WHEN subject.all_tools THEN part.definitions ELSE granted.definitions END"),
    purpose=or_null(plain("subject.purpose_id")),
    on_behalf_of=text("subject.on_behalf_of"),
    behalf_detail=text("subject.behalf_detail"),
    max_token_lifetime_seconds=number("subject.max_token_lifetime_seconds"),
    valid_until=instant("subject.valid_until"),
    reach=plain("part.reach"),
)
_GRANT_CONTEXT = obj(
    agent="agent.note",
    block=plain("part.block_digest"),
    reason=text("subject.reason"),
    requested_by=text("coalesce(asker.name, '')"),
    stakes=obj(agent_registered="agent.registered", requested=or_null(plain("subject.requested_by_id"))),
    status=text("subject.status"),
)
# Agents hold many grants, and grants of one server often name the same tools: both are composed once.
_GRANT = f"""
WITH subject AS MATERIALIZED (SELECT * FROM trust_grant WHERE id = {_WANTED})
SELECT subject.id AS subject_id, subject.server_id AS rests_on, agent.name || ' → ' || part.label AS label, part.tier,
  subject.status IN {_HELD} AS in_place, {_GRANT_FACTS} AS facts, {_GRANT_CONTEXT} AS context, part.block_digest
FROM subject
JOIN part ON part.server_id = subject.server_id
JOIN (
  SELECT named.server_id, named.tools, named.names, {digest("named.facts")} AS definitions FROM (
    SELECT sets.server_id, sets.tools, granted.names, granted.facts
    FROM (SELECT DISTINCT server_id, tools FROM subject) AS sets
    JOIN part ON part.server_id = sets.server_id
    CROSS JOIN LATERAL (
      SELECT {listing(members(text("granted.name"), _BY_NAME))} AS names,
        {listing(members(_GRANTED, _BY_NAME))} AS facts
      FROM unnest(sets.tools) AS granted(name)
    ) AS granted OFFSET 0
  ) AS named OFFSET 0
) AS granted ON granted.server_id = subject.server_id AND granted.tools = subject.tools
JOIN (
  SELECT agent.id, agent.name, {text(_IDENTITY)} AS identity, {or_null(plain("agent.owner_id"))} AS owner,
    {or_null(plain("agent.created_by_id"))} AS registered, {text("agent.environment")} AS environment, {
    obj(
        name=text("agent.name"),
        kind=text("agent.kind"),
        owner=text("coalesce(owner.name, '')"),
        owner_active=boolean("coalesce(owner.is_active, false)"),
    )
} AS note
  FROM catalog_agent AS agent
  LEFT JOIN catalog_issuer AS issuer ON issuer.id = agent.issuer_id
  LEFT JOIN accounts_user AS owner ON owner.id = agent.owner_id
  WHERE agent.id = ANY(ARRAY(SELECT DISTINCT agent_id FROM subject)) OFFSET 0
) AS agent ON agent.id = subject.agent_id
LEFT JOIN accounts_user AS asker ON asker.id = subject.requested_by_id
"""

# --- Connections -----------------------------------------------------------------------------------------

_CONNECTION_FACTS = obj(
    kind="'\"connection\"'",
    server=plain("subject.server_id"),
    system=plain("system.id"),
    system_owner=or_null(plain("system.owner_id")),
    data_class=text("system.data_class"),
    environment=text("system.environment"),
    access=text("subject.access"),
    scopes=sorted_strings("subject.scopes"),
    secret_source=f"CASE WHEN source.id IS NULL THEN 'null' ELSE {SOURCE} END",
    valid_until=instant("subject.valid_until"),
)
_CONNECTION_CONTEXT = obj(
    block=plain("part.block_digest"),
    system=obj(name=text("system.name"), kind=text("system.kind"), owner=text("coalesce(owner.name, '')")),
    reason=text("subject.reason"),
    requested_by=text("coalesce(asker.name, '')"),
    stakes=obj(requested=or_null(plain("subject.requested_by_id"))),
    status=text("subject.status"),
)
_CONNECTION = f"""
SELECT subject.id AS subject_id, subject.server_id AS rests_on, part.label || ' → ' || system.name AS label, part.tier,
  subject.status IN {_HELD} AS in_place, {_CONNECTION_FACTS} AS facts, {_CONNECTION_CONTEXT} AS context,
  part.block_digest
FROM trust_connection AS subject
JOIN part ON part.server_id = subject.server_id
JOIN catalog_system AS system ON system.id = subject.system_id
LEFT JOIN accounts_user AS owner ON owner.id = system.owner_id
LEFT JOIN catalog_secretsource AS source ON source.id = subject.secret_source_id
LEFT JOIN accounts_user AS asker ON asker.id = subject.requested_by_id
WHERE subject.id = {_WANTED}
"""

# --- Agents ----------------------------------------------------------------------------------------------

_AGENT_FACTS = obj(
    kind="'\"agent\"'",
    agent_kind=text("subject.kind"),
    identity=text(_IDENTITY.replace("agent.", "subject.")),
    spiffe_id=text("subject.spiffe_id"),
    client_id=text("subject.client_id"),
    issuer=or_null(plain("subject.issuer_id")),
    owner=or_null(plain("subject.owner_id")),
    team=or_null(plain("subject.team_id")),
    environment=text("subject.environment"),
    server=or_null(plain("subject.server_id")),
    grants=listing("held.facts"),
)
_AGENT_CONTEXT = obj(
    agent=obj(
        id=plain("subject.id"),
        name=text("subject.name"),
        description=text("subject.description"),
        issuer=text("coalesce(issuer.name, '')"),
        owner=text("coalesce(owner.name, '')"),
        owner_active=boolean("coalesce(owner.is_active, false)"),
        team=text("coalesce(team.name, '')"),
    ),
    grants=listing("held.notes"),
    connections=listing("reached.notes"),
    stakes=obj(registered=or_null(plain("subject.created_by_id"))),
    names="('{' || coalesce(named.members, '') || '}')",
)
_AGENT_GRANT = obj(
    server=plain("held.server_id"),
    all_tools=boolean("held.all_tools"),
    tools=sorted_strings("held.tools"),
    on_behalf_of=text("held.on_behalf_of"),
)
_AGENT_GRANT_NOTE = obj(
    id=plain("held.id"),
    server=plain("server.id"),
    name=text("server.name"),
    label=text(LABEL),
    tier=text("server.tier"),
    environment=text("server.environment"),
    lifecycle=text("server.lifecycle"),
    status=text("held.status"),
    behalf_detail=text("held.behalf_detail"),
    valid_until=instant("held.valid_until"),
)
_AGENT_REACH = obj(
    server=plain("link.server_id"),
    system=plain("system.id"),
    name=text("system.name"),
    kind=text("system.kind"),
    data_class=text("system.data_class"),
    environment=text("system.environment"),
    access=text("link.access"),
    status=text("link.status"),
)

_AGENT = f"""
SELECT subject.id AS subject_id, NULL::uuid AS rests_on, subject.name::text AS label,
  coalesce(({_TIERS})[held.worst], '{Tier.LOW}') AS tier, subject.standing = '{Standing.ACTIVE}' AS in_place,
  {_AGENT_FACTS} AS facts, {_AGENT_CONTEXT} AS context, NULL::text AS block_digest
FROM catalog_agent AS subject
LEFT JOIN catalog_issuer AS issuer ON issuer.id = subject.issuer_id
LEFT JOIN accounts_user AS owner ON owner.id = subject.owner_id
LEFT JOIN accounts_team AS team ON team.id = subject.team_id
LEFT JOIN (
  SELECT held.agent_id, {members(_AGENT_GRANT, "held.server_id")} AS facts,
    {members(_AGENT_GRANT_NOTE, "held.server_id")} AS notes,
    min(array_position({_TIERS}, server.tier::text)) AS worst
  FROM trust_grant AS held JOIN catalog_server AS server ON server.id = held.server_id
  WHERE held.agent_id = {_WANTED} AND held.status IN {_HELD}
  GROUP BY held.agent_id
) AS held ON held.agent_id = subject.id
LEFT JOIN (
  SELECT held.agent_id, {members(_AGENT_REACH, "link.server_id, link.system_id, link.id")} AS notes
  FROM trust_grant AS held JOIN trust_connection AS link ON link.server_id = held.server_id
  JOIN catalog_system AS system ON system.id = link.system_id
  WHERE held.agent_id = {_WANTED} AND held.status IN {_HELD} AND link.status IN {_HELD}
  GROUP BY held.agent_id
) AS reached ON reached.agent_id = subject.id
LEFT JOIN (
  SELECT agent_id, string_agg({plain("id")} || ':' || {text("name")}, ',' ORDER BY id) AS members
  FROM (
    SELECT id AS agent_id, id, name::text FROM catalog_agent WHERE id = {_WANTED}
    UNION SELECT agent.id, person.id, person.name FROM catalog_agent AS agent
      JOIN accounts_user AS person ON person.id = agent.owner_id WHERE agent.id = {_WANTED}
    UNION SELECT agent.id, team.id, team.name FROM catalog_agent AS agent
      JOIN accounts_team AS team ON team.id = agent.team_id WHERE agent.id = {_WANTED}
    UNION SELECT agent.id, issuer.id, issuer.name FROM catalog_agent AS agent
      JOIN catalog_issuer AS issuer ON issuer.id = agent.issuer_id WHERE agent.id = {_WANTED}
    UNION SELECT agent.id, server.id, {LABEL} FROM catalog_agent AS agent
      JOIN catalog_server AS server ON server.id = agent.server_id WHERE agent.id = {_WANTED}
    UNION SELECT held.agent_id, server.id, {LABEL} FROM trust_grant AS held
      JOIN catalog_server AS server ON server.id = held.server_id
      WHERE held.agent_id = {_WANTED} AND held.status IN {_HELD}
  ) AS listed GROUP BY agent_id
) AS named ON named.agent_id = subject.id
WHERE subject.id = {_WANTED}
"""

# --- Statements ------------------------------------------------------------------------------------------

_SERVER = f"""
SELECT part.server_id AS subject_id, part.server_id AS rests_on, part.name AS label, part.tier, part.in_place,
  part.facts, {obj(block=plain("part.block_digest"))} AS context, part.block_digest
FROM wanted JOIN part ON part.server_id = wanted.id
"""
# Each yields: subject_id, rests_on, label, tier, in_place, facts, context, block_digest.
_SUBJECTS = {"server": _SERVER, "grant": _GRANT, "connection": _CONNECTION, "agent": _AGENT}
_SERVERS = {
    "server": "SELECT id FROM wanted",
    "grant": f"SELECT server_id FROM trust_grant WHERE id = {_WANTED}",
    "connection": f"SELECT server_id FROM trust_connection WHERE id = {_WANTED}",
}
# What each kind reads of its server.
_PARTS = {
    "server": "server_id, name, tier, in_place, facts",
    "grant": "server_id, label, tier, reach, tool_list, definitions, tool_names, tool_facts",
    "connection": "server_id, label, tier",
}


def evidence_select(kind: str, subjects: str, *, parts: str | None = None) -> str:
    """SQL of `subject_id, rests_on, label, tier, in_place, snapshot, block_digest, fingerprint, evidence_hash`.

    `subjects` is the SQL text that yields the ids, in one uuid column; it occurs once, and so do its parameters.
    `parts` names a table with `servers.PARTS` and `block_digest` of all their servers. Without it they are computed,
    and one more column follows: `block`, the text of the block, on one row of each server and NULL on the others.
    """
    ctes, block = [_wanted(subjects)], ""
    if parts is not None and kind in _SERVERS:
        ctes.append(f"part AS (SELECT * FROM {parts})")
    elif parts is None and kind in _SERVERS:
        block = ", CASE WHEN row_number() OVER (PARTITION BY rests_on) = 1 THEN part.block END AS block"
        ctes.append(
            f"part AS MATERIALIZED (SELECT *, {digest('block')} AS block_digest FROM "
            f"(SELECT {_PARTS[kind]}, block FROM ({server_parts(_SERVERS[kind])}) AS every OFFSET 0) AS part)"
        )
    elif parts is None:
        block = ", NULL::text AS block"
    whole = f"SELECT *, {obj(context='context', facts='facts')} AS whole FROM ({_composed(kind)}) AS composed OFFSET 0"
    return f"""WITH {", ".join(ctes)}
SELECT subject_id, rests_on, left(frozen.label, 320) AS label, frozen.tier, frozen.in_place, whole::jsonb AS snapshot,
  frozen.block_digest, {digest("frozen.facts")} AS fingerprint, {digest("whole")} AS evidence_hash{block}
FROM ({whole}) AS frozen {"JOIN part ON part.server_id = rests_on" if "part." in block else ""}
"""


def fingerprint_select(kind: str, subjects: str) -> str:
    """SQL of `subject_id, in_place, fingerprint` as `evidence_select` has them, for much less."""
    ctes = [_wanted(subjects)]
    if kind in _SERVERS:
        ctes.append(
            f"part AS MATERIALIZED (SELECT {_PARTS[kind]}, NULL::text AS block_digest "
            f"FROM ({server_parts(_SERVERS[kind])}) AS every)"
        )
    return f"""WITH {", ".join(ctes)}
SELECT subject_id, in_place, {digest("facts")} AS fingerprint FROM ({_composed(kind)}) AS composed
"""


def _wanted(subjects: str) -> str:
    return f"wanted AS MATERIALIZED (SELECT subject.id FROM ({subjects}) AS subject(id))"


def _composed(kind: str) -> str:
    # The fence: an expression is computed once, not once for each place that mentions it.
    return f"{_SUBJECTS[kind]} OFFSET 0"
