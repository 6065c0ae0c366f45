"""People, their teams and roles, and the tokens that act for them."""

from registry.accounts.models.federation import BrowserSession, ExternalIdentity, GroupGrant, GroupRole
from registry.accounts.models.people import Membership, Role, Team, User, UserManager
from registry.accounts.models.roles import POWERFUL, Elevation, RoleProposal
from registry.accounts.models.tokens import ApiToken, ApiTokenQuerySet
from registry.accounts.models.workloads import ServicePrincipal, WorkloadIssuer

__all__ = [
    "POWERFUL",
    "ApiToken",
    "ApiTokenQuerySet",
    "BrowserSession",
    "Elevation",
    "ExternalIdentity",
    "GroupGrant",
    "GroupRole",
    "Membership",
    "Role",
    "RoleProposal",
    "ServicePrincipal",
    "Team",
    "User",
    "UserManager",
    "WorkloadIssuer",
]
