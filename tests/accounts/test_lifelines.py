"""The directory that is not heard any more, and a registry without an administrator: nobody misses it by silence."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core import mail
from django.core.management import call_command
from django.urls import reverse

from registry.accounts import lifelines, services
from registry.accounts.hygiene import findings
from registry.accounts.models import ApiToken, ServicePrincipal, User
from registry.audit.models import Event
from registry.core import clock
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def keeper(db) -> User:
    """Whose token the directory has."""
    make.token_for(keeper := make.person("administrator", name="Keeper"), "accounts:provision")
    ApiToken.objects.filter(user=keeper).update(last_used_at=clock.now(), expires_at=clock.now() + timedelta(days=90))
    return keeper


@pytest.fixture
def other(db) -> User:
    return make.person("administrator", name="Other")


def kinds() -> list[str]:
    return [each.kind for each in lifelines.broken()]


def test_a_directory_that_calls_and_an_administrator_are_nothing_to_say(keeper, other, web):
    assert not kinds() and services.watch_lifelines() == 0
    assert "not heard" not in web(other).get(reverse("accounts:people")).text


def test_where_no_directory_was_connected_nothing_is_missing(other):
    make.token_for(make.person("administrator"), "accounts:provision")
    ApiToken.objects.update(revoked_at=clock.now())
    assert not kinds(), "it never called"


def _revoke(keeper):
    services.revoke_token(actor=make.acting(keeper), token=ApiToken.objects.get(user=keeper))


def _expire(keeper):
    ApiToken.objects.filter(user=keeper).update(expires_at=clock.now() - timedelta(seconds=1))


def _leave(keeper):
    User.objects.filter(pk=keeper.pk).update(is_active=False, left_at=clock.now())


def _demote(keeper):
    User.objects.filter(pk=keeper.pk).update(roles=["member"])


def _rest(keeper):
    """Their identity provider refuses them: what acts for them without a browser rests."""
    User.objects.filter(pk=keeper.pk).update(unvouched_at=clock.now())


@pytest.mark.parametrize("end", [_revoke, _expire, _leave, _demote, _rest])
def test_the_end_of_its_last_credential_is_told_to_everybody_who_can_mend_it(end, keeper, other, web, client):
    security, member = make.person("security"), make.person()
    end(keeper)
    assert kinds() == ["directory_lost"]
    for who in (other, security):
        for page in ("/", reverse("accounts:people")):
            assert "The directory is not heard any more" in web(who).get(page).text
        assert findings(make.acting(who))[0].kind.name == "directory_lost"
        assert "no longer heard" in web(who).get(reverse("accounts:machine_findings")).text
    assert "not heard any more" not in web(member).get(reverse("accounts:people")).text
    told = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", "--only", "directory", stdout=told)
    assert "FIX" in told.getvalue() and "new credential" in told.getvalue()
    ready = client.get("/readyz")
    assert ready.status_code == 200 and ready.json()["directory"] == "see manage.py doctor"
    mail.outbox.clear()
    assert services.watch_lifelines() == 1
    assert services.watch_lifelines() == 0, "once is enough"
    (letter,) = mail.outbox
    assert {other.email, security.email} <= set(letter.to) and member.email not in letter.to
    assert Event.objects.filter(act="directory.unheard").count() == 1


def test_a_mail_server_that_is_down_is_tried_again(keeper, other, monkeypatch):
    _revoke(keeper)

    def down(*_args, **_facts):
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr("registry.accounts.services.lifelines.send_mail", down)
        assert services.watch_lifelines() == 0
    assert services.watch_lifelines() == 1


def test_its_end_is_told_two_weeks_before(keeper, other, settings):
    ApiToken.objects.filter(user=keeper).update(expires_at=clock.now() + timedelta(days=13))
    assert kinds() == ["directory_ends"]
    assert services.watch_lifelines() == 1
    assert findings(make.acting(other))[0].kind.name == "directory_ends"
    ApiToken.objects.filter(user=keeper).update(expires_at=clock.now() + timedelta(days=90))
    assert not kinds()
    User.objects.filter(pk=keeper.pk).update(vouched_at=clock.now())
    settings.OIDC_CONFIRM_DAYS = 7
    assert kinds() == ["directory_ends"], "nobody confirms its owner any more"
    assert "directory_ends" not in {each.kind.name for each in findings(make.acting(make.person()))}


def test_another_credential_keeps_it(keeper, other):
    principal = make.service_principal(owner=other, scopes=["catalog:read"])
    ServicePrincipal.objects.filter(pk=principal.pk).update(scopes=["accounts:provision"], state="active")
    _revoke(keeper)
    assert not kinds()
    ServicePrincipal.objects.filter(pk=principal.pk).update(state="suspended")
    assert kinds() == ["directory_lost"]


def test_disconnected_on_purpose(keeper, other, settings):
    _revoke(keeper)
    settings.SCIM_WATCH = False
    assert not kinds()


def test_the_last_administrator_left(other, web):
    security = make.person("security")
    _leave(other)
    assert kinds() == ["no_administrator"]
    assert "Nobody active is an administrator" in web(security).get("/").text
    assert services.watch_lifelines() == 1
    assert mail.outbox[-1].to == [security.email]
    with pytest.raises(SystemExit):
        call_command("doctor", "--only", "administrators", stdout=StringIO())
    make.person("administrator")
    assert not kinds()


def test_whoever_makes_the_directorys_token_reads_what_it_hangs_on(other, web):
    body = {"name": "Directory", "scopes": ["accounts:provision"], "days": 90, "purpose": "SCIM", "networks": ""}
    page = web(other).post(reverse("accounts:tokens"), body)
    assert "heard through this token alone" in page.text
    body["scopes"] = ["catalog:read"]
    assert "heard through this token alone" not in web(other).post(reverse("accounts:tokens"), body).text
