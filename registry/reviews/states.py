"""State machines of recertification as data (RECERTIFICATION section 3)."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.core.states import Machine


class CampaignState(models.TextChoices):
    DRAFT = "draft", _("Draft")
    GENERATING = "generating", _("Generating items")
    GENERATION_FAILED = "generation_failed", _("Generation failed")
    STAGED = "staged", _("Staged")
    ACTIVE = "active", _("Active")
    SIGN_OFF = "sign_off", _("Sign-off")
    REMEDIATING = "remediating", _("Remediating")
    COMPLETED = "completed", _("Completed")
    COMPLETED_WITH_EXCEPTIONS = "completed_with_exceptions", _("Completed with exceptions")
    ACCEPTED = "accepted", _("Accepted by an auditor")
    CANCELLED = "cancelled", _("Cancelled")


_C = CampaignState
CAMPAIGN = Machine(
    "campaign",
    {
        _C.DRAFT: (_C.GENERATING, _C.CANCELLED),
        _C.GENERATING: (_C.STAGED, _C.GENERATION_FAILED, _C.CANCELLED),
        _C.GENERATION_FAILED: (_C.GENERATING, _C.CANCELLED),
        _C.STAGED: (_C.ACTIVE, _C.CANCELLED),
        _C.ACTIVE: (_C.SIGN_OFF, _C.CANCELLED),
        _C.SIGN_OFF: (_C.REMEDIATING, _C.CANCELLED),
        _C.REMEDIATING: (_C.COMPLETED, _C.COMPLETED_WITH_EXCEPTIONS, _C.CANCELLED),
        _C.COMPLETED: (_C.ACCEPTED,),
        _C.COMPLETED_WITH_EXCEPTIONS: (_C.ACCEPTED,),
    },
)
UNFINISHED = tuple(state for state, after in CAMPAIGN.moves.items() if _C.CANCELLED in after)
"""Somebody still has to run it."""


class ItemState(models.TextChoices):
    PENDING = "pending", _("Pending")
    IN_REVIEW = "in_review", _("In review")
    ESCALATED = "escalated", _("Escalated")
    INVALIDATED = "invalidated", _("Facts changed")
    DECIDED = "decided", _("Decided")
    SIGNED = "signed", _("Signed")
    CERTIFIED = "certified", _("Certified")
    CERTIFIED_REDUCED = "certified_reduced", _("Certified, reduced")
    CERTIFIED_UNTIL = "certified_until", _("Certified until a date")
    REVOKED = "revoked", _("Revoked")
    RETURNED = "returned", _("Returned")
    LAPSED = "lapsed", _("Lapsed")
    OBSOLETE = "obsolete", _("Obsolete")
    CANCELLED = "cancelled", _("Cancelled")  # with its campaign; frees the subject for another one


_I = ItemState
ITEM = Machine(
    "certification item",
    {
        _I.PENDING: (_I.IN_REVIEW, _I.OBSOLETE, _I.CANCELLED),
        _I.IN_REVIEW: (_I.DECIDED, _I.ESCALATED, _I.INVALIDATED, _I.OBSOLETE, _I.LAPSED, _I.CANCELLED),
        _I.ESCALATED: (_I.IN_REVIEW, _I.OBSOLETE, _I.LAPSED, _I.CANCELLED),
        _I.INVALIDATED: (_I.IN_REVIEW, _I.ESCALATED, _I.OBSOLETE, _I.LAPSED, _I.CANCELLED),
        _I.DECIDED: (_I.IN_REVIEW, _I.ESCALATED, _I.INVALIDATED, _I.SIGNED, _I.LAPSED, _I.OBSOLETE, _I.CANCELLED),
        _I.SIGNED: (_I.CERTIFIED, _I.CERTIFIED_REDUCED, _I.CERTIFIED_UNTIL, _I.REVOKED, _I.RETURNED, _I.LAPSED),
    },
)
OPEN_ITEM = (_I.PENDING, _I.IN_REVIEW, _I.ESCALATED, _I.INVALIDATED, _I.DECIDED)
FINAL_ITEM = tuple(state for state in ItemState if state not in ITEM.moves)


class WorkItemState(models.TextChoices):
    OPEN = "open", _("Open")
    RESPONDED = "responded", _("Responded")
    CLOSED = "closed", _("Closed")


WORK_ITEM = Machine(
    "work item",
    {
        WorkItemState.OPEN: (WorkItemState.RESPONDED, WorkItemState.CLOSED),
        WorkItemState.RESPONDED: (WorkItemState.OPEN, WorkItemState.CLOSED),
    },
)


class RemediationState(models.TextChoices):
    PLANNED = "planned", _("Planned")
    CHALLENGE = "challenge", _("Open to challenge")
    WITHDRAWN = "withdrawn", _("Withdrawn")
    DISPATCHED = "dispatched", _("Dispatched")
    REPORTED_DONE = "reported_done", _("Reported done")
    VERIFYING = "verifying", _("Verifying")
    VERIFIED = "verified", _("Verified")
    NOT_VERIFIED = "not_verified", _("Not verified")
    EXCEPTION = "exception", _("Exception")
    REGRESSED = "regressed", _("Seen again")


_R = RemediationState
REMEDIATION = Machine(
    "remediation",
    {
        _R.PLANNED: (_R.CHALLENGE, _R.DISPATCHED),
        _R.CHALLENGE: (_R.DISPATCHED, _R.WITHDRAWN),
        _R.DISPATCHED: (_R.REPORTED_DONE, _R.NOT_VERIFIED, _R.EXCEPTION),  # nobody reported; nobody can do it
        _R.REPORTED_DONE: (_R.VERIFYING,),
        _R.VERIFYING: (_R.VERIFIED, _R.NOT_VERIFIED),
        _R.NOT_VERIFIED: (_R.DISPATCHED, _R.VERIFYING, _R.EXCEPTION),
        _R.VERIFIED: (_R.REGRESSED,),
        _R.REGRESSED: (_R.DISPATCHED, _R.EXCEPTION, _R.WITHDRAWN),  # withdrawn: certified anew meanwhile
        _R.EXCEPTION: (_R.DISPATCHED,),  # when it expired
    },
)
SETTLED = (_R.VERIFIED, _R.EXCEPTION, _R.WITHDRAWN)
"""A campaign waits for no remediation in one of these (invariant 11)."""


class AutomaticActionState(models.TextChoices):
    PLANNED = "planned", _("Planned")
    HELD = "held", _("Waits for a second person")
    DONE = "done", _("Done")
    RESTORED = "restored", _("Restored")
    DECLINED = "declined", _("Declined")
    DROPPED = "dropped", _("No longer needed")


_A = AutomaticActionState
AUTOMATIC_ACTION = Machine(
    "automatic action",
    {
        _A.PLANNED: (_A.DONE, _A.HELD, _A.DROPPED),
        _A.HELD: (_A.PLANNED, _A.DECLINED, _A.DROPPED),  # PLANNED again once a second person released it
        _A.DONE: (_A.RESTORED,),
    },
)


class PackState(models.TextChoices):
    WAITING = "waiting", _("Waits for the worker")
    MAKING = "making", _("Is being made")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")
    EXPIRED = "expired", _("Expired")


_P = PackState
PACK = Machine(
    "audit pack",
    {
        _P.WAITING: (_P.MAKING, _P.FAILED),
        _P.MAKING: (_P.MAKING, _P.READY, _P.FAILED),  # MAKING again when its worker died
        _P.READY: (_P.EXPIRED,),
    },
)
PACK_UNFINISHED = (_P.WAITING, _P.MAKING)
