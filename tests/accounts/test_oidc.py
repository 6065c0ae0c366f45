"""Signing in through OpenID providers: two real ones in a real browser, and tokens that pretend."""

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from json import dumps
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from registry.accounts import services
from registry.accounts.models import ApiToken, BrowserSession, ExternalIdentity, GroupGrant, GroupRole, User
from registry.accounts.openid import metadata
from registry.accounts.openid.client import Tokens
from registry.accounts.openid.configuration import Provider, read_providers
from registry.accounts.openid.errors import GrantEnded, ProviderFailed, SignInRefused, TokenRefused
from registry.accounts.openid.tokens import LOGOUT, half_hash, read_id_token, read_logout_token
from registry.accounts.sealing import seal, unseal
from registry.audit.models import Event
from registry.core.errors import Conflict, Invalid, NotAllowed
from tests.accounts.openid_provider import RunningProvider, openid_provider
from tests.factories import acting, person, token_for

CORP = Provider(name="corp", issuer="https://login.corp.example", client_id="steward", groups_claim="groups")
PARTNER = Provider(name="partner", issuer="https://id.partner.example", client_id="steward")


@pytest.fixture(autouse=True)
def nothing_remembered():
    metadata.forget()
    yield
    metadata.forget()


@pytest.fixture
def configured(settings):
    settings.OIDC_PROVIDERS = {"corp": CORP, "partner": PARTNER}


# --- Configuration ---------------------------------------------------------------------------------------


