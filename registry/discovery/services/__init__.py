"""Acts of discovery, by topic; import from here."""

from registry.discovery.services.imports import (
    MAX_ENTRIES,
    expire_previews,
    import_entries,
    request_import,
    run_import,
    start_import,
    stop_import,
)

__all__ = [
    "MAX_ENTRIES",
    "expire_previews",
    "import_entries",
    "request_import",
    "run_import",
    "start_import",
    "stop_import",
]
