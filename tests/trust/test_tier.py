"""The tier method: documented, monotone, explained."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.catalog import services as catalog
from registry.catalog.models import Environment, Tier
from registry.trust import services, tasks, tier
from registry.trust.tier import Facts, assess
from tests import factories as make

TABLES: dict[str, Any] = {
    "data": tier.DATA_POINTS,
    "tools": tier.TOOL_POINTS,
    "access": tier.ACCESS_POINTS,
    "environment": tier.ENVIRONMENT_POINTS,
    "exposure": tier.EXPOSURE_POINTS,
    "credential": tier.CREDENTIAL_POINTS,
    "agents": tier.AGENT_POINTS,
    "systems": tier.SYSTEM_POINTS,
}


def test_the_document_says_what_the_code_does() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tier-method.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\d+) \|$", page, re.MULTILINE)
    documented = {(fact, value, int(points)) for fact, value, points in rows}
    coded = {(fact, str(value), points) for fact, table in TABLES.items() for value, points in table.items()}
    assert documented == coded
    thresholds = dict(re.findall(r"^\| (\w+) \| (\d+) \|$", page, re.MULTILINE))
    assert {name: int(points) for name, points in thresholds.items()} == {
        name.value: points for name, points in tier.THRESHOLDS.items()
    }


def test_every_value_that_can_be_stored_has_points() -> None:
    from registry.catalog.models import DataClass, SecretSource, ToolClass
    from registry.trust.models import Connection

    for choices, table in (
        (DataClass, tier.DATA_POINTS),
        (ToolClass, tier.TOOL_POINTS),
        (Connection.Access, tier.ACCESS_POINTS),
        (Environment, tier.ENVIRONMENT_POINTS),
        (SecretSource.CredentialType, tier.CREDENTIAL_POINTS),
    ):
        assert set(choices.values) <= set(table)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts("development", "local", {"public"}, {"read"}, {"read"}, {"none"}), "low"),
        (Facts("production", "remote", {"internal"}, {"read"}, {"read"}, {"rotated"}, agents=3, systems=1), "medium"),
        (Facts("production", "remote", {"confidential"}, {"read", "write"}, {"write"}, {"rotated"}), "high"),
        (
            Facts("production", "remote", {"public", "restricted"}, {"read", "execute"}, {"admin"}, {"static"}),
            "critical",
        ),
        (Facts("production"), "high"),
    ],
)
def test_typical_servers(facts: Facts, expected: str) -> None:
    assert assess(facts)[0] == expected


any_facts = st.builds(
    Facts,
    environment=st.sampled_from(list(tier.ENVIRONMENT_POINTS)),
    exposure=st.sampled_from(["remote", "local", "unknown"]),
    data_classes=st.frozensets(st.sampled_from(list(tier.DATA_POINTS))),
    tool_classes=st.frozensets(st.sampled_from(list(tier.TOOL_POINTS))),
    access_levels=st.frozensets(st.sampled_from(list(tier.ACCESS_POINTS))),
    credential_types=st.frozensets(st.sampled_from(list(tier.CREDENTIAL_POINTS))),
    agents=st.integers(0, 40),
    systems=st.integers(0, 20),
)


@given(facts=any_facts)
def test_the_factors_add_up_to_the_tier(facts: Facts) -> None:
    level, factors = assess(facts)
    total = sum(factor.points for factor in factors)
    assert total >= tier.THRESHOLDS[level]
    higher = [points for other, points in tier.THRESHOLDS.items() if other.rank > level.rank]
    assert all(total < points for points in higher)
    assert [factor.points for factor in factors] == sorted((factor.points for factor in factors), reverse=True)
    assert all(factor.words for factor in factors)
    assert assess(facts) == (level, factors)


@given(facts=any_facts, more=st.sampled_from(["restricted", "agents", "systems", "admin", "production"]))
def test_more_never_lowers_the_tier(facts: Facts, more: str) -> None:
    riskier = {
        "restricted": lambda: replace(facts, data_classes=frozenset({*facts.data_classes, "restricted"})),
        "agents": lambda: replace(facts, agents=facts.agents + 5),
        "systems": lambda: replace(facts, systems=facts.systems + 3),
        "admin": lambda: replace(facts, access_levels=frozenset({*facts.access_levels, "admin"})),
        "production": lambda: replace(facts, environment="production"),
    }[more]()
    assert assess(riskier)[0].rank >= assess(facts)[0].rank


@pytest.mark.django_db
def test_a_human_may_overrule_and_the_factors_stay() -> None:
    server = make.active_server()
    tasks.assess_server(server_id=str(server.pk))
    server.refresh_from_db()
    computed = server.tier
    security = make.acting(make.person("security"))
    catalog.override_tier(actor=security, server=server, tier="critical", reason="Regulator asked.")
    make.grant(server=server)
    server.refresh_from_db()
    assert server.tier == Tier.CRITICAL
    assert server.tier_factors
    catalog.override_tier(actor=security, server=server, tier="", reason="Over.")
    assert tasks.assess_all() >= 1
    server.refresh_from_db()
    assert server.tier == computed


@pytest.mark.django_db
def test_the_sweep_finds_what_an_event_missed_and_is_quiet_otherwise() -> None:
    server = make.active_server()
    connection = make.connection(server=server)
    catalog.update_system(actor=make.acting(connection.system.owner), system=connection.system, data_class="restricted")
    before = server.tier
    tasks.assess_system(system_id=str(connection.system_id))
    server.refresh_from_db()
    assert server.tier == "critical" != before
    version = server.version
    tasks.assess_all()
    server.refresh_from_db()
    assert server.version == version


@pytest.mark.django_db
def test_retired_servers_keep_their_tier() -> None:
    server = make.active_server()
    make.grant(server=server)
    server.refresh_from_db()
    kept = server.tier_factors
    catalog.retire_server(actor=make.acting(server.owner), server=server, reason="Replaced.")
    assert services.end_orphaned() == 1
    server.refresh_from_db()
    assert server.tier_factors == kept
