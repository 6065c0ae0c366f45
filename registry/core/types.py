"""Shapes that rooms agree on without importing each other."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID


class Person(Protocol):
    """What core needs to know of a user; `accounts.User` fits."""

    pk: UUID
    name: str
    email: str
    roles: Sequence[str]
    is_active: bool


class Subject(Protocol):
    """A thing that events speak of; every `core.models.Record` fits."""

    pk: UUID
    subject_type: str

    def __str__(self) -> str: ...