class TestConfiguration:
    ALONE = {
        "ISSUER": "https://login.corp.example",
        "CLIENT_ID": "steward",
        "CLIENT_SECRET": "s",
        "CLIENT_SECRET_FILE": "",
        "LABEL": "",
        "SCOPES": "openid email",
        "GROUPS_CLAIM": "groups",
        "LINK_VERIFIED_EMAIL": "false",
        "TOKEN_AUTH": "",
    }

    def read(self, names=(), own=None, **shared):
        given = own or {}
        return read_providers(names, {**self.ALONE, **shared}, lambda name, key: given.get((name, key), ""))

    def test_one_provider_needs_no_name(self):
        assert list(self.read()) == ["sso"]
        assert self.read(ISSUER="") == {}

    def test_several_share_what_they_do_not_say_themselves(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("from a file\n")
        own = {
            ("partner", "ISSUER"): "https://id.partner.example",
            ("partner", "CLIENT_SECRET_FILE"): str(secret),
            ("partner", "LINK_VERIFIED_EMAIL"): "true",
            ("partner", "LABEL"): "Partner Ltd",
        }
        found = self.read(["corp", "partner"], own)
        assert [each.issuer for each in found.values()] == ["https://login.corp.example", "https://id.partner.example"]
        assert found["partner"].client_secret == "from a file" and found["corp"].client_secret == "s"
        assert found["partner"].link_verified_email and not found["corp"].link_verified_email
        assert (found["corp"].title, found["partner"].title) == ("Corp", "Partner Ltd")
        assert "from a file" not in repr(found)

    @pytest.mark.parametrize(
        ("names", "changes", "said"),
        [
            ((), {"ISSUER": "login.corp.example"}, "OIDC_ISSUER"),
            ((), {"ISSUER": "javascript:alert(1)"}, "OIDC_ISSUER"),
            ((), {"CLIENT_ID": ""}, "OIDC_CLIENT_ID"),
            ((), {"SCOPES": "email"}, "openid"),
            ((), {"TOKEN_AUTH": "private_key_jwt"}, "OIDC_TOKEN_AUTH"),
            ((), {"CLIENT_SECRET": "", "CLIENT_SECRET_FILE": "/nowhere/at/all"}, "OIDC_CLIENT_SECRET_FILE"),
            (("Corp Ltd",), {}, "OIDC_PROVIDERS"),
            (("scim",), {}, "OIDC_PROVIDERS"),
            (("corp",), {"ISSUER": ""}, "OIDC_CORP_ISSUER"),
        ],
    )
    def test_what_is_wrong_is_named(self, names, changes, said):
        with pytest.raises(ImproperlyConfigured, match=said):
            self.read(names, **changes)

    def test_tokens_rest_sealed(self, settings):
        sealed = seal("a refresh token")
        assert "refresh" not in sealed and unseal(sealed) == "a refresh token"
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another key " * 4, [settings.SECRET_KEY]
        assert unseal(sealed) == "a refresh token"
        settings.SECRET_KEY_FALLBACKS = []
        assert unseal(sealed) == "" and seal("") == unseal("") == ""


# --- ID tokens -------------------------------------------------------------------------------------------

RSA, EC = RSAKey.generate_key(2048, {"kid": "r"}), ECKey.generate_key("P-256", {"kid": "e"})


@pytest.fixture
def published(monkeypatch):
    """The provider publishes these keys; how often it is asked for them is counted."""
    asked = []
    keys = [RSA, EC]

    def ask(method, url, **options):
        asked.append(url)
        if url.endswith("openid-configuration"):
            ends = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            return 200, {"issuer": CORP.issuer, **{name: f"{CORP.issuer}/{name}" for name in ends}}, "application/json"
        return 200, {"keys": [key.as_dict(private=False) for key in keys]}, "application/json"

    monkeypatch.setattr(metadata, "ask", ask)
    return keys, asked


def claims(**changes):
    now = int(time.time())
    made = {"iss": CORP.issuer, "aud": "steward", "sub": "7", "nonce": "n", "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in made.items() if value is not None}


def signed(key=RSA, alg="RS256", kid="r", **changes):
    header = {"alg": alg, **({"kid": kid} if kid else {})}
    return jwt.encode(header, claims(**changes), key, algorithms=["RS256", "ES256", "HS256", "none", "PS256"])


def part(value):
    """One part of a token that nobody signs."""
    return urlsafe_b64encode(dumps(value).encode()).rstrip(b"=").decode()


class TestIdTokens:
    def test_a_good_one_is_read(self, published):
        assert read_id_token(CORP, signed(), nonce="n")["sub"] == "7"
        assert read_id_token(CORP, signed(EC, "ES256", "e"), nonce="n")["sub"] == "7"
        assert read_id_token(CORP, signed(aud=["steward", "other"], azp="steward"), nonce="n")

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://id.partner.example"},
            {"iss": CORP.issuer + "/"},
            {"iss": None},
            {"aud": "another"},
            {"aud": None},
            {"aud": ["another"]},
            {"aud": ["steward", "another"]},
            {"azp": "another"},
            {"sub": None},
            {"sub": ""},
            {"sub": "x" * 256},
            {"sub": 7},
            {"nonce": None},
            {"nonce": ""},
            {"nonce": "of another attempt"},
            {"exp": int(time.time()) - 3600},
            {"exp": None},
            {"exp": "tomorrow"},
            {"iat": None},
            {"iat": int(time.time()) + 3600},
            {"iat": int(time.time()) - 3600},
            {"nbf": int(time.time()) + 3600},
            {"events": {LOGOUT: {}}},
            {"at_hash": half_hash("another access token")},
        ],
    )
    def test_a_claim_that_is_not_right_is_refused(self, published, changes):
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(**changes), nonce="n", access_token="access")

    def test_without_a_nonce_of_ours_none_fits(self, published):
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(nonce=None), nonce="")

    def test_no_signature_is_no_signature(self, published):
        for alg in ("none", "None", "NONE", "", None):
            with pytest.raises(TokenRefused):
                read_id_token(CORP, f"{part({'alg': alg, 'kid': 'r'})}.{part(claims())}.", nonce="n")

    @pytest.mark.parametrize("kid", ["r", None])
    def test_the_public_key_is_no_shared_secret(self, published, kid):
        """RS256 turned into HS256: the published key as the secret everybody knows."""
        for secret in (RSA.as_pem(private=False), dumps(RSA.as_dict(private=False)).encode()):
            said = f"{part({'alg': 'HS256', 'kid': kid} if kid else {'alg': 'HS256'})}.{part(claims())}"
            mac = urlsafe_b64encode(hmac.digest(secret, said.encode(), "sha256")).rstrip(b"=").decode()
            with pytest.raises(TokenRefused):
                read_id_token(CORP, f"{said}.{mac}", nonce="n")

    def test_nor_is_the_client_secret(self, published):
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(OctKey.import_key(b"the client secret of ours"), "HS256"), nonce="n")

    def test_a_key_of_somebody_else_with_a_known_id(self, published):
        stranger = RSAKey.generate_key(2048, {"kid": "r"})
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(stranger), nonce="n")

    def test_the_id_of_a_key_of_another_kind(self, published):
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(EC, "ES256", "r"), nonce="n")

    def test_another_algorithm_of_the_same_key(self, published):
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(RSA, "PS256"), nonce="n")

    @pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "....", "e30.e30.", "\x00", "é.é.é", "e30.e30.e30.e30.e30"])
    def test_rubbish_is_refused_and_not_a_fault(self, published, token):
        with pytest.raises(TokenRefused):
            read_id_token(CORP, token, nonce="n")

    def test_a_changed_byte_breaks_it(self, published):
        token = signed()
        head, body, signature = token.split(".")
        with pytest.raises(TokenRefused):
            read_id_token(CORP, f"{head}.{body[:-2]}{'A' if body[-2] != 'A' else 'B'}{body[-1]}.{signature}", nonce="n")

    def test_without_a_key_id_only_where_no_choice_is_left(self, published):
        assert read_id_token(CORP, signed(kid=None), nonce="n")
        published[0].append(RSAKey.generate_key(2048, {"kid": "second"}))
        metadata.forget()
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(kid=None), nonce="n")

    def test_a_new_key_is_looked_for_but_not_for_every_invented_id(self, published, monkeypatch):
        keys, asked = published
        read_id_token(CORP, signed(), nonce="n")
        fresh = RSAKey.generate_key(2048, {"kid": "fresh"})
        keys.append(fresh)
        monkeypatch.setattr(metadata, "ASK_AGAIN", 0.0)
        assert read_id_token(CORP, signed(fresh, kid="fresh"), nonce="n")
        monkeypatch.setattr(metadata, "ASK_AGAIN", 30.0)
        before = len(asked)
        for number in range(20):
            with pytest.raises(TokenRefused):
                read_id_token(CORP, signed(kid=f"invented-{number}"), nonce="n")
        assert len(asked) == before

    def test_while_the_provider_is_away_its_known_keys_stay_good(self, published, monkeypatch):
        read_id_token(CORP, signed(), nonce="n")
        known = metadata._known[CORP.name, CORP.issuer]
        known.keys_at -= metadata.KEYS_FRESH + 1
        known.metadata_at -= metadata.FRESH + 1
        known.asked_at = 0

        def away(*_args, **_options):
            raise ProviderFailed("away")

        monkeypatch.setattr(metadata, "ask", away)
        assert read_id_token(CORP, signed(), nonce="n")
        assert metadata.metadata_of(CORP).token_endpoint
        known.keys_at -= metadata.KEYS_STALE
        known.asked_at = 0
        with pytest.raises(ProviderFailed):
            read_id_token(CORP, signed(), nonce="n")
        with pytest.raises(TokenRefused):  # nor while we wait before we ask again
            read_id_token(CORP, signed(), nonce="n")

    def test_a_withdrawn_key_counts_for_minutes_not_for_hours(self, published):
        keys, _asked = published
        assert read_id_token(CORP, signed(), nonce="n")
        keys.remove(RSA)
        known = metadata._known[CORP.name, CORP.issuer]
        known.keys_at, known.asked_at = known.keys_at - 601, known.asked_at - 601
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(), nonce="n")

    def test_a_short_rsa_key_is_none(self, published):
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
        published[0].append(weak)
        with pytest.raises(TokenRefused):
            read_id_token(CORP, signed(weak, kid="weak"), nonce="n")

    def test_a_logout_token_is_its_own_kind(self, published):
        fine = {"events": {LOGOUT: {}}, "nonce": None}
        assert read_logout_token(CORP, signed(**fine))["sub"] == "7"
        assert read_logout_token(CORP, signed(**fine, sub=None, sid="s"))["sid"] == "s"
        for wrong in ({}, {**fine, "nonce": "n"}, {**fine, "sub": None}, {**fine, "events": {"other": {}}}):
            with pytest.raises(TokenRefused):
                read_logout_token(CORP, signed(**wrong))


