"""How often, how big, how long: every limit met by a real attempt."""

import json
import re
import threading

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from registry.core import limits
from registry.core.models import RateCount
from registry.core.rates import read_limits
from registry.core.rest import stopped
from registry.core.statements import limit_statements
from tests.factories import PASSWORD, person, token_for
from tests.security.urls import PATTERNS

pytestmark = pytest.mark.django_db


@pytest.fixture
def few(settings, monkeypatch):
    """Four calls a minute of each kind, at an instant just after every window began."""
    monkeypatch.setattr(limits.time, "time", lambda: 1_800_000_000.0)
    settings.RATE_LIMITS = dict.fromkeys(
        ("api", "write", "anonymous", "scim", "published", "export", "search", "sign_in", "page", "visit"), (4, 60)
    )
    limits.forget()
    yield settings.RATE_LIMITS
    limits.forget()


def bearer(user, *scopes):
    return {"HTTP_AUTHORIZATION": f"Bearer {token_for(user, *scopes)}"}


class TestRates:
    def test_headers_count_down_then_429_then_a_new_window(self, web, few, monkeypatch):
        client, who = web(), bearer(person())
        answers = [client.get("/api/v1/users", **who) for _ in range(6)]
        assert [each.status_code for each in answers] == [200, 200, 200, 200, 429, 429]
        assert {each["RateLimit-Policy"] for each in answers} == {'"api";q=4;w=60'}
        assert [each["RateLimit"].split(";")[1] for each in answers] == ["r=3", "r=2", "r=1", "r=0", "r=0", "r=0"]
        last = answers[-1]
        assert last["Content-Type"] == "application/problem+json" and last.json()["status"] == 429
        assert 0 < int(last["Retry-After"]) <= 60 and last["RateLimit"].endswith(f"t={last['Retry-After']}")
        assert "Retry-After" not in answers[0]
        monkeypatch.setattr(limits.time, "time", lambda: 1_800_000_000.0 + int(last["Retry-After"]))
        assert client.get("/api/v1/users", **who).status_code == 200

    def test_one_principal_does_not_use_up_anothers(self, web, few):
        user = person()
        first, second, other = bearer(user), bearer(user), bearer(person())
        assert [web().get("/api/v1/users", **first).status_code for _ in range(5)][-1] == 429
        for who in (second, other):
            assert web().get("/api/v1/users", **who).status_code == 200
        assert web().get("/api/v1/users", **first, REMOTE_ADDR="192.0.2.77").status_code == 429

    def test_writes_are_counted_apart(self, web, few):
        who = bearer(person())
        codes = [web().post("/api/v1/tokens", {}, "application/json", **who).status_code for _ in range(5)]
        assert codes == [422, 422, 422, 422, 429]
        assert web().get("/api/v1/users", **who)["RateLimit-Policy"].startswith('"api"')

    def test_who_has_no_token_is_counted_by_address(self, web, few):
        wrong = {"HTTP_AUTHORIZATION": "Bearer stw_nobody"}
        for number in range(4):
            assert web().get("/api/v1/users", **(wrong if number % 2 else {})).status_code == 401
        assert web().get("/api/v1/users", **wrong).status_code == 429
        assert web().get("/api/v1/users").status_code == 429
        assert web().get("/api/v1/users", REMOTE_ADDR="192.0.2.8").status_code == 401
        # Guessing at the same address locks nobody out who has one.
        assert web().get("/api/v1/users", **bearer(person())).status_code == 200

    @pytest.mark.parametrize(
        ("path", "name"),
        [("/v0.1/servers", "published"), ("/search/?q=x", "search"), ("/trust/relationships.csv", "export")],
    )
    def test_other_doors(self, web, few, path, name):
        client = web(person())
        answers = [client.get(path) for _ in range(5)]
        assert [each.status_code for each in answers] == [200, 200, 200, 200, 429]
        assert answers[0]["RateLimit-Policy"].startswith(f'"{name}"')

    def test_signing_in(self, web, few):
        body = {"email": "nobody@example.test", "password": PASSWORD}
        answers = [web().post("/sign-in", body).status_code for _ in range(5)]
        assert answers[-1] == 429 and 429 not in answers[:-1]
        assert web().get("/sign-in").status_code == 200

    def test_pages_are_counted_for_whoever_is_signed_in(self, web, few):
        client = web(person())
        answers = [client.get("/people") for _ in range(5)]
        assert [each.status_code for each in answers] == [200, 200, 200, 200, 429]
        assert answers[0]["RateLimit-Policy"] == '"page";q=4;w=60'
        assert answers[-1]["Content-Type"].startswith("text/html") and int(answers[-1]["Retry-After"]) > 0
        assert client.get("/search/?q=x").status_code == 200, "what has a limit of its own does not count here"
        assert web(person()).get("/people").status_code == 200, "at the same address somebody else goes on"
        assert client.post("/sign-out").status_code == 302, "nobody is kept from ending a session"

    def test_who_is_not_signed_in_is_counted_by_address(self, web, few):
        answers = [web().get("/sign-in") for _ in range(5)]
        assert [each.status_code for each in answers] == [200, 200, 200, 200, 429]
        assert answers[0]["RateLimit-Policy"] == '"visit";q=4;w=60'
        assert web().get("/people").status_code == 429
        assert web().get("/people", REMOTE_ADDR="192.0.2.8").status_code == 302
        assert web(person()).get("/people").status_code == 200, "who is signed in is not stopped by strangers"

    def test_a_page_costs_one_statement_more_at_most_and_health_and_files_none(self, web, few, settings):
        client = web(person())
        client.get("/people")
        limits.forget()
        with CaptureQueriesContext(connection) as counted:
            client.get("/people")
        taken = [each["sql"] for each in counted if "core_ratecount" in each["sql"]]
        assert len(taken) == 1
        for path in ("/healthz", "/static/css/app.css"):
            assert "RateLimit" not in client.get(path)

    def test_tokens_of_one_person_have_a_limit_together(self, web, few):
        user = person()
        codes = [web().get("/api/v1/users", **bearer(user)).status_code for _ in range(13)]
        assert codes[-1] == 429 and set(codes[:-1]) == {200}
        refused = web().get("/api/v1/users", **bearer(user))
        assert refused["RateLimit-Policy"].startswith('"api-owner"') and int(refused["Retry-After"]) > 0
        assert web().get("/api/v1/users", **bearer(person())).status_code == 200
        assert web(user).get("/api/v1/users").status_code == 200, "and their browser goes on"

    @pytest.mark.parametrize(
        ("first", "second", "same"),
        [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
            ("::ffff:192.0.2.1", "192.0.2.1", True),
            ("192.0.2.1", "192.0.2.2", False),
        ],
    )
    def test_an_address_of_ipv6_stands_for_its_network(self, web, few, first, second, same):
        for _ in range(4):
            assert web().get("/sign-in", REMOTE_ADDR=first).status_code == 200
        assert web().get("/sign-in", REMOTE_ADDR=second).status_code == (429 if same else 200)

    def test_what_reads_no_token_is_not_left_uncounted_by_sending_one(self, web, few):
        wrong = {"HTTP_AUTHORIZATION": "Bearer stw_nobody"}
        for path in ("/api/v1/openapi.json", "/api/v1/docs"):
            limits.forget()
            RateCount.objects.all().delete()
            assert [web().get(path, **wrong).status_code for _ in range(5)][3:] == [200, 429], path

    def test_verifying_the_log_counts_as_an_export(self, web, few):
        client = web(person("auditor"))
        answers = [client.post("/audit/chain") for _ in range(5)]
        assert answers[0]["RateLimit-Policy"].startswith('"export"') and answers[-1].status_code == 429
        assert client.get("/audit/chain").status_code == 200

    def test_every_address_of_a_file_counts_as_an_export_before_its_view_does_anything(self):
        """But what clients read without signing in, which has a limit of its own."""
        files = re.compile(r"(\.(csv|jsonl?|svg|txt|zip)|/file|<form>|<slug:form>|trust/export)\$?(\\Z)?$")
        found = {
            name: limits._declared(pattern.callback, "GET")
            for name, pattern in PATTERNS.items()
            if files.search(str(pattern.pattern)) and not name.startswith(limits.PUBLISHED) and name != "portal:openapi"
        }
        assert {"audit:export_log", "reviews:pack_file", "api:trust-export", "api:audit-pack-file"} <= set(found)
        assert not {name for name, kind in found.items() if kind != "export"}

    @pytest.mark.urls("tests.core.files")
    def test_a_file_of_a_view_that_said_nothing_is_counted_all_the_same(self, web, few):
        client = web(person())
        answers = [client.get("/some-file") for _ in range(5)]
        assert [each.status_code for each in answers] == [200, 200, 200, 200, 429]
        assert answers[0]["RateLimit-Policy"].startswith('"export"')
        assert answers[-1]["Content-Type"].startswith("text/html") and b"zqx-file" not in answers[-1].content

    def test_processes_share_one_window(self, few):
        """Another process is one that remembers nothing."""
        limit = limits.Limit("api", 100, 60)
        granted = 0
        for _process in range(300):
            limits.forget()
            granted += not limits.spend(limit, "somebody").refused
        assert granted == 100

    def test_a_busy_process_asks_seldom(self, few, django_assert_max_num_queries):
        limit = limits.Limit("api", 1000, 60)
        with django_assert_max_num_queries(200):  # three statements each here, within the test's transaction
            states = [limits.spend(limit, "busy") for _ in range(1100)]
        assert sum(not state.refused for state in states) == 1000
        assert RateCount.objects.get().used >= 1000

    def test_counters_that_cannot_be_asked_let_calls_pass(self, few, monkeypatch):
        monkeypatch.setattr(limits, "_TAKE", "SELECT no_such_column FROM core_ratecount")
        assert not any(limits.spend(limits.Limit("api", 2, 60), "x").refused for _ in range(5))
        assert person().pk  # and nobody's transaction is spoiled

    def test_old_counts_are_swept(self, few):
        limits.spend(limits.Limit("api", 10, 60), "x")
        assert limits.sweep(1_800_000_000.0) == 0 and limits.sweep(1_800_000_000.0 + 7200) == 1

    def test_the_table_is_unlogged(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT relpersistence FROM pg_class WHERE oid = 'core_ratecount'::regclass")
            assert cursor.fetchone()[0] == "u"

    def test_limits_as_an_operator_writes_them(self):
        assert read_limits("api=600/m,write=1/s", "api=30/10s, write=off") == {"api": (30, 10)}
        for wrong in ("api=many", "api=0/m", "nothing=3/m", "api=3"):
            with pytest.raises(ValueError, match=r"\w"):
                read_limits("api=600/m", wrong if wrong != "api=0/m" else "api=00/m")


class TestSizes:
    def test_a_big_body_is_refused_before_it_is_read(self, web, settings):
        settings.MAX_BODY_BYTES = 1000

        class Unread:
            def read(self, *_args):
                raise AssertionError("the body was read")

            readline = read

        client = web()
        answer = client.generic(
            "POST", "/api/v1/tokens", b"", "application/json", **bearer(person()), CONTENT_LENGTH="1001",
            **{"wsgi.input": Unread()},
        )  # fmt: skip
        assert answer.status_code == 413 and answer["Content-Type"] == "application/problem+json"
        page = web(person()).generic("POST", "/sign-in", b"x" * 1001, "application/x-www-form-urlencoded")
        assert page.status_code == 413 and b"<html" in page.content

    def test_files_have_a_limit_of_their_own(self, web, settings):
        settings.MAX_BODY_BYTES, settings.MAX_UPLOAD_BYTES = 10, 5000
        client = web(person())
        assert client.post("/imports/new", {"text": "x" * 400}).status_code != 413
        assert client.post("/imports/new", {"text": "x" * 6000}).status_code == 413

    def test_long_addresses(self, web):
        answer = web().get(f"/api/v1/users?q={'x' * 9000}")
        assert answer.status_code == 414 and answer.json()["title"]

    def test_deep_json(self, api):
        client = api(person())
        for body in ("[" * 5000, '{"name":' * 300 + "1" + "}" * 300):
            answer = client.generic("POST", "/api/v1/tokens", body, "application/json")
            assert answer.status_code == 400, body[:20]
            assert answer["Content-Type"] == "application/problem+json"
        flat = {"name": "[" * 110, "scopes": ["trust:read"], "days": 1}
        assert client.generic("POST", "/api/v1/tokens", json.dumps(flat), "application/json").status_code == 201

    def test_too_many_fields(self, web):
        body = "&".join(f"f{number}=1" for number in range(5100))
        assert web().generic("POST", "/theme", body, "application/x-www-form-urlencoded").status_code == 400

    def test_a_length_that_is_none(self, web):
        answer = web().generic("POST", "/api/v1/tokens", b"", "application/json", CONTENT_LENGTH="many")
        assert answer.status_code == 400


class TestTime:
    def test_a_statement_that_takes_too_long_is_stopped_and_said(self, api, monkeypatch):
        from registry.accounts.api import people

        client = api(person())

        def slow(_actor):
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 30; SELECT pg_sleep(5)")

        monkeypatch.setattr(people, "people_visible_to", slow)
        answer = client.get("/api/v1/users")
        assert answer.status_code == 503 and answer["Retry-After"] == "30"
        assert answer.json()["type"].endswith("#took-too-long")

    def test_another_failure_of_the_database_is_not_called_that(self):
        assert not stopped(OperationalError("connection lost"))

    def test_only_web_processes_are_limited(self, settings):
        from django.db.backends.signals import connection_created

        settings.STATEMENT_SECONDS = 7
        told = []

        def ask():
            from django.db import connections

            try:
                with connections["default"].cursor() as cursor:
                    cursor.execute("SHOW statement_timeout")
                    told.append(cursor.fetchone()[0])
            finally:
                connections["default"].close()

        def in_thread():
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()

        in_thread()
        limit_statements()
        try:
            in_thread()
        finally:
            connection_created.disconnect(dispatch_uid="statement seconds")
        assert told == ["0", "7s"]
