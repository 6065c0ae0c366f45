"""Inherent risk of a server, computed from facts by a documented method (docs/tier-method.md).

The method is data: what each fact adds, and from how many points on each tier begins. `assess` is a pure function;
a human may still raise or lower the result with a reason (catalog.override_tier).
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from registry.catalog.models import DataClass, Environment, SecretSource, Tier, ToolClass
from registry.trust.models import Connection

Exposure = Literal["remote", "local", "unknown"]
UNKNOWN: Final = "unknown"

# Order inside each table: harmless first. The worst that applies counts, once.
DATA_POINTS: Mapping[str, int] = {
    DataClass.PUBLIC: 0,
    DataClass.INTERNAL: 10,
    DataClass.CONFIDENTIAL: 25,
    DataClass.RESTRICTED: 40,
}
TOOL_POINTS: Mapping[str, int] = {
    ToolClass.READ: 0,
    ToolClass.WRITE: 10,
    UNKNOWN: 15,  # nothing is listed, so nobody knows what it can do
    ToolClass.DESTRUCTIVE: 20,
    ToolClass.EXECUTE: 25,
}
ACCESS_POINTS: Mapping[str, int] = {
    Connection.Access.READ: 0,
    Connection.Access.WRITE: 5,
    Connection.Access.ADMIN: 10,
}
ENVIRONMENT_POINTS: Mapping[str, int] = {
    Environment.DEVELOPMENT: 0,
    Environment.TEST: 0,
    Environment.STAGING: 4,
    Environment.PRODUCTION: 10,
}
EXPOSURE_POINTS: Mapping[str, int] = {"local": 0, UNKNOWN: 3, "remote": 5}
CREDENTIAL_POINTS: Mapping[str, int] = {
    "none": 0,
    SecretSource.CredentialType.WORKLOAD_IDENTITY: 0,
    SecretSource.CredentialType.SHORT_LIVED: 2,
    SecretSource.CredentialType.ROTATED: 5,
    UNKNOWN: 8,
    SecretSource.CredentialType.STATIC: 10,
}
# From how many on → points; the last step reached counts.
AGENT_POINTS: Mapping[int, int] = {1: 2, 5: 5, 20: 10}
SYSTEM_POINTS: Mapping[int, int] = {1: 2, 3: 5, 10: 8}
THRESHOLDS: Mapping[Tier, int] = {Tier.CRITICAL: 70, Tier.HIGH: 45, Tier.MEDIUM: 25, Tier.LOW: 0}


@dataclass(frozen=True)
class Facts:
    """What the method looks at. Empty collections mean that nothing is declared."""

    environment: str
    exposure: Exposure = UNKNOWN
    data_classes: Collection[str] = field(default_factory=frozenset)
    tool_classes: Collection[str] = field(default_factory=frozenset)
    access_levels: Collection[str] = field(default_factory=frozenset)
    credential_types: Collection[str] = field(default_factory=frozenset)
    agents: int = 0
    systems: int = 0


@dataclass(frozen=True)
class Factor:
    """One reason for the tier: `fact` names the table, `value` the row that applied."""

    fact: str
    value: str
    points: int
    words: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _worst(table: Mapping[str, int], values: Collection[str]) -> str:
    known = [value for value in values if value in table]
    return max(known, key=lambda value: (table[value], value), default="")


def _step(table: Mapping[int, int], count: int) -> int:
    return max((points for start, points in table.items() if count >= start), default=0)


def _several(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def assess(facts: Facts) -> tuple[Tier, list[Factor]]:
    """The tier and every factor, heaviest first. The same facts always give the same answer."""
    data = _worst(DATA_POINTS, facts.data_classes) or DataClass.INTERNAL
    tools = _worst(TOOL_POINTS, facts.tool_classes) or UNKNOWN
    access = _worst(ACCESS_POINTS, facts.access_levels)
    credential = _worst(CREDENTIAL_POINTS, facts.credential_types) or UNKNOWN
    factors = [
        Factor(
            "data",
            data,
            DATA_POINTS[data],
            f"Reaches {data} data" if facts.data_classes else "No data class is declared; internal is assumed",
        ),
        Factor(
            "tools",
            tools,
            TOOL_POINTS[tools],
            "No tools are listed" if tools == UNKNOWN else f"Has tools of class {tools}",
        ),
        Factor("environment", facts.environment, ENVIRONMENT_POINTS[facts.environment], f"Runs in {facts.environment}"),
        Factor(
            "credential",
            credential,
            CREDENTIAL_POINTS[credential],
            {
                "none": "Holds no credential",
                UNKNOWN: "No secret source is documented",
            }.get(credential, f"Holds a {credential.replace('_', ' ')} credential"),
        ),
        Factor(
            "exposure",
            facts.exposure,
            EXPOSURE_POINTS[facts.exposure],
            {
                "remote": "Is reached over the network",
                "local": "Runs beside its client (stdio)",
                UNKNOWN: "No endpoint is declared",
            }[facts.exposure],
        ),
        Factor(
            "agents",
            str(facts.agents),
            _step(AGENT_POINTS, facts.agents),
            f"{_several(facts.agents, 'agent', 'agents')} may call it",
        ),
        Factor(
            "systems",
            str(facts.systems),
            _step(SYSTEM_POINTS, facts.systems),
            f"Acts on {_several(facts.systems, 'system', 'systems')}",
        ),
    ]
    if access:
        level = {"read": "Reads", "write": "Reads and writes", "admin": "Administers"}[access]
        factors.append(Factor("access", access, ACCESS_POINTS[access], f"{level} at least one system"))
    factors.sort(key=lambda factor: (-factor.points, factor.fact))
    total = sum(factor.points for factor in factors)
    return next(tier for tier, start in THRESHOLDS.items() if total >= start), factors
