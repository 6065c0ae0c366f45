import rules
from django.utils.translation import gettext_lazy as _

from registry.core.actors import Actor
from registry.core.permissions import ONLY_READS, has_role, is_member, permission, takes_part
from registry.core.scopes import resource


def parties(relationship: object) -> list[object]:
    """Whose relationship it is: who asked for it, and the people of both ends. They may always let go of it."""
    server = getattr(relationship, "server", None)
    other_end = getattr(relationship, "agent", None) or getattr(relationship, "system", None)
    return [
        getattr(relationship, "requested_by_id", None),
        getattr(server, "owner_id", None),
        getattr(server, "deputy_id", None),
        getattr(other_end, "owner_id", None),
    ]


@rules.predicate
def is_party(actor: Actor, relationship: object) -> bool:
    return any(actor.is_person(person) for person in parties(relationship))  # type: ignore[arg-type]


@rules.predicate
def is_requester(actor: Actor, relationship: object) -> bool:
    return actor.is_person(getattr(relationship, "requested_by_id", None))


@rules.predicate
def provides_system(actor: Actor, relationship: object) -> bool:
    """The owner of the system a connection reaches: the provider's side of it."""
    return actor.is_person(getattr(getattr(relationship, "system", None), "owner_id", None))


@rules.predicate
def keeps_server(actor: Actor, relationship: object) -> bool:
    server = getattr(relationship, "server", None)
    return any(actor.is_person(getattr(server, f"{role}_id", None)) for role in ("owner", "deputy", "created_by"))


@rules.predicate
def is_registry(actor: Actor) -> bool:
    """Conclusions and the clock: only the registry itself acts on them."""
    return actor.is_system


permission("trust.view", is_member, otherwise="You need a role to read trust relationships. Ask an administrator.")
permission("trust.request_grant", takes_part, otherwise=f"You need a role to request a grant. {ONLY_READS}")
permission("trust.request_connection", takes_part, otherwise=f"You need a role to request a connection. {ONLY_READS}")
permission(
    "trust.approve_grant",
    has_role("reviewer", "security"),
    otherwise="Only a reviewer or security approves a grant.",
)
permission(
    "trust.approve_connection",
    has_role("reviewer", "security") | provides_system,
    otherwise="Only a reviewer, security or the owner of the system reached approves a connection.",
)
permission(
    "trust.refuse_relationship",
    has_role("reviewer", "security") | provides_system | keeps_server,
    otherwise="Only a reviewer, security or the people of the server or system asked for may refuse this request.",
)
permission(
    "trust.withdraw_relationship",
    is_requester,
    otherwise="Only whoever made this request may withdraw it.",
)
# Taking away is easier than giving: both ends, the requester and those who decide may do it.
permission(
    "trust.suspend_relationship",
    is_party | has_role("security"),
    otherwise="Only its requester, the people of its two ends or security may suspend this relationship.",
)
permission(
    "trust.resume_relationship",
    has_role("security"),
    otherwise="Only security resumes a suspended relationship.",
)
permission(
    "trust.revoke_relationship",
    is_party | has_role("reviewer", "security"),
    otherwise="Only its requester, the people of its two ends, a reviewer or security may revoke this relationship.",
)
permission(
    "trust.reduce_relationship",
    is_party | has_role("reviewer", "security"),
    otherwise="Only its requester, the people of its two ends, a reviewer or security may reduce this relationship.",
)
permission(
    "trust.connect_secret_source",
    keeps_server,
    otherwise="Only the owner, the deputy or whoever registered the server names the secret source of a connection.",
)
permission(
    "trust.set_conclusions",
    is_registry,
    otherwise="Certification, tier and expiry are computed, not entered.",
)
permission(
    "trust.manage_combinations",
    has_role("security"),
    otherwise="Only security says which combinations are toxic.",
)
permission(
    "trust.record_observations",
    is_registry,
    otherwise="What is in use is observed, not entered.",
)

resource("trust.grants", _("grants"), acts="request_grant approve_grant", routes="grant")
resource(
    "trust.connections",
    _("connections"),
    acts="request_connection approve_connection connect_secret_source",
    routes="connection",
)
resource(
    "trust.relationships",
    _("what both grants and connections go through"),
    acts="refuse_relationship withdraw_relationship suspend_relationship resume_relationship revoke_relationship"
    " reduce_relationship set_conclusions",
    routes="trust-relationships",
)
resource("trust.combinations", _("combinations nobody should hold"), acts="manage_combinations", routes="combination")
resource("trust.graph", _("questions to the trust graph"), acts="record_observations", routes="trust")
