"""Acts of recertification, by topic. A package because one file would pass a thousand lines; import from here."""

from registry.reviews.services.actions import decline_actions, release_actions, restore_action
from registry.reviews.services.bulk import decide_bulk, undo_bulk
from registry.reviews.services.campaigns import (
    accept_campaign,
    cancel_campaign,
    close_campaign,
    extend_campaign,
    settle_campaigns,
)
from registry.reviews.services.challenges import challenge_remediation, decide_challenge
from registry.reviews.services.decisions import (
    drafts_digest,
    note_opened,
    note_shown,
    save_decision,
    undo_decision,
)
from registry.reviews.services.delegations import create_delegation, end_delegation, start_delegations, staying
from registry.reviews.services.drifted import tell_of_drift, tell_of_drifts
from registry.reviews.services.exceptions import approve_exception, end_exception, refuse_exception, request_exception
from registry.reviews.services.follow_up import follow_up
from registry.reviews.services.gate import activate_campaign, recheck_campaign, retry_assignment, waive_gap
from registry.reviews.services.generation import admit_those_asked, generate_items, resume_generation
from registry.reviews.services.intake import decide_intake, open_intake, sweep_intakes
from registry.reviews.services.items import (
    FactsChanged,
    TooLate,
    assign_reviewer,
    assign_reviewers,
    escalate,
    reassign_work_item,
    recuse_work_item,
)
from registry.reviews.services.ladder import carry_out_actions, sweep_ladders
from registry.reviews.services.launch import (
    AlreadyLaunched,
    launch_campaign,
    launch_due_campaigns,
    launch_subjects,
    retry_generation,
)
from registry.reviews.services.letters import send_letters
from registry.reviews.services.micro import gather_triggers
from registry.reviews.services.notices import tell_of_cuts
from registry.reviews.services.occasions import apply_tiers, notice_departures, notice_tier, sweep_tiers
from registry.reviews.services.openings import tell_reviewers
from registry.reviews.services.quality import Careless, assess, confirm_quality
from registry.reviews.services.remediation import carry_out, report_done, retry_remediation
from registry.reviews.services.reminders import remind_reviewer, send_reminders, tell_missed_runs, tell_owner
from registry.reviews.services.sign_off import settle_unanswered, sign_off
from registry.reviews.services.stages import open_stage, resume_stages
from registry.reviews.services.templates import create_template, update_template
from registry.reviews.services.triggers import ask_for_review, raise_trigger, raise_triggers
from registry.reviews.services.unfinished import discard_unfinished, keep_unfinished
from registry.reviews.services.verification import confirm_remediation, find_regressions, look_again, record_observation
from registry.reviews.services.watch import (
    confirm_facts,
    end_stale_certificates,
    recheck,
    sweep_items,
    sweep_touched,
)

__all__ = [
    "AlreadyLaunched",
    "Careless",
    "FactsChanged",
    "TooLate",
    "accept_campaign",
    "activate_campaign",
    "admit_those_asked",
    "apply_tiers",
    "approve_exception",
    "ask_for_review",
    "assess",
    "assign_reviewer",
    "assign_reviewers",
    "cancel_campaign",
    "carry_out",
    "carry_out_actions",
    "challenge_remediation",
    "close_campaign",
    "confirm_facts",
    "confirm_quality",
    "confirm_remediation",
    "create_delegation",
    "create_template",
    "decide_bulk",
    "decide_challenge",
    "decide_intake",
    "decline_actions",
    "discard_unfinished",
    "drafts_digest",
    "end_delegation",
    "end_exception",
    "end_stale_certificates",
    "escalate",
    "extend_campaign",
    "find_regressions",
    "follow_up",
    "gather_triggers",
    "generate_items",
    "keep_unfinished",
    "launch_campaign",
    "launch_due_campaigns",
    "launch_subjects",
    "look_again",
    "note_opened",
    "note_shown",
    "notice_departures",
    "notice_tier",
    "open_intake",
    "open_stage",
    "raise_trigger",
    "raise_triggers",
    "reassign_work_item",
    "recheck",
    "recheck_campaign",
    "record_observation",
    "recuse_work_item",
    "refuse_exception",
    "release_actions",
    "remind_reviewer",
    "report_done",
    "request_exception",
    "restore_action",
    "resume_generation",
    "resume_stages",
    "retry_assignment",
    "retry_generation",
    "retry_remediation",
    "save_decision",
    "send_letters",
    "send_reminders",
    "settle_campaigns",
    "settle_unanswered",
    "sign_off",
    "start_delegations",
    "staying",
    "sweep_intakes",
    "sweep_items",
    "sweep_ladders",
    "sweep_tiers",
    "sweep_touched",
    "tell_missed_runs",
    "tell_of_cuts",
    "tell_of_drift",
    "tell_of_drifts",
    "tell_owner",
    "tell_reviewers",
    "undo_bulk",
    "undo_decision",
    "update_template",
    "waive_gap",
]
