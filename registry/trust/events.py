"""What trust tells upper rooms, after commit."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID


@dataclass(frozen=True)
class RelationshipChanged:
    """A grant or a connection was requested, decided, narrowed, suspended, resumed or ended."""

    kind: Literal["grant", "connection"]
    id: UUID
