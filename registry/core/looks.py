"""How states, tiers and tool classes look: an icon, a word and a tone. Colour never stands alone (design, section 4).

Keyed by the stored value, so that a state reads the same wherever it appears.
"""

from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from registry.core.icons import Icon

Word = str | Promise


class Look(NamedTuple):
    """`tone` is a class of the chip: ok, warn, danger, plum, info, or empty for neutral."""

    word: Word
    icon: Icon
    tone: str = ""


class TierLook(NamedTuple):
    word: Word
    bars: int


STATES: dict[str, Look] = {
    # servers, systems, agents, issuers
    "draft": Look(_("Draft"), Icon.PENCIL),
    "submitted": Look(_("Submitted"), Icon.SEND, "info"),
    "active": Look(_("Active"), Icon.CIRCLE_CHECK, "ok"),
    "suspended": Look(_("Suspended"), Icon.CIRCLE_PAUSE, "warn"),
    "quarantined": Look(_("Quarantined"), Icon.SHIELD_X, "danger"),
    "retired": Look(_("Retired"), Icon.ARCHIVE),
    "proposed": Look(_("Waits for its owner"), Icon.CIRCLE_DASHED, "info"),
    # trust relationships
    "requested": Look(_("Requested"), Icon.SEND, "info"),
    "reduced": Look(_("Reduced"), Icon.CIRCLE_MINUS, "warn"),
    "replaced": Look(_("Replaced"), Icon.REFRESH),
    "revoked": Look(_("Revoked"), Icon.BAN, "danger"),
    "expired": Look(_("Expired"), Icon.HOURGLASS),
    "refused": Look(_("Refused"), Icon.CIRCLE_X, "danger"),
    # certification
    "certified": Look(_("Certified"), Icon.SHIELD_CHECK, "ok"),
    "lapsing": Look(_("Lapses soon"), Icon.CLOCK, "warn"),
    "lapsed": Look(_("Lapsed"), Icon.SHIELD_ALERT, "danger"),
    "never_certified": Look(_("Not certified"), Icon.SHIELD_OFF),
    "not_certified": Look(_("Not certified"), Icon.SHIELD_OFF),
    # campaigns
    "generating": Look(_("Generating items"), Icon.LOADER, "info"),
    "generation_failed": Look(_("Generation failed"), Icon.TRIANGLE_ALERT, "danger"),
    "staged": Look(_("Staged"), Icon.LIST_CHECKS, "info"),
    "sign_off": Look(_("Sign-off"), Icon.SIGNATURE, "plum"),
    "remediating": Look(_("Remediating"), Icon.WRENCH, "warn"),
    "completed": Look(_("Completed"), Icon.CIRCLE_CHECK, "ok"),
    "completed_with_exceptions": Look(_("Completed with exceptions"), Icon.CIRCLE_ALERT, "warn"),
    "accepted": Look(_("Accepted by an auditor"), Icon.BADGE_CHECK, "ok"),
    "cancelled": Look(_("Cancelled"), Icon.CIRCLE_X),
    # certification items and work items
    "pending": Look(_("Pending"), Icon.CIRCLE_DASHED),
    "in_review": Look(_("In review"), Icon.EYE, "info"),
    "escalated": Look(_("Escalated"), Icon.ARROW_UP, "plum"),
    "invalidated": Look(_("Facts changed"), Icon.GIT_COMPARE, "warn"),
    "decided": Look(_("Decided"), Icon.CHECK, "info"),
    "signed": Look(_("Signed"), Icon.SIGNATURE, "ok"),
    "certified_reduced": Look(_("Certified, reduced"), Icon.CIRCLE_MINUS, "warn"),
    "certified_until": Look(_("Certified until a date"), Icon.TIMER, "ok"),
    "returned": Look(_("Returned"), Icon.UNDO, "warn"),
    "obsolete": Look(_("Obsolete"), Icon.ARCHIVE),
    "open": Look(_("Open"), Icon.CIRCLE_DOT, "info"),
    "responded": Look(_("Answered"), Icon.CHECK, "ok"),
    "closed": Look(_("Closed"), Icon.LOCK),
    # decisions
    "certify": Look(_("Certify"), Icon.SHIELD_CHECK, "ok"),
    "certify_reduced": Look(_("Reduce"), Icon.CIRCLE_MINUS, "warn"),
    "certify_until": Look(_("Certify until"), Icon.TIMER, "ok"),
    "reduce": Look(_("Reduce"), Icon.CIRCLE_MINUS, "warn"),
    "revoke": Look(_("Revoke"), Icon.BAN, "danger"),
    "return": Look(_("Return"), Icon.UNDO, "warn"),
    "not_decided": Look(_("Not sure"), Icon.CIRCLE_QUESTION_MARK, "plum"),
    "recuse": Look(_("Recused"), Icon.USER_X),
    # remediations and verifications
    "planned": Look(_("Planned"), Icon.CALENDAR),
    "held": Look(_("Waits for a second person"), Icon.CIRCLE_PAUSE, "warn"),
    "done": Look(_("Done"), Icon.CHECK, "ok"),
    "restored": Look(_("Restored"), Icon.ROTATE, "ok"),
    "declined": Look(_("Declined"), Icon.UNDO),
    "dropped": Look(_("No longer needed"), Icon.CIRCLE_DASHED),
    "challenge": Look(_("Open to challenge"), Icon.MESSAGES_SQUARE, "plum"),
    "withdrawn": Look(_("Withdrawn"), Icon.UNDO),
    "dispatched": Look(_("Dispatched"), Icon.SEND, "info"),
    "reported_done": Look(_("Reported done"), Icon.CHECK, "info"),
    "verifying": Look(_("Verifying"), Icon.LOADER, "info"),
    "verified": Look(_("Verified"), Icon.BADGE_CHECK, "ok"),
    "not_verified": Look(_("Not verified"), Icon.TRIANGLE_ALERT, "danger"),
    "exception": Look(_("Exception"), Icon.TIMER, "plum"),
    "regressed": Look(_("Seen again"), Icon.ROTATE, "danger"),
    # jobs, imports
    "queued": Look(_("Waiting"), Icon.HOURGLASS),
    "running": Look(_("Running"), Icon.LOADER, "info"),
    "idle": Look(_("Waiting for its time"), Icon.CLOCK),
    "paused": Look(_("Paused"), Icon.CIRCLE_PAUSE, "warn"),
    "full": Look(_("Stopped at its limit"), Icon.CIRCLE_PAUSE, "danger"),
    "finished": Look(_("Finished"), Icon.CIRCLE_CHECK, "ok"),
    "failed": Look(_("Failed"), Icon.TRIANGLE_ALERT, "danger"),
    "stopped": Look(_("Stopped"), Icon.CIRCLE_X, "warn"),
    "imported": Look(_("Imported"), Icon.CIRCLE_CHECK, "ok"),
    "updated": Look(_("Updated"), Icon.REFRESH, "info"),
    "skipped": Look(_("Skipped"), Icon.SKIP_FORWARD),
    "seen": Look(_("Seen"), Icon.EYE, "plum"),
    # shadow servers
    "registered": Look(_("Registered"), Icon.CIRCLE_CHECK, "ok"),
    "linked": Look(_("Linked"), Icon.LINK, "ok"),
    "ignored": Look(_("Left alone"), Icon.EYE_OFF),
    # looks at servers
    "listed": Look(_("Listed its tools"), Icon.CIRCLE_CHECK, "ok"),
    "protected": Look(_("Asks for a token"), Icon.LOCK, "ok"),
    "unreachable": Look(_("Unreachable"), Icon.CIRCLE_X, "danger"),
    "not_mcp": Look(_("Not MCP"), Icon.CIRCLE_QUESTION_MARK, "danger"),
    "sse_only": Look(_("Only HTTP with SSE"), Icon.TRIANGLE_ALERT, "warn"),
    "timed_out": Look(_("Took too long"), Icon.HOURGLASS, "danger"),
    "too_large": Look(_("Said too much"), Icon.TRIANGLE_ALERT, "danger"),
    # definitions and drift
    "unknown": Look(_("Seen once"), Icon.EYE),
    "stable": Look(_("Stable"), Icon.CIRCLE_CHECK, "ok"),
    "unstable": Look(_("Unstable definition"), Icon.TRIANGLE_ALERT, "warn"),
    "flickers": Look(_("Flickers"), Icon.TRIANGLE_ALERT, "danger"),
    "approved": Look(_("Approved"), Icon.CHECK, "ok"),
    "gone": Look(_("Gone"), Icon.UNDO),
    "superseded": Look(_("Superseded"), Icon.REFRESH),
    # secret sources
    "attested": Look(_("Attested"), Icon.SIGNATURE, "ok"),
    "stale": Look(_("Stale"), Icon.HOURGLASS, "warn"),
    "not_found": Look(_("Not found"), Icon.CIRCLE_X, "danger"),
    "deleted": Look(_("Marked for deletion"), Icon.TRASH, "danger"),
    "cannot_check": Look(_("Cannot be checked"), Icon.CIRCLE_QUESTION_MARK, "warn"),
    "never_checked": Look(_("Never checked"), Icon.CIRCLE_DASHED),
    "not_needed": Look(_("No credential"), Icon.CIRCLE_MINUS),
    # people and tokens
    "inactive": Look(_("Inactive"), Icon.USER_X),
    # audit packs
    "waiting": Look(_("Waiting"), Icon.HOURGLASS),
    "making": Look(_("Being made"), Icon.LOADER, "info"),
    "ready": Look(_("Ready"), Icon.CIRCLE_CHECK, "ok"),
    # evidence
    "sealed": Look(_("Sealed"), Icon.LOCK, "ok"),
    "unsealed": Look(_("Waits for its seal"), Icon.HOURGLASS),
    # rehearsal and second person
    "waived": Look(_("Waived"), Icon.TIMER, "plum"),
    "rehearsal": Look(_("Rehearsal"), Icon.FLASK, "plum"),
}

