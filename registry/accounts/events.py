"""What accounts tells upper rooms, after commit."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class PersonLeft:
    """Somebody was deactivated; what they answered for needs somebody else."""

    user_id: UUID
