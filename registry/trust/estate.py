"""An estate of any size, made in the database: for the bench, and for trying the product at size.

Everything follows from the seed: the same size and seed give the same ids and the same picture, with dates around now.
Popularity is skewed as in life: few servers are called by very many agents, most by few. Some servers call others, some
share a secret, some are confidential, and every state a relationship can be in occurs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from registry.accounts.models import Membership, Team, User
from registry.audit.services import record
from registry.catalog.models import Agent, Change, Endpoint, Issuer, Purpose, SecretSource, Server, System, Tool
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import Sql, insert_select, table_of
from registry.core.errors import Conflict, Invalid
from registry.trust.models import Connection, Grant

GENERATOR = Actor.system("estate generator")
MARK = "estate.example"
"""What the generated people's addresses end with: an estate is made once per database."""

_IDS_FROM = 1_735_689_600_000
"""Milliseconds at which the ids begin (2025-01-01): the same in every run."""

_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.chance(what text) RETURNS float8 IMMUTABLE LANGUAGE sql AS
    $$SELECT ('x' || substr(md5(what), 1, 8))::bit(32)::bigint / 4294967296.0::float8$$;
CREATE OR REPLACE FUNCTION pg_temp.uuid7(at bigint, what text) RETURNS uuid IMMUTABLE LANGUAGE sql AS
    $$SELECT (lpad(to_hex(at), 12, '0') || '7' || substr(md5(what), 1, 3) || '8' || substr(md5(what), 4, 15))::uuid$$;
CREATE OR REPLACE FUNCTION pg_temp.one_of(choices text[], share float8) RETURNS text IMMUTABLE LANGUAGE sql AS
    $$SELECT choices[1 + least(floor(share * cardinality(choices))::int, cardinality(choices) - 1)]$$;
