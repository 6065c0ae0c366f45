"""Proving again who one is before what cannot be taken back, and how long a session lives."""

import re
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from registry.accounts import services as accounts
from registry.accounts.models import ApiToken, BrowserSession, ExternalIdentity, GroupRole
from registry.accounts.openid.configuration import Provider
from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import NotAllowed, StepUpRequired
from registry.core.step_up import require_recent
from registry.discovery import services as discovery
from registry.reviews import services as reviews
from registry.reviews.models import Item, Remediation, SignOff
from registry.trust import services as trust
from registry.trust.models import Combination
from tests import factories as make
from tests.factories import PASSWORD, acting, person, token_for

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(hours=1)
LEGS = [{"label": "Reads", "access": ["read"]}, {"label": "Writes", "access": ["write"]}]
ACTS = Path(__file__).parents[1] / "architecture" / "acts.txt"


def stale(user):
    return replace(acting(user), authenticated_at=timezone.now() - LONG_AGO)


def grow_old(client, seconds=3600):
    """As if this browser had signed in that much earlier; it was used in between."""
    session = client.session
    session["authenticated_at"] -= seconds
    session.save()
    return client


class TestServices:
    def test_a_recent_proof_a_token_and_the_system_pass(self):
        user = person()
        require_recent(Actor.person(user, authenticated_at=timezone.now()), "Sign off")
        require_recent(Actor("token", user=user, scopes=frozenset()), "Sign off")
        require_recent(Actor.system("sweep"), "Sign off")

    def test_an_old_one_does_not(self, settings):
        with pytest.raises(StepUpRequired) as asked:
            require_recent(stale(person()), "Sign off")
        assert (asked.value.doing, asked.value.max_age, asked.value.status) == ("Sign off", 900, 403)
        settings.STEP_UP_SECONDS = 7200
        require_recent(stale(person()), "Sign off")

    def test_whoever_may_not_do_it_at_all_is_told_that_instead(self):
        token_for(person())
        with pytest.raises(NotAllowed) as refused:
            accounts.revoke_token(actor=stale(person()), token=ApiToken.objects.get())
        assert not isinstance(refused.value, StepUpRequired)

    def test_coming_back_needs_no_proof(self):
        left = person(active=False)
        assert accounts.set_active(actor=stale(person("administrator")), user=left, active=True).is_active


ASKING = sorted(
    name
    for name, _colon, asked in (line.partition(": ") for line in ACTS.read_text().splitlines())
    if "require_recent" in asked.split()
)
"""Every act that asks, as tests/architecture/acts.txt has them."""


@pytest.fixture(scope="module")
def world(kept):
    security, auditor, reviewer = person("security"), person("auditor"), person("reviewer")
    make.grant()
    campaign = make.campaign(reviewer, kinds=["grant"])
    make.decide(campaign.items.get(), "revoke")
    make.sign(campaign, reviewer)
    reviews.close_campaign(actor=acting(campaign.owner), campaign=campaign, statement="All.", auth_method="password")
    remediation = reviews.confirm_remediation(
        actor=acting(security), remediation=Remediation.objects.get(), proof="It still answers.", effective=False
    )
    exception = reviews.request_exception(
        actor=acting(security),
        remediation=remediation,
        reason="The vendor closes it in December.",
        compensating_control="Its calls are watched.",
        expires_at=clock.now() + timedelta(days=20),
    )
    intake = make.intake(make.submitted_server())
    token_for(security)
    token = ApiToken.objects.get()
    bound, _secret = accounts.create_token(
        actor=acting(security), user=security, name="bound", scopes=["read"], days=1, networks=["10.0.0.0/8"]
    )
    stopped = make.service_principal()
    accounts.suspend_principal(actor=acting(security), principal=stopped)
    return SimpleNamespace(
        admin=person("administrator"),
        security=person("security"),
        reviewer=reviewer,
        campaign=campaign,
        exception=exception,
        intake=make.work_of(intake),
        auditor=auditor,
        dropping=make.role_proposal("member", user=auditor),
        principal=make.service_principal(),
        token=token,
        bound=bound,
        stopped=stopped,
        server=make.active_server(),
        rule=make.visibility_rule(),
        grant=make.grant(),
        drift=make.drift(),
        mapping=GroupRole.objects.create(group="watch", role="security"),
        waiting=GroupRole.objects.create(
            group="audit", role="auditor", state="proposed", proposed_by=person("administrator")
        ),
        combination=Combination.objects.create(name="Reads and sends", explanation="It could leak.", legs=LEGS),
    )