VERBS: dict[str, Look] = {
    "created": Look(_("Created"), Icon.PLUS),
    "registered": Look(_("Registered"), Icon.PLUS),
    "edited": Look(_("Edited"), Icon.PENCIL),
    "approved": Look(_("Approved"), Icon.CHECK, "ok"),
    "activated": Look(_("Activated"), Icon.CIRCLE_CHECK, "ok"),
    "deactivated": Look(_("Deactivated"), Icon.USER_X, "danger"),
    "resumed": Look(_("Resumed"), Icon.CIRCLE_PLAY, "ok"),
    "launched": Look(_("Launched"), Icon.ROCKET, "info"),
    "signed_in": Look(_("Signed in"), Icon.LOG_IN),
    "signed_out": Look(_("Signed out"), Icon.LOG_OUT),
    "sign_in_failed": Look(_("Sign-in failed"), Icon.LOG_IN, "danger"),
    "password_changed": Look(_("Password changed"), Icon.LOCK),
    "sign_in_refused": Look(_("Sign-in refused"), Icon.LOG_IN, "danger"),
    "session_ended": Look(_("Session ended"), Icon.LOG_OUT),
    "sessions_ended": Look(_("Sessions ended"), Icon.LOG_OUT),
    "identity_linked": Look(_("Identity linked"), Icon.LOG_IN, "plum"),
    "roles_set": Look(_("Roles set"), Icon.USER_COG, "plum"),
    "members_set": Look(_("Members set"), Icon.USERS),
    "published": Look(_("Published"), Icon.GLOBE, "ok"),
    "unpublished": Look(_("Unpublished"), Icon.EYE_OFF, "warn"),
    "deleted_elsewhere": Look(_("Deleted elsewhere"), Icon.TRASH, "warn"),
    "followed": Look(_("Followed"), Icon.GLOBE),
    "synchronised": Look(_("Synchronised"), Icon.REFRESH, "info"),
    "sync_requested": Look(_("Reading requested"), Icon.REFRESH),
    "sync_failed": Look(_("Reading failed"), Icon.TRIANGLE_ALERT, "danger"),
    "reassigned": Look(_("Reassigned"), Icon.SHUFFLE),
}
"""What acts do, beyond ending in a state; the words are those of the act itself."""

