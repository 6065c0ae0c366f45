"""Acts of discovery, by topic; import from here."""

from registry.discovery.services.drift import approve_drift, settle_all, settle_server
from registry.discovery.services.imports import (
    MAX_ENTRIES,
    expire_previews,
    import_entries,
    request_import,
    run_import,
    start_import,
    stop_import,
)
from registry.discovery.services.probes import (
    interval,
    look_at_address,
    request_probe,
    run_probe,
    sweep_probes,
    watch_endpoints,
)
from registry.discovery.services.publishing import publish_servers, sweep_publications
from registry.discovery.services.registries import (
    change_registry,
    due_registries,
    follow_registry,
    pause_registry,
    resume_registry,
    run_sync,
    sync_registry,
)
from registry.discovery.services.secret_checks import (
    attest_secret_source,
    check_secret_source,
    run_secret_check,
    sweep_secret_checks,
)
from registry.discovery.services.shadows import (
    ignore_shadow,
    link_shadow,
    register_shadow,
    reopen_expired,
    reopen_shadow,
    settle_registered,
)
from registry.discovery.services.sightings import (
    MAX_REPORTED,
    Sighted,
    record_sighting,
    report_sightings,
)
from registry.discovery.services.snapshots import record_snapshot

__all__ = [
    "MAX_ENTRIES",
    "MAX_REPORTED",
    "Sighted",
    "approve_drift",
    "attest_secret_source",
    "change_registry",
    "check_secret_source",
    "due_registries",
    "expire_previews",
    "follow_registry",
    "ignore_shadow",
    "import_entries",
    "interval",
    "link_shadow",
    "look_at_address",
    "pause_registry",
    "publish_servers",
    "record_sighting",
    "record_snapshot",
    "register_shadow",
    "reopen_expired",
    "reopen_shadow",
    "report_sightings",
    "request_import",
    "request_probe",
    "resume_registry",
    "run_import",
    "run_probe",
    "run_secret_check",
    "run_sync",
    "settle_all",
    "settle_registered",
    "settle_server",
    "start_import",
    "stop_import",
    "sweep_probes",
    "sweep_publications",
    "sweep_secret_checks",
    "sync_registry",
    "watch_endpoints",
]
