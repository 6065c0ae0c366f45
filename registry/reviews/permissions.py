import rules
from django.utils.translation import gettext_lazy as _

from registry.core.actors import Actor
from registry.core.permissions import ONLY_READS, has_role, is_member, permission, takes_part
from registry.core.scopes import resource

OVERSIGHT = ("security", "auditor", "administrator")
MANAGERS = ("campaign_manager", "administrator")
CONFIRMERS = ("campaign_manager", "security")


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


@rules.predicate
def owns_its_campaign(actor: Actor, verdict: object) -> bool:
    return actor.is_person(verdict.campaign.owner_id)  # type: ignore[attr-defined]


@rules.predicate
def is_away_themselves(actor: Actor, thing: object) -> bool:
    """`thing` is the person who is away, or the delegation they made; who has no role has nothing to hand on."""
    return actor.takes_part and actor.is_person(getattr(thing, "delegator_id", getattr(thing, "pk", None)))


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
    "reviews.waive_gap",
    owns_campaign | has_role("administrator"),
    otherwise="Only the campaign's owner or an administrator lets it start with a gap.",
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
permission("reviews.sign_off", takes_part, otherwise=f"You need a role to sign decisions. {ONLY_READS}")
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
permission(
    "reviews.view_quality",
    has_role("campaign_manager", *OVERSIGHT),
    otherwise="How somebody decided is seen by them and by those who run or oversee campaigns.",
)
permission(
    "reviews.confirm_quality",
    owns_its_campaign | has_role(*CONFIRMERS),
    otherwise="Only the campaign's owner, a campaign manager or security confirms somebody's decisions.",
)


def concerned(subject: object) -> list[object]:
    """Whose access it is, by id: owner and deputy of the server, owner of the agent, owner of the system reached."""
    server = getattr(subject, "server", None) or subject
    agent, system = getattr(subject, "agent", None), getattr(subject, "system", None)
    return [
        getattr(server, "owner_id", None),
        getattr(server, "deputy_id", None),
        getattr(agent, "owner_id", None),
        getattr(system, "owner_id", None),
        getattr(subject, "owner_id", None),
    ]


@rules.predicate
def is_concerned(actor: Actor, remediation: object) -> bool:
    item = getattr(remediation, "item", None)
    return item is not None and any(actor.is_person(person) for person in concerned(item.subject))  # type: ignore[arg-type]


@rules.predicate
def runs_its_campaign(actor: Actor, remediation: object) -> bool:
    item = getattr(remediation, "item", None)
    return actor.has_role(*MANAGERS) or (item is not None and actor.is_person(item.campaign.owner_id))


@rules.predicate
def owns_campaign_behind(actor: Actor, challenge: object) -> bool:
    remediation = getattr(challenge, "remediation", None)
    return remediation is not None and actor.is_person(remediation.item.campaign.owner_id)


@rules.predicate
def asked_for_it(actor: Actor, exception: object) -> bool:
    return actor.is_person(getattr(exception, "requested_by_id", None))


@rules.predicate
def is_registry(actor: Actor) -> bool:
    """What the clock and the channels do, nobody does by hand."""
    return actor.is_system


permission("reviews.carry_out", is_registry, otherwise="Only the registry itself does this.")
permission(
    "reviews.report_remediation",
    is_concerned | runs_its_campaign | has_role("security"),
    otherwise="Only the people concerned, whoever manages the campaign or security reports that it is done.",
)
permission(
    "reviews.retry_remediation",
    runs_its_campaign | has_role("security"),
    otherwise="Only whoever manages the campaign or security has it carried out again.",
)
permission(
    "reviews.record_observation",
    has_role("security"),
    otherwise="Only discovery, the activity logs or security records what was seen.",
)
permission(
    "reviews.challenge_remediation",
    is_concerned,
    otherwise="Only the people of the server, the agent or the system concerned may object.",
)
permission(
    "reviews.decide_challenge",
    owns_campaign_behind | has_role("security"),
    otherwise="Only security or the campaign's owner decides on an objection.",
)
permission(
    "reviews.request_exception",
    is_concerned | runs_its_campaign | has_role("security"),
    otherwise="Only the people concerned, whoever manages the campaign or security asks for an exception.",
)
permission("reviews.decide_exception", has_role("security"), otherwise="Only security decides on an exception.")
permission(
    "reviews.end_exception",
    asked_for_it | has_role("security"),
    otherwise="Only whoever asked for it or security ends an exception.",
)
permission(
    "reviews.accept_campaign",
    has_role("auditor"),
    otherwise="Only an auditor accepts the result of a campaign.",
)
permission(
    "reviews.delegate",
    is_away_themselves | has_role("administrator"),
    otherwise="Only the person who is away, or an administrator, says who stands in for them.",
)
permission(
    "reviews.delegate_others",
    has_role("administrator"),
    otherwise="Only an administrator says who stands in for somebody else.",
)
permission(
    "reviews.view_statistics",
    has_role("campaign_manager", *OVERSIGHT),
    otherwise="Only campaign managers, security, auditors and administrators see how others decide.",
)
permission(
    "reviews.pack_campaign",
    owns_campaign | has_role(*OVERSIGHT),
    otherwise="Only the campaign's owner, security, auditors and administrators take its audit pack.",
)
permission(
    "reviews.pack_period",
    has_role(*OVERSIGHT),
    otherwise="Only security, auditors and administrators take the audit pack of a period.",
)
permission(
    "reviews.release_action",
    has_role("security", "campaign_manager"),
    otherwise="Only security or a campaign manager lets an automatic action go on, or declines it.",
)
permission(
    "reviews.restore_action",
    has_role("security", "campaign_manager"),
    otherwise="Only security or a campaign manager gives back what was suspended.",
)
permission(
    "reviews.ask_for_review",
    has_role("security", "campaign_manager"),
    otherwise="Only security or a campaign manager asks for a review at once.",
)

resource(
    "reviews.campaigns",
    _("campaigns, their templates and items"),
    acts="manage_templates launch_campaign manage_campaign waive_gap reassign close_campaign accept_campaign"
    " ask_for_review",
    routes="campaign template item review-trigger",
)
resource(
    "reviews.decisions",
    _("decisions, sign-offs and certificates"),
    acts="decide sign_off",
    routes="decision sign-off certificate",
)
resource(
    "reviews.remediations",
    _("remediations, objections and automatic actions"),
    acts="carry_out confirm_remediation report_remediation retry_remediation record_observation"
    " challenge_remediation decide_challenge release_action restore_action",
    routes="remediation challenge automatic-action",
)
resource(
    "reviews.exceptions",
    _("exceptions"),
    acts="request_exception decide_exception end_exception",
    routes="exception",
)
resource("reviews.packs", _("audit packs"), acts="pack_campaign pack_period", routes="audit-pack")
resource("reviews.delegations", _("absences and substitutes"), acts="delegate delegate_others", routes="delegation")
resource(
    "reviews.quality",
    _("the quality of reviews"),
    acts="confirm_quality",
    routes="quality-verdict reviewer-statistics",
)
