# ruff: noqa: S608 - SQL composed of constants and of SQL that callers write, never of values
"""Servers in SQL: what is material about each, and the block of everything that surrounds it.

What surrounds a server is the same for all that rests on it. `server_parts` yields one row per server, from which
the evidence of the server and of its relationships is composed.
"""

from registry.catalog.models import ToolClass
from registry.catalog.states import Lifecycle
from registry.reviews.facts.canonical_sql import (
    any_of,
    boolean,
    day,
    digest,
    instant,
    large_number,
    listing,
    members,
    number,
    obj,
    or_null,
    plain,
    sorted_strings,
    strings,
    text,
)
from registry.trust.states import HELD, Status

_HELD = any_of(HELD)
_ASKING = any_of((Lifecycle.DRAFT, Lifecycle.SUBMITTED))
# As an array, which indexes are searched for. A join with the CTE would read whole tables for every chunk of a launch.
_ASKED = "ANY(ARRAY(SELECT server_id FROM asked))"
_REVIEWED = any_of((Lifecycle.SUBMITTED, Lifecycle.ACTIVE, Lifecycle.SUSPENDED))

LABEL = "coalesce(nullif(server.title, ''), split_part(server.name, '/', -1))"
PARTS = (
    "server_id", "name", "label", "tier", "in_place", "facts", "reach", "tool_list", "definitions", "tool_names",
    "tool_facts",
)  # fmt: skip
"""Columns of `server_parts` besides `block`. `facts`: the server's own; `reach` and `definitions`: digests of what it
acts on and of its tools; `tool_list`: their names as JSON; `tool_names` and `tool_facts`: arrays side by side."""

# --- Single facts ----------------------------------------------------------------------------------------

