"""`manage.py doctor` says what is wrong and what to do, and its exit code says whether anything is."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from registry.core import clock, health

pytestmark = pytest.mark.django_db


def ask(*questions: str) -> tuple[str, int]:
    out = StringIO()
    try:
        call_command("doctor", only=list(questions), stdout=out, no_color=True)
    except SystemExit as ended:
        return out.getvalue(), int(ended.code)
    return out.getvalue(), 0


def test_a_well_installation():
    said, code = ask("database", "migrations", "clock", "mail")
    assert code == 0
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["ok", "database"], ["ok", "migrations"], ["ok", "clock"], ["ok", "mail"],
    ]  # fmt: skip


def test_a_missing_migration_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(health, "_all_applied", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'trust'")
    said, code = ask("migrations")
    assert code == 1
    assert said.startswith("FIX") and "trust.0001_initial" in said and "manage.py migrate" in said


def test_a_clock_that_is_off_is_trouble():
    with clock.at(clock.now() - clock.days(1)):
        said, code = ask("clock")
    assert code == 1
    assert "NTP" in said


def test_mail_that_cannot_be_sent_is_trouble(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    said, code = ask("mail")
    assert code == 1
    assert "EMAIL_URL" in said


def test_nobody_works(idle_worker):
    said, code = ask("broker", "worker", "beat")
    assert code == 1
    assert [line.split()[:2] for line in said.splitlines()] == [["ok", "broker"], ["FIX", "worker"], ["FIX", "beat"]]


@pytest.mark.worker
def test_a_worker_that_hears_from_beat(worker):
    from registry.celery import beat_tick

    beat_tick.delay()
    worker.wait_for(lambda: b"beat_tick" in worker.log.read_bytes(), "the tick")
    said, code = ask("broker", "worker", "beat")
    assert code == 0, said
    assert "ticked" in said
