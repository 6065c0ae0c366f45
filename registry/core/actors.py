"""Who acts: a person in a browser, a token or a workload on a person's behalf, or the system itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

READS_ONLY = frozenset({"auditor"})
"""Roles of those who oversee and change nothing; whoever has another role as well takes part by that one."""


@dataclass(frozen=True)
class Actor:
    """`user` is an `accounts.User` or None (core knows no rooms).

    `scopes` is None for a person in a browser; a token or workload may do only what both its scopes and its owner may.
    `token_id` is the credential's: of the token, or of the service principal that a workload proved to be; `facts` is
    what evidence says of it besides.

    `display` of a system actor names the job, for example "due campaigns".
    """

    kind: Literal["person", "token", "workload", "system", "anonymous"]
    user: Any = None
    scopes: frozenset[str] | None = None
    token_id: UUID | None = None
    display: str = ""
    request_id: str = ""
    authenticated_at: datetime | None = None
    """When the person in this browser last proved who they are. None where there is no session to ask: tokens, jobs,
    and acts that are carried out later on somebody's signed decision."""
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False, compare=False)

    @classmethod
    def person(cls, user: Any, request_id: str = "", authenticated_at: datetime | None = None) -> Actor:
        return cls("person", user=user, request_id=request_id, authenticated_at=authenticated_at)

    @classmethod
    def system(cls, job: str) -> Actor:
        return cls("system", display=job)

    @classmethod
    def anonymous(cls) -> Actor:
        return cls("anonymous")

    @property
    def is_system(self) -> bool:
        return self.kind == "system"

    @property
    def user_id(self) -> UUID | None:
        return self.user.pk if self.user is not None else None

    @property
    def roles(self) -> frozenset[str]:
        """What the person has. In a browser also what they took for a few hours in an emergency: no token has that."""
        if self.user is None or not self.user.is_active:
            return frozenset()
        taken = self.user.elevation if self.kind == "person" else ""
        return frozenset({*self.user.roles, taken} if taken else self.user.roles)

    @property
    def label(self) -> str:
        if self.user is None:
            return self.display or self.kind
        person = f"{self.user.name} ({self.user.email})"
        return f"{self.display} for {person}" if self.kind == "workload" else person

    @property
    def credential(self) -> str:
        return "workload" if self.kind == "workload" else "token"

    def beyond_scopes(self) -> Actor:
        """The same for what an act brings about in another room: its scopes were asked for the act itself."""
        return replace(self, scopes=None) if self.scopes is not None else self

    @property
    def takes_part(self) -> bool:
        """Does what members do; pages ask it before they offer to register, import or request."""
        return self.is_system or not self.roles <= READS_ONLY

    def has_role(self, *names: str) -> bool:
        return self.is_system or not self.roles.isdisjoint(names)

    def is_person(self, user_id: UUID | None) -> bool:
        """True when the actor is this very person, whether in a browser or through a token."""
        return user_id is not None and self.user_id == user_id
