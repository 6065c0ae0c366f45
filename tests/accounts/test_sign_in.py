"""Signing in and out, and the evidence of it."""

import pytest
from django.urls import reverse

from registry.accounts.demo import DEMO_ACCOUNTS, DEMO_PASSWORD
from registry.audit.models import Event
from tests.factories import PASSWORD, outsider, person

pytestmark = pytest.mark.django_db
SIGN_IN = "/sign-in"


@pytest.fixture(autouse=True)
def known_home(settings):
    settings.LOGIN_REDIRECT_URL = "/help"


def try_to_sign_in(client, user, password=PASSWORD, **data):
    return client.post(SIGN_IN, {"email": user.email, "password": password, **data})


def acts_on(user):
    return list(Event.objects.filter(subject_id=user.pk).order_by("at").values_list("act", flat=True))


def test_the_right_password_opens_the_wanted_page(web):
    user, client = person(), web()
    answer = try_to_sign_in(client, user, next="/audit?q=x")
    assert (answer.status_code, answer["Location"]) == (302, "/audit?q=x")
    assert client.get("/account").status_code == 200
    assert acts_on(user) == ["user.signed_in"]
    event = Event.objects.get(subject_id=user.pk)
    assert event.actor_id == user.pk and event.data == {"address": "127.0.0.1"} and event.request_id


def test_capitals_in_the_address_do_not_matter(web):
    person(email="ines@example.test")
    assert web().post(SIGN_IN, {"email": "INES@Example.test", "password": PASSWORD}).status_code == 302


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", ""])
def test_it_never_leads_elsewhere(web, wanted):
    assert try_to_sign_in(web(), person(), next=wanted)["Location"] == "/help"


def test_a_wrong_password_says_so_and_leaves_a_trace(web):
    user, client = person(), web()
    answer = try_to_sign_in(client, user, "wrong")
    assert answer.status_code == 422 and "do not belong together" in answer.content.decode()
    assert client.get("/account").status_code == 302
    assert acts_on(user) == ["user.sign_in_failed"]
    assert Event.objects.get().actor_kind == "anonymous"


def test_an_unknown_address_answers_alike_and_is_not_kept(web):
    """People type passwords into the wrong field; and nobody learns which addresses exist."""
    known = try_to_sign_in(web(), person(), "wrong")
    unknown = web().post(SIGN_IN, {"email": "my-secret@example.test", "password": "wrong"})
    assert unknown.status_code == known.status_code
    assert "do not belong together" in unknown.content.decode()
    assert not Event.objects.filter(subject_label__contains="my-secret").exists() and Event.objects.count() == 1


def test_a_leaver_cannot_sign_in(web):
    answer = try_to_sign_in(web(), person(active=False))
    assert answer.status_code == 422


def test_without_a_role_one_gets_in_and_is_told_whom_to_ask(web):
    user, client = outsider(), web()
    assert try_to_sign_in(client, user).status_code == 302
    assert "Ask an administrator for a role" in client.get("/account").content.decode()
    assert client.get("/people").status_code == 403


def test_too_many_failures_pause_the_address(web, settings):
    settings.AXES_FAILURE_LIMIT = 3
    user, client = person(), web()
    for _ in range(3):
        answer = try_to_sign_in(client, user, "wrong")
    assert answer.status_code == 429 and "Too many attempts" in answer.content.decode()
    assert answer["Retry-After"] == "900"
    assert try_to_sign_in(client, user).status_code == 429
    assert try_to_sign_in(web(), person()).status_code == 302


def test_password_sign_in_can_be_switched_off(web, settings):
    settings.PASSWORD_SIGN_IN = False
    client = web()
    assert "switched off" in client.get(SIGN_IN).content.decode()
    assert try_to_sign_in(client, person()).status_code == 200
    assert client.get("/account").status_code == 302


def test_whoever_is_signed_in_is_sent_on(web):
    assert web(person()).get(f"{SIGN_IN}?next=/audit")["Location"] == "/audit"


def test_sign_out_needs_a_post_and_leaves_a_trace(web):
    user = person()
    client = web(user)
    assert client.get("/sign-out").status_code == 405
    assert client.post("/sign-out")["Location"] == reverse("accounts:sign_in")
    assert client.get("/account").status_code == 302
    assert acts_on(user)[-1] == "user.signed_out"


def test_a_page_asks_to_sign_in_and_remembers_where_one_was(web):
    assert web().get("/account/tokens?x=1")["Location"] == "/sign-in?next=%2Faccount%2Ftokens%3Fx%3D1"


class TestDemoAccounts:
    @pytest.fixture
    def demo(self):
        user = person(email=DEMO_ACCOUNTS[0].email, name="Ines Moreau")
        user.set_password(DEMO_PASSWORD)
        user.save()
        return user

    def test_are_offered_in_the_embedded_profile(self, web, demo):
        text = web().get(SIGN_IN).content.decode()
        assert "Ines Moreau, owner@example.org" in text and DEMO_PASSWORD in text
        assert DEMO_ACCOUNTS[1].email not in text, "an account that does not exist is not offered"

    def test_sign_in_with_their_published_password(self, web, demo):
        client = web()
        assert try_to_sign_in(client, demo, DEMO_PASSWORD).status_code == 302
        assert client.get("/account").status_code == 200

    def test_are_offered_nowhere_else(self, web, demo, settings):
        settings.EMBEDDED = False
        text = web().get(SIGN_IN).content.decode()
        assert DEMO_PASSWORD not in text and "owner@example.org" not in text

    def test_are_not_offered_when_they_left(self, web, demo):
        demo.is_active = False
        demo.save()
        assert DEMO_PASSWORD not in web().get(SIGN_IN).content.decode()
