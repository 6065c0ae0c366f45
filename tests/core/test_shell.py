"""The frame around every page: navigation, theme, errors."""

import re

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.urls import include, path

from registry.core import context, views
from registry.core.errors import Conflict
from tests.factories import outsider, person

pytestmark = pytest.mark.django_db


def broken(request):
    raise RuntimeError("boom")


def refused(request):
    raise PermissionDenied("Only auditors.")


def conflict(request):
    raise Conflict("Somebody was faster.")


urlpatterns = [
    path("broken", broken),
    path("refused", refused),
    path("conflict", conflict),
    path("", include(settings.ROOT_URLCONF)),
]
handler400, handler403 = views.bad_request, views.permission_denied
handler404, handler500 = views.not_found, views.server_error


@pytest.fixture
def troubled(settings):
    settings.ROOT_URLCONF = "tests.core.test_shell"


class TestNavigation:
    def test_a_member_sees_the_pages_that_exist(self, web):
        text = web(person()).get("/help").content.decode()
        navigation = re.search(r'<nav class="nav".*?</nav>', text, re.S).group()
        assert 'href="/audit"' in navigation and 'href="/people"' in navigation
        assert re.search(r'href="/help"[^>]*aria-current="page"', navigation)

    def test_without_a_role_only_ones_account_and_help(self, web):
        text = web(outsider()).get("/help").content.decode()
        navigation = re.search(r'<nav class="nav".*?</nav>', text, re.S).group()
        assert re.findall(r'href="([^"]+)"', navigation.replace("/static/img/icons.svg", ""))[0] == "/"
        assert 'href="/account"' in navigation and 'href="/audit"' not in navigation

    def test_an_entry_whose_room_is_missing_is_left_out(self, monkeypatch):
        from registry.core.actors import Actor
        from registry.core.icons import Icon

        missing = context.Entry("x", "nowhere:page", "X", Icon.BOT)
        monkeypatch.setattr(context, "MAIN", (missing, context.EVIDENCE[0]))
        links = context.navigation(Actor.person(person()))["main"]
        assert [link.entry.key for link in links] == ["audit"]

    def test_a_room_can_count_what_waits(self, web, monkeypatch):
        monkeypatch.setitem(context._badges, "audit", lambda actor: 7)
        text = web(person()).get("/help").content.decode()
        assert re.search(r'class="count hot">7<', text)

    def test_single_keys_follow_the_person(self, web):
        user = person()
        assert 'data-single-keys="on"' in web(user).get("/help").content.decode()
        user.single_keys = False
        user.save()
        assert 'data-single-keys="off"' in web(user).get("/help").content.decode()

    def test_strangers_get_no_navigation(self, web):
        text = web().get("/help").content.decode()
        assert 'href="/audit"' not in text


class TestTheme:
    def test_is_kept_in_a_cookie_and_on_the_page(self, web):
        client = web()
        answer = client.post("/theme", {"theme": "dark", "next": "/help?x=1"})
        assert (answer.status_code, answer["Location"]) == (302, "/help?x=1")
        assert '<html lang="en" data-theme="dark">' in client.get("/help").content.decode()

    def test_empty_follows_the_system_again(self, web):
        client = web()
        client.post("/theme", {"theme": "dark"})
        client.post("/theme", {"theme": ""})
        assert "data-theme" not in client.get("/help").content.decode()

    @pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "javascript:alert(1)"])
    def test_never_leads_elsewhere(self, web, wanted):
        assert web().post("/theme", {"theme": "light", "next": wanted})["Location"] == "/"

    def test_a_made_up_theme_is_ignored(self, web):
        client = web()
        client.post("/theme", {"theme": '"><script>'})
        assert "data-theme" not in client.get("/help").content.decode()

    def test_needs_a_post(self, web):
        assert web().get("/theme").status_code == 405


class TestErrors:
    def test_404_says_so_in_the_shell(self, web):
        answer = web(person()).get("/nothing-here")
        text = answer.content.decode()
        assert answer.status_code == 404 and "There is nothing here that you may see" in text
        assert 'class="nav"' in text and answer["X-Request-ID"] in text

    def test_403_gives_the_reason(self, web, troubled):
        answer = web(person()).get("/refused")
        assert answer.status_code == 403 and "Only auditors." in answer.content.decode()

    def test_a_refusal_of_a_service_is_a_page(self, web, troubled):
        answer = web(person()).get("/conflict")
        assert answer.status_code == 409 and "Somebody was faster." in answer.content.decode()

    def test_htmx_gets_a_fragment(self, web, troubled):
        text = web(person()).get("/conflict", headers={"HX-Request": "true"}).content.decode()
        assert "Somebody was faster." in text and "<html" not in text

    def test_500_is_made_without_the_database(self, web, troubled, django_assert_num_queries):
        client = web(person())
        client.raise_request_exception = False
        answer = client.get("/broken")
        text = answer.content.decode()
        assert answer.status_code == 500 and "Something broke on our side" in text
        assert answer["X-Request-ID"] in text
        with django_assert_num_queries(0):
            views.server_error(RequestFactory().get("/broken"))

    def test_the_api_answers_problems_not_pages(self, web):
        answer = web().get("/api/v1/no-such-thing")
        assert answer.status_code == 404 and answer["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == 404

    def test_an_expired_form_says_what_to_do(self, web):
        client = Client(enforce_csrf_checks=True)
        answer = client.post("/theme", {"theme": "dark"})
        assert answer.status_code == 403 and "reload the page" in answer.content.decode()


def test_no_page_allows_inline_code(web):
    policy = web().get("/help")["Content-Security-Policy"]
    assert "unsafe" not in policy and "script-src 'self'" in policy and "style-src 'self'" in policy
