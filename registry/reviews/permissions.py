import rules

from registry.core.actors import Actor
from registry.core.permissions import has_role, is_member, permission

OVERSIGHT = ("security", "auditor", "administrator")
MANAGERS = ("campaign_manager", "administrator")


@rules.predicate
def owns_campaign(actor: Actor, campaign: object) -> bool:
    return actor.is_person(getattr(campaign, "owner_id", None))


@rules.predicate
def is_its_reviewer(actor: Actor, work_item: object) -> bool:
    """No role, not even the campaign owner's, includes deciding on other people's items."""
    return actor.is_person(getattr(work_item, "reviewer_id", None))


@rules.predicate
def manages_its_campaign(actor: Actor, work_item: object) -> bool:
    campaign = work_item.item.campaign  # type: ignore[attr-defined]
    return actor.has_role(*MANAGERS) or actor.is_person(campaign.owner_id)


permission("reviews.view", is_member, otherwise="You need a role to read reviews. Ask an administrator.")
permission("reviews.view_all", has_role(*OVERSIGHT), otherwise="This is confidential.")
permission(
    "reviews.manage_templates",
    has_role(*MANAGERS),
    otherwise="Only a campaign manager or an administrator sets up campaign templates.",
)
permission(
    "reviews.launch_campaign",
    has_role(*MANAGERS),
    otherwise="Only a campaign manager or an administrator launches campaigns.",
)
permission(
    "reviews.manage_campaign",
    owns_campaign | has_role(*MANAGERS),
    otherwise="Only the campaign's owner, a campaign manager or an administrator does this.",
)
permission(
    "reviews.decide",
    is_its_reviewer,
    otherwise="Only the reviewer it is assigned to decides on this item.",
)
permission(
    "reviews.reassign",
    is_its_reviewer | manages_its_campaign,
    otherwise="Only its reviewer or whoever manages the campaign hands this item to somebody else.",
)
permission("reviews.sign_off", is_member, otherwise="You need a role to sign decisions.")
permission(
    "reviews.close_campaign",
    owns_campaign | has_role(*MANAGERS),
    otherwise="Only the campaign's owner or a campaign manager signs the whole campaign.",
)
permission(
    "reviews.confirm_remediation",
    has_role("security"),
    otherwise="Only security confirms that access is really gone.",
)
