from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class ImportQueued:
    """Subscribers start the work; beat's sweep starts it when nobody heard."""

    job_id: UUID