class TestDiscovery:
    def answer(self, monkeypatch, status=200, **changes):
        document = {
            "issuer": CORP.issuer,
            "authorization_endpoint": f"{CORP.issuer}/auth",
            "token_endpoint": f"{CORP.issuer}/token",
            "jwks_uri": f"{CORP.issuer}/jwks",
            **changes,
        }
        monkeypatch.setattr(metadata, "ask", lambda *a, **k: (status, document, "application/json"))

    def test_it_is_read(self, monkeypatch):
        self.answer(monkeypatch)
        assert metadata.metadata_of(CORP).token_auth == ("client_secret_basic",)

    @pytest.mark.parametrize(
        "changes",
        [
            {"issuer": "https://evil.example"},
            {"issuer": CORP.issuer + "/"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"authorization_endpoint": "http://login.corp.example/auth"},
            {"token_endpoint": None},
            {"jwks_uri": ["https://login.corp.example"]},
            {"status": 404},
        ],
    )
    def test_what_cannot_be_trusted_is_not_used(self, monkeypatch, changes):
        self.answer(monkeypatch, **changes)
        with pytest.raises(ProviderFailed):
            metadata.metadata_of(CORP)

    def test_an_address_inside_is_not_asked_unless_opened(self, settings):
        settings.OUTBOUND_ALLOW = []
        with pytest.raises(ProviderFailed):
            metadata.metadata_of(Provider(name="x", issuer="http://127.0.0.1:1", client_id="c"))


# --- Who somebody is -------------------------------------------------------------------------------------


def said(**changes):
    made = {"sub": "7", "email": "ines@corp.example", "email_verified": True, "name": "Ines Moreau", **changes}
    return {name: value for name, value in made.items() if value is not None}


def arrive(provider=CORP, **changes):
    return services.sign_in_person(provider=provider, claims=said(**changes)).user


