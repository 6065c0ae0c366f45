"""What accounts tells upper rooms, after commit."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class PersonLeft:
    """Somebody was deactivated; what they answered for needs somebody else."""

    user_id: UUID


@dataclass(frozen=True)
class PersonReturned:
    """Somebody who had left can act again. Nothing is given back by that alone."""

    user_id: UUID


@dataclass(frozen=True)
class EmergencyRoleTaken:
    """Somebody has a further role for a few hours (break-glass)."""

    elevation_id: UUID
