"""Writing evidence: `record` inside an act's transaction; sealing, signing and anchoring in the background."""

from registry.audit.services.anchoring import tell_anchors
from registry.audit.services.checking import check_log
from registry.audit.services.checkpoints import rotate_key, sign_checkpoint, sign_text
from registry.audit.services.events import About, build_event, record, record_access, record_all, record_export
from registry.audit.services.exporting import export_extract, export_log
from registry.audit.services.sealing import seal_events

__all__ = [
    "About",
    "build_event",
    "check_log",
    "export_extract",
    "export_log",
    "record",
    "record_access",
    "record_all",
    "record_export",
    "rotate_key",
    "seal_events",
    "sign_checkpoint",
    "sign_text",
    "tell_anchors",
]