@pytest.mark.django_db
class TestIdentity:
    pytestmark = pytest.mark.usefixtures("configured")

    def test_somebody_new_is_added_without_a_role(self):
        user = arrive()
        assert (user.email, user.name, user.roles) == ("ines@corp.example", "Ines Moreau", [])
        assert not user.has_usable_password()
        acts = list(Event.objects.order_by("at").values_list("act", flat=True))
        assert acts == ["user.created", "user.identity_linked"]

    def test_the_same_subject_is_the_same_person(self):
        assert arrive() == arrive(name="Ines Martin", email="ines.martin@corp.example")
        user = User.objects.get()
        assert (user.name, user.email) == ("Ines Martin", "ines.martin@corp.example")
        assert Event.objects.get(act="user.renamed").data["email"]["before"] == "ines@corp.example"

    def test_another_issuer_with_the_same_subject_is_somebody_else(self):
        arrive()
        with pytest.raises(SignInRefused, match="Nothing was joined"):
            arrive(PARTNER)
        assert arrive(PARTNER, email="other@partner.example").pk != User.objects.get(email="ines@corp.example").pk

    @pytest.mark.parametrize("linking", [False, True])
    def test_the_account_of_somebody_with_a_password_is_never_taken(self, settings, linking):
        trusted = Provider(**{**CORP.__dict__, "link_verified_email": linking})
        settings.OIDC_PROVIDERS = {"corp": trusted}
        owner = person("administrator", email="ines@corp.example")
        with pytest.raises(SignInRefused, match="Ask an administrator"):
            arrive(trusted)
        assert not ExternalIdentity.objects.exists()
        event = Event.objects.get(act="user.sign_in_refused")
        assert event.subject_id == owner.pk and event.data["subject"] == "7" and event.data["why"]

    def test_an_account_without_a_way_in_is_joined_only_where_that_is_configured_and_the_address_verified(
        self, settings
    ):
        waiting = person("reviewer", email="ines@corp.example")
        waiting.set_unusable_password()
        waiting.save()
        with pytest.raises(SignInRefused):
            arrive()
        trusted = Provider(**{**CORP.__dict__, "link_verified_email": True})
        settings.OIDC_PROVIDERS = {"corp": trusted}
        with pytest.raises(SignInRefused):
            arrive(trusted, email_verified=None)
        with pytest.raises(SignInRefused):
            arrive(trusted, email_verified="true")
        assert arrive(trusted).pk == waiting.pk
        waiting.refresh_from_db()
        assert waiting.roles == ["reviewer"]
        with pytest.raises(SignInRefused):
            arrive(trusted, sub="8")

    @pytest.mark.parametrize("changes", [{"email": None}, {"email": "nobody"}, {"email_verified": False}])
    def test_without_an_address_that_may_be_used_nobody_is_added(self, changes):
        with pytest.raises(SignInRefused):
            arrive(**changes)
        assert not User.objects.exists()

    def test_an_address_that_is_not_verified_replaces_none(self):
        arrive()
        arrive(email="chief@corp.example", email_verified=None)
        assert User.objects.get().email == "ines@corp.example"

    def test_an_address_of_somebody_else_is_not_taken_over(self):
        other = person(email="chief@corp.example")
        arrive()
        assert arrive(email="chief@corp.example").email == "ines@corp.example"
        assert Event.objects.filter(act="user.email_kept").exists()
        other.refresh_from_db()
        assert other.email == "chief@corp.example"

    def test_somebody_deactivated_stays_out(self):
        user = arrive()
        services.set_active(actor=acting(person("administrator")), user=user, active=False)
        with pytest.raises(SignInRefused, match="deactivated"):
            arrive()
        assert Event.objects.filter(act="user.sign_in_refused", subject_id=user.pk).exists()

    def test_an_address_by_which_the_directory_calls_somebody_else_is_not_joined(self, settings):
        trusted = Provider(**{**CORP.__dict__, "link_verified_email": True})
        settings.OIDC_PROVIDERS = {"corp": trusted}
        other = person(email="other@corp.example")
        other.set_unusable_password()
        other.user_name = "ines@corp.example"
        other.save()
        with pytest.raises(SignInRefused, match="Nothing was joined"):
            arrive(trusted)
        assert not ExternalIdentity.objects.exists()


# --- What acts for them without a browser ----------------------------------------------------------------


@pytest.mark.django_db
class TestCredentials:
    """A token must not outlive the account of the person it acts for: their provider is asked through the person."""

    pytestmark = pytest.mark.usefixtures("configured")

    @pytest.fixture
    def user(self):
        user = arrive()
        User.objects.filter(pk=user.pk).update(roles=["member"])
        user.refresh_from_db()
        return user

    @pytest.fixture
    def call(self, web, user):
        secret = token_for(user)
        return lambda: web().get("/api/v1/servers", headers={"Authorization": f"Bearer {secret}"})

    def ago(self, user, days):
        User.objects.filter(pk=user.pk).update(vouched_at=timezone.now() - timedelta(days=days))

    def acts(self):
        told = Event.objects.filter(act__startswith="user.credentials").order_by("at")
        return list(told.values_list("act", flat=True))

    def refuse(self, monkeypatch, web, user, error):
        """Their browser asks again, and the provider answers with `error`."""
        client = web(user)
        row = BrowserSession.objects.get(user=user)
        old = timezone.now() - timedelta(hours=1)
        identity = ExternalIdentity.objects.get(user=user)
        row.provider, row.identity, row.checked_at, row.refresh_token = "corp", identity, old, seal("r")
        row.save()

        def refresh(*_args):
            raise error

        monkeypatch.setattr("registry.accounts.services.sessions.client.refresh", refresh)
        standing = services.check_session(session_id=row.pk)
        return client, standing

    def test_they_rest_from_the_refusal_until_the_next_sign_in(self, user, call, web, monkeypatch):
        assert call().status_code == 200
        _client, standing = self.refuse(monkeypatch, web, user, GrantEnded("Sign in again."))
        assert standing.ended
        refused = call()
        assert (
            refused.status_code == 401 and "rests" in refused.json()["detail"] and "sign in" in refused.json()["detail"]
        )
        event = Event.objects.get(act="user.credentials_rested")
        assert event.subject_id == user.pk and event.data["because"] == "refused" and len(event.data["tokens"]) == 1
        arrive()
        assert call().status_code == 200
        assert self.acts() == ["user.credentials_rested", "user.credentials_resumed"]

    @pytest.mark.parametrize("error", [ProviderFailed("down"), TokenRefused("strange")])
    def test_a_provider_that_fails_refuses_nobody(self, user, call, web, monkeypatch, error):
        self.refuse(monkeypatch, web, user, error)
        assert call().status_code == 200 and not self.acts()

    def test_they_rest_when_nobody_confirmed_them_for_long(self, user, call, settings):
        self.ago(user, settings.OIDC_CONFIRM_DAYS - 1)
        assert call().status_code == 200 and services.rest_unconfirmed() == 0
        self.ago(user, settings.OIDC_CONFIRM_DAYS + 1)
        assert call().status_code == 401, "at once, whether or not a sweep ran"
        assert (services.rest_unconfirmed(), services.rest_unconfirmed()) == (1, 0)
        assert Event.objects.get(act="user.credentials_rested").data["because"] == "not confirmed"
        settings.OIDC_CONFIRM_DAYS = 0
        User.objects.filter(pk=user.pk).update(unvouched_at=None)
        assert call().status_code == 200 and services.rest_unconfirmed() == 0

    def test_whom_the_directory_provides_rests_only_when_refused(self, user, call, settings):
        self.ago(user, 400)
        User.objects.filter(pk=user.pk).update(external_id="emp-1")
        assert call().status_code == 200 and services.rest_unconfirmed() == 0
        services.note_refusal(user=user, provider="corp")
        assert call().status_code == 401

    def test_nobody_else_needs_a_provider(self, api):
        assert api(person()).get("/api/v1/servers").status_code == 200
        assert services.rest_unconfirmed() == 0

    def test_it_is_shown_where_credentials_are(self, user, call, web, settings):
        page = f"/account/tokens/{ApiToken.objects.get().pk}"
        assert "It rests" not in web(user).get(page).content.decode()
        self.ago(user, settings.OIDC_CONFIRM_DAYS - 3)
        assert "Rests within 7 days" in web(user).get(page).content.decode()
        services.note_refusal(user=user, provider="corp")
        guard = web(person("security"))
        text = guard.get(page).content.decode()
        assert "It rests, and is refused" in text and "Suspended" in text
        assert "It rests, and is refused" in guard.get("/machines/findings").content.decode()


