"""A large estate written by the database itself: servers with everything around them, agents, grants, connections.

Ids count up in the order of creation, as UUIDv7 do.
"""

from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import connection

from registry.accounts.models import Membership, Team, User
from registry.catalog.models import Agent, Endpoint, Purpose, RevocationStep, SecretSource, Server, System, Tool
from registry.core.bulk import Sql, insert_select, table_of
from registry.trust.models import Connection, Grant

TEAMS = 200
SYSTEMS = 400
AGENTS = 5_000
_MODELS: tuple[type[Any], ...] = (
    User, Team, Server, Tool, System, Agent, Grant, Connection, SecretSource, Endpoint, Purpose, RevocationStep,
)  # fmt: skip
_KINDS = {model: f"{number:04x}" for number, model in enumerate(_MODELS, 1)}


def _id(model: type[Any], number: str) -> str:
    """The id of the `number`th row of a table."""
    return f"('01930000-{_KINDS[model]}-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"


def _fill(model: type[Any], rows: int, **values: str) -> None:
    """`values` are SQL over `n`, which counts from 0."""
    _insert(model, rows, {"id": _id(model, "n"), **values})


def _insert(model: type[Any], rows: int, values: dict[str, str]) -> None:
    # A remainder must not look like a parameter.
    given = {name: Sql(value.replace("%", "%%")) for name, value in values.items()}
    insert_select(model, given, Sql("generate_series(0, %s) AS made(n)", (rows - 1,)))


def build(*, servers: int = 10_000, grants: int = 100_000, tools: int = 10, connections: int = 2,
          reviewers: int = 200, owners: int = 2_000) -> None:  # fmt: skip
    """Everything active. A tenth of the reviewers also own servers, so that independence has something to bar."""
    people = owners + reviewers
    lead, owner = _id(User, "n % 200"), _id(User, f"n % {owners + reviewers // 10}")
    password = make_password("steward-demo-only")
    _fill(
        User, people,
        email="'person' || n || '@example.test'", name="'Person ' || n", password=f"'{password}'",
        roles=f"CASE WHEN n >= {owners} THEN '{{member,reviewer}}' ELSE '{{member}}' END::varchar[]",
    )  # fmt: skip
    _fill(Team, TEAMS, name="'Team ' || n", slug="'team-' || n", lead_id=lead)
    _insert(Membership, people, {"team_id": _id(Team, f"n % {TEAMS}"), "user_id": _id(User, "n")})
    _fill(
        Server, servers,
        name="'com.example/server-' || lpad(n::text, 6, '0')", title="'Server ' || n",
        description="'Answers questions about stock, shipments and margins for planners and analysts.'",
        owner_id=owner, deputy_id=_id(User, f"(n + 1) % {owners}"), team_id=_id(Team, f"n % {TEAMS}"),
        created_by_id=owner, submitted_by_id=owner, owner_accepted_at="now()", activated_at="now()",
        lifecycle="'active'", tier="(ARRAY['low','medium','medium','high','critical'])[n % 5 + 1]",
    )  # fmt: skip
    url = "'https://s' || n || '.example.test/mcp'"
    _fill(
        Endpoint, servers, server_id=_id(Server, "n"), transport="'streamable-http'", url=url, canonical_uri=url
    )  # fmt: skip
    _fill(Purpose, servers, server_id=_id(Server, "n"), number="1", statement="'Stock questions of planners.'",
          in_scope="'{Aggregates,Shipments}'", out_of_scope="'{Customer contact data}'",
          data_classes="'{internal}'", ends_on="current_date + 300")  # fmt: skip
    _fill(SecretSource, servers, server_id=_id(Server, "n"), kind="'vault'", reference="'kv/data/server-' || n",
          credential_type="'rotated'", rotation_interval_days="30", last_rotated_on="current_date - 10",
          revocable_by="'Platform on-call'")  # fmt: skip
    _fill(RevocationStep, servers, server_id=_id(Server, "n"), position="1", instruction="'Disable the role'",
          responsible="'On-call'", expected_minutes="5")  # fmt: skip
    digest = "encode(sha256(convert_to('tool ' || n, 'UTF8')), 'hex')"
    _fill(
        Tool, servers * tools,
        server_id=_id(Server, f"n / {tools}"), name=f"'tool_' || n % {tools}", digest=digest, approved_digest=digest,
        approved_at="now()", confirmed_class="(ARRAY['read','read','write','destructive'])[n % 4 + 1]",
        description="'Runs a query over the planning tables and returns rows as JSON.'",
    )  # fmt: skip
    _fill(System, SYSTEMS, name="'System ' || n", kind="'database'", owner_id=_id(User, f"(n * 7) % {owners}"),
          data_class="(ARRAY['internal','confidential','restricted'])[n % 3 + 1]")  # fmt: skip
    _fill(Agent, AGENTS, name="'Agent ' || n", kind="'ai_agent'", spiffe_id="'spiffe://example.test/agents/' || n",
          owner_id=_id(User, f"(n * 3) % {owners}"), team_id=_id(Team, f"n % {TEAMS}"))  # fmt: skip
    per_server = max(grants // servers, 1)
    asker = _id(User, f"(n * 11) % {owners}")
    relationship = {
        "lineage": "gen_random_uuid()", "status": "'active'", "activated_at": "now()", "requested_by_id": asker,
        "reason": "'Answers questions of planners.'", "valid_until": "now() + interval '90 days'",
    }  # fmt: skip
    _fill(
        Grant, grants, **relationship,
        server_id=_id(Server, f"(n / {per_server}) % {servers}"),
        agent_id=_id(Agent, f"((n / {per_server}) * 37 + n % {per_server} * 411) % {AGENTS}"),
        purpose_id=_id(Purpose, f"(n / {per_server}) % {servers}"), tools="'{tool_0,tool_1,tool_2}'",
    )  # fmt: skip
    _fill(
        Connection, servers * connections, **relationship,
        server_id=_id(Server, f"n / {connections}"), system_id=_id(System, f"(n * 3) % {SYSTEMS}"),
        access="'read'", scopes="'{stock:read,orders:read}'", secret_source_id=_id(SecretSource, f"n / {connections}"),
    )  # fmt: skip
    with connection.cursor() as cursor:
        for model in (*_KINDS, Membership):
            cursor.execute(f"ANALYZE {table_of(model)}")
