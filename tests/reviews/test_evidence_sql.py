"""Evidence composed by the database: byte for byte what canonical JSON in Python gives for the same rows."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest
from django.db import connection as database
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from registry.accounts.models import Team, User
from registry.catalog.models import (
    Agent,
    Endpoint,
    Issuer,
    Purpose,
    RevocationStep,
    SecretSource,
    Server,
    System,
    Tool,
)
from registry.core.canonical import canonical_json, digest
from registry.reviews.facts import KINDS, collect, evidence_of, fingerprint_select, freeze, frozen_select, write_blocks
from registry.reviews.facts.canonical_sql import day, instant, large_number, obj, or_null, sorted_strings, strings, text
from registry.reviews.models import EvidenceBlock
from registry.trust.models import Connection, Grant
from tests import factories as make

pytestmark = pytest.mark.django_db

MODELS = {"server": Server, "grant": Grant, "connection": Connection, "agent": Agent}
NASTY = (
    '"', "\\", "\b\f\n\r\t", "\x01\x1f\x7f\x80", "</script>", "\u2028\u2029", "é\u0301", "😀\U0010ffff", "\ue000\uffff",
    "100 %s %% {brace}", "'; --", "a/b/c", "null",
)  # fmt: skip
anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
hostile = st.one_of(st.sampled_from(NASTY), anything, st.lists(st.sampled_from(NASTY), max_size=4).map("".join))


def said(expression: str, *params: object) -> str:
    with database.cursor() as cursor:
        cursor.execute(f"SELECT {expression}", params)
        return cursor.fetchone()[0]


class TestCanonicalText:
    @given(hostile)
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_string_is_escaped_as_rfc_8785_wants_it(self, word):
        assert said(text("%s::text"), word).encode() == canonical_json(word)

    @given(st.lists(hostile))
    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_lists_of_strings_in_their_own_order_or_by_code_points(self, words):
        assert said(strings("%s::text[]"), words).encode() == canonical_json(words)
        assert said(sorted_strings("%s::text[]"), words).encode() == canonical_json(sorted(words))

    def test_every_control_character(self):
        word = "".join(map(chr, range(1, 0xA0)))
        assert said(text("%s::text"), word).encode() == canonical_json(word)

    def test_members_stand_in_the_order_of_their_names(self):
        found = said(obj(b=text("'2'::text"), a=text("'1'::text"), ab=or_null(text("NULL::text"))))
        assert found.encode() == canonical_json({"a": "1", "ab": None, "b": "2"})

    @pytest.mark.parametrize("zone", ["UTC", "Pacific/Chatham"])
    def test_instants_and_days_whatever_the_session_is_set_to(self, zone):
        moment = datetime(2026, 3, 29, 0, 30, 0, 120, tzinfo=UTC)
        with database.cursor() as cursor:
            cursor.execute(f"SET LOCAL TimeZone = '{zone}'; SET LOCAL DateStyle = 'German'")
        assert json.loads(said(instant("%s::timestamptz"), moment)) == moment.isoformat(timespec="microseconds")
        assert json.loads(said(day("%s::date"), date(987, 1, 2))) == "0987-01-02"

    def test_a_number_beyond_what_json_can_hold_is_the_largest_it_can(self):
        assert said(large_number(f"{2**60}")) == str(2**53 - 1)
        assert said(large_number("900")) == "900"
        assert said(or_null(large_number("NULL::bigint"))) == "null"


# --- Random estates --------------------------------------------------------------------------------------

number = count(1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def estates(draw):
    """Servers with everything that can surround them, in any number and with any words; saved."""
    unique = lambda: f"{draw(hostile)} {next(number)}"  # noqa: E731
    pick, flag = lambda *values: draw(st.sampled_from(values)), lambda: draw(st.booleans())
    some = lambda most=3: range(draw(st.integers(0, most)))  # noqa: E731
    moment = lambda: START + timedelta(microseconds=draw(st.integers(0, 10**14)))  # noqa: E731

    people = [
        User.objects.create(email=f"p{next(number)}@example.test", name=unique(), is_active=flag()) for _ in range(3)
    ]
    team = Team.objects.create(name=unique(), slug=f"t{next(number)}")
    issuer = Issuer.objects.create(name=unique(), kind="oidc", uri=f"https://i{next(number)}.example.test")
    systems = [
        System.objects.create(
            name=unique()[:120], kind="database", data_class=pick("public", "restricted"), owner=pick(None, *people)
        )
        for _ in range(2)
    ]
    things = []
    for _ in range(draw(st.integers(1, 2))):
        lifecycle = pick("draft", "submitted", "active", "suspended", "retired")
        server = Server.objects.create(
            name=unique(), title=pick("", draw(hostile)), description=draw(hostile), lifecycle=lifecycle,
            owner=people[0], deputy=people[1], operator=pick(None, *people), team=pick(None, team),
            owner_accepted_at=START, tier=pick("critical", "high", "medium", "low"),
            tier_factors=[{"fact": draw(hostile), "value": "x", "points": 10, "words": draw(hostile)} for _ in some()],
        )  # fmt: skip
        things.append(server)
        retired = lambda: START if draw(st.integers(0, 3)) == 0 else None  # noqa: E731
        for _ in some():
            uri = unique()
            Endpoint.objects.create(
                server=server, transport="stdio", url=uri, canonical_uri=uri, retired_at=retired(),
                package_sha256=pick("", "a" * 64),
            )  # fmt: skip
        for _ in some(5):
            known = pick("", "b" * 64)
            Tool.objects.create(
                server=server, name=unique(), description=draw(hostile) * 40, digest=known, retired_at=retired(),
                approved_digest=pick(known, "c" * 64), claimed_class=pick("", "read"),
                confirmed_class=pick("", "write"),
            )  # fmt: skip
        for position in some():
            RevocationStep.objects.create(
                server=server, position=position, instruction=draw(hostile), responsible=draw(hostile),
                expected_minutes=5, retired_at=retired(),
            )  # fmt: skip
        for value in some(2):
            Purpose.objects.create(
                server=server, number=value, statement=unique(), in_scope=[draw(hostile) for _ in some()],
                data_classes=["internal"], ends_on=date(2027, 1, 1) + timedelta(days=value),
            )  # fmt: skip
        sources = [
            SecretSource.objects.create(
                server=server, kind="vault", reference=pick("kv/shared", unique()), name=draw(hostile),
                credential_type=pick("static", "rotated"), max_lifetime_seconds=pick(None, 60, 2**60),
                rotation_interval_days=pick(None, 30), last_rotated_on=pick(None, date(2026, 1, 31)),
                retired_at=retired(),
            )
            for _ in some()
        ]  # fmt: skip
        for system in systems:
            status = pick("none", "requested", "active", "suspended", "revoked")
            source = pick(*sources) if sources else None
            if status == "none" or (status == "active" and source is None):
                continue
            things.append(
                Connection.objects.create(
                    server=server, system=system, access=pick("read", "write", "admin"), secret_source=source,
                    scopes=[draw(hostile) for _ in some()], status=status, reason=draw(hostile),
                    valid_until=moment(), activated_at=START, requested_by=pick(None, *people),
                )
            )  # fmt: skip
    servers = [thing for thing in things if isinstance(thing, Server)]
    for _ in range(draw(st.integers(1, 2))):
        known = flag()
        agent = Agent.objects.create(
            name=unique()[:120], description=draw(hostile), owner=pick(None, *people), team=pick(None, team),
            spiffe_id=f"spiffe://{next(number)}" if known else "", issuer=None if known else issuer,
            client_id="" if known else unique(), standing=pick("active", "retired"),
        )  # fmt: skip
        things.append(agent)
        for server in servers:
            every = flag()
            listed = list(server.tools.values_list("name", flat=True))
            named = [*[name for name in listed if flag()], *[draw(hostile) for _ in some(2)]] or ["only"]
            things.append(
                Grant.objects.create(
                    agent=agent, server=server, all_tools=every, tools=[] if every else named, reason=draw(hostile),
                    purpose=pick(None, *server.purposes.all()), behalf_detail=draw(hostile), valid_until=moment(),
                    on_behalf_of=pick("users", "service", "nobody"), activated_at=START,
                    status=pick("requested", "active", "suspended", "revoked"), requested_by=pick(None, *people),
                )
            )  # fmt: skip
    return {kind: [thing.pk for thing in things if isinstance(thing, model)] for kind, model in MODELS.items()}


# A failing estate is reported as drawn: to shrink one takes hundreds of estates, each some dozens of rows.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def in_a_random_estate():
    """Each example in a transaction of its own that is rolled back."""

    def wrap(test):
        @given(st.data())
        @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
        def run(self, data):
            with transaction.atomic():
                test(self, data.draw(estates()))
                transaction.set_rollback(True)

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return wrap


class TestRandomEstates:
    @in_a_random_estate()
    def test_the_hashes_are_those_of_the_canonical_json(self, estate):
        for kind, ids in estate.items():
            for found in collect(kind, ids).values():
                assert found.fingerprint == digest(found.facts)
                assert found.evidence_hash == digest(found.snapshot)
                assert found.block_digest == found.snapshot["context"].get("block")
                assert (found.block_digest and digest(found.block)) == found.block_digest

    @in_a_random_estate()
    def test_the_facts_are_what_plain_python_reads_from_the_rows(self, estate):
        for kind, ids in estate.items():
            for pk, found in collect(kind, ids).items():
                told = {key: value for key, value in found.evidence["facts"].items() if key not in SUMMARIES}
                assert told == REFERENCE[kind](MODELS[kind].objects.get(pk=pk))

    @in_a_random_estate()
    def test_a_grants_summaries_cover_the_rows_they_stand_for(self, estate):
        for found in collect("grant", estate["grant"]).values():
            facts = found.evidence["facts"]
            assert facts["tool_names"] == [tool["name"] for tool in facts["tools"]]
            assert facts["definitions"] == digest(facts["tools"])
            assert facts["reach"] == digest(facts["downstream"])

    @in_a_random_estate()
    def test_many_at_once_in_the_database_freeze_what_one_at_a_time_would(self, estate):
        write_blocks("SELECT id FROM catalog_server")
        for kind, ids in estate.items():
            single = {pk: collect(kind, [pk])[pk] for pk in ids}
            assert collect(kind, ids) == single
            with database.cursor() as cursor:
                cursor.execute(frozen_select(kind, "SELECT unnest(%s::uuid[])"), [ids])
                rows = {row[0]: row[1:] for row in cursor.fetchall()}
                cursor.execute(fingerprint_select(kind, "SELECT unnest(%s::uuid[])"), [ids])
                prints = {pk: (in_place, fingerprint) for pk, in_place, fingerprint in cursor.fetchall()}
            assert rows.keys() == prints.keys() == set(ids)
            for pk, (rests_on, label, tier, in_place, snapshot, block, fingerprint, evidence_hash) in rows.items():
                one = single[pk]
                assert (rests_on, label, tier, in_place) == (one.rests_on, one.label, one.tier, one.in_place)
                assert (json.loads(snapshot), block) == (one.snapshot, one.block_digest)
                assert (fingerprint, evidence_hash) == (one.fingerprint, one.evidence_hash)
                assert prints[pk] == (one.in_place, one.fingerprint)
                assert block is None or json.loads(EvidenceBlock.objects.get(pk=block).text) == one.block


# The same facts read by plain Python, one row at a time.

SUMMARIES = ("tool_names", "definitions", "reach")


def _id(value):
    return str(value) if value else None


def _tool(tool):
    return {"name": tool.name, "digest": tool.digest, "class": tool.effective_class}


def _source(source):
    return {
        "kind": source.kind,
        "reference": source.reference,
        "name": source.name,
        "credential_type": source.credential_type,
        "max_lifetime_seconds": source.max_lifetime_seconds and min(source.max_lifetime_seconds, 2**53 - 1),
        "rotation_interval_days": source.rotation_interval_days,
    }


def _downstream(server):
    statuses = ["active", "suspended"]
    if server.lifecycle in ("draft", "submitted"):
        statuses.append("requested")
    return [
        {
            "system": str(link.system_id),
            "data_class": link.system.data_class,
            "environment": link.system.environment,
            "access": link.access,
            "scopes": sorted(link.scopes),
            "secret_source": link.secret_source
            and {"kind": link.secret_source.kind, "reference": link.secret_source.reference},
        }
        for link in sorted(server.connections.filter(status__in=statuses), key=lambda link: (link.system_id, link.pk))
    ]


def _identity(agent):
    return agent.spiffe_id or f"{agent.client_id} at {agent.issuer.uri}"


def _server_facts(server):
    purpose = server.purpose
    live = {"retired_at": None}
    sources = sorted(
        map(_source, server.secret_sources.filter(**live)),
        key=lambda row: (row["kind"], row["reference"], row["name"], canonical_json(row)),
    )
    return {
        "kind": "server",
        "name": server.name,
        "environment": server.environment,
        "owner": _id(server.owner_id),
        "deputy": _id(server.deputy_id),
        "operator": _id(server.operator_id),
        "team": _id(server.team_id),
        "endpoints": sorted(
            (
                {"uri": row.canonical_uri, "transport": row.transport, "sha256": row.package_sha256}
                for row in server.endpoints.filter(**live)
            ),
            key=lambda row: row["uri"],
        ),
        "tools": sorted(map(_tool, server.tools.filter(**live)), key=lambda row: row["name"]),
        "purpose": purpose
        and {
            "statement": purpose.statement,
            "in_scope": purpose.in_scope,
            "out_of_scope": purpose.out_of_scope,
            "data_classes": purpose.data_classes,
            "ends_on": purpose.ends_on.isoformat(),
        },
        "secret_sources": sources,
        "revocation": [
            {"instruction": step.instruction, "executor": step.executor, "responsible": step.responsible}
            for step in server.revocation_steps.filter(**live).order_by("position")
        ],
        "downstream": _downstream(server),
        "said": server.said_digest,
    }


def _grant_facts(grant):
    listed = {tool.name: _tool(tool) for tool in grant.server.tools.filter(retired_at=None)}
    names = sorted(listed) if grant.all_tools else sorted(grant.tools)
    return {
        "kind": "grant",
        "agent": str(grant.agent_id),
        "agent_identity": _identity(grant.agent),
        "agent_owner": _id(grant.agent.owner_id),
        "agent_environment": grant.agent.environment,
        "server": str(grant.server_id),
        "all_tools": grant.all_tools,
        "tools": [listed.get(name, {"name": name, "digest": "", "class": ""}) for name in names],
        "purpose": _id(grant.purpose_id),
        "on_behalf_of": grant.on_behalf_of,
        "behalf_detail": grant.behalf_detail,
        "max_token_lifetime_seconds": grant.max_token_lifetime_seconds,
        "valid_until": grant.valid_until.isoformat(timespec="microseconds"),
        "downstream": _downstream(grant.server),
    }


def _connection_facts(link):
    return {
        "kind": "connection",
        "server": str(link.server_id),
        "system": str(link.system_id),
        "system_owner": _id(link.system.owner_id),
        "data_class": link.system.data_class,
        "environment": link.system.environment,
        "access": link.access,
        "scopes": sorted(link.scopes),
        "secret_source": link.secret_source and _source(link.secret_source),
        "valid_until": link.valid_until.isoformat(timespec="microseconds"),
    }


def _agent_facts(agent):
    return {
        "kind": "agent",
        "agent_kind": agent.kind,
        "identity": _identity(agent),
        "spiffe_id": agent.spiffe_id,
        "client_id": agent.client_id,
        "issuer": _id(agent.issuer_id),
        "owner": _id(agent.owner_id),
        "team": _id(agent.team_id),
        "environment": agent.environment,
        "server": _id(agent.server_id),
        "grants": [
            {
                "server": str(grant.server_id),
                "all_tools": grant.all_tools,
                "tools": sorted(grant.tools),
                "on_behalf_of": grant.on_behalf_of,
            }
            for grant in agent.grants.filter(status__in=["active", "suspended"]).order_by("server_id")
        ],
    }


REFERENCE = {"server": _server_facts, "grant": _grant_facts, "connection": _connection_facts, "agent": _agent_facts}


class TestFreezing:
    def test_a_snapshot_of_a_relationship_stays_small(self):
        """Above two kilobytes PostgreSQL compresses a row, which costs more than everything else about it."""
        server = make.active_server(
            tools=[{"name": f"tool_number_{n}", "description": "D" * 300, "confirmed_class": "read"} for n in range(20)]
        )
        connection = make.connection(server=server, scopes=["orders", "stock"])
        for thing in (make.grant(server=server), make.grant(server=server, all_tools=True), connection):
            assert len(canonical_json(evidence_of(thing).snapshot)) < 1500

    def test_a_server_is_frozen_once_for_all_that_rests_on_it(self):
        server = make.active_server()
        things = [server, make.connection(server=server), make.grant(server=server), make.grant(server=server)]
        blocks = {freeze(evidence_of(thing))["block_id"] for thing in things}
        assert blocks == set(EvidenceBlock.objects.values_list("pk", flat=True))
        assert len(blocks) == 1

    def test_what_is_frozen_has_no_language(self):
        from django.utils import translation

        server = make.active_server()
        with translation.override("de"):
            elsewhere = evidence_of(server)
        assert elsewhere.evidence_hash == evidence_of(server).evidence_hash

    def test_an_unknown_kind_or_subject_is_an_error(self):
        with pytest.raises(ValueError, match="not reviewed"):
            collect("system", [])
        with pytest.raises(KeyError):
            collect("server", [make.agent().pk])

    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_asked_is_nothing_answered(self, kind):
        assert collect(kind, []) == {}
