from collections.abc import Mapping
from typing import Any

import rules
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from registry.catalog.permissions import is_accountable
from registry.catalog.states import Lifecycle
from registry.core.actors import Actor
from registry.core.permissions import ONLY_READS, has_role, is_member, permission, takes_part
from registry.core.scopes import resource


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
permission("discovery.import_servers", takes_part, otherwise=f"You need a role to import servers. {ONLY_READS}")
permission(
    "discovery.view_sightings",
    has_role("security", "auditor"),
    otherwise="Only security and auditors see where everybody's servers were seen.",
)
permission(
    "discovery.report_sightings",
    takes_part,
    otherwise=f"You need a role to report what clients use. {ONLY_READS}",
)
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
permission(
    "discovery.probe_address",
    takes_part,
    otherwise=f"You need a role to have an address probed. {ONLY_READS}",
)


@rules.predicate
def answers_for(actor: Actor, server: object) -> bool:
    return any(actor.is_person(getattr(server, f"{role}_id", None)) for role in ("owner", "deputy", "operator"))


@rules.predicate
def is_in_service(actor: Actor, source: Any) -> bool:
    return getattr(getattr(source, "server", None), "lifecycle", "") == Lifecycle.ACTIVE


@rules.predicate
def answers_for_it(actor: Actor, source: object) -> bool:
    return bool(answers_for(actor, getattr(source, "server", None)))


@rules.predicate
def is_of_their_team(actor: Actor, source: Any) -> bool:
    """The reference begins as an administrator allowed for the server's team, which is one of the actor's."""
    server = getattr(source, "server", None)
    team = getattr(server, "team", None)
    if team is None or not is_accountable(actor, server):
        return False
    allowed: Mapping[str, list[str]] = settings.SECRET_CHECK_PREFIXES
    return source.reference.startswith(tuple(allowed.get(team.name, ()))) and _is_in(actor, team)


def _is_in(actor: Actor, team: Any) -> bool:
    return actor.user_id is not None and bool(team.members.filter(pk=actor.user_id).exists())


permission(
    "discovery.check_secret_source",
    # A store's answer tells that a secret exists and when it changed: nothing for whoever only names it in a draft.
    has_role("security") | (is_in_service & answers_for_it) | is_of_their_team,
    otherwise=(
        "Only security, or who answers for a server in service, may have this looked up. For drafts of a team, an "
        "administrator allows references by their beginning (SECRET_CHECK_PREFIXES)."
    ),
)
permission(
    "discovery.view_secret_checks",
    has_role("security", "auditor", "administrator") | answers_for,
    otherwise="What a store said of a secret is seen by security, auditors, administrators and who answers for it.",
)
permission(
    "discovery.attest_secret_source",
    answers_for,
    otherwise="Only the owner, the deputy or the operator can give their word on where its credentials are.",
)

resource("discovery.imports", _("imports"), acts="import_servers direct_import", routes="import")
resource("discovery.registries", _("followed registries"), acts="follow_registries", routes="registry")
resource("discovery.publications", _("what is published"), acts="publish", routes="publication")
resource("discovery.probes", _("probes"), acts="probe_server probe_address", routes="probe")
resource(
    "discovery.definitions",
    _("recorded definitions and drift"),
    acts="record_snapshot measure_drift approve_drift",
    routes="snapshot drift server-snapshots",
)
resource(
    "discovery.sightings",
    _("sightings and shadow servers"),
    acts="report_sightings settle_shadow",
    routes="sighting shadow",
)
resource(
    "discovery.secrets",
    _("checks of secret sources"),
    acts="check_secret_source attest_secret_source",
    routes="secret-state secret-check secret-attestation",
)