TOOL_CLASSES: dict[str, Look] = {
    "read": Look(pgettext_lazy("tool class", "read"), Icon.EYE),
    "write": Look(pgettext_lazy("tool class", "write"), Icon.PENCIL, "warn"),
    "destructive": Look(pgettext_lazy("tool class", "destructive"), Icon.TRIANGLE_ALERT, "danger"),
    "execute": Look(pgettext_lazy("tool class", "execute"), Icon.TERMINAL, "danger"),
}

TIERS: dict[str, TierLook] = {
    "critical": TierLook(pgettext_lazy("tier", "Critical"), 4),
    "high": TierLook(pgettext_lazy("tier", "High"), 3),
    "medium": TierLook(pgettext_lazy("tier", "Medium"), 2),
    "low": TierLook(pgettext_lazy("tier", "Low"), 1),
}


def state_look(value: str) -> Look:
    """The look of a state; a value nobody listed still shows as its own words."""
    return STATES.get(value) or Look(value.replace("_", " ").capitalize(), Icon.CIRCLE)


def act_look(act: str) -> Look:
    """The look of an act such as `grant.revoked`: its verb decides, its own words say it."""
    verb = act.rpartition(".")[2]
    words = act.replace(".", " ").replace("_", " ").capitalize()
    known = VERBS.get(verb) or STATES.get(verb)
    return Look(words, known.icon if known else Icon.CIRCLE_DOT, known.tone if known else "")
