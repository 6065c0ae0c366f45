"""What reviews tells its own tasks, after commit."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class CampaignLaunched:
    campaign_id: UUID
