"""Reading evidence, proving that an event is in the log, and checking that the log still is what was sealed."""

from registry.audit.queries.proofs import Proof, consistency_proof, inclusion_proof
from registry.audit.queries.reading import (
    events_about,
    events_visible_to,
    register_subject,
    server_story_visible_to,
    story_visible_to,
)
from registry.audit.queries.standing import LogState, anchors, configured, log_keys, log_state, public_keys, trouble
from registry.audit.queries.verification import verify_log

__all__ = [
    "LogState",
    "Proof",
    "anchors",
    "configured",
    "consistency_proof",
    "events_about",
    "events_visible_to",
    "inclusion_proof",
    "log_keys",
    "log_state",
    "public_keys",
    "register_subject",
    "server_story_visible_to",
    "story_visible_to",
    "trouble",
    "verify_log",
]