# --- Groups ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestGroups:
    pytestmark = pytest.mark.usefixtures("configured")

    @pytest.fixture
    def admin(self):
        return acting(person("administrator", name="Ada Admin"))

    def test_groups_give_roles_and_take_what_they_gave(self, admin):
        services.map_group(actor=admin, group="reviewers", role="reviewer", provider="corp")
        services.map_group(actor=admin, group="staff", role="member")
        user = arrive(groups=["reviewers", "staff", "chess"])
        user.refresh_from_db()
        assert user.roles == ["member", "reviewer"]
        arrive(groups=["staff"])
        user.refresh_from_db()
        assert user.roles == ["member"]
        event = Event.objects.filter(act="user.roles_set", subject_id=user.pk).latest("at")
        assert event.data == {
            "before": ["member", "reviewer"],
            "after": ["member"],
            "provider": "corp",
            "because": "groups",
        }
        arrive()
        user.refresh_from_db()
        assert user.roles == [], "who is in no group has no role"

    def test_a_role_given_by_hand_is_not_the_providers_to_take(self, admin):
        services.map_group(actor=admin, group="staff", role="member")
        user = arrive(groups=["staff"])
        services.set_roles(actor=admin, user=user, roles=["security"])
        user.refresh_from_db()
        assert user.roles == ["member", "security"], "and an administrator does not take what the group gives"
        arrive(groups=[])
        user.refresh_from_db()
        assert user.roles == ["security"]

    def test_one_source_does_not_take_what_another_gives(self, admin):
        services.map_group(actor=admin, group="staff", role="member")
        user = arrive(groups=["staff"])
        services.grant_group_roles(user=user, provider="scim", groups=["staff"])
        arrive(groups=[])
        user.refresh_from_db()
        assert user.roles == ["member"]
        services.grant_group_roles(user=user, provider="scim", groups=[])
        user.refresh_from_db()
        assert user.roles == []

    def test_a_mapping_is_of_its_provider_only(self, admin):
        services.map_group(actor=admin, group="staff", role="administrator", provider="corp")
        user = arrive(PARTNER, groups=["staff"])
        user.refresh_from_db()
        assert user.roles == []

    def test_a_changed_mapping_takes_effect_at_once(self, admin):
        user = arrive(groups=["staff"])
        mapping = services.map_group(actor=admin, group="staff", role="auditor")
        user.refresh_from_db()
        assert user.roles == ["auditor"]
        services.unmap_group(actor=admin, mapping=mapping)
        user.refresh_from_db()
        assert user.roles == []
        assert Event.objects.filter(act__in=["group_role.created", "group_role.deleted"]).count() == 2

    def test_nobody_takes_the_last_way_from_themselves(self, admin):
        services.map_group(actor=admin, group="admins", role="administrator")
        chief = arrive(groups=["admins"])
        chief.refresh_from_db()
        with pytest.raises(Conflict, match="yourself"):
            services.unmap_group(actor=acting(chief), mapping=GroupRole.objects.get())
        chief.refresh_from_db()
        assert chief.roles == ["administrator"] and GroupRole.objects.exists()

    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"group": " ", "role": "member"}, "group"),
            ({"group": "g", "role": "emperor"}, "role"),
            ({"group": "g", "role": "member", "provider": "nowhere"}, "provider"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, admin, facts, field):
        with pytest.raises(Invalid) as refused:
            services.map_group(actor=admin, **facts)
        assert field in refused.value.fields

    @pytest.mark.parametrize("role", ["member", "security", "auditor", "reviewer"])
    def test_only_administrators_say_what_groups_give(self, role):
        actor = acting(person(role))
        with pytest.raises(NotAllowed):
            services.map_group(actor=actor, group="staff", role="administrator")

    def test_strange_claims_are_left_aside(self, admin):
        user = arrive(groups=["staff", 7, None, {"a": 1}, "", "x" * 300])
        assert GroupGrant.objects.get(user=user).groups == ["staff"]
        arrive(groups="staff")
        assert GroupGrant.objects.get(user=user).groups == ["staff"]

    def test_the_page_and_its_form(self, web, admin, django_assert_max_num_queries):
        client = web(admin.user)
        arrive(groups=["chess"])
        answer = client.post("/people/groups", {"provider": "corp", "group": "staff", "role": "member"})
        assert answer["Location"] == "/people/groups"
        client.get("/people/groups")
        with django_assert_max_num_queries(12):
            text = client.get("/people/groups").content.decode()
        assert "staff" in text and "chess" in text and "1 person" in text
        assert client.post("/people/groups", {"group": "staff", "role": ""}).status_code == 422
        mapping = GroupRole.objects.get()
        assert web(person("auditor")).post(f"/people/groups/{mapping.pk}/remove").status_code == 403
        assert "Remove" not in web(person("auditor")).get("/people/groups").content.decode()
        assert web(person()).get("/people/groups").status_code == 403
        assert client.post(f"/people/groups/{mapping.pk}/remove")["Location"] == "/people/groups"
        assert not GroupRole.objects.exists()

    def test_the_same_over_rest(self, api, admin):
        client = api(admin.user)
        made = client.post("/api/v1/group-roles", {"group": "staff", "role": "member"})
        assert made.status_code == 201 and made.json()["provider"] == ""
        assert client.post("/api/v1/group-roles", {"group": "staff", "role": "member"}).status_code == 409
        path = f"/api/v1/group-roles/{made.json()['id']}"
        assert client.get(path).json()["group"] == "staff"
        assert api(person("security")).delete(path).status_code == 403
        assert api(person()).get("/api/v1/group-roles").status_code == 403
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == 404

    def test_whoever_has_no_role_is_told_whom_to_ask(self, web, admin):
        user = arrive(groups=["chess"])
        text = web(user).get("/account").content.decode()
        assert "Ada Admin" in text and "none of these groups gives a role here" in text


