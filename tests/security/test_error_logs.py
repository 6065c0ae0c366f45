"""What fails says where, and not with which token, password, cookie or setting."""

import io
import logging
from dataclasses import replace

import pytest
import structlog
from django.core import mail
from django.test import Client

from registry.accounts.openid.configuration import Provider
from registry.catalog.api import ServerViewSet
from registry.celery import app
from registry.core import logs
from tests import factories as make
from tests.security import failing

pytestmark = pytest.mark.django_db


@pytest.fixture
def secrets(settings):
    """The settings as production has them, with secrets of their own; returns all that must not be read anywhere."""
    settings.DEBUG, settings.ROOT_URLCONF = False, "tests.security.failing"
    settings.ADMINS = [("Ops", "ops@example.test")]
    settings.SECRET_KEY = "a-signing-key-of-this-installation-0123456789"
    settings.DATABASE_URL = f"postgres://steward:{failing.DATABASE_PASSWORD}@db.example.test/steward"
    settings.OUTBOUND_PROXY = f"http://proxy:{failing.PROXY_PASSWORD}@proxy.example.test:3128"
    corp = Provider(name="corp", issuer="https://login.example.test", client_id="steward")
    settings.OIDC_PROVIDERS = {"corp": replace(corp, client_secret=failing.CLIENT_SECRET)}
    return (*failing.SECRETS, settings.SECRET_KEY)


@pytest.fixture(params=["json", "console"])
def written(request, settings):
    """Everything that is logged, as the handler of `settings.LOGGING` writes it."""
    facts = dict(settings.LOGGING["formatters"]["structured"])
    facts.pop("()")
    renderer = (
        structlog.processors.JSONRenderer()
        if request.param == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    facts["processors"] = [*facts["processors"][:-1], renderer]
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(**facts))
    logging.getLogger().addHandler(handler)
    yield lines.getvalue
    logging.getLogger().removeHandler(handler)


def leaked(secrets, text):
    return [secret for secret in secrets if secret in text]


@pytest.mark.parametrize("address", ["/fails", "/api/v1/fails"])
def test_a_view_that_fails(secrets, written, address):
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = failing.COOKIE
    answer = client.post(
        address,
        {"password": failing.PASSWORD, "token": failing.TOKEN},
        headers={"Authorization": f"Bearer {failing.TOKEN}"},
    )
    assert answer.status_code == 500
    log = written()
    assert "in _connect" in log and "cannot reach" in log and "was refused" in log, "the place and the words stay"
    assert 'raise ConnectionError(f"cannot reach' in log.replace("\\", ""), "and so does the code"
    assert leaked(secrets, log) == []
    assert leaked(secrets, answer.content.decode()) == []
    assert mail.outbox == [], "nobody is mailed a report with local variables"


def test_a_resource_that_fails(secrets, written, monkeypatch):
    token = make.token_for(make.person())

    def fail(self):
        credential = self.request.headers["Authorization"]
        raise LookupError(f"no row for {credential}")

    monkeypatch.setattr(ServerViewSet, "get_queryset", fail)
    answer = Client(raise_request_exception=False).get("/api/v1/servers", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 500 and "no row for" in written()
    assert leaked([token, *secrets], written() + answer.content.decode()) == []


def test_a_task_that_fails(secrets, written):
    done = failing.failing_task.apply(kwargs={"token": failing.TOKEN}, throw=False)
    assert done.failed()
    log = written()
    assert "failing_task" in log and "cannot reach" in log
    assert leaked(secrets, log) == []


def test_a_worker_keeps_the_log_as_it_is(secrets):
    before = list(logging.getLogger().handlers)
    app.log.already_setup = False
    app.log.setup_logging_subsystem(loglevel="INFO")
    assert logging.getLogger().handlers == before


def test_what_we_say_ourselves(secrets, written):
    log = structlog.get_logger("tests")
    log.info("asked", path=f"/r/{failing.CLIENT_SECRET}/v0.1/servers")
    log.warning("refused", headers={"Authorization": f"Bearer {failing.TOKEN}"}, error=ValueError(failing.TOKEN))
    assert "asked" in written() and "refused" in written()
    assert leaked(secrets, written()) == []


@pytest.mark.parametrize("given", ["0123456789abcdefABCDEF-_0", "one-that-was-good-until-yesterday"])
def test_the_token_in_the_path_of_what_is_published(written, settings, given):
    settings.PUBLISH_PATH_TOKEN, settings.PUBLISH_ANONYMOUS = "0123456789abcdefABCDEF-_0", False
    answer = Client().get(f"/r/{given}/v0.1/servers?search=quite-secret")
    assert answer.status_code == (200 if given == settings.PUBLISH_PATH_TOKEN else 404)
    log = written()
    assert "request_started" in log and "/v0.1/servers" in log, "at the level that is usual"
    assert leaked([given, "quite-secret"], log) == []


def test_a_password_that_is_a_word_does_not_hide_that_word_everywhere(settings):
    settings.DATABASE_URL = "postgres://steward:steward@localhost/steward"
    assert "steward" not in logs.own_secrets()