class TestEachAct:
    """One line per act: without its `require_recent` it would simply happen, or fail otherwise."""

    @pytest.fixture
    def attempts(self, world):
        it, security, admin, auditor = world, stale(world.security), stale(world.admin), stale(world.auditor)
        reviewer, manager = stale(it.reviewer), stale(it.campaign.owner)
        signing = {"statement": "I looked.", "auth_method": "password"}
        why = {"reason": "Because."}
        intake = {"evidence_hash": it.intake.item.evidence_hash, "auth_method": "password", **why}
        seen = {"seen_digest": it.drift.after_id, "expected_version": it.drift.etag}
        return {
            "accounts.create_principal": lambda: accounts.create_principal(
                actor=security, name="w", purpose="Reads.", issuer=it.principal.issuer, subject="a:b", scopes=["read"]
            ),
            "accounts.create_token": lambda: accounts.create_token(
                actor=security, user=security.user, name="t", scopes=["read"], days=1
            ),
            "accounts.edit_issuer": lambda: accounts.edit_issuer(
                actor=security, issuer=it.principal.issuer, audience="another"
            ),
            "accounts.edit_principal": lambda: accounts.edit_principal(
                actor=stale(it.principal.owner), principal=it.principal, subject="another"
            ),
            "accounts.edit_token": lambda: accounts.edit_token(
                actor=stale(it.bound.user), token=it.bound, networks=["10.0.0.0/8", "192.0.2.0/24"]
            ),
            "accounts.register_issuer": lambda: accounts.register_issuer(
                actor=security, name="New", issuer="https://new.example.test"
            ),
            "accounts.resume_principal": lambda: accounts.resume_principal(actor=security, principal=it.stopped),
            "accounts.rotate_token": lambda: accounts.rotate_token(actor=stale(it.token.user), token=it.token),
            "accounts.create_user": lambda: accounts.create_user(
                actor=admin, email="new@example.test", name="New", roles=["member"]
            ),
            "accounts.decide_roles": lambda: accounts.decide_roles(actor=security, proposal=it.dropping, confirm=True),
            "accounts.decide_group_role": lambda: accounts.decide_group_role(
                actor=security, mapping=it.waiting, confirm=True
            ),
            "accounts.map_group": lambda: accounts.map_group(actor=admin, group="staff", role="member"),
            "accounts.unmap_group": lambda: accounts.unmap_group(actor=admin, mapping=it.mapping),
            "accounts.retire_issuer": lambda: accounts.retire_issuer(actor=security, issuer=it.principal.issuer),
            "accounts.retire_principal": lambda: accounts.retire_principal(actor=security, principal=it.principal),
            "accounts.revoke_token": lambda: accounts.revoke_token(actor=stale(it.token.user), token=it.token),
            "accounts.set_active": lambda: accounts.set_active(actor=admin, user=it.auditor, active=False),
            "accounts.set_roles": lambda: accounts.set_roles(
                actor=admin, user=it.reviewer, roles=["member", "reviewer", "campaign_manager"]
            ),
            "accounts.suspend_principal": lambda: accounts.suspend_principal(actor=security, principal=it.principal),
            "accounts.take_role": lambda: accounts.take_role(actor=security, role="auditor", **why),
            "catalog.drop_visibility_rule": lambda: catalog.drop_visibility_rule(actor=security, rule=it.rule, **why),
            "catalog.set_visibility_rule": lambda: catalog.set_visibility_rule(
                actor=security, environment="test", **why
            ),
            "catalog.retire_server": lambda: catalog.retire_server(actor=security, server=it.server, **why),
            "catalog.suspend_server": lambda: catalog.suspend_server(actor=security, server=it.server, **why),
            "discovery.approve_drift": lambda: discovery.approve_drift(actor=reviewer, drift=it.drift, **seen, **why),
            "reviews.accept_campaign": lambda: reviews.accept_campaign(actor=auditor, campaign=it.campaign, **signing),
            "reviews.approve_exception": lambda: reviews.approve_exception(actor=security, exception=it.exception),
            "reviews.close_campaign": lambda: reviews.close_campaign(actor=manager, campaign=it.campaign, **signing),
            "reviews.decide_intake": lambda: reviews.decide_intake(
                actor=stale(it.intake.reviewer), work_item=it.intake, value="certify", **intake
            ),
            "reviews.refuse_exception": lambda: reviews.refuse_exception(actor=security, exception=it.exception, **why),
            "reviews.sign_off": lambda: reviews.sign_off(actor=reviewer, campaign=it.campaign, **signing),
            "reviews.waive_gap": lambda: reviews.waive_gap(
                actor=manager, campaign=it.campaign, gap="missing_owner", **why
            ),
            "trust.retire_combination": lambda: trust.retire_combination(
                actor=security, combination=it.combination, **why
            ),
            "trust.revoke_relationship": lambda: trust.revoke_relationship(
                actor=security, relationship=it.grant, **why
            ),
            "trust.suspend_relationship": lambda: trust.suspend_relationship(
                actor=security, relationship=it.grant, **why
            ),
        }

    @pytest.mark.parametrize("act", ASKING)
    def test_asks_whoever_signed_in_a_while_ago(self, attempts, act):
        with pytest.raises(StepUpRequired):
            attempts[act]()


