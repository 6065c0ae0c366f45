"""Probes answer before anything else looks at the request."""

import pytest
from django.db import connection
from django.db.utils import OperationalError

from registry.core import health

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_ready_when_the_database_answers_and_is_migrated(client, path):
    response = client.get(path, headers={"Host": "10.1.2.3"})
    assert response.status_code == 200
    rooms = {"audit_log": "ok", "directory": "ok", "administrators": "ok"} if path == "/readyz" else {}
    assert response.json() == {"status": "ok", "database": "ok", "migrations": "ok", **rooms}
    assert response["Cache-Control"] == "no-store"


def test_not_ready_without_the_database(client, monkeypatch):
    def refuse():
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    monkeypatch.setattr(connection, "close", lambda: None)
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json()["database"] == "unreachable"


def test_not_ready_while_a_migration_is_missing(client, monkeypatch):
    monkeypatch.setattr(health, "_all_applied", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'audit'")
    response = client.get("/healthz")
    assert response.status_code == 503
    assert "manage.py migrate" in response.json()["migrations"]
    assert health._all_applied is False


@pytest.mark.parametrize("path", health.DOORS)
@pytest.mark.parametrize("method", ["get", "post"])
def test_the_headers_of_every_answer_stand_here_too(client, path, method):
    answer = getattr(client, method)(path)
    assert answer["X-Content-Type-Options"] == "nosniff" and answer["X-Frame-Options"] == "DENY"
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert answer["Referrer-Policy"] == "same-origin" and answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin" and "camera=()" in answer["Permissions-Policy"]
    assert "no-store" in answer["Cache-Control"]


def test_a_probe_is_read_only(client):
    assert client.post("/healthz").status_code == 405


def test_metrics_are_open_in_the_embedded_profile(client):
    response = client.get("/metrics")
    assert response.status_code == 200
    assert b"django_http_requests_total" in response.content


@pytest.mark.parametrize(
    ("configured", "sent", "status"),
    [
        ("", "", 404),
        ("", "Bearer ", 404),
        ("s3same", "", 404),
        ("s3same", "Bearer wrong", 404),
        ("s3same", "Bearer s3same", 200),
    ],
)
def test_metrics_need_their_token_in_production(client, settings, configured, sent, status):
    settings.EMBEDDED, settings.METRICS_TOKEN = False, configured
    assert client.get("/metrics", headers={"Authorization": sent}).status_code == status