# --- The flow, without a provider ------------------------------------------------------------------------


@pytest.fixture
def flow(settings, published, db):
    settings.OIDC_PROVIDERS = {"corp": CORP, "partner": PARTNER}
    settings.LOGIN_REDIRECT_URL = "/help"


def begin(client, provider="corp", **query):
    answer = client.get(f"/oidc/{provider}/begin?{urlencode(query)}")
    assert answer.status_code == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(answer["Location"]).query).items()}


@pytest.mark.usefixtures("flow")
class TestFlow:
    def test_the_sign_in_page_has_a_button_for_each(self, web, settings):
        text = web().get("/sign-in?next=/audit").content.decode()
        assert "Sign in with Corp" in text and "/oidc/partner/begin?next=%2Faudit" in text
        settings.PASSWORD_SIGN_IN = False
        text = web().get("/sign-in").content.decode()
        assert "Sign in with Corp" in text and "switched off" not in text and "id_password" not in text

    def test_what_is_sent_along(self, web):
        sent = begin(web())
        assert sent["response_type"] == "code" and sent["code_challenge_method"] == "S256"
        assert len(sent["state"]) >= 32 and len(sent["nonce"]) >= 32 and len(sent["code_challenge"]) == 43
        assert sent["redirect_uri"] == "http://testserver/oidc/corp/callback"
        assert sent["scope"] == "openid email profile" and sent["max_age"] == "43200" and "prompt" not in sent
        assert "client_secret" not in sent

    def test_two_attempts_share_nothing(self, web):
        client = web()
        first, second = begin(client), begin(client)
        assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))

    @pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"])
    def test_one_is_never_led_elsewhere(self, web, wanted):
        client = web()
        begin(client, next=wanted)
        assert next(iter(client.session["oidc_states"].values()))["next"] == "/help"

    def test_an_unknown_provider_is_not_there(self, web):
        assert web().get("/oidc/nobody/begin").status_code == 404
        assert web().get("/oidc/nobody/callback?code=x&state=y").status_code == 404
        assert web().post("/oidc/nobody/logout").status_code == 404

    def refused(self, client, provider="corp", **query):
        answer = client.get(f"/oidc/{provider}/callback?{urlencode(query)}", follow=True)
        assert answer.redirect_chain[0][0].startswith("/sign-in")
        assert client.get("/account").status_code == 302, "nobody is signed in"
        return answer.content.decode()

    def test_an_answer_nobody_asked_for(self, web):
        """Sign-in CSRF: an answer of the attacker's own attempt, in the victim's browser."""
        attempt = begin(web())
        text = self.refused(web(), code="stolen", state=attempt["state"], iss=CORP.issuer)
        assert "belongs to no attempt of this browser" in text

    def test_a_wrong_or_missing_state(self, web):
        client = web()
        begin(client)
        for state in ("wrong", ""):
            assert "no attempt" in self.refused(client, code="c", state=state, iss=CORP.issuer)

    def test_the_state_of_another_provider(self, web):
        """Mix-up: the answer of one provider at the address of the other."""
        client = web()
        attempt = begin(client)
        assert "no attempt" in self.refused(client, "partner", code="c", state=attempt["state"])

    def test_an_answer_of_another_issuer(self, web):
        client = web()
        attempt = begin(client)
        text = self.refused(client, code="c", state=attempt["state"], iss="https://evil.example")
        assert "does not come from the provider" in text
        assert "no attempt" in self.refused(client, code="c", state=attempt["state"]), "it is used up"

    def test_an_attempt_ends_with_time(self, web):
        client = web()
        attempt = begin(client)
        session = client.session
        session["oidc_states"][attempt["state"]]["added_on"] -= 1000
        session.save()
        assert "took too long" in self.refused(client, code="c", state=attempt["state"])

    def test_an_error_is_a_sentence_of_ours(self, web):
        client = web()
        attempt = begin(client)
        text = self.refused(
            client, error="access_denied", error_description="<script>evil()</script>", state=attempt["state"]
        )
        assert "you cancelled" in text and "evil()" not in text

    def test_asked_quietly_a_provider_that_knows_them_no_more_rests_their_tokens(self, web):
        user = arrive()
        client = web(user)
        session = client.session
        session["provider"], session["checked_at"] = "corp", time.time()
        session.save()
        attempt = begin(client, purpose="refresh")
        client.get("/oidc/corp/callback", {"error": "login_required", "state": attempt["state"]})
        user.refresh_from_db()
        assert user.unvouched_at is not None
        arrive()
        user.refresh_from_db()
        assert user.unvouched_at is None

    def test_an_error_nobody_asked_for_signs_nobody_out(self, web):
        client = web(person())
        client.get("/oidc/corp/callback?error=login_required&state=x")
        assert client.get("/account").status_code == 200

    def test_a_password_form_does_not_start_the_exchange(self, web):
        """The backend of providers answers only to the callback view."""
        answer = web().post("/sign-in?code=c&state=s", {"email": "a@example.test", "password": "x"})
        assert answer.status_code == 422

    def test_back_channel_logout_ends_the_session_it_names(self, web):
        user = arrive()
        here, there = web(user), web(user)
        rows = list(BrowserSession.objects.order_by("started_at"))
        for row, sid in zip(rows, ("one", "two"), strict=True):
            row.provider, row.sid, row.identity = "corp", sid, ExternalIdentity.objects.get()
            row.save()
        fine = {"events": {LOGOUT: {}}, "nonce": None}
        outside = web(enforce_csrf_checks=True)
        assert outside.post("/oidc/corp/logout", {"logout_token": signed()}).status_code == 400
        assert outside.post("/oidc/corp/logout", {"logout_token": signed(**fine, sid="two")}).status_code == 200
        assert here.get("/account").status_code == 200 and there.get("/account").status_code == 302
        assert outside.post("/oidc/corp/logout", {"logout_token": signed(**fine)}).status_code == 200
        assert here.get("/account").status_code == 302
        assert Event.objects.filter(act="user.sessions_ended", subject_id=user.pk).count() == 2


