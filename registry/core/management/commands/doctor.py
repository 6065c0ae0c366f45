"""`manage.py doctor`: is this installation well? One line per question, with the fix where the answer is no."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.mail import get_connection
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.db.utils import Error

from registry.core import clock
from registry.core.health import missing_migrations, questions

ANSWER_WITHIN = 2  # seconds a worker has to answer
TICK_EVERY = 10.0  # see registry.celery
SKEW_TOLERATED = 5.0


class Trouble(Exception):
    """What is wrong, and what to do about it."""


def database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            size = cursor.fetchone()[0]
        major = connection.connection.info.server_version // 10000
    except Error as error:
        raise Trouble(f"unreachable: {str(error).splitlines()[0]}. Check DATABASE_URL.") from error
    if major < 15:
        raise Trouble(f"PostgreSQL {major} is too old; 15 or newer is needed.")
    return f"PostgreSQL {major}, {size / 1e6:.0f} MB"


def migrations() -> str:
    if missing := missing_migrations():
        raise Trouble(f"{len(missing)} missing ({missing[0]} …). Run: manage.py migrate")
    return "all applied"


def clock_skew() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        skew = abs((cursor.fetchone()[0] - clock.now()).total_seconds())
    if skew > SKEW_TOLERATED:
        raise Trouble(f"{skew:.0f} s apart from the database: deadlines would be off. Run NTP on both.")
    return f"{skew * 1000:.0f} ms from the database"


def broker() -> str:
    address = current_app.connection_for_read()
    try:
        with address as link:
            link.ensure_connection(max_retries=1, timeout=ANSWER_WITHIN)
    except Exception as error:
        raise Trouble(f"unreachable: {error}. Check CELERY_BROKER_URL ({address.as_uri()}).") from error
    return str(address.as_uri())


def worker() -> str:
    answers = current_app.control.ping(timeout=ANSWER_WITHIN)
    if not answers:
        raise Trouble("no worker answers. Start one: celery -A registry.celery worker (make run does it for you)")
    return ", ".join(name for answer in answers for name in answer)


def beat() -> str:
    answers = current_app.control.broadcast("last_beat_tick", reply=True, timeout=ANSWER_WITHIN) or []
    ticks = [state["at"] for answer in answers for state in answer.values() if state.get("at")]
    if not ticks:
        raise Trouble(
            "no worker has heard from beat since it started. Start one: celery -A registry.celery beat "
            f"(a worker younger than {TICK_EVERY:.0f} s may not have heard yet)"
        )
    age = time.time() - max(ticks)
    if age > 3 * TICK_EVERY:
        raise Trouble(f"its last tick was {age:.0f} s ago. Restart it: celery -A registry.celery beat")
    return f"ticked {age:.0f} s ago"


def mail() -> str:
    try:
        with get_connection():
            pass
    except Exception as error:
        raise Trouble(f"cannot be sent: {error}. Check EMAIL_URL.") from error
    folder = getattr(settings, "EMAIL_FILE_PATH", None)
    return f"written to {folder}" if folder else f"through {settings.EMAIL_HOST}:{settings.EMAIL_PORT}"


def static_files() -> str:
    try:
        url = staticfiles_storage.url("css/app.css")
        found = staticfiles_storage.exists(url.removeprefix(settings.STATIC_URL))
    except ValueError:
        found = False
    if not found:
        raise Trouble("not collected. Run: manage.py collectstatic --no-input")
    return str(Path(settings.STATIC_ROOT))


QUESTIONS: dict[str, Callable[[], str]] = {
    "database": database,
    "migrations": migrations,
    "clock": clock_skew,
    "broker": broker,
    "worker": worker,
    "beat": beat,
    "mail": mail,
    "static files": static_files,
}


def all_questions() -> dict[str, Callable[[], str]]:
    """Ours and those of the rooms."""
    return QUESTIONS | {name: _of_room(question) for name, question in questions().items()}


def _of_room(question: Callable[[], str]) -> Callable[[], str]:
    def answer() -> str:
        if said := question():
            raise Trouble(said)
        return "well"

    return answer


class Command(BaseCommand):
    help = "Check database, migrations, clock, broker, worker, beat, mail and static files; exit code 1 on trouble."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        names = list(all_questions())
        parser.add_argument("--only", nargs="+", choices=names, default=names, help="ask only these")

    def handle(self, *args: Any, only: list[str], **options: Any) -> None:
        unwell, asked = 0, all_questions()
        for name in only:
            try:
                answer, mark = asked[name](), self.style.SUCCESS("ok  ")
            except Trouble as trouble:
                answer, mark = str(trouble), self.style.ERROR("FIX ")
            except Error:
                # A question that needs the database, when that did not answer: said once, above.
                answer, mark = "unknown while the database is unreachable", self.style.ERROR("FIX ")
            unwell += "FIX" in mark
            self.stdout.write(f"{mark} {name:<13} {answer}")
        if unwell:
            raise SystemExit(1)
