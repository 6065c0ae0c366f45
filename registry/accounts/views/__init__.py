"""Signing in and out, one's own account and tokens, people and teams; one module per topic."""

from registry.accounts.views.own import account, password
from registry.accounts.views.people import new_person, people, person, roles, standing
from registry.accounts.views.sign_in import locked_out, sign_in, sign_out
from registry.accounts.views.teams import new_team, team, teams
from registry.accounts.views.tokens import revoke, tokens

__all__ = [
    "account",
    "locked_out",
    "new_person",
    "new_team",
    "password",
    "people",
    "person",
    "revoke",
    "roles",
    "sign_in",
    "sign_out",
    "standing",
    "team",
    "teams",
    "tokens",
]