# --- Real providers in a real browser ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(live_server) -> Iterator[tuple[RunningProvider, RunningProvider]]:
    """`corp`: RS256, secret in the body, refresh tokens that rotate. `partner`: ES256, basic, no refresh tokens."""
    of_corp = {"alg": "RS256", "refresh": True, "method": "client_secret_post", "token_auth": "post"}
    of_partner = {"alg": "ES256", "refresh": False, "method": "client_secret_basic", "label": "Partner Ltd"}
    with (
        openid_provider("corp", live_server.url, **of_corp) as corp,
        openid_provider("partner", live_server.url, **of_partner) as partner,
    ):
        yield corp, partner


@pytest.fixture
def providers(both, settings) -> tuple[RunningProvider, RunningProvider]:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    settings.OIDC_PROVIDERS = {each.name: each.provider for each in both}
    settings.LOGIN_REDIRECT_URL = "/account"
    return both


def let_time_pass(user, seconds=301):
    """As if the provider was asked that much longer ago."""
    row = BrowserSession.objects.get(user=user)
    row.checked_at -= timedelta(seconds=seconds)
    row.save()
    session = SessionStore(row.session_key)
    session["checked_at"] -= seconds
    session.save()


def sign_in_at(page, account):
    page.locator("input[name=login]").fill(account)
    page.locator("input[name=password]").fill("anything")
    page.locator("button[type=submit]").click()


def agree(page):
    page.get_by_role("button", name="Continue").click()


