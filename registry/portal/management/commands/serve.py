"""`manage.py serve`: web, worker and beat of one machine under one supervisor. `make run` ends here."""

import fcntl
import http.client
import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from registry.accounts.demo import DEMO_PASSWORD, demo_sign_ins
from registry.core.static_build import collect_static
from registry.core.supervision import supervise

READY_WITHIN = 90  # seconds


class Command(BaseCommand):
    help = "Prepare the database and static files, then run web, worker and beat until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-demo", action="store_true", help="do not make demo data in an empty database")
        parser.add_argument("--workers", type=int, default=min(4, max(2, os.cpu_count() or 2)), help="web processes")

    def handle(self, *args: Any, no_demo: bool, workers: int, **options: Any) -> None:
        started = time.monotonic()
        address = os.environ.get("BIND", "127.0.0.1")
        with self._only_one():
            port = self._free_port(address)
            url = settings.BASE_URL if port == settings.PORT else f"http://127.0.0.1:{port}"
            self._prepare(with_demo=settings.EMBEDDED and not no_demo)
            self._lock.write_text(url)
            threading.Thread(target=self._announce, args=(address, port, url, started), daemon=True).start()
            code = supervise(self._processes(address, port, workers))
        if code:
            sys.exit(code)
        self.stdout.write("Stopped.")

    # --- before ------------------------------------------------------------------------------------------

    @property
    def _lock(self) -> Path:
        return Path(settings.VAR_DIR) / "serve.lock"

    def _only_one(self) -> IO[str]:
        """Hold the installation: two of us would run every timer twice."""
        try:
            held = self._lock.open("a+")
        except OSError as error:
            raise CommandError(f"{error}. Set STEWARD_VAR to a folder of yours.") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = self._lock.read_text().strip() or "starting"
            raise CommandError(
                f"Steward runs already from {settings.VAR_DIR} ({where}). Stop that one first, or start a second "
                "installation with STEWARD_VAR=another/folder."
            ) from None
        return held

    def _free_port(self, address: str) -> int:
        """The port to use. One that was asked for is taken literally; the default gives way to the next free one."""
        asked = "PORT" in os.environ
        for port in range(settings.PORT, settings.PORT + (1 if asked else 20)):
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, port))
                except PermissionError as error:
                    raise CommandError(
                        f"Port {port} may not be used by this account. Try: make run PORT=8080"
                    ) from error
                except OSError:
                    continue
            if port != settings.PORT:
                self.stdout.write(f"Port {settings.PORT} is taken, using {port}. Choose one with: make run PORT=8080")
            return port
        raise CommandError(
            f"Port {settings.PORT} on {address} is taken by another program. "
            f"Choose another: make run PORT={settings.PORT + 1}"
        )

    def _prepare(self, *, with_demo: bool) -> None:
        if os.geteuid() == 0 and settings.EMBEDDED:
            self.stdout.write(
                "Running as root: PostgreSQL runs as the system user pgserver, and the folders above "
                f"{settings.VAR_DIR} become readable for it. An ordinary account is the better choice."
            )
        if collect_static():
            self.stdout.write("Static files collected.")
        call_command("migrate", interactive=False, verbosity=0)
        if with_demo and "demo" in get_commands():
            call_command("demo", if_empty=True, stdout=self.stdout)
        connection.close()

    # --- during ------------------------------------------------------------------------------------------

    def _processes(self, address: str, port: int, workers: int) -> dict[str, tuple[list[str], dict[str, str]]]:
        """Every process is told where the database is, so that only the supervisor keeps the embedded one running."""
        environment = {
            **os.environ,
            "STEWARD_VAR": str(settings.VAR_DIR),
            "STEWARD_PROFILE": settings.PROFILE,
            "DATABASE_URL": settings.DATABASE_URL,
            "PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        }
        metrics = Path(settings.VAR_DIR) / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir()
        celery = [sys.executable, "-m", "celery", "--quiet", "-A", "registry.celery"]
        web = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", address, "--port", str(port)]
        web += ["--workers", str(workers), "--blocking-threads", "1", "--workers-kill-timeout", "3", "--no-ws"]
        web += ["--log-level", "warning", "registry.wsgi:application"]
        # Threads: the work waits for the database, and a third of the memory of processes is used (docs/operations.md).
        worker = [*celery, "worker", "--pool", "threads", "--concurrency", "2", "--loglevel", "WARNING"]
        beat = [
            *celery,
            "beat",
            "--schedule",
            str(Path(settings.VAR_DIR) / "beat"),
            "--pidfile=",
            "--loglevel",
            "WARNING",
        ]
        return {
            "web": (web, {**environment, "PROMETHEUS_MULTIPROC_DIR": str(metrics)}),
            "worker": (worker, environment),
            "beat": (beat, environment),
        }

    def _announce(self, address: str, port: int, url: str, started: float) -> None:
        """Wait until the web process answers, then say where it is and how to get in."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            try:
                door = http.client.HTTPConnection("127.0.0.1" if address == "0.0.0.0" else address, port, timeout=5)  # noqa: S104
                door.request("GET", "/healthz", headers={"Host": "localhost"})
                status = door.getresponse().status
                door.close()
                if status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        else:
            self.stderr.write(f"{url}/healthz does not answer 200 yet; the log above says why.")
            return
        self.stdout.write(box(welcome(url, time.monotonic() - started)))
        self.stdout.flush()


def welcome(url: str, seconds: float) -> list[str]:
    """What somebody who has just started it wants to know."""
    lines = [f"Steward is ready at {url}   ({seconds:.1f} s)", ""]
    if accounts := demo_sign_ins():
        lines += [f"Sign in   {account.email:<24} {account.title}" for account, _ in accounts]
        lines += [f"Password  {DEMO_PASSWORD}", ""]
    if os.environ.get("DATABASE_URL"):
        lines += ["Commands  need the same DATABASE_URL, and STEWARD_PROFILE=embedded", ""]
    return [
        *lines,
        f"REST API  {url}/api/v1/docs",
        "Token     .venv/bin/python manage.py create_token --user admin@example.org --scopes read --days 30",
        "Checkup   .venv/bin/python manage.py doctor",
        "Stop      Ctrl-C",
    ]


def box(lines: list[str]) -> str:
    width = max(map(len, lines))
    rule = "─" * (width + 2)
    return "\n".join(["", f"╭{rule}╮", *(f"│ {line:<{width}} │" for line in lines), f"╰{rule}╯", ""])
