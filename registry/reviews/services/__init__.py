"""Acts of recertification, by topic. A package because one file would pass a thousand lines; import from here."""

from registry.reviews.services.campaigns import cancel_campaign, close_campaign, extend_campaign
from registry.reviews.services.decisions import save_decision, undo_decision
from registry.reviews.services.generation import generate_items, resume_generation
from registry.reviews.services.intake import decide_intake, open_intake, sweep_intakes
from registry.reviews.services.items import (
    FactsChanged,
    TooLate,
    assign_reviewer,
    reassign_work_item,
    recuse_work_item,
    retry_assignment,
)
from registry.reviews.services.launch import (
    AlreadyLaunched,
    activate_campaign,
    launch_campaign,
    launch_due_campaigns,
    retry_generation,
)
from registry.reviews.services.remediation import confirm_remediation
from registry.reviews.services.reminders import remind_reviewer, send_reminders, tell_owner
from registry.reviews.services.sign_off import drafts_digest, sign_off
from registry.reviews.services.templates import create_template, update_template
from registry.reviews.services.watch import confirm_facts, end_stale_certificates, recheck, sweep_items

__all__ = [
    "AlreadyLaunched",
    "FactsChanged",
    "TooLate",
    "activate_campaign",
    "assign_reviewer",
    "cancel_campaign",
    "close_campaign",
    "confirm_facts",
    "confirm_remediation",
    "create_template",
    "decide_intake",
    "drafts_digest",
    "end_stale_certificates",
    "extend_campaign",
    "generate_items",
    "launch_campaign",
    "launch_due_campaigns",
    "open_intake",
    "reassign_work_item",
    "recheck",
    "recuse_work_item",
    "remind_reviewer",
    "resume_generation",
    "retry_assignment",
    "retry_generation",
    "save_decision",
    "send_reminders",
    "sign_off",
    "sweep_intakes",
    "sweep_items",
    "tell_owner",
    "undo_decision",
    "update_template",
]