@pytest.mark.browser
class TestRealProviders:
    def test_from_sign_in_to_sign_out(self, providers, new_page, live_server):
        corp, _partner = providers
        admin = acting(person("administrator"))
        services.map_group(actor=admin, group="staff", role="member", provider="corp")
        services.map_group(actor=admin, group="reviewers", role="reviewer", provider="corp")
        corp.say("ines", groups=["staff"], name="Ines Moreau")
        page = new_page()

        # Sign-in: just in time, with the role of the group, back to the page one wanted.
        page.goto("/people")
        page.get_by_role("link", name="Sign in with Corp").click()
        sign_in_at(page, "ines")
        agree(page)
        page.wait_for_url(f"{live_server.url}/people")
        user = User.objects.get(email="ines@corp.example")
        assert user.name == "Ines Moreau" and user.roles == ["member"]
        row = BrowserSession.objects.get(user=user)
        first = unseal(row.refresh_token)
        assert first and first not in row.refresh_token and unseal(row.id_token).count(".") == 2

        # Refresh: nothing is asked before it is due, then the changed groups take effect.
        corp.say("ines", groups=["staff", "reviewers"], name="Ines Martin")
        page.goto("/account")
        user.refresh_from_db()
        assert user.roles == ["member"]
        let_time_pass(user)
        page.goto("/account")
        user.refresh_from_db()
        assert user.roles == ["member", "reviewer"] and user.name == "Ines Martin"
        row.refresh_from_db()
        assert unseal(row.refresh_token) not in ("", first), "the rotated token is kept"
        assert page.get_by_role("heading", name="Ines Martin").is_visible()

        # Out of every group: signed in, but without a role.
        corp.say("ines", groups=[])
        let_time_pass(user)
        page.goto("/people")
        assert page.get_by_text("You need a role").first.is_visible()

        # Sign-out: here and at the provider, which asks for a password again afterwards.
        page.goto("/account")
        page.evaluate("document.querySelector(\"form[action='/sign-out']\").submit()")
        page.wait_for_url(f"{corp.issuer}/session/end*")
        page.locator("button[name=logout][value=yes], button[autofocus]").first.click()
        page.wait_for_url(f"{live_server.url}/sign-in*")
        assert not BrowserSession.objects.filter(user=user).exists()
        page.get_by_role("link", name="Sign in with Corp").click()
        page.locator("input[name=login]").wait_for()
        acts = list(Event.objects.filter(subject_id=user.pk).order_by("at").values_list("act", flat=True))
        assert acts[:2] == ["user.created", "user.identity_linked"] and acts[-1] == "user.signed_out"
        assert acts.count("user.roles_set") == 3

    def test_a_disabled_account_loses_access_at_the_next_refresh(self, providers, new_page, live_server):
        corp, _partner = providers
        corp.say("mallory", groups=["staff"])
        page = new_page()
        page.goto("/sign-in")
        page.get_by_role("link", name="Sign in with Corp").click()
        sign_in_at(page, "mallory")
        agree(page)
        page.wait_for_url(f"{live_server.url}/account")
        corp.say("mallory", disabled=True)
        let_time_pass(User.objects.get(email="mallory@corp.example"))
        page.goto("/account")
        page.wait_for_url(f"{live_server.url}/sign-in*")
        assert page.get_by_text("Corp ended your session").is_visible()
        user = User.objects.get(email="mallory@corp.example")
        assert Event.objects.filter(act="user.session_ended", subject_id=user.pk).exists()
        assert not BrowserSession.objects.filter(user=user).exists()

    def test_the_other_provider_signs_with_es256_and_is_asked_through_the_browser(
        self, providers, new_page, live_server
    ):
        _corp, partner = providers
        services.map_group(actor=acting(person("administrator")), group="guests", role="member", provider="partner")
        page = new_page()
        page.goto("/sign-in")
        page.get_by_role("link", name="Sign in with Partner Ltd").click()
        sign_in_at(page, "gia")
        agree(page)
        page.wait_for_url(f"{live_server.url}/account")
        user = User.objects.get(email="gia@corp.example")
        assert user.roles == [] and not BrowserSession.objects.get(user=user).refresh_token
        partner.say("gia", groups=["guests"])
        let_time_pass(user)
        page.goto("/help")
        page.wait_for_url(f"{live_server.url}/help")
        user.refresh_from_db()
        assert user.roles == ["member"], "the round trip brought the new groups"

        # Proving again who one is: the provider asks for the password although it knows the browser.
        before = BrowserSession.objects.get(user=user).session_key
        page.goto("/oidc/partner/begin?purpose=confirm&next=/help")
        sign_in_at(page, "gia")
        page.wait_for_url(f"{live_server.url}/help")
        assert BrowserSession.objects.get(user=user).session_key != before
        assert Event.objects.filter(act="user.confirmed", subject_id=user.pk).exists()

        # As somebody else it proves nothing, and adds nobody.
        page.goto("/oidc/partner/begin?purpose=confirm&next=/help")
        sign_in_at(page, "somebody-else")
        agree(page)
        page.wait_for_url(f"{live_server.url}/help")
        assert page.get_by_text("as somebody else").is_visible()
        assert not User.objects.filter(email="somebody-else@corp.example").exists()

    def test_an_unreachable_provider_is_given_a_while_and_then_nobody_stays(self, providers, web, settings):
        corp, _partner = providers
        user = arrive(corp.provider)
        client = web(user)
        row = BrowserSession.objects.get(user=user)
        services.bind_session(
            session_id=row.pk,
            identity=ExternalIdentity.objects.get(),
            tokens=Tokens(refresh_token="x"),
            sid="",
        )
        session = client.session
        session["provider"], session["checked_at"] = "corp", time.time()
        session.save()
        settings.OUTBOUND_ALLOW = []  # as a firewall would
        metadata.forget()
        let_time_pass(user)
        assert client.get("/account").status_code == 200
        let_time_pass(user, settings.OIDC_GRACE_SECONDS)
        answer = client.get("/account", follow=True)
        assert "could not be asked for too long" in answer.content.decode()
        assert reverse("accounts:sign_in") in answer.redirect_chain[0][0]