"""


@dataclass(frozen=True)
class Size:
    """How much of each. `relationships` counts grants and connections in every state."""

    agents: int = 50_000
    servers: int = 10_000
    systems: int = 2_000
    relationships: int = 1_000_000

    def __post_init__(self) -> None:
        errors = {name: ["At least 1."] for name in ("agents", "servers", "systems") if getattr(self, name) < 1}
        possible = self.agents * self.servers // 2
        if not errors and not self.connections < self.relationships <= self.connections + possible:
            errors["relationships"] = [
                f"More than {self.connections:,} (the connections) and at most {self.connections + possible:,}."
            ]
        if errors:
            raise Invalid(fields=errors)

    @property
    def teams(self) -> int:
        return max(2, self.servers // 50)

    @property
    def people(self) -> int:
        return max(4, self.servers // 10)

    @property
    def callers(self) -> int:
        """Servers that call other servers: each has an agent of its own."""
        return min(self.agents, self.servers) // 20

    @property
    def connections(self) -> int:
        """As many as every server has by `_connections`: one, and up to three more as far as systems suffice."""
        return self.servers * min(4, self.systems)


def generate_estate(
    *, size: Size, seed: int, actor: Actor = GENERATOR, progress: Callable[[str], None] = lambda step: None
) -> dict[str, int]:
    """Fill the database; returns how many rows of each kind. Raises `Conflict` when it holds an estate already.

    Rows are written as they would stand after their acts, without those acts' events: one event says so.
    """
    if User.objects.filter(email__endswith=f"@{MARK}").exists():
        raise Conflict("This database holds a generated estate already. Start with an empty one.")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_FUNCTIONS)
        made: dict[str, int] = {}
        builder = _Builder(size, f"estate {seed} ", clock.now())
        for name, step in builder.steps():
            progress(name)
            made[name] = step()
        anybody = User.objects.filter(email__endswith=f"@{MARK}").order_by("pk")[0]
        record(actor=actor, act="estate.generated", subject=anybody, data={"seed": seed, "rows": made})
    # Autovacuum would come to it within minutes; until then every read of fresh rows looks at the table itself.
    settle = "ANALYZE" if connection.in_atomic_block else "VACUUM ANALYZE"
    with connection.cursor() as cursor:
        for model in (User, Team, Membership, System, Server, Tool, Endpoint, Purpose, SecretSource, Agent, Connection,
                      Grant, Change):  # fmt: skip
            cursor.execute(f"{settle} {table_of(model)}")
    return made


class _Builder:
    """One method per table, in the order of their references. `n` is the number of the row, from 0."""

    ISSUERS = 5

    def __init__(self, size: Size, seed: str, now: datetime) -> None:
        self.size, self.seed, self.now = size, seed, now
        # Things are older than every relationship between them.
        self.born = {"created_at": now - timedelta(days=400), "updated_at": now - timedelta(days=400)}

    def steps(self) -> list[tuple[str, Callable[[], int]]]:
        return [
            ("teams", self.teams), ("people", self.people), ("memberships", self.memberships),
            ("issuers", self.issuers), ("systems", self.systems), ("servers", self.servers), ("tools", self.tools),
            ("endpoints", self.endpoints), ("purposes", self.purposes), ("secret sources", self.secret_sources),
            ("agents", self.agents), ("connections", self.connections), ("grants", self.grants),
            ("endings", self.endings),
        ]  # fmt: skip

    # --- Words of the statements ---------------------------------------------------------------------------

    def id(self, kind: str, number: str = "n") -> Sql:
        """The id of row `number` of a kind, time-ordered like every id of ours."""
        return Sql(f"pg_temp.uuid7(%s::bigint + {number}, %s || {number})", (_IDS_FROM, f"{self.seed}{kind} "))

    def chance(self, about: str, number: str = "n") -> Sql:
        """A number from 0 to 1 that belongs to this row and this question."""
        return Sql(f"pg_temp.chance(%s || {number})", (f"{self.seed}{about} ",))

    def one_of(self, about: str, *choices: str) -> Sql:
        share = self.chance(about)
        return Sql(f"pg_temp.one_of(%s, {share.text})", (list(choices), *share.params))

    def other(self, kind: str, about: str, among: int, skew: float = 1.0) -> Sql:
        """The id of some row of another kind; with `skew` above 1 the first ones are chosen more often."""
        share = self.chance(about)
        number = f"floor({among} * power({share.text}, {skew}))::int"
        found = self.id(kind, number)
        return Sql(found.text, (found.params[0], *share.params, found.params[1], *share.params))

    def mine(self, kind: str, number: str) -> Sql:
        return self.id(kind, number)

    def if_chance(self, about: str, below: float, then: Any, otherwise: Any) -> Sql:
        share = self.chance(about)
        return Sql(f"CASE WHEN {share.text} < {below} THEN %s ELSE %s END", (*share.params, then, otherwise))

    def unless(self, about: str, below: float) -> Sql:
        """False for so many."""
        share = self.chance(about)
        return Sql(f"{share.text} >= {below}", share.params)

    def fill(self, model: Any, rows: int, values: dict[str, Any], source: Sql | None = None) -> int:
        insert_select(model, values, source or Sql(f"generate_series(0, {rows - 1}) AS rows(n)"))
        return rows

    # --- People --------------------------------------------------------------------------------------------

    def teams(self) -> int:
        return self.fill(Team, self.size.teams, {
            "id": self.id("team"), "name": Sql("'Team ' || n"), "slug": Sql("'estate-team-' || n"),
        })  # fmt: skip

    def people(self) -> int:
        return self.fill(User, self.size.people, {
            "id": self.id("person"), "name": Sql("'Person ' || n"), "email": Sql(f"'person' || n || '@{MARK}'"),
            "password": "!", "roles": ["member"], "is_active": self.unless("person left", 0.01),
        })  # fmt: skip

    def memberships(self) -> int:
        team = self.mine("team", f"(n %% {self.size.teams})")
        return self.fill(Membership, self.size.people, {"team_id": team, "user_id": self.id("person")})

    def issuers(self) -> int:
        return self.fill(Issuer, self.ISSUERS, {
            **self.born, "id": self.id("issuer"), "name": Sql("'Tenant ' || n"), "kind": Issuer.Kind.OIDC,
            "uri": Sql("'https://issuer-' || n || '.estate.example'"),
        })  # fmt: skip

    # --- Things --------------------------------------------------------------------------------------------

    def governed(self, kind: str) -> dict[str, Any]:
        return {
            **self.born,
            "owner_id": self.other("person", f"{kind} owner", self.size.people),
            "team_id": self.other("team", f"{kind} team", self.size.teams, 1.5),
            "environment": self.one_of(
                f"{kind} environment", *["production"] * 6, "staging", "staging", "test", "development"
            ),
            "confidential": Sql(f"({self.chance(f'{kind} secret').text}) < 0.01", self.chance(f"{kind} secret").params),
        }  # fmt: skip

    def owner_or_nobody(self, kind: str) -> Sql:
        owner, share = self.other("person", f"{kind} owner", self.size.people), self.chance(f"{kind} unowned")
        return Sql(f"CASE WHEN {share.text} >= 0.01 THEN {owner.text} END", (*share.params, *owner.params))

    def systems(self) -> int:
        return self.fill(System, self.size.systems, {
            **self.governed("system"), "owner_id": self.owner_or_nobody("system"),
            "id": self.id("system"), "name": Sql("'System ' || n"),
            "kind": self.one_of("system kind", *System.Kind.values),
            "data_class": self.one_of(
                "system data", "public", *["internal"] * 9, *["confidential"] * 7, *["restricted"] * 3
            ),
            "standing": self.if_chance("system standing", 0.98, "active", "retired"),
        })  # fmt: skip

    def servers(self) -> int:
        lifecycle = self.one_of(
            "server lifecycle", *["active"] * 92, *["suspended"] * 4, *["submitted"] * 2, *["retired"] * 2
        )
        # The deputy is the owner's neighbour, so never the owner.
        share = self.chance("server owner")
        owner = f"floor({self.size.people} * power({share.text}, 1.0))::int"
        deputy = self.id("person", f"(({owner} + 1) %% {self.size.people})")
        certified = self.chance("server certified")
        return self.fill(Server, self.size.servers, {
            **self.governed("server"), "id": self.id("server"),
            "deputy_id": Sql(deputy.text, (deputy.params[0], *share.params, deputy.params[1], *share.params)),
            "name": Sql(f"'example.estate.team-' || (n %% {self.size.teams}) || '/server-' || n"),
            "title": Sql("'Server ' || n"), "description": "Made to try the product at size.",
            "lifecycle": lifecycle, "tier": self.one_of("server tier", "critical", "high", "high", *["medium"] * 4,
                                                        *["low"] * 3),
            "owner_accepted_at": self.now, "submitted_at": self.now, "activated_at": self.now,
            "certified_until": Sql(
                f"CASE WHEN {certified.text} < 0.8 THEN %s::timestamptz + {certified.text} * interval '200 days' END",
                (*certified.params, self.now - timedelta(days=20), *certified.params),
            ),
        })  # fmt: skip

    def tools(self) -> int:
        """Eight to a server: readers mostly, and the first of every fourth server executes."""
        server = "(n / 8)"
        klass = self.one_of("tool class", *["read"] * 6, "write", "write", "destructive", "execute")
        return self.fill(Tool, 8 * self.size.servers, {
            **self.born, "id": self.id("tool"), "server_id": self.id("server", server),
            "name": Sql("'tool_' || (n %% 8)"),
            "description": "A tool.",
            # The last tool of every tenth server talks to an open world.
            "definition": Sql(
                "CASE WHEN n %% 80 = 7 THEN '{\"annotations\": {\"openWorldHint\": true}}' ELSE '{}' END::jsonb"
            ), "digest": Sql("md5('tool ' || n) || md5('digest ' || n)"),
            "claimed_class": klass, "confirmed_class": klass,
            "approved_digest": Sql("md5('tool ' || n) || md5('digest ' || n)"), "approved_at": self.now,
        })  # fmt: skip

    def endpoints(self) -> int:
        uri = "'https://mcp-' || n || '.estate.example/mcp'"
        return self.fill(Endpoint, self.size.servers, {
            **self.born, "id": self.id("endpoint"), "server_id": self.id("server"), "transport": "streamable-http",
            "url": Sql(uri), "canonical_uri": Sql(uri),
        })  # fmt: skip

    def purposes(self) -> int:
        return self.fill(Purpose, self.size.servers, {
            **self.born, "id": self.id("purpose"), "server_id": self.id("server"), "number": 1,
            "statement": "Answers questions of its team.", "in_scope": ["Its team's data."],
            "out_of_scope": ["Everything else."], "data_classes": ["internal"],
            "ends_on": (self.now + timedelta(days=400)).date(),
        })  # fmt: skip

    def secret_sources(self) -> int:
        """One to a server; one in twenty shares its reference with another server."""
        shared = self.chance("secret shared")
        return self.fill(SecretSource, self.size.servers, {
            **self.born, "id": self.id("secret"), "server_id": self.id("server"), "kind": SecretSource.Kind.VAULT,
            "reference": Sql(
                f"'kv/data/estate/' || CASE WHEN {shared.text} < 0.05 THEN 'shared-' || n / 40 ELSE n::text END",
                shared.params,
            ),
            "credential_type": self.one_of("secret type", "static", "static", "rotated", "short_lived",
                                           "workload_identity"),
            "revocable_by": "The owning team",
        })  # fmt: skip

    def agents(self) -> int:
        """The first of them are servers that call other servers."""
        callers = self.size.callers
        linked = self.id("server", "(n * 20)")
        return self.fill(Agent, self.size.agents, {
            **self.governed("agent"), "owner_id": self.owner_or_nobody("agent"),
            "id": self.id("agent"), "name": Sql("'Agent ' || n"),
            "kind": Sql(
                f"CASE WHEN n < {callers} THEN 'server' ELSE pg_temp.one_of(%s, {self.chance('agent kind').text}) END",
                (["ai_agent", "ai_agent", "client", "workload"], *self.chance("agent kind").params),
            ),
            "server_id": Sql(f"CASE WHEN n < {callers} THEN {linked.text} END", linked.params),
            "spiffe_id": Sql("'spiffe://estate.example/agents/' || n"),
            "issuer_id": self.other("issuer", "agent issuer", self.ISSUERS, 2.0), "client_id": Sql("'client-' || n"),
            "standing": self.if_chance("agent standing", 0.98, "active", "retired"),
        })  # fmt: skip

    # --- Relationships -------------------------------------------------------------------------------------

    def relationship(self, kind: str) -> dict[str, Any]:
        """As it began: what ended or rests since is active here, with its end in mind; `endings` bring that about."""
        status = self.one_of(
            f"{kind} status", *["active"] * 88, *["suspended"] * 2, *["requested"] * 2, *["expired"] * 3,
            *["revoked"] * 3, *["reduced"] * 2,
        )  # fmt: skip
        life, certified, end = (self.chance(f"{kind} {what}") for what in ("life", "certified", "end"))
        begun = Sql(f"%s::timestamptz - {life.text} * interval '300 days'", (self.now, *life.params))
        ended = Sql(
            f"%s::timestamptz - {life.text} * {end.text} * interval '300 days'",
            (self.now, *life.params, *end.params),
        )
        later = f"({status.text}) IN ('suspended', 'expired', 'revoked', 'reduced')"
        return {
            "id": self.id(kind), "lineage": self.id(f"{kind} lineage"), "reason": "Its team needs it.",
            "status": Sql(f"CASE WHEN {later} THEN 'active' ELSE {status.text} END", (*status.params, *status.params)),
            "status_reason": Sql(f"CASE WHEN {later} THEN {status.text} ELSE '' END", (*status.params, *status.params)),
            "created_at": begun, "updated_at": begun,
            "activated_at": Sql(
                f"CASE WHEN ({status.text}) <> 'requested' THEN {begun.text} END", (*status.params, *begun.params)
            ),
            "ended_at": Sql(f"CASE WHEN {later} THEN {ended.text} END", (*status.params, *ended.params)),
            "valid_until": Sql(
                f"CASE WHEN ({status.text}) = 'expired' THEN {ended.text} "
                f"ELSE %s::timestamptz + {life.text} * interval '300 days' + interval '1 day' END",
                (*status.params, *ended.params, self.now, *life.params),
            ),
            "certified_until": Sql(
                f"CASE WHEN ({status.text}) = 'active' AND {certified.text} < 0.7 "
                f"THEN %s::timestamptz + {certified.text} * interval '120 days' END",
                (*status.params, *certified.params, self.now, *certified.params),
            ),
        }  # fmt: skip

    def endings(self) -> int:
        """What ended or rests does so now, and the changes are on record with the day they happened."""
        done = 0
        with connection.cursor() as cursor:
            for model in (Connection, Grant):
                cursor.execute(
                    f"UPDATE {table_of(model)} SET status = status_reason, status_reason = 'Made so by the estate.',"  # noqa: S608 - our own names
                    " updated_at = ended_at, version = version + 1,"
                    " ended_at = CASE WHEN status_reason = 'suspended' THEN NULL ELSE ended_at END"
                    " WHERE status_reason <> ''"
                )
                done += cursor.rowcount
        return done

    def connections(self) -> int:
        """The same number for every server, to systems that lie a random stride apart: no pair twice."""
        per, systems = min(4, self.size.systems), self.size.systems
        first = self.chance("connection system", f"(n / {per})")
        start, stride = f"floor({systems} * power({first.text}, 1.6))::int", max(1, systems // per)
        system = f"(({start} + (n %% {per}) * {stride}) %% {systems})"
        found = self.id("system", system)
        return self.fill(Connection, self.size.connections, {
            **self.relationship("connection"),
            "server_id": self.id("server", f"(n / {per})"),
            "system_id": Sql(found.text, (found.params[0], *first.params, found.params[1], *first.params)),
            "access": self.one_of("connection access", *["read"] * 6, *["write"] * 3, "admin"),
            "secret_source_id": self.id("secret", f"(n / {per})"),
        })  # fmt: skip

    def grants(self) -> int:
        """Pairs are drawn until enough different ones are there; an agent never calls the server it is."""
        wanted = self.size.relationships - self.size.connections
        agent, server = self.chance("grant agent", "draw"), self.chance("grant server", "draw")
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMP TABLE estate_pair (a int, s int, draw bigint, PRIMARY KEY (a, s)) ON COMMIT DROP"
            )
            drawn = have = 0
            while have < wanted:
                more = max(1000, (wanted - have) * 5 // 4)
                cursor.execute(
                    f"INSERT INTO estate_pair SELECT DISTINCT ON (a, s) a, s, draw FROM ("  # noqa: S608 - our own numbers
                    f" SELECT draw, floor({self.size.agents} * power({agent.text}, 1.3))::int AS a,"
                    f"        floor({self.size.servers} * power({server.text}, 2.0))::int AS s"
                    f" FROM generate_series(%s::bigint, %s::bigint) AS draws(draw)) drawn"
                    f" WHERE NOT (a < {self.size.callers} AND s = a * 20) ORDER BY a, s, draw ON CONFLICT DO NOTHING",
                    [*agent.params, *server.params, drawn, drawn + more - 1],
                )
                drawn += more
                have += cursor.rowcount
        # Those drawn first, so that what is drawn too many is nobody's in particular.
        numbered = "SELECT a, s, row_number() OVER (ORDER BY draw) - 1 AS n FROM estate_pair ORDER BY draw"
        every = self.chance("grant wildcard")
        wildcard = f"{every.text} < 0.02"
        values = {
            **self.relationship("grant"),
            "agent_id": self.id("agent", "a"), "server_id": self.id("server", "s"),
            "purpose_id": self.id("purpose", "s"),
            "all_tools": Sql(wildcard, every.params),
            "tools": Sql(
                f"CASE WHEN {wildcard} THEN '{{}}' ELSE ARRAY['tool_0', 'tool_' || (1 + n %% 7)] END::varchar[]",
                every.params,
            ),
            "on_behalf_of": self.one_of("grant behalf", "users", "users", "service", "nobody"),
        }  # fmt: skip
        return self.fill(Grant, wanted, values, Sql(f"({numbered} LIMIT {wanted}) AS pairs"))
