"""Workload identity: every way a JWT can lie, keys that come and go, and what a service principal may do.

The issuer is a real one on HTTP: its description, its keys, and its signatures.
"""

import hmac
import json
import warnings
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from registry.accounts import services
from registry.accounts.hygiene import findings
from registry.accounts.issuer_keys import ASK_AGAIN, GOOD_FOR, REFRESH_AFTER
from registry.accounts.models import ServicePrincipal, WorkloadIssuer
from registry.accounts.subjects import fitting, trust_domain_of, wrong_with_subject
from registry.audit.models import Event
from registry.catalog.models import System
from registry.core import clock
from registry.core.errors import Conflict, Invalid, NotAllowed
from tests import listeners
from tests.factories import acting, person, service_principal, team, workload_issuer

pytestmark = pytest.mark.django_db
AUDIENCE = "https://steward.example.test"
SUBJECT = "system:serviceaccount:reports:nightly"
PATH = "/api/v1/users"


class Platform:
    """A cluster that signs. `keys` is what it publishes."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.elliptic = ECKey.generate_key("P-256", {"kid": "two"})
        self.edwards = OKPKey.generate_key("Ed25519", {"kid": "three"})
        self.restart()

    def restart(self) -> None:
        self.keys = [key.as_dict(private=False) for key in (self.key, self.elliptic, self.edwards)]
        self.down = False
        self.listener = None

    @property
    def issuer(self) -> str:
        return self.listener.url("").rstrip("/")

    def answer(self, asked):
        if self.down:
            return listeners.Told(503)
        if asked.path == "/.well-known/openid-configuration":
            return listeners.Told(body={"issuer": self.issuer, "jwks_uri": self.listener.url("/keys")})
        return listeners.Told(body={"keys": self.keys}) if asked.path == "/keys" else listeners.Told(404)

    @property
    def asked(self) -> int:
        return sum(each.path == "/keys" for each in self.listener.asked)

    def claims(self, **changes):
        now = int(clock.now().timestamp())
        said = {"iss": self.issuer, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 600} | changes
        return {name: value for name, value in said.items() if value is not None}

    def token(self, key=None, alg="RS256", header=None, **changes):
        key = key or self.key
        head = {"alg": alg, "kid": key.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        from joserfc.jws import JWSRegistry

        registry = JWSRegistry(algorithms=["RS256", "ES256", "EdDSA", "HS256", "RS512"], strict_check_header=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jwt.encode(head, self.claims(**changes), key, registry=registry)


@pytest.fixture(scope="module")
def made():
    return Platform()


@pytest.fixture
def platform(made, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    made.restart()
    with listeners.http(made.answer) as listener:
        made.listener = listener
        yield made


@pytest.fixture
def issuer(platform):
    return workload_issuer(issuer=platform.issuer, audience=AUDIENCE)


@pytest.fixture
def principal(issuer):
    return service_principal(issuer=issuer, subject=SUBJECT, scopes=["read", "catalog:write"])


def call(web, token, path=PATH, **extra):
    return web().get(path, HTTP_AUTHORIZATION=f"Bearer {token}", **extra)


def b64(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


@contextmanager
def later(delta):
    with clock.at(clock.now() + delta):
        yield


class TestGettingIn:
    @pytest.mark.parametrize(("key", "alg"), [("key", "RS256"), ("elliptic", "ES256"), ("edwards", "EdDSA")])
    def test_with_each_algorithm(self, web, platform, principal, key, alg):
        assert call(web, platform.token(getattr(platform, key), alg)).status_code == 200

    def test_not_while_its_owners_provider_does_not_let_them_in(self, web, platform, principal):
        services.note_refusal(user=principal.owner, provider="corp")
        refused = call(web, platform.token())
        assert refused.status_code == 401 and "This workload rests" in refused.json()["detail"]
        assert Event.objects.get(act="user.credentials_rested").data["principals"] == [str(principal.pk)]

    def test_acts_are_recorded_as_the_principal_with_issuer_and_sub(self, web, platform, principal):
        body = {"name": "Ledger", "kind": "database", "data_class": "internal", "owner": str(principal.owner.pk)}
        answer = web().post(
            "/api/v1/systems", body, "application/json", HTTP_AUTHORIZATION=f"Bearer {platform.token()}"
        )
        assert answer.status_code == 201, answer.content
        event = Event.objects.get(subject_id=System.objects.get(name="Ledger").pk)
        assert event.actor_kind == "workload" and event.token_id == principal.pk
        assert event.actor_id == principal.owner.pk and event.actor_label.startswith(f"{principal.name} for ")
        said = {"principal": str(principal.pk), "issuer": platform.issuer, "sub": SUBJECT}
        assert event.data["workload"] == said
        principal.refresh_from_db()
        assert principal.last_used_at and principal.last_address == "127.0.0.1"

    def test_a_call_costs_one_statement_more_than_with_a_token(
        self, web, platform, principal, django_assert_num_queries
    ):
        from tests.factories import token_for

        secret, proof = token_for(principal.owner), platform.token()
        for token in (secret, proof):
            call(web, token)
        with django_assert_num_queries(3):
            call(web, secret)
        with django_assert_num_queries(4):
            call(web, proof)

    def test_a_list_with_one_audience_is_that_audience(self, web, platform, principal):
        assert call(web, platform.token(aud=[AUDIENCE])).status_code == 200

    def test_within_the_skew_of_a_minute(self, web, platform, principal):
        now = int(clock.now().timestamp())
        assert call(web, platform.token(iat=now - 640, exp=now - 40)).status_code == 200
        assert call(web, platform.token(iat=now + 40, nbf=now + 40, exp=now + 400)).status_code == 200


class TestLies:
    """Each of these is signed, or claims to be, by somebody who would like to be the workload."""

    def refused(self, web, token, words=""):
        answer = call(web, token)
        assert answer.status_code == 401, token[:60]
        assert words in answer.json()["detail"], answer.json()["detail"]
        return answer

    def test_no_algorithm(self, web, platform, principal):
        for alg in ("none", "None", "NONE", ""):
            token = f"{b64({'alg': alg, 'kid': 'one'})}.{b64(platform.claims())}."
            self.refused(web, token)

    def test_hs256_with_the_public_key_as_secret(self, web, platform, principal):
        for secret in (platform.key.as_pem(private=False), json.dumps(platform.keys[0]).encode()):
            signed = f"{b64({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{b64(platform.claims())}"
            forged = f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"
            self.refused(web, forged, "signed with")

    def test_an_algorithm_the_key_is_not_for(self, web, platform, principal):
        head = {"alg": "ES256", "kid": "one"}
        _, payload, signature = platform.token().split(".")
        self.refused(web, f"{b64(head)}.{payload}.{signature}", "not one for ES256")
        self.refused(web, platform.token(alg="RS512"), "signed with")

    def test_an_algorithm_the_issuer_is_not_registered_with(self, web, platform, issuer, principal):
        services.edit_issuer(actor=acting(person("security")), issuer=issuer, algorithms=["ES256"])
        self.refused(web, platform.token())

    def test_a_key_of_another_issuer(self, web, platform, principal):
        other = RSAKey.generate_key(2048, {"kid": "elsewhere"})
        workload_issuer(issuer="https://other.example.test", audience=AUDIENCE)
        WorkloadIssuer.objects.filter(issuer="https://other.example.test").update(
            keys=[other.as_dict(private=False)], keys_at=clock.now()
        )
        self.refused(web, platform.token(other), "kid")
        self.refused(web, platform.token(RSAKey.generate_key(2048, {"kid": "one"})), "signature")
        # Its own key and name, but our workload's: that issuer has no such principal.
        self.refused(web, platform.token(other, iss="https://other.example.test"), "No active service principal")

    def test_a_changed_payload(self, web, platform, principal):
        head, _payload, signature = platform.token(sub="system:serviceaccount:x:y").split(".")
        self.refused(web, f"{head}.{b64(platform.claims())}.{signature}", "signature")

    @pytest.mark.parametrize(
        "aud", [None, "", "https://other.example.test", [AUDIENCE, "https://other.example.test"], [], f"{AUDIENCE}/", 7]
    )
    def test_other_audiences(self, web, platform, principal, aud):
        self.refused(web, platform.token(aud=aud))

    def test_times(self, web, platform, principal):
        now = int(clock.now().timestamp())
        for changes, words in (
            ({"iat": now - 3000, "exp": now - 61}, "expired"),
            ({"exp": now + 24 * 3600}, "longer than an hour"),
            ({"iat": now - 10, "exp": now + 3600}, "longer than an hour"),
            ({"nbf": now + 120}, "not valid yet"),
            ({"iat": now + 120, "exp": now + 600}, "not valid yet"),
            ({"exp": None}, "exp"),
            ({"iat": None}, "iat"),
            ({"exp": str(now + 60)}, "exp"),
            ({"iat": True}, "iat"),
            ({"exp": 1e300}, "exp"),
        ):
            self.refused(web, platform.token(**changes), words)

    @pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "crit"])
    def test_headers_that_bring_their_own_key(self, web, platform, principal, name):
        evil = RSAKey.generate_key(2048, {"kid": "one"})
        value = {"jwk": evil.as_dict(private=False), "x5c": ["MIIB"], "crit": ["exp"]}.get(
            name, platform.listener.url("/evil")
        )
        head = {"alg": "RS256", "kid": "one", name: value}
        _, payload, signature = platform.token(evil).split(".")
        self.refused(web, f"{b64(head)}.{payload}.{signature}", "not followed")
        assert all(asked.path != "/evil" for asked in platform.listener.asked)

    def test_no_kid(self, web, platform, principal):
        self.refused(web, platform.token(header={"kid": None}), "kid")
        self.refused(web, f"{b64({'alg': 'RS256', 'kid': 7})}.{b64(platform.claims())}.AAAA", "")

    @pytest.mark.parametrize("typ", ["dpop+jwt", "logout+jwt", "secevent+jwt", "JWE", 7])
    def test_other_types_of_token(self, web, platform, principal, typ):
        self.refused(web, platform.token(header={"typ": typ}) if isinstance(typ, str) else "eyJ.e30.AA", "")

    def test_a_persons_id_token(self, web, platform, principal):
        self.refused(web, platform.token(nonce="n"), "ID token")
        self.refused(web, platform.token(at_hash="h"), "ID token")

    def test_what_is_no_jwt(self, web, platform, principal):
        for token in (
            "ey..", "eyJhbGciOiJSUzI1NiJ9.e30.", f"{b64([])}.{b64({})}.AA", f"{b64({'alg': 'RS256'})}.{b64([1])}.AA",
            "ey" + "A" * 9000 + ".e30.AA", f"{b64(b'[' * 3000)}.{b64({})}.AA", f"eyé.{b64({})}.AA",
        ):  # fmt: skip
            answer = call(web, token.encode("utf-8").decode("latin-1"))
            assert answer.status_code in (400, 401)

    def test_an_issuer_nobody_registered_is_not_asked(self, web, platform):
        self.refused(web, platform.token(), "No registered issuer")
        assert not platform.listener.asked

    def test_a_proven_workload_nobody_registered(self, web, platform, issuer):
        self.refused(web, platform.token(), "No active service principal")


class TestSpiffe:
    ID = "spiffe://prod.example.org/ns/reports/sa/nightly"

    @pytest.fixture
    def vouching(self, platform):
        issuer = workload_issuer(issuer=platform.issuer, audience=AUDIENCE, trust_domain="prod.example.org")
        return service_principal(issuer=issuer, subject=self.ID)

    def test_its_id_gets_in(self, web, platform, vouching):
        assert call(web, platform.token(sub=self.ID)).status_code == 200

    @pytest.mark.parametrize(
        "sub",
        [
            "spiffe://other.example.org/ns/reports/sa/nightly", "spiffe://prod.example.org/ns/reports/sa/nightly/",
            "SPIFFE://prod.example.org/ns/reports/sa/nightly", "spiffe://prod.example.org/ns/reports/../reports/sa/x",
            "spiffe://prod.example.org.evil.test/ns/reports/sa/nightly", "system:serviceaccount:reports:nightly",
            "spiffe://prod.example.org", "spiffe://prod.example.org/ns/reports/sa/nightly?x=1",
        ],
    )  # fmt: skip
    def test_nothing_else_does(self, web, platform, vouching, sub):
        assert call(web, platform.token(sub=sub)).status_code == 401

    def test_an_issuer_without_domain_vouches_for_no_id(self, web, platform, issuer):
        with pytest.raises(Invalid):
            service_principal(issuer=issuer, subject=self.ID)
        answer = call(web, platform.token(sub=self.ID))
        assert answer.status_code == 401 and "does not vouch" in answer.json()["detail"]

    def test_ids_are_written_out(self):
        assert trust_domain_of(self.ID) == "prod.example.org" and not trust_domain_of("spiffe://a/b//c")
        assert wrong_with_subject("spiffe://prod.example.org/ns/*", "prod.example.org")


class TestSubjects:
    def test_a_prefix_ends_at_a_delimiter(self):
        assert not wrong_with_subject("repo:acme/reports:*", "")
        for wrong in ("repo:acme/rep*", "*", "a:*", "repo:*:ref", "repo:acme/*:*", "", "x" * 501):
            assert wrong_with_subject(wrong, ""), wrong

    def test_the_closest_fits_first_and_an_asterisk_is_not_a_wildcard(self):
        ways = fitting("repo:acme/reports:ref:main")
        assert ways[0] == "repo:acme/reports:ref:main" and "repo:acme/reports:*" in ways
        assert ways.index("repo:acme/reports:*") < ways.index("repo:acme/*")
        assert "repo:acme/reports:*" not in fitting("repo:acme/reports-evil:ref:main")
        assert "repo:acme/*" in fitting("repo:acme/*") and fitting("repo:acme/*")[0] == "repo:acme/*"

    def test_claims_must_be_equal_in_type_too(self, web, platform, issuer):
        service_principal(
            issuer=issuer, subject="repo:acme/reports:*", claims={"environment": "production", "protected": True}
        )
        sub = "repo:acme/reports:environment:production"
        good = {"environment": "production", "protected": True}
        assert call(web, platform.token(sub=sub, **good)).status_code == 200
        for changes in ({"environment": "test"}, {"environment": None}, {"protected": 1}, {"protected": "true"}):
            assert call(web, platform.token(sub=sub, **(good | changes))).status_code == 401

    def test_the_exact_one_is_not_replaced_by_a_wider_one(self, web, platform, issuer):
        exact = service_principal(issuer=issuer, subject="repo:acme/reports:main", claims={"ref": "main"})
        service_principal(issuer=issuer, subject="repo:acme/reports:*")
        assert call(web, platform.token(sub="repo:acme/reports:main")).status_code == 401
        assert call(web, platform.token(sub="repo:acme/reports:main", ref="main")).status_code == 200
        exact.refresh_from_db()
        assert exact.last_used_at


class TestKeys:
    def test_they_are_asked_once_and_kept(self, web, platform, principal):
        for _ in range(3):
            assert call(web, platform.token()).status_code == 200
        assert platform.asked == 1

    def test_an_unknown_kid_is_looked_for_once_a_minute(self, web, platform, principal):
        call(web, platform.token())
        new = RSAKey.generate_key(2048, {"kid": "new"})
        for _ in range(3):
            assert call(web, platform.token(new)).status_code == 401
        assert platform.asked == 1
        with later(ASK_AGAIN + timedelta(seconds=1)):
            platform.keys.append(new.as_dict(private=False))
            assert call(web, platform.token(new)).status_code == 200
            for number in range(3):
                key = RSAKey.generate_key(2048, {"kid": f"guess{number}"})
                assert call(web, platform.token(key)).status_code == 401
        assert platform.asked == 2

    def test_a_key_that_was_taken_back_is_good_no_longer(self, web, platform, principal):
        assert call(web, platform.token()).status_code == 200
        platform.keys = platform.keys[1:]
        with later(REFRESH_AFTER + timedelta(seconds=1)):
            assert call(web, platform.token()).status_code == 401

    def test_while_the_issuer_is_down_known_keys_serve_an_hour_and_then_nothing_does(self, web, platform, principal):
        assert call(web, platform.token()).status_code == 200
        platform.down = True
        with later(GOOD_FOR - timedelta(minutes=1)):
            assert call(web, platform.token()).status_code == 200
        with later(GOOD_FOR + timedelta(minutes=1)):
            answer = call(web, platform.token())
            assert answer.status_code == 401 and "cannot be had" in answer.json()["detail"]

    def test_a_description_of_somebody_else_is_not_followed(self, web, platform, principal):
        WorkloadIssuer.objects.filter(pk=principal.issuer.pk).update(issuer=f"{platform.issuer}/realm")
        assert call(web, platform.token(iss=f"{platform.issuer}/realm")).status_code == 401
        assert platform.asked == 0

    def test_private_weak_and_symmetric_keys_are_not_taken(self, web, platform, principal):
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
        secret = OctKey.generate_key(256, {"kid": "secret"})
        platform.keys = [platform.key.as_dict(private=True), weak.as_dict(private=False), secret.as_dict()]
        assert call(web, platform.token()).status_code == 200
        issuer = WorkloadIssuer.objects.get()
        assert [key["kid"] for key in issuer.keys] == ["one", "weak"] and "d" not in issuer.keys[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert call(web, platform.token(weak)).status_code == 401

    def test_its_address_is_judged_like_any_other(self, web, platform, principal, settings):
        settings.OUTBOUND_ALLOW = []
        assert call(web, platform.token()).status_code == 401
        assert not platform.listener.asked and WorkloadIssuer.objects.get().keys_error

    def test_they_are_kept_warm_in_the_background(self, platform, principal):
        assert services.refresh_due_keys() == 1 and services.refresh_due_keys() == 0

    def test_asked_for_by_hand(self, web, platform, issuer):
        page = web(person("security")).post(f"/machines/issuers/{issuer.pk}/refresh", follow=True)
        assert "It has 3 keys" in page.content.decode()
        platform.down = True
        page = web(person("security")).post(f"/machines/issuers/{issuer.pk}/refresh", follow=True)
        assert "answers 503" in page.content.decode() or "describe itself" in page.content.decode()
        assert web(person()).post(f"/machines/issuers/{issuer.pk}/refresh").status_code == 403


class TestStanding:
    def test_scopes_and_the_owners_roles_both_bound_it(self, web, platform, principal):
        assert call(web, platform.token(), "/api/v1/servers").status_code == 200
        write = {"HTTP_AUTHORIZATION": f"Bearer {platform.token()}"}
        body = {"name": "I", "kind": "oidc", "uri": "https://i.example.test"}
        refused = web().post("/api/v1/issuers", body, "application/json", **write)
        assert refused.status_code == 403  # its owner is a mere member
        refused = web().post("/api/v1/tokens", {"name": "x"}, "application/json", **write)
        assert refused.status_code == 403 and "This workload lacks" in refused.json()["detail"]
        principal.owner.roles = []
        principal.owner.save()
        assert call(web, platform.token(), "/api/v1/servers").status_code == 403

    def test_it_makes_no_credentials_of_its_own(self, web, platform, issuer):
        owner = person("administrator")
        service_principal(issuer=issuer, owner=owner, subject=SUBJECT, scopes=["read", "write"])
        write = {"HTTP_AUTHORIZATION": f"Bearer {platform.token()}"}
        body = {"name": "x", "scopes": ["trust:read"], "days": 300}
        assert web().post("/api/v1/tokens", body, "application/json", **write).status_code == 403
        body = {"name": "y", "purpose": "p", "issuer": str(issuer.pk), "subject": "other", "scopes": ["read"]}
        assert web().post("/api/v1/service-principals", body, "application/json", **write).status_code == 403

    def test_suspended_retired_or_with_a_retired_issuer_it_stays_out(self, web, platform, principal):
        owner, guard = acting(principal.owner), acting(person("security"))
        services.suspend_principal(actor=owner, principal=principal, reason="Moved.")
        assert call(web, platform.token()).status_code == 401
        services.resume_principal(actor=owner, principal=principal)
        assert call(web, platform.token()).status_code == 200
        services.suspend_principal(actor=guard, principal=principal, reason="Odd calls.")
        principal.refresh_from_db()
        with pytest.raises(NotAllowed):
            services.resume_principal(actor=owner, principal=principal)
        services.resume_principal(actor=guard, principal=principal)
        services.retire_issuer(actor=guard, issuer=principal.issuer)
        assert call(web, platform.token()).status_code == 401
        services.retire_principal(actor=owner, principal=principal)
        with pytest.raises(Conflict):
            services.resume_principal(actor=guard, principal=principal)
        acts = Event.objects.filter(subject_id=principal.pk).order_by("at", "id").values_list("act", flat=True)
        assert [act.partition(".")[2] for act in acts] == [
            "created", "suspended", "resumed", "suspended", "resumed", "retired",
        ]  # fmt: skip

    def test_it_leaves_with_its_owner(self, web, platform, principal):
        admin = acting(person("administrator"))
        services.set_active(actor=admin, user=principal.owner, active=False)
        assert call(web, platform.token()).status_code == 401
        assert services.suspend_principals_of_leavers() == 1 and services.suspend_principals_of_leavers() == 0
        principal.refresh_from_db()
        with pytest.raises(Conflict):
            services.resume_principal(actor=admin, principal=principal)
        heir = person()
        services.edit_principal(actor=admin, principal=principal, owner=heir)
        principal.refresh_from_db()
        assert principal.state == "proposed" and call(web, platform.token()).status_code == 401
        services.resume_principal(actor=acting(heir), principal=principal)
        assert call(web, platform.token()).status_code == 200

    def test_networks(self, web, platform, principal):
        services.edit_principal(actor=acting(principal.owner), principal=principal, networks=["10.0.0.0/8"])
        assert call(web, platform.token()).status_code == 401
        assert call(web, platform.token(), REMOTE_ADDR="10.3.2.1").status_code == 200


class TestWhoMayMakeThem:
    def test_a_member_makes_one_for_themselves_and_for_nobody_else(self, issuer):
        mine = service_principal(issuer=issuer)
        assert mine.state == "active"
        values = {"name": "x", "purpose": "p", "issuer": issuer, "subject": "some:subject", "scopes": ["read"]}
        for role in ("member", "reviewer", "security"):
            with pytest.raises(NotAllowed):
                services.create_principal(actor=acting(person(role)), owner=person(), **values)
        with pytest.raises(NotAllowed):
            services.edit_principal(actor=acting(mine.owner), principal=mine, owner=person())
        for stranger in (person(), person("security"), person("auditor")):
            with pytest.raises(NotAllowed):
                services.edit_principal(actor=acting(stranger), principal=mine, name="theirs")

    def test_what_an_administrator_makes_for_somebody_waits_for_them(self, web, platform, issuer):
        owner, admin = person("reviewer"), acting(person("administrator"))
        principal = service_principal(issuer=issuer, subject=SUBJECT)
        principal = services.create_principal(
            actor=admin,
            owner=owner,
            name="theirs",
            purpose="p",
            issuer=issuer,
            subject="other:subject",
            scopes=["read"],
        )
        assert principal.state == "proposed"
        assert call(web, platform.token(sub="other:subject")).status_code == 401
        for other in (admin, acting(person("security"))):
            with pytest.raises(NotAllowed):
                services.resume_principal(actor=other, principal=principal)
        services.resume_principal(actor=acting(owner), principal=principal)
        assert call(web, platform.token(sub="other:subject")).status_code == 200
        services.edit_principal(actor=admin, principal=principal, subject="administrators:own")
        principal.refresh_from_db()
        assert principal.state == "proposed" and call(web, platform.token(sub="administrators:own")).status_code == 401

    def test_only_security_and_administrators_choose_issuers(self, platform):
        for role in ("member", "reviewer", "auditor", "campaign_manager"):
            with pytest.raises(NotAllowed):
                services.register_issuer(actor=acting(person(role)), name="x", issuer=platform.issuer)
        values = {"name": "x", "issuer": platform.issuer}
        security = acting(person("security"))
        assert services.register_issuer(actor=security, **values)
        with pytest.raises(Conflict):
            services.register_issuer(actor=security, **values)
        for wrong in ("ftp://x", "https://u:p@x.example", "https://x.example/?a=b", "nothing"):
            with pytest.raises(Invalid):
                services.register_issuer(actor=security, name="x", issuer=wrong)
        with pytest.raises(Invalid):
            services.register_issuer(actor=security, name="y", issuer="https://y.example", algorithms=["HS256"])

    def test_one_subject_has_one_principal_and_secrets_are_refused(self, principal):
        for name, subject in (("other", SUBJECT), (principal.name, "other:subject")):
            with pytest.raises(Conflict):
                service_principal(issuer=principal.issuer, name=name, subject=subject)
        with pytest.raises(Invalid):
            service_principal(issuer=principal.issuer, purpose="password=correct-horse-battery")


class TestDoors:
    def test_rest(self, api, platform):
        client = api(person("security"))
        body = {"name": "Cluster", "issuer": platform.issuer, "audience": AUDIENCE}
        issuer = client.post("/api/v1/workload-issuers", body).json()
        assert client.post(f"/api/v1/workload-issuers/{issuer['id']}/refresh-keys").json()["key_ids"] == [
            "one", "two", "three",
        ]  # fmt: skip
        assert client.patch(f"/api/v1/workload-issuers/{issuer['id']}", {"name": "Eu"}).json()["name"] == "Eu"
        group = team()
        body = {
            "name": "nightly", "purpose": "Export", "issuer": issuer["id"], "subject": SUBJECT,
            "scopes": ["trust:read"], "claims": {"a": "b"}, "networks": ["10.0.0.0/8"], "team": group.slug,
        }  # fmt: skip
        made = client.post("/api/v1/service-principals", body)
        assert made.status_code == 201, made.content
        url = f"/api/v1/service-principals/{made.json()['id']}"
        assert client.patch(url, {"claims": {}}, headers={"If-Match": made["ETag"]}).json()["claims"] == {}
        assert client.patch(url, {"claims": {}}, headers={"If-Match": made["ETag"]}).status_code in (200, 412)
        assert client.post(f"{url}/suspend", {"reason": "x"}).json()["state"] == "suspended"
        assert client.post(f"{url}/resume").json()["state"] == "active"
        assert client.post(f"{url}/retire", {}).json()["state"] == "retired"
        assert client.post(f"/api/v1/workload-issuers/{issuer['id']}/retire", {}).json()["state"] == "retired"
        assert [each["state"] for each in client.get("/api/v1/service-principals?state=retired").json()["results"]] == [
            "retired"
        ]

    def test_pages(self, web, platform):
        admin = person("administrator")
        client = web(admin)
        body = {"name": "Cluster", "issuer": platform.issuer, "audience": AUDIENCE, "algorithms": ["RS256"]}
        assert client.post("/machines/issuers/new", body).status_code == 302
        issuer = WorkloadIssuer.objects.get()
        body = {
            "name": "nightly", "purpose": "Export", "issuer": issuer.pk, "subject": SUBJECT,
            "claims": "environment=production\nprotected:=true", "scopes": ["trust.grants:read"],
        }  # fmt: skip
        assert client.post("/machines/new", body | {"claims": "nonsense"}).status_code == 422
        assert client.post("/machines/new", body).status_code == 302
        principal = ServicePrincipal.objects.get()
        assert principal.claims == {"environment": "production", "protected": True} and principal.owner == admin
        page = client.get(f"/machines/{principal.pk}/edit").content.decode()
        assert "protected:=true" in page and 'value="trust.grants:read"' in page
        change = body | {"claims": "", "owner": admin.pk, "version": principal.etag}
        assert client.post(f"/machines/{principal.pk}/edit", change).status_code == 302
        assert client.post(f"/machines/{principal.pk}/suspend", {"reason": "x"}).status_code == 302
        for path in ("", f"/{principal.pk}", "/issuers", f"/issuers/{issuer.pk}", "/tokens", "/findings", "/new"):
            assert client.get(f"/machines{path}").status_code == 200, path
        principal.refresh_from_db()
        assert principal.state == "suspended" and principal.claims == {}

    def test_lists_cost_the_same_for_many(self, web, issuer, django_assert_max_num_queries):
        client = web(person("security"))
        for number in range(12):
            service_principal(issuer=issuer, subject=f"some:subject:{number}")
        for path in ("/machines", "/machines/issuers", "/machines/tokens", "/machines/findings"):
            client.get(path)
            with django_assert_max_num_queries(17):
                assert client.get(path).status_code == 200


class TestFindings:
    def kinds(self, actor):
        return [(each.kind.name, each.credential.name) for each in findings(actor)]

    def test_each_kind_is_found_and_ended_by_its_act(self, issuer):
        guard, plain, admin = acting(person("security")), person(), person("administrator")
        make = services.create_token
        old, _ = make(actor=acting(plain), user=plain, name="old", scopes=["trust:read"], days=365)
        soon, _ = make(actor=acting(plain), user=plain, name="soon", scopes=["trust:read"], days=5)
        make(actor=acting(admin), user=admin, name="all", scopes=["write"], days=30)
        make(actor=acting(admin), user=admin, name="powerful", scopes=["catalog.servers:write"], days=30)
        make(actor=acting(admin), user=admin, name="reads", scopes=["read"], days=30)
        assert self.kinds(guard) == [
            ("writes_everything", "all"), ("powerful_owner", "powerful"), ("ends_soon", "soon"),
        ]  # fmt: skip
        services.revoke_token(actor=guard, token=soon)
        service_principal(issuer=issuer, name="quiet")
        with later(timedelta(days=181)):
            assert self.kinds(guard) == [("unrotated", "old"), ("unused", "old"), ("unused", "quiet")]
            services.rotate_token(actor=acting(plain), token=old)
            services.note_token_use(token=old, now=clock.now(), address=None)
            assert ("unrotated", "old") not in self.kinds(guard) and ("unused", "old") not in self.kinds(guard)
            plain.is_active = False
            plain.save()
            assert self.kinds(guard)[0] == ("owner_left", "old")
            services.revoke_tokens_of_leavers()
            assert all(name != "old" for _kind, name in self.kinds(guard))

    def test_a_member_sees_those_of_their_own_tokens_and_security_counts_them_at_home(self, web, api):
        user, other = person(), person()
        for each in (user, other):
            services.create_token(actor=acting(each), user=each, name=each.name, scopes=["write"], days=30)
        assert self.kinds(acting(user)) == [("writes_everything", user.name)]
        assert "2 findings about our own machine credentials" in web(person("security")).get("/").content.decode()
        assert "machine credentials" not in web(user).get("/").content.decode()
        assert api(user).get("/api/v1/machine-findings").json()[0]["name"] == user.name
