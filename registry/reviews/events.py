"""What reviews tells its own tasks, after commit."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class CampaignLaunched:
    campaign_id: UUID


@dataclass(frozen=True)
class ItemStuck:
    """Nobody independent is left for an item; its campaign's owner has to find somebody."""

    item_id: UUID
