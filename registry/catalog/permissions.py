import rules
from django.utils.translation import gettext_lazy as _

from registry.core.actors import Actor
from registry.core.permissions import ONLY_READS, has_role, is_member, permission, takes_part
from registry.core.scopes import resource

OVERSIGHT = ("security", "auditor", "administrator")


@rules.predicate
def is_accountable(actor: Actor, thing: object) -> bool:
    """Owner, deputy or creator of a server, system or agent."""
    return any(actor.is_person(getattr(thing, f"{role}_id", None)) for role in ("owner", "deputy", "created_by"))


@rules.predicate
def is_named_owner(actor: Actor, server: object) -> bool:
    return actor.is_person(getattr(server, "owner_id", None))


permission("catalog.view", is_member, otherwise="You need a role to read the catalog. Ask an administrator.")
permission("catalog.view_confidential", has_role(*OVERSIGHT), otherwise="This is confidential.")
permission("catalog.register_server", takes_part, otherwise=f"You need a role to register a server. {ONLY_READS}")
permission(
    "catalog.edit_server",
    is_accountable | has_role("administrator"),
    otherwise="Only the owner, the deputy, whoever registered it, or an administrator may edit this server.",
)
permission(
    "catalog.accept_ownership",
    is_named_owner,
    otherwise="Only the named owner can accept ownership.",
)
permission(
    "catalog.decide_intake",
    has_role("reviewer", "security"),
    otherwise="Only a reviewer or security activates or returns a server.",
)
permission(
    "catalog.suspend_server",
    is_accountable | has_role("security", "administrator"),
    otherwise="Only its accountable people, security or an administrator may suspend this server.",
)
permission(
    "catalog.resume_server",
    has_role("security"),
    otherwise="Only security may resume a suspended server.",
)
permission(
    "catalog.retire_server",
    is_accountable | has_role("security", "administrator"),
    otherwise="Only its accountable people, security or an administrator may retire this server.",
)
permission(
    "catalog.override_tier",
    has_role("security"),
    otherwise="Only security raises or lowers a tier by hand.",
)
permission("catalog.register_system", takes_part, otherwise=f"You need a role to register a system. {ONLY_READS}")
permission("catalog.register_agent", takes_part, otherwise=f"You need a role to register an agent. {ONLY_READS}")
permission(
    "catalog.edit_system",
    is_accountable | has_role("administrator"),
    otherwise="Only its owner, whoever registered it, or an administrator may edit this system.",
)
permission(
    "catalog.edit_agent",
    is_accountable | has_role("administrator"),
    otherwise="Only its owner, whoever registered it, or an administrator may edit this agent.",
)
permission(
    "catalog.manage_issuers",
    has_role("security", "administrator"),
    otherwise="Only security or an administrator manages issuers.",
)
permission(
    "catalog.view_visibility_rules",
    has_role(*OVERSIGHT),
    otherwise="Security, auditors and administrators see which rules keep things confidential.",
)
permission(
    "catalog.set_visibility_rule",
    has_role("security", "administrator"),
    otherwise="Only security or an administrator keeps everything of a team or an environment confidential.",
)
permission(
    "catalog.drop_visibility_rule",
    has_role("security", "administrator"),
    otherwise="Only security or an administrator drops a visibility rule: it shows things to everybody.",
)


@rules.predicate
def is_registry(actor: Actor) -> bool:
    """Conclusions are computed: only the registry itself writes them, on whoever's occasion."""
    return actor.is_system


permission(
    "catalog.set_conclusions",
    is_registry,
    otherwise="Tier and certification are computed, not entered.",
)
permission(
    "catalog.observe_tools",
    is_registry,
    otherwise="What a server lists is observed by the registry, not entered.",
)


@rules.predicate
def leads_its_team(actor: Actor, vacancy: object) -> bool:
    team = getattr(getattr(vacancy, "thing", None), "team", None)
    return actor.is_person(getattr(team, "lead_id", None))


@rules.predicate
def managed_who_left(actor: Actor, vacancy: object) -> bool:
    return actor.is_person(getattr(getattr(vacancy, "former_owner", None), "manager_id", None))


@rules.predicate
def is_successor(actor: Actor, proposal: object) -> bool:
    return actor.is_person(getattr(proposal, "successor_id", None))


@rules.predicate
def proposed_it(actor: Actor, proposal: object) -> bool:
    return actor.is_person(getattr(proposal, "proposed_by_id", None))


OVERSEES_VACANCIES = ("campaign_manager", "security", "administrator")
permission(
    "catalog.view_vacancies",
    has_role(*OVERSEES_VACANCIES, "auditor"),
    otherwise="Campaign managers, security, auditors and administrators see everything that is without an owner.",
)
permission(
    "catalog.propose_successor",
    has_role(*OVERSEES_VACANCIES) | leads_its_team | managed_who_left,
    otherwise="Only the manager of who left, the lead of its team, a campaign manager, security or an administrator"
    " proposes who takes it over.",
)
permission(
    "catalog.answer_proposal",
    is_successor,
    otherwise="Only whoever is asked says whether they take it over.",
)
permission(
    "catalog.withdraw_proposal",
    has_role(*OVERSEES_VACANCIES) | proposed_it,
    otherwise="Only whoever proposed it, a campaign manager, security or an administrator takes this back.",
)
permission(
    "catalog.keep_vacancies",
    is_registry,
    otherwise="What is without an owner is seen by the registry, not entered.",
)

resource(
    "catalog.servers",
    _("servers with their endpoints, tools, purposes and secret sources"),
    acts="register_server edit_server accept_ownership decide_intake suspend_server resume_server retire_server"
    " override_tier observe_tools set_conclusions",
    routes="server endpoint tool purpose secret-source",
)
resource("catalog.systems", _("systems"), acts="register_system edit_system", routes="system")
resource("catalog.agents", _("agents"), acts="register_agent edit_agent", routes="agent")
resource("catalog.issuers", _("issuers"), acts="manage_issuers", routes="issuer")
resource(
    "catalog.visibility",
    _("rules by which teams and environments keep their things confidential"),
    acts="set_visibility_rule drop_visibility_rule",
    routes="visibility-rule",
)
resource(
    "catalog.succession",
    _("who takes over what somebody left behind"),
    acts="propose_successor answer_proposal withdraw_proposal keep_vacancies",
    routes="vacancy proposal",
)
