from typing import Any

import rules

from registry.catalog.permissions import is_accountable
from registry.core.actors import Actor
from registry.core.permissions import has_role, is_member, permission


@rules.predicate
def is_requester(actor: Actor, job: object) -> bool:
    return actor.is_person(getattr(job, "requested_by_id", None))


@rules.predicate
def is_operator(actor: Actor, server: object) -> bool:
    return actor.is_person(getattr(server, "operator_id", None))


@rules.predicate
def has_seen(actor: Actor, shadow: Any) -> bool:
    """Whoever handed in where it is used: most often it is theirs."""
    if actor.user_id is None or shadow is None:
        return False
    return bool(shadow.sightings.filter(reported_by=actor.user_id).exists())


permission("discovery.view", is_member, otherwise="You need a role to see imports.")
permission("discovery.publish", has_role(), otherwise="Publishing follows from certification; nobody does it by hand.")
permission(
    "discovery.follow_registries",
    has_role("administrator", "security"),
    otherwise="Only security or an administrator decides which registries are followed.",
)
permission("discovery.import_servers", is_member, otherwise="You need a role to import servers.")
permission("discovery.report_sightings", is_member, otherwise="You need a role to report what clients use.")
permission(
    "discovery.settle_shadow",
    has_role("security", "administrator") | has_seen,
    otherwise="Only security, an administrator, or whoever reported where it is used may say what it is.",
)
permission(
    "discovery.direct_import",
    is_requester | has_role("administrator"),
    otherwise="Only whoever started this import, or an administrator, may start, stop or resume it.",
)


@rules.predicate
def runs_it(actor: Actor, server: object) -> bool:
    """Owner, deputy, operator or creator: whoever runs a server may say what it lists."""
    return any(
        actor.is_person(getattr(server, f"{role}_id", None)) for role in ("owner", "deputy", "operator", "created_by")
    )


@rules.predicate
def is_registry(actor: Actor) -> bool:
    return actor.is_system


permission(
    "discovery.record_snapshot",
    runs_it | has_role("security", "administrator"),
    otherwise="Only its accountable people, security or an administrator may push what this server lists.",
)
permission(
    "discovery.measure_drift",
    is_registry,
    otherwise="Drift is measured, not entered.",
)
permission(
    "discovery.approve_drift",
    has_role("reviewer", "security"),
    otherwise="Only a reviewer or security approves changed definitions.",
)
permission(
    "discovery.probe_server",
    is_accountable | is_operator | has_role("security", "administrator"),
    otherwise="Only its accountable people, its operator, security or an administrator may have this server probed.",
)
permission("discovery.probe_address", is_member, otherwise="You need a role to have an address probed.")


@rules.predicate
def answers_for(actor: Actor, server: object) -> bool:
    return any(actor.is_person(getattr(server, f"{role}_id", None)) for role in ("owner", "deputy", "operator"))


permission(
    "discovery.check_secret_source",
    is_accountable | is_operator | has_role("security", "administrator"),
    otherwise="Only its accountable people, its operator, security or an administrator may have this looked up.",
)
permission(
    "discovery.attest_secret_source",
    answers_for,
    otherwise="Only the owner, the deputy or the operator can give their word on where its credentials are.",
)
