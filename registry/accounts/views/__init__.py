"""Signing in and out, one's own account and tokens, people and teams; one module per topic."""

from registry.accounts.views.confirm import confirm
from registry.accounts.views.emergency import emergency, end_emergency, review_emergency
from registry.accounts.views.federation import Begin, Callback, back_channel_logout
from registry.accounts.views.groups import decide_group_role, group_roles, unmap
from registry.accounts.views.own import account, password
from registry.accounts.views.people import decide_roles, new_person, people, person, roles, standing
from registry.accounts.views.sessions import end_others, end_session
from registry.accounts.views.sign_in import locked_out, sign_in, sign_out
from registry.accounts.views.teams import new_team, team, teams
from registry.accounts.views.tokens import revoke, rotate, token, tokens
from registry.accounts.views.workloads import (
    all_tokens,
    edit_issuer,
    edit_principal,
    issuer,
    issuers,
    machine_findings,
    new_issuer,
    new_principal,
    principal,
    principals,
    refresh_issuer,
    resume_principal,
    retire_issuer,
    retire_principal,
    suspend_principal,
)

__all__ = [
    "Begin",
    "Callback",
    "account",
    "all_tokens",
    "back_channel_logout",
    "confirm",
    "decide_group_role",
    "decide_roles",
    "edit_issuer",
    "edit_principal",
    "emergency",
    "end_emergency",
    "end_others",
    "end_session",
    "group_roles",
    "issuer",
    "issuers",
    "locked_out",
    "machine_findings",
    "new_issuer",
    "new_person",
    "new_principal",
    "new_team",
    "password",
    "people",
    "person",
    "principal",
    "principals",
    "refresh_issuer",
    "resume_principal",
    "retire_issuer",
    "retire_principal",
    "review_emergency",
    "revoke",
    "roles",
    "rotate",
    "sign_in",
    "sign_out",
    "standing",
    "suspend_principal",
    "team",
    "teams",
    "token",
    "tokens",
    "unmap",
]
