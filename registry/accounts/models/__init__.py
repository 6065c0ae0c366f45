"""People, their teams and roles, and the tokens that act for them."""

from registry.accounts.models.people import Membership, Role, Team, User, UserManager
from registry.accounts.models.tokens import ApiToken, ApiTokenQuerySet

__all__ = ["ApiToken", "ApiTokenQuerySet", "Membership", "Role", "Team", "User", "UserManager"]
