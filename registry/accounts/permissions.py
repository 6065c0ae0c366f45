import rules
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from registry.core.actors import Actor
from registry.core.permissions import has_role, is_member, permission
from registry.core.scopes import resource, set_apart


@rules.predicate
def holds_token(actor: Actor, token: object) -> bool:
    return actor.is_person(getattr(token, "user_id", None))


@rules.predicate
def reaches_token(actor: Actor, token: object) -> bool:
    """A token changes itself and what it made. Its holder's other tokens may do more, from elsewhere, for longer."""
    if actor.kind != "token":
        return True
    while token is not None and getattr(token, "pk", None) != actor.token_id:
        token = getattr(token, "parent", None)
    return token is not None


@rules.predicate
def is_in_a_browser(actor: Actor) -> bool:
    """Not a token: whoever finds one must not be able to change the password or the person."""
    return actor.kind == "person"


@rules.predicate
def owns_principal(actor: Actor, principal: object) -> bool:
    return actor.is_person(getattr(principal, "owner_id", None))


@rules.predicate
def stopped_it_themselves(actor: Actor, principal: object) -> bool:
    """What security or the registry stopped, its owner does not start again."""
    return actor.is_person(getattr(principal, "suspended_by_id", None))


@rules.predicate
def is_proposed(actor: Actor, principal: object) -> bool:
    return getattr(principal, "state", "") == "proposed"


@rules.predicate
def is_no_workload(actor: Actor) -> bool:
    """A workload proves itself anew every hour; it must not turn that into a secret that lasts a year."""
    return actor.kind != "workload"


@rules.predicate
def is_provisioner(actor: Actor) -> bool:
    """The directory's own token. Nobody provisions from a browser: there, people are changed one act at a time."""
    return actor.scopes is not None and actor.has_role("administrator")


@rules.predicate
def may_break_glass(actor: Actor) -> bool:
    """By the roles they have for good: an emergency role does not lead to the next."""
    return actor.user is not None and not set(settings.BREAK_GLASS_ROLES).isdisjoint(actor.user.roles)


@rules.predicate
def holds_role_taken(actor: Actor, elevation: object) -> bool:
    return actor.is_person(getattr(elevation, "user_id", None))


permission("accounts.view", is_member, otherwise="You need a role to see people and teams.")
permission(
    "accounts.create_token",
    is_member & is_no_workload,
    otherwise="You need a role to have an API token, and a workload cannot make one.",
)
permission(
    "accounts.create_token_for_another",
    has_role("administrator"),
    otherwise="Only an administrator creates a token for somebody else.",
)
permission(
    "accounts.change_token",
    holds_token & is_no_workload & reaches_token,
    otherwise="Only whoever a token acts for changes or rotates it; a token only itself and what it made, no workload.",
)
permission(
    "accounts.revoke_token",
    holds_token | has_role("security", "administrator"),
    otherwise="You may revoke your own tokens; security and administrators may revoke any.",
)
permission(
    "accounts.view_all_tokens",
    has_role("security", "administrator"),
    otherwise="Security and administrators see everybody's tokens; you see your own.",
)
permission(
    "accounts.manage_people",
    has_role("administrator"),
    otherwise="Only an administrator changes people, roles and teams.",
)
permission(
    "accounts.edit_self",
    is_in_a_browser,
    otherwise="Preferences and passwords are changed by the person themselves, in the browser.",
)
permission(
    "accounts.provision_directory",
    is_provisioner,
    otherwise="Only an administrator's token with the scope accounts:provision speaks for the directory.",
    scope="accounts:provision",
)
permission(
    "accounts.manage_issuers",
    has_role("security", "administrator"),
    otherwise="Only security and administrators say whose word about workloads is believed.",
)
permission(
    "accounts.create_principal",
    is_member & is_no_workload,
    otherwise="You need a role to have a service principal, and a workload cannot make one.",
)
permission(
    "accounts.assign_principal",
    has_role("administrator"),
    otherwise="Only an administrator makes somebody else the owner of a service principal.",
)
permission(
    "accounts.edit_principal",
    (owns_principal | has_role("administrator")) & is_no_workload,
    otherwise="Only its owner or an administrator changes a service principal, and no workload does.",
)
permission(
    "accounts.suspend_principal",
    owns_principal | has_role("security", "administrator"),
    otherwise="Only its owner, security or an administrator suspends a service principal.",
)
permission(
    "accounts.resume_principal",
    (
        (is_proposed & owns_principal & is_in_a_browser)
        | (~is_proposed & (stopped_it_themselves | has_role("security", "administrator")))
    )
    & is_no_workload,
    otherwise="Its owner accepts it, in a browser; once suspended, who did that, security or an administrator does.",
)
permission(
    "accounts.retire_principal",
    owns_principal | has_role("security", "administrator"),
    otherwise="Only its owner, security or an administrator retires a service principal.",
)
permission(
    "accounts.view_group_roles",
    has_role("administrator", "security", "auditor"),
    otherwise="Administrators, security and auditors see which group gives which role.",
)
permission(
    "accounts.map_groups",
    has_role("administrator"),
    otherwise="Only an administrator says which group gives which role.",
)

permission(
    "accounts.decide_roles",
    has_role("security", "administrator") & is_no_workload,
    otherwise="Security or another administrator decides who may oversee others.",
)
permission(
    "accounts.take_role",
    is_in_a_browser & may_break_glass,
    otherwise="Only those the organisation named take a role in an emergency, and only in a browser.",
)
permission(
    "accounts.end_role",
    holds_role_taken | has_role("security", "administrator"),
    otherwise="Whoever took a role, security or an administrator ends it.",
)
permission(
    "accounts.view_roles_taken",
    has_role("security", "administrator", "auditor"),
    otherwise="Security, administrators and auditors see who took a role in an emergency; you see your own.",
)
permission(
    "accounts.review_role",
    has_role("security", "administrator"),
    otherwise="Security or an administrator reviews what was done in an emergency.",
)

set_apart("accounts:provision", _("people and groups as the directory says (SCIM)"))
resource(
    "accounts.people",
    _("people and teams"),
    acts="manage_people edit_self map_groups decide_roles take_role end_role review_role",
    routes="user team group-role role-proposal emergency-role",
)
resource(
    "accounts.tokens",
    _("API tokens"),
    acts="create_token create_token_for_another change_token revoke_token",
    routes="token",
)
resource(
    "accounts.machines",
    _("service principals and workload issuers"),
    acts="manage_issuers create_principal assign_principal edit_principal suspend_principal resume_principal"
    " retire_principal",
    routes="service-principal workload-issuer machine-findings",
)
