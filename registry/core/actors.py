"""Who acts: a person in a browser, a token on a person's behalf, or the system itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID


@dataclass(frozen=True)
class Actor:
    """`user` is an `accounts.User` or None (core knows no rooms).

    `scopes` is None for a person in a browser; a token may do only what both its scopes and its owner may.

    `display` of a system actor names the job, for example "due campaigns".
    """

    kind: Literal["person", "token", "system", "anonymous"]
    user: Any = None
    scopes: frozenset[str] | None = None
    token_id: UUID | None = None
    display: str = ""
    request_id: str = ""

    @classmethod
    def person(cls, user: Any, request_id: str = "") -> Actor:
        return cls("person", user=user, request_id=request_id)

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
        return frozenset(self.user.roles) if self.user is not None and self.user.is_active else frozenset()

    @property
    def label(self) -> str:
        if self.user is None:
            return self.display or self.kind
        return f"{self.user.name} ({self.user.email})"

    def has_role(self, *names: str) -> bool:
        return self.is_system or not self.roles.isdisjoint(names)

    def is_person(self, user_id: UUID | None) -> bool:
        """True when the actor is this very person, whether in a browser or through a token."""
        return user_id is not None and self.user_id == user_id
