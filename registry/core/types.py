"""Shapes that rooms agree on without importing each other."""

from typing import Any, Protocol


class Person(Protocol):
    """What core needs to know of a user; `accounts.User` fits."""

    pk: Any
    name: str
    email: str
    is_active: bool

    @property
    def initials(self) -> str: ...


class Subject(Protocol):
    """A thing that events speak of; every `core.models.Record` fits."""

    pk: Any

    @property
    def subject_type(self) -> str: ...
