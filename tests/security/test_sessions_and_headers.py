"""What holds for every answer and every form: headers, cookies, CSRF, methods, hosts."""

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.urls import reverse

from registry.accounts.models import BrowserSession
from registry.accounts.session_store import SessionStore, kept_key
from registry.core.ids import new_id
from tests import factories as make
from tests.security.urls import PATTERNS, parameters

pytestmark = pytest.mark.django_db
PAGES = [
    "/",
    "/help",
    "/sign-in",
    "/servers/",
    "/audit",
    "/people",
    "/account",
    "/api/v1/servers",
    "/nowhere",
    "/trust/",
]
ELSEWHERE = {"Origin": "https://evil.example", "HX-Request": "true"}
BEYOND_FORMS = ("api:", "scim:", "discovery:open", "discovery:door", "accounts:oidc_")
"""Called by programs: they bring a credential of their own in a header, or none is needed."""


@pytest.mark.parametrize("path", PAGES)
def test_headers(web, path):
    for client in (web(), web(make.person())):
        answer = client.get(path)
        policy = answer["Content-Security-Policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy and "form-action 'self'" in policy and "*" not in policy
        assert answer["X-Frame-Options"] == "DENY" and answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in answer["Permissions-Policy"]
        assert {"no-store", "no-cache"} & set(answer["Cache-Control"].replace(" ", "").split(",")), path
        assert "public" not in answer["Cache-Control"]
        assert "Access-Control-Allow-Origin" not in answer.headers and "Server" not in answer.headers


def test_every_form_asks_for_its_token():
    """Each URL gets a POST of another site: signed in by cookie, without the token of our forms."""
    client, taken, tried = Client(enforce_csrf_checks=True), {}, 0
    client.force_login(make.person("administrator", "security"), backend="django.contrib.auth.backends.ModelBackend")
    words = {"slug": "team", "tab": "tools", "kind": "server", "step": "people", "gap": "owner", "name": "codex",
             "short": "x", "namespace": "com.example", "what": "items", "form": "csv", "subject_type": "server",
             }  # fmt: skip
    for name in sorted(PATTERNS):
        if name.startswith(BEYOND_FORMS):
            continue
        values = {each: words.get(each, 7 if name == "reviews:quality" else new_id()) for each in parameters(name)}
        answer = client.post(reverse(name, kwargs=values), {"reason": "x"}, headers=ELSEWHERE)
        tried += 1
        if answer.status_code != 403:
            taken[name] = answer.status_code
    assert not taken and tried > 100


def test_rest_with_a_session_asks_for_it_too():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make.person(), backend="django.contrib.auth.backends.ModelBackend")
    answer = client.post("/api/v1/servers", {"name": "com.example/csrf"}, content_type="application/json")
    assert answer.status_code == 403


def test_signing_in_changes_the_session():
    """A session that somebody planted before is not the one that is signed in."""
    client, user = Client(), make.person()
    client.get("/sign-in")
    client.session.save()
    session = client.session
    session["planted"] = "1"
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = planted = session.session_key
    assert client.post("/sign-in", {"email": user.email, "password": make.PASSWORD}).status_code == 302
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != planted
    assert Client(headers={"cookie": f"{settings.SESSION_COOKIE_NAME}={planted}"}).get("/account").status_code == 302


def test_cookies_and_signing_out():
    client, user = Client(), make.person()
    answer = client.post("/sign-in", {"email": user.email, "password": make.PASSWORD})
    cookie = answer.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and not cookie["domain"]
    key = cookie.value
    assert client.post("/sign-out")["Clear-Site-Data"] == '"cache"'
    assert Client(headers={"cookie": f"{settings.SESSION_COOKIE_NAME}={key}"}).get("/account").status_code == 302