_CLASS = f"coalesce(nullif(tool.confirmed_class, ''), nullif(tool.claimed_class, ''), '{ToolClass.DESTRUCTIVE}')"
_TOOL = obj(**{"class": text(_CLASS)}, digest=text("tool.digest"), name=text("tool.name"))
_TOOL_NOTE = obj(
    name=text("tool.name"),
    title=text("tool.title"),
    description=text("left(tool.description, 300)"),
    claimed_class=text("tool.claimed_class"),
    confirmed_class=text("tool.confirmed_class"),
    approved=boolean("tool.digest <> '' AND tool.approved_digest = tool.digest"),
    digest=text("tool.digest"),
    **{"class": text(_CLASS)},
)
SOURCE = obj(
    kind=text("source.kind"),
    reference=text("source.reference"),
    name=text("source.name"),
    credential_type=text("source.credential_type"),
    max_lifetime_seconds=or_null(large_number("source.max_lifetime_seconds")),
    rotation_interval_days=or_null(number("source.rotation_interval_days")),
)
_BY_SOURCE = f'source.kind COLLATE "C", source.reference COLLATE "C", source.name COLLATE "C", ({SOURCE}) COLLATE "C"'
_SOURCE_NAMED = obj(kind=text("source.kind"), reference=text("source.reference"))
_SOURCE_NOTE = obj(
    kind=text("source.kind"),
    reference=text("source.reference"),
    reason=text("source.reason"),
    credential_type=text("source.credential_type"),
    rotation_interval_days=or_null(number("source.rotation_interval_days")),
    last_rotated_on=or_null(day("source.last_rotated_on")),
    revocable_by=text("source.revocable_by"),
    verification=text("source.verification"),
    servers_sharing=number("coalesce(shared.servers, 1) - 1"),
)
_ENDPOINT = obj(
    uri=text("endpoint.canonical_uri"), transport=text("endpoint.transport"), sha256=text("endpoint.package_sha256")
)
_STEP = obj(instruction=text("step.instruction"), executor=text("step.executor"), responsible=text("step.responsible"))
_STEP_NOTE = obj(
    instruction=text("step.instruction"),
    executor=text("step.executor"),
    responsible=text("step.responsible"),
    minutes=number("step.expected_minutes"),
)
_PURPOSE = obj(
    statement=text("purpose.statement"),
    in_scope=strings("purpose.in_scope"),
    out_of_scope=strings("purpose.out_of_scope"),
    data_classes=strings("purpose.data_classes"),
    ends_on=day("purpose.ends_on"),
)
_SOURCE_OF_LINK = f"CASE WHEN source.id IS NULL THEN 'null' ELSE {_SOURCE_NAMED} END"
_REACH = obj(
    system=plain("system.id"),
    data_class=text("system.data_class"),
    environment=text("system.environment"),
    access=text("link.access"),
    scopes=sorted_strings("link.scopes"),
    secret_source=_SOURCE_OF_LINK,
)
_LINK_NOTE = obj(
    id=plain("link.id"),
    system=plain("system.id"),
    name=text("system.name"),
    kind=text("system.kind"),
    data_class=text("system.data_class"),
    environment=text("system.environment"),
    access=text("link.access"),
    scopes=sorted_strings("link.scopes"),
    secret_source=_SOURCE_OF_LINK,
    status=text("link.status"),
    owner=text("coalesce(person.name, '')"),
    reason=text("link.reason"),
    valid_until=instant("link.valid_until"),
)
_FACTOR = obj(
    fact=or_null(text("factor ->> 'fact'")),
    value=or_null(text("factor ->> 'value'")),
    points=or_null(number("(factor ->> 'points')::int")),
    words=or_null(text("factor ->> 'words'")),
)
_BLOCK = obj(
    server=obj(
        id=plain("server.id"),
        name=text("server.name"),
        label=text("server.label"),
        short=text("split_part(server.name, '/', -1)"),
        title=text("server.title"),
        description=text("server.description"),
        release=text("server.release"),
        environment=text("server.environment"),
        tier=text("server.tier"),
        tier_factors=f"(SELECT {listing(members(_FACTOR, 'place'))} "
        "FROM jsonb_array_elements(server.tier_factors) WITH ORDINALITY AS listed(factor, place))",
        owner=text("coalesce(owner.name, '')"),
        owner_active=boolean("coalesce(owner.is_active, false)"),
        deputy=text("coalesce(deputy.name, '')"),
        team=text("coalesce(team.name, '')"),
        stakes=obj(
            owner=or_null(plain("server.owner_id")),
            deputy=or_null(plain("server.deputy_id")),
            operator=or_null(plain("server.operator_id")),
            registered=or_null(plain("server.created_by_id")),
            submitted=or_null(plain("server.submitted_by_id")),
        ),
        agents=number("coalesce(callers.agents, 0)"),
        tool_count=number("coalesce(tools.count, 0)"),
    ),
    secrets=listing("sources.notes"),
    revocation=obj(
        steps=number("coalesce(steps.count, 0)"),
        minutes=number("coalesce(steps.minutes, 0)"),
        path=listing("steps.notes"),
    ),
    purpose=or_null("purposes.fact"),
    connections=listing("links.notes"),
    tools=listing("tools.notes"),
    names="('{' || names.members || '}')",
)
_FACTS = obj(
    kind="'\"server\"'",
    name=text("server.name"),
    environment=text("server.environment"),
    owner=or_null(plain("server.owner_id")),
    deputy=or_null(plain("server.deputy_id")),
    operator=or_null(plain("server.operator_id")),
    team=or_null(plain("server.team_id")),
    endpoints=listing("endpoints.facts"),
    tools=listing("tools.facts"),
    purpose=or_null("purposes.fact"),
    secret_sources=listing("sources.facts"),
    revocation=listing("steps.facts"),
    downstream=listing("links.facts"),
    said=text("server.said_digest"),
)

# --- Servers ---------------------------------------------------------------------------------------------