class TestMakingCredentials:
    """An old session must not become a credential: that asks nobody who it is, and lives for a year."""

    def test_an_old_session_gets_no_token_to_go_on_with(self, web):
        user, grant = person("security"), make.grant()
        client = grow_old(web(user))
        asked = client.post(f"/api/v1/grants/{grant.pk}/suspend", {"reason": "x"}, content_type="application/json")
        assert asked.status_code == 403 and "insufficient_user_authentication" in asked["WWW-Authenticate"]
        for scopes in (["read", "write"], ["read"]):
            body = {"name": "mine", "scopes": scopes, "days": 365}
            made = client.post("/api/v1/tokens", body, content_type="application/json")
            assert made.status_code == 403 and "insufficient_user_authentication" in made["WWW-Authenticate"]
        assert not ApiToken.objects.exists()

    def test_the_page_keeps_what_was_entered_and_makes_it_after_the_proof(self, web):
        user = person()
        client = grow_old(web(user))
        typed = {"name": "CI", "purpose": "Nightly", "days": 7, "scopes": ["catalog:read", "trust:read"]}
        asked = client.post("/account/tokens", typed)
        key = parse_qs(urlsplit(asked["Location"]).query)["kept"][0]
        right = client.post("/account/confirm", {"kept": key, "password": PASSWORD})
        text = client.get(right["Location"]).content.decode()
        assert "Make an API token" in text and text.count('name="scopes"') == 2 and "Send it now" in text
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text)
        sent = {name: [value for key, value in hidden if key == name] for name, _value in hidden}
        assert "stw_" in client.post("/account/tokens", sent).content.decode()
        assert ApiToken.objects.get().purpose == "Nightly"

    def test_naming_and_narrowing_needs_no_proof(self):
        user = person()
        token, _secret = accounts.create_token(actor=acting(user), user=user, name="a", scopes=["read"], days=1)
        accounts.edit_token(actor=stale(user), token=token, name="b", scopes=["catalog:read"], networks=["10.0.0.0/8"])
        accounts.edit_token(actor=stale(user), token=token, networks=["10.1.0.0/16"])
        principal = make.service_principal(owner=user)
        assert accounts.edit_principal(actor=stale(user), principal=principal, purpose="Else.").purpose == "Else."