@pytest.mark.parametrize(
    "host", ["evil.example", "testserver.evil.example", "testserver@evil.example", "testserver:80@x", "a b"]
)
def test_other_hosts_are_refused(web, host):
    assert web().get("/sign-in", HTTP_HOST=host).status_code == 400
    answer = web().get("/sign-in", HTTP_X_FORWARDED_HOST=host)
    assert "evil.example" not in answer.content.decode() + str(answer.headers)


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_method_is_what_it_is(web, api, header):
    owner = make.person()
    server = make.draft(created_by=owner)
    api(owner).get(f"/api/v1/servers/{server.pk}", headers={header: "DELETE"})
    client = web(owner)
    assert client.get(reverse("accounts:sign_out"), headers={header: "POST"}).status_code == 405
    assert client.get(f"{reverse('accounts:sign_out')}?_method=POST").status_code == 405
    assert client.get("/account").status_code == 200
    assert api(owner).get(f"/api/v1/servers/{server.pk}").status_code == 200


def test_a_parameter_twice_widens_nothing(api):
    hidden = make.active_server(confidential=True, title="Zqxhidden")
    client = api(make.person())
    for query in (
        f"server={make.active_server().pk}&server={hidden.pk}",
        f"server[]={hidden.pk}",
        f"server={hidden.pk}",
    ):
        for path in ("tools", "endpoints", "grants"):
            assert str(hidden.pk) not in client.get(f"/api/v1/{path}?{query}").content.decode().replace(query, "")


def test_an_unknown_address_takes_as_long_as_a_known_one(web, monkeypatch):
    """Counted, not timed: both pay for one hash of the password."""
    from django.contrib.auth.hashers import MD5PasswordHasher

    hashed, user = [], make.person()
    encode = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda self, *args: hashed.append(1) or encode(self, *args))
    costs = []
    for email in (user.email, "nobody@example.test"):
        hashed.clear()
        web().post("/sign-in", {"email": email, "password": "wrong wrong wrong"})
        costs.append(len(hashed))
    assert costs[0] == costs[1] == 1


def test_a_key_from_a_copy_of_the_database_signs_nobody_in():
    client, user = Client(), make.person()
    client.post("/sign-in", {"email": user.email, "password": make.PASSWORD})
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    assert client.get("/api/v1/servers").status_code == 200
    copied = {
        *Session.objects.values_list("pk", flat=True),
        *BrowserSession.objects.values_list("session_key", flat=True),
    }
    assert copied and cookie not in copied
    for key in copied:
        thief = Client(headers={"cookie": f"{settings.SESSION_COOKIE_NAME}={key}"})
        assert thief.get("/account").status_code == 302 and thief.get("/api/v1/servers").status_code == 401
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(row_to_json(each)::text, '') FROM django_session AS each")
        assert cookie not in cursor.fetchone()[0]
    row = BrowserSession.objects.get(user=user)
    assert client.post(reverse("accounts:end_session", args=[row.pk])).status_code == 302
    assert client.get("/account").status_code == 302, "what is ended by its row is ended for its browser"
    assert not Session.objects.filter(pk=row.session_key).exists()


def test_asynchronous_code_finds_a_session_by_its_key_and_never_by_what_is_stored():
    kept = SessionStore()
    async_to_sync(kept.aset)("colour", "blue")
    async_to_sync(kept.asave)()
    stored = Session.objects.get().pk
    assert stored == kept_key(kept.session_key)
    assert async_to_sync(SessionStore(kept.session_key).aload)() == {"colour": "blue"}
    assert async_to_sync(SessionStore(stored).aload)() == {}
    assert async_to_sync(kept.aexists)(kept.session_key) and not async_to_sync(kept.aexists)(stored)
    async_to_sync(kept.adelete)(stored)
    assert Session.objects.exists()
    async_to_sync(kept.adelete)()
    assert not Session.objects.exists()


def test_nobody_chooses_the_key_of_a_session():
    """A key that the database does not know is not taken over, even where its hash would be free."""
    planted = "p" * 32
    client = Client(headers={"cookie": f"{settings.SESSION_COOKIE_NAME}={planted}"})
    client.post("/sign-in", {"email": make.person().email, "password": make.PASSWORD})
    assert not Session.objects.filter(pk=kept_key(planted)).exists() and Session.objects.exists()
