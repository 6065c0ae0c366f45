import rules

from registry.core.actors import Actor
from registry.core.permissions import has_role, is_member, permission

SCOPES = {
    f"{room}:{act}": f"{act} {what}"
    for room, what in {
        "accounts": "people, teams and tokens",
        "catalog": "servers, systems, agents and issuers",
        "discovery": "imports",
        "reviews": "campaigns, items and decisions",
        "trust": "trust relationships",
        "audit": "audit events",
    }.items()
    for act in ("read", "write")
    if (room, act) != ("audit", "write")  # evidence is written by acts, never by a caller
}
"""Every scope a token can carry, with the words shown beside its checkbox."""


@rules.predicate
def holds_token(actor: Actor, token: object) -> bool:
    return actor.is_person(getattr(token, "user_id", None))


@rules.predicate
def is_in_a_browser(actor: Actor) -> bool:
    """Not a token: whoever finds one must not be able to change the password or the person."""
    return actor.kind == "person"


permission("accounts.view", is_member, otherwise="You need a role to see people and teams.")
permission("accounts.create_token", is_member, otherwise="You need a role to have an API token.")
permission(
    "accounts.create_token_for_another",
    has_role("administrator"),
    otherwise="Only an administrator creates a token for somebody else.",
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