def server_parts(servers: str) -> str:
    """One row per server whose id the SQL `servers` yields: `PARTS` and `block`.

    What a surrounding statement does not select is not computed.
    """
    return f"""
WITH asked AS MATERIALIZED (SELECT DISTINCT subject.id AS server_id FROM ({servers}) AS subject(id)),
server AS (
  SELECT server.*, {LABEL} AS label FROM catalog_server AS server WHERE id = {_ASKED}
),
-- Of a registration also what it asks for, because activating approves that.
link AS MATERIALIZED (
  SELECT link.* FROM trust_connection AS link JOIN server ON server.id = link.server_id
  WHERE link.server_id = {_ASKED}
    AND (link.status IN {_HELD} OR (link.status = '{Status.REQUESTED}' AND server.lifecycle IN {_ASKING}))
),
source AS MATERIALIZED (
  SELECT * FROM catalog_secretsource WHERE server_id = {_ASKED} AND retired_at IS NULL
)
SELECT server.id AS server_id, server.name::text, server.label, server.tier::text,
  server.lifecycle IN {_REVIEWED} AS in_place, {_FACTS} AS facts, {digest(listing("links.facts"))} AS reach,
  {strings("coalesce(tools.names, '{}')")} AS tool_list, {digest(listing("tools.facts"))} AS definitions,
  tools.names AS tool_names, tools.each AS tool_facts, {_BLOCK} AS block
FROM server
LEFT JOIN (
  SELECT server_id, {members("fact", 'name COLLATE "C"')} AS facts, {members("note", 'name COLLATE "C"')} AS notes,
    array_agg(name::text ORDER BY name COLLATE "C") AS names, array_agg(fact ORDER BY name COLLATE "C") AS each,
    count(*) AS count
  FROM (
    SELECT tool.server_id, tool.name, {_TOOL} AS fact, {_TOOL_NOTE} AS note FROM catalog_tool AS tool
    WHERE tool.server_id = {_ASKED} AND tool.retired_at IS NULL
    OFFSET 0
  ) AS listed GROUP BY server_id
) AS tools ON tools.server_id = server.id
LEFT JOIN (
  SELECT endpoint.server_id, {members(_ENDPOINT, 'endpoint.canonical_uri COLLATE "C"')} AS facts
  FROM catalog_endpoint AS endpoint
  WHERE endpoint.server_id = {_ASKED} AND endpoint.retired_at IS NULL
  GROUP BY endpoint.server_id
) AS endpoints ON endpoints.server_id = server.id
LEFT JOIN (
  SELECT source.server_id, {members(SOURCE, _BY_SOURCE)} AS facts, {members(_SOURCE_NOTE, _BY_SOURCE)} AS notes
  FROM source LEFT JOIN (
    SELECT kind, reference, count(DISTINCT server_id) AS servers FROM catalog_secretsource
    WHERE (kind, reference) IN (SELECT kind, reference FROM source WHERE reference <> '') AND retired_at IS NULL
    GROUP BY kind, reference
  ) AS shared USING (kind, reference)
  GROUP BY source.server_id
) AS sources ON sources.server_id = server.id
LEFT JOIN (
  SELECT step.server_id, {members(_STEP, "step.position")} AS facts, {members(_STEP_NOTE, "step.position")} AS notes,
    count(*) AS count, sum(step.expected_minutes) AS minutes
  FROM catalog_revocationstep AS step
  WHERE step.server_id = {_ASKED} AND step.retired_at IS NULL
  GROUP BY step.server_id
) AS steps ON steps.server_id = server.id
LEFT JOIN (
  SELECT DISTINCT ON (purpose.server_id) purpose.server_id, {_PURPOSE} AS fact FROM catalog_purpose AS purpose
  WHERE purpose.server_id = {_ASKED}
  ORDER BY purpose.server_id, purpose.number DESC
) AS purposes ON purposes.server_id = server.id
LEFT JOIN (
  SELECT link.server_id, {members(_REACH, "link.system_id, link.id")} AS facts,
    {members(_LINK_NOTE, "link.system_id, link.id")} AS notes
  FROM link JOIN catalog_system AS system ON system.id = link.system_id
  LEFT JOIN catalog_secretsource AS source ON source.id = link.secret_source_id
  LEFT JOIN accounts_user AS person ON person.id = system.owner_id
  GROUP BY link.server_id
) AS links ON links.server_id = server.id
LEFT JOIN (
  SELECT server_id, count(*) AS agents FROM trust_grant
  WHERE server_id = {_ASKED} AND status IN {_HELD} GROUP BY server_id
) AS callers ON callers.server_id = server.id
LEFT JOIN (
  SELECT server_id, string_agg({plain("id")} || ':' || {text("name")}, ',' ORDER BY id) AS members
  FROM (
    SELECT id AS server_id, id, name::text FROM server
    UNION SELECT server.id, person.id, person.name FROM server
      JOIN accounts_user AS person ON person.id IN (server.owner_id, server.deputy_id, server.operator_id)
    UNION SELECT server.id, team.id, team.name FROM server JOIN accounts_team AS team ON team.id = server.team_id
    UNION SELECT link.server_id, system.id, system.name FROM link JOIN catalog_system AS system ON system.id = system_id
    -- A grant says which version of the purpose it was given for.
    UNION SELECT purpose.server_id, purpose.id, purpose.statement FROM catalog_purpose AS purpose
      WHERE purpose.server_id = {_ASKED}
  ) AS named GROUP BY server_id
) AS names ON names.server_id = server.id
LEFT JOIN accounts_user AS owner ON owner.id = server.owner_id
LEFT JOIN accounts_user AS deputy ON deputy.id = server.deputy_id
LEFT JOIN accounts_team AS team ON team.id = server.team_id
"""