class TestInTheBrowser:
    @pytest.fixture
    def token(self):
        token_for(person("security", name="Sol Security"))
        return ApiToken.objects.get()

    def test_freshly_signed_in_one_notices_nothing(self, web, token):
        assert web(token.user).post(f"/account/tokens/{token.pk}/revoke")["Location"] == "/account/tokens"

    def test_it_asks_keeps_what_was_entered_and_sends_nothing_by_itself(self, web):
        grant, user = make.grant(), person("security")
        client = grow_old(web(user))
        path = reverse("trust:grant_revoke", args=[grant.pk])
        typed = {"reason": "It leaks.\nSince Monday.", "version": grant.etag}
        asked = client.post(path, typed, headers={"Referer": f"http://testserver{path}"})
        assert asked.status_code == 302 and asked["Location"].startswith("/account/confirm?kept=")
        text = client.get(asked["Location"]).content.decode()
        assert "Revoke a trust relationship" in text and "Your password" in text and "Send it now" not in text
        key = parse_qs(urlsplit(asked["Location"]).query)["kept"][0]
        wrong = client.post("/account/confirm", {"kept": key, "password": "wrong"})
        assert wrong.status_code == 422 and "not your password" in wrong.content.decode()
        former = client.session.session_key
        right = client.post("/account/confirm", {"kept": key, "password": PASSWORD})
        assert client.session.session_key != former, "the key is a new one"
        assert BrowserSession.objects.get(user=user).session_key == client.session.kept_key
        text = client.get(right["Location"]).content.decode()
        assert "It leaks.<br>Since Monday." in text and "Send it now" in text and f'action="{path}"' in text
        grant.refresh_from_db()
        assert grant.status == "active", "nothing happened yet"
        assert Event.objects.filter(act="user.confirmed", subject_id=user.pk).exists()
        hidden = dict(re.findall(r'<input type="hidden" name="(reason|version)" value="([^"]*)"', text))
        assert set(hidden) == {"reason", "version"} and hidden["reason"] == typed["reason"]
        assert client.post(path, typed).status_code == 302
        grant.refresh_from_db()
        assert grant.status == "revoked"

    def test_secrets_are_not_kept(self, web, token):
        client = grow_old(web(token.user))
        secret = "ghp_" + "A1b2C3d4E5" * 3 + "F6g7h8"
        given = {"password": "hunter22", "note": secret, "reason": "fine"}
        asked = client.post(f"/account/tokens/{token.pk}/revoke", given)
        assert "hunter22" not in str(dict(client.session)) and secret not in str(dict(client.session))
        key = parse_qs(urlsplit(asked["Location"]).query)["kept"][0]
        right = client.post("/account/confirm", {"kept": key, "password": PASSWORD})
        text = client.get(right["Location"]).content.decode()
        assert "Not kept" in text and "note, password" in text.replace("password, note", "note, password")
        assert "Send it now" not in text, "half a form is not sent"

    def test_a_fragment_leads_the_whole_page_there(self, web, token):
        client = grow_old(web(token.user))
        answer = client.post(f"/account/tokens/{token.pk}/revoke", headers={"HX-Request": "true"})
        assert answer.status_code == 403 and answer["HX-Redirect"].startswith("/account/confirm?kept=")

    def test_what_is_kept_is_found_by_nobody_else_and_not_for_ever(self, web, token):
        client = grow_old(web(token.user))
        asked = client.post(f"/account/tokens/{token.pk}/revoke")
        other = web(person())
        assert other.get(asked["Location"])["Location"] == "/"
        for _ in range(5):
            client.post(f"/account/tokens/{token.pk}/revoke")
        assert len(client.session["kept_input"]) == 3
        assert web().get("/account/confirm").status_code == 302

    def test_it_never_leads_elsewhere(self, web):
        answer = web(person()).get("/account/confirm?next=https://evil.example/")
        assert answer["Location"] == "/"

    def test_a_session_that_does_not_say_when_is_an_old_one(self, web, token):
        client = web(token.user)
        session = client.session
        del session["authenticated_at"]
        session.save()
        assert "confirm" in client.post(f"/account/tokens/{token.pk}/revoke")["Location"]

    def test_guessing_here_counts_like_guessing_at_the_sign_in(self, web, settings):
        settings.AXES_FAILURE_LIMIT = 3
        client = grow_old(web(person()))
        answers = [client.post("/account/confirm", {"password": "wrong"}).status_code for _ in range(4)]
        assert 429 in answers

    def test_whoever_came_through_a_provider_goes_back_there(self, web, token, settings):
        corp = Provider(name="corp", issuer="https://login.corp.example", client_id="steward")
        settings.OIDC_PROVIDERS, settings.PASSWORD_SIGN_IN = {"corp": corp}, False
        ExternalIdentity.objects.create(user=token.user, provider="corp", issuer=corp.issuer, subject="7")
        client = grow_old(web(token.user))
        asked = client.post(f"/account/tokens/{token.pk}/revoke")
        text = client.get(asked["Location"]).content.decode()
        assert "Confirm with Corp" in text and "purpose=confirm" in text and "Your password" not in text
        assert client.post("/account/confirm", {"password": PASSWORD}).status_code == 422, "passwords are off"

    def test_signing_asks_for_no_password_of_whoever_has_none(self, web):
        make.active_server()
        campaign = make.campaign(person("reviewer"), person("reviewer"))
        reviewer = make.decide(Item.objects.filter(campaign=campaign).first()).work_item.reviewer
        client, path = web(reviewer), reverse("reviews:sign_off", args=[campaign.pk])
        assert "id_password" in client.get(path).content.decode()
        session = client.session
        session["provider"], session["checked_at"] = "corp", time.time()
        session.save()
        text = client.get(path).content.decode()
        assert "id_password" not in text
        shown = re.search(r'name="expected" value="([^"]+)"', text).group(1)
        signed = client.post(path, {"statement": "I looked at each of them.", "expected": shown})
        assert signed.status_code == 302
        assert SignOff.objects.get(reviewer=reviewer, campaign=campaign).auth_method == "oidc:corp"


