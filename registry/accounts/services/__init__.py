"""Acts on people, teams and tokens; one module per topic."""

from registry.accounts.services.own import change_password, record_presence, set_preferences
from registry.accounts.services.people import (
    create_team,
    create_user,
    set_active,
    set_members,
    set_roles,
    set_team,
    set_team_lead,
)
from registry.accounts.services.tokens import (
    MAX_TOKEN_DAYS,
    TOKEN_PREFIX,
    create_token,
    expand_scopes,
    note_token_use,
    revoke_token,
    token_hash,
)

__all__ = [
    "MAX_TOKEN_DAYS",
    "TOKEN_PREFIX",
    "change_password",
    "create_team",
    "create_token",
    "create_user",
    "expand_scopes",
    "note_token_use",
    "record_presence",
    "revoke_token",
    "set_active",
    "set_members",
    "set_preferences",
    "set_roles",
    "set_team",
    "set_team_lead",
    "token_hash",
]