class TestOverRest:
    def test_a_session_is_told_how_recent_it_has_to_be(self, web):
        user = person()
        token_for(user)
        token = ApiToken.objects.get()
        client = grow_old(web(user))
        answer = client.post(f"/api/v1/tokens/{token.pk}/revoke")
        assert answer.status_code == 403 and answer.json()["type"].endswith("#step-up-required")
        challenge = answer["WWW-Authenticate"]
        assert 'error="insufficient_user_authentication"' in challenge and 'max_age="900"' in challenge
        token.refresh_from_db()
        assert token.revoked_at is None

    def test_a_token_with_the_scope_may(self, api):
        """It has no session that could be old (docs/adr/0009)."""
        user = person()
        client = api(user)
        assert client.post(f"/api/v1/tokens/{ApiToken.objects.get().pk}/revoke").status_code == 200


class TestSessions:
    def test_the_key_changes_at_sign_in(self, web):
        client, user = web(), person()
        client.get("/sign-in")
        client.session.save()
        before = client.session.session_key
        client.post("/sign-in", {"email": user.email, "password": PASSWORD})
        assert client.session.session_key != before
        row = BrowserSession.objects.get(user=user)
        assert row.session_key == client.session.kept_key and row.address == "127.0.0.1"

    @pytest.mark.parametrize(
        ("field", "setting", "said"),
        [
            ("started_at", "SESSION_ABSOLUTE_SECONDS", "as long as one may"),
            ("seen_at", "SESSION_IDLE_SECONDS", "away for a long time"),
        ],
    )
    def test_it_ends_by_itself(self, web, settings, field, setting, said):
        user = person()
        client = web(user)
        session = client.session
        session[field] -= getattr(settings, setting) - 30
        session.save()
        assert client.get("/account").status_code == 200
        session = client.session
        session[field] -= 3600 * 12
        session.save()
        answer = client.get("/account", follow=True)
        assert said in answer.content.decode() and "/sign-in" in answer.redirect_chain[0][0]
        assert not BrowserSession.objects.filter(user=user).exists()
        assert Event.objects.get(act="user.session_ended").data["because"]

    def test_being_seen_is_noted_once_a_minute(self, web, django_assert_num_queries):
        user = person()
        client = web(user)
        client.get("/account")
        before = BrowserSession.objects.get().seen_at
        client.get("/account")
        assert BrowserSession.objects.get().seen_at == before
        session = client.session
        session["seen_at"] -= 61
        session.save()
        client.get("/account")
        assert BrowserSession.objects.get().seen_at > before

    def test_the_account_page_lists_them_and_ends_one_or_all_others(self, web):
        user = person()
        firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        here, second, third = web(user), web(), web(user)
        second.post("/sign-in", {"email": user.email, "password": PASSWORD}, headers={"User-Agent": firefox})
        stranger = web(person())
        text = here.get("/account").content.decode()
        assert text.count("End this session") == 2 and "Firefox on Linux" in text and "this browser" in text
        row = BrowserSession.objects.get(agent=firefox)
        assert stranger.post(f"/account/sessions/{row.pk}/end").status_code == 404
        assert here.post(f"/account/sessions/{row.pk}/end")["Location"] == "/account"
        assert second.get("/account").status_code == 302 and third.get("/account").status_code == 200
        here.post("/account/sessions/end-others")
        assert third.get("/account").status_code == 302 and here.get("/account").status_code == 200
        assert stranger.get("/account").status_code == 200
        assert Event.objects.filter(act__in=["user.session_ended", "user.sessions_ended"]).count() == 2

    def test_deactivating_somebody_ends_them_all(self, web):
        user = person()
        clients = [web(user), web(user)]
        accounts.set_active(actor=acting(person("administrator")), user=user, active=False)
        assert all(client.get("/account").status_code == 302 for client in clients)
        assert not BrowserSession.objects.filter(user=user).exists()
        accounts.set_active(actor=acting(person("administrator")), user=user, active=True)
        assert all(client.get("/account").status_code == 302 for client in clients), "and they stay ended"

    def test_a_new_password_ends_the_others(self, web):
        user = person()
        here, elsewhere = web(user), web(user)
        new = "a new and longer one"
        here.post("/account/password", {"current_password": PASSWORD, "new_password": new, "repeated": new})
        assert elsewhere.get("/account").status_code == 302
        row = BrowserSession.objects.get(user=user)
        assert row.session_key == here.session.kept_key and Session.objects.filter(pk=row.session_key).exists()

    def test_signing_in_twice_in_one_browser_is_one_session(self, web):
        user, other = person(), person()
        client = web()
        for each in (user, user, other):
            client.post("/sign-in", {"email": each.email, "password": PASSWORD})
        assert [row.user for row in BrowserSession.objects.all()] == [other]

    def test_a_token_cannot_end_sessions(self):
        with pytest.raises(NotAllowed):
            accounts.end_other_sessions(actor=Actor("token", user=person(), scopes=frozenset()), keep=None)

    def test_what_ended_by_itself_is_swept(self, web):
        gone, living = person(), person()
        web(gone)
        client = web(living)
        old = BrowserSession.objects.get(user=gone)
        Session.objects.filter(pk=old.session_key).update(expire_date=timezone.now() - LONG_AGO)
        assert accounts.forget_ended_sessions() == 0, "the row of a sign-in that is being answered is left alone"
        BrowserSession.objects.update(started_at=timezone.now() - 2 * LONG_AGO)
        assert accounts.forget_ended_sessions() == 1
        assert BrowserSession.objects.get().user == living and client.get("/account").status_code == 200
