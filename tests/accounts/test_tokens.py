"""API tokens: scopes per resource, networks, rotation with overlap, warnings, and the end with their owner."""

from datetime import timedelta

import pytest
from django.core import mail

from registry.accounts import services
from registry.accounts.models import ApiToken
from registry.accounts.networks import may_come_from, read_networks
from registry.audit.models import Event
from registry.core import clock, scopes
from registry.core.errors import Conflict, Invalid, NotAllowed
from tests.factories import acting, active_server, person, token_for

pytestmark = pytest.mark.django_db


def bearer(secret):
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def made(user, **facts):
    values = {"name": "CI", "scopes": ["read"], "days": 30}
    return services.create_token(actor=acting(user), user=user, **(values | facts))


class TestScopes:
    def test_every_permission_needs_exactly_one_and_every_act_names_its_resource(self):
        import rules.permissions

        from registry.core.permissions import scope_for

        known = scopes.known()
        for name in rules.permissions.permissions:
            scope = scope_for(name)
            assert scope in known, f"{name} needs {scope}, which no token can have"
            if not name.partition(".")[2].startswith("view"):
                assert "." in scope or scope == "accounts:provision", f"{name} belongs to no resource"

    def test_every_rest_url_belongs_to_a_resource(self):
        from tests.architecture.doors import PATTERNS

        for name, pattern in PATTERNS.items():
            view = getattr(pattern.callback, "cls", None)
            if name.startswith("api:") and getattr(view, "room", ""):
                assert scopes.resource_of(view.room, name.removeprefix("api:")), f"{name} belongs to no resource"

    def test_the_documentation_lists_them_all(self):
        from pathlib import Path

        table = scopes.as_markdown()
        assert table in Path("docs/machines.md").read_text(), f"put what `manage.py scopes` prints there:\n{table}"

    def test_one_resource_opens_no_other(self, web):
        user = person()
        secret = token_for(user, "catalog.servers:read")
        active_server(owner=user)
        assert web().get("/api/v1/servers", **bearer(secret)).status_code == 200
        refused = web().get("/api/v1/systems", **bearer(secret))
        assert refused.status_code == 403 and "catalog.systems:read" in refused.json()["detail"]
        assert web().get("/api/v1/grants", **bearer(secret)).status_code == 403

    def test_writing_one_resource_writes_no_other(self, api):
        client = api(person("administrator"), "catalog:read", "catalog.systems:write")
        assert client.post("/api/v1/agents", {"name": "A", "kind": "ai_agent"}).status_code in (403, 422)
        refused = client.post("/api/v1/issuers", {"name": "I", "kind": "oidc", "uri": "https://i.example.test"})
        assert refused.status_code == 403 and "catalog.issuers:write" in refused.json()["detail"]

    def test_a_token_hands_on_what_it_has_and_nothing_else(self, api):
        client = api(person(), "accounts.tokens:write", "accounts.tokens:read", "catalog.servers:read")
        body = {"name": "x", "days": 1}
        assert client.post("/api/v1/tokens", body | {"scopes": ["catalog.servers:read"]}).status_code == 201
        for scope in ("catalog:read", "catalog.servers:write", "read"):
            assert client.post("/api/v1/tokens", body | {"scopes": [scope]}).status_code == 422

    def test_shorthands_cover_their_parts_and_provisioning_is_in_none(self):
        stored, strange = scopes.expand(["read", "write"])
        assert not strange and "accounts:provision" not in stored
        assert scopes.holds(stored, "trust.grants:write") and not scopes.holds(stored, "accounts:provision")
        assert scopes.covers(["catalog:read"], "catalog.servers:read")
        assert not scopes.covers(["catalog.servers:read"], "catalog:read")
        assert not scopes.holds(["catalog.servers:read"], "catalog:write")

    def test_only_an_administrators_token_speaks_for_the_directory(self):
        with pytest.raises(Invalid):
            made(person("security"), scopes=["accounts:provision"])
        assert made(person("administrator"), scopes=["accounts:provision"])[0].scopes == ["accounts:provision"]


class TestNetworks:
    def test_a_call_from_elsewhere_is_refused(self, web):
        _, secret = made(person(), networks=["10.20.0.0/16", "2001:db8::/32"])
        assert web().get("/api/v1/users", **bearer(secret), REMOTE_ADDR="10.20.3.4").status_code == 200
        assert web().get("/api/v1/users", **bearer(secret), REMOTE_ADDR="2001:db8::7").status_code == 200
        refused = web().get("/api/v1/users", **bearer(secret), REMOTE_ADDR="10.21.0.1")
        assert refused.status_code == 401 and "10.21.0.1" in refused.json()["detail"]

    def test_what_a_caller_writes_into_the_header_counts_only_behind_a_proxy(self, web, settings):
        _, secret = made(person(), networks=["10.20.0.0/16"])
        lie = {"HTTP_X_FORWARDED_FOR": "10.20.0.1"}
        assert web().get("/api/v1/users", **bearer(secret), **lie).status_code == 401
        settings.BEHIND_PROXY = True
        assert web().get("/api/v1/users", **bearer(secret), **lie).status_code == 200
        # The proxy appends what it saw: what stands before that is the caller's own.
        lie = {"HTTP_X_FORWARDED_FOR": "10.20.0.1, 192.0.2.9"}
        assert web().get("/api/v1/users", **bearer(secret), **lie).status_code == 401

    def test_networks_are_read_strictly(self):
        assert read_networks(["10.1.2.3/8", " 192.0.2.7 ", "10.0.0.0/8"]) == ["10.0.0.0/8", "192.0.2.7/32"]
        for wrong in ("0.0.0.0/0", "::/0", "example.org", "10.0.0.0/33"):
            with pytest.raises(Invalid):
                read_networks([wrong])

    def test_an_unknown_address_is_in_no_network(self):
        assert may_come_from(None, []) and not may_come_from(None, ["10.0.0.0/8"])
        assert may_come_from("::ffff:10.1.1.1", ["10.0.0.0/8"]) and not may_come_from("unix", ["10.0.0.0/8"])


class TestRotation:
    def test_both_secrets_are_good_until_the_overlap_ends(self, web):
        user = person()
        token, old = made(user)
        token, new = services.rotate_token(actor=acting(user), token=token, overlap_hours=2)
        assert new != old and new.startswith(token.prefix)
        for secret in (old, new):
            assert web().get("/api/v1/users", **bearer(secret)).status_code == 200
        token.refresh_from_db()
        assert token.previous_used_at and token.overlaps
        with clock.at(clock.now() + timedelta(hours=2, minutes=1)):
            assert web().get("/api/v1/users", **bearer(old)).status_code == 401
            assert web().get("/api/v1/users", **bearer(new)).status_code == 200

    def test_a_second_rotation_ends_the_first_secret_at_once(self, web):
        user = person()
        token, first = made(user)
        token, second = services.rotate_token(actor=acting(user), token=token)
        services.rotate_token(actor=acting(user), token=token)
        assert web().get("/api/v1/users", **bearer(first)).status_code == 401
        assert web().get("/api/v1/users", **bearer(second)).status_code == 200

    def test_an_overlap_does_not_outlive_what_was_promised(self):
        user = person()
        token, _old = made(user, days=1)
        ends = token.expires_at
        token, _new = services.rotate_token(actor=acting(user), token=token, overlap_hours=72)
        assert token.previous_until == ends and token.expires_at > ends

    def test_revoking_ends_both(self, web):
        user = person()
        token, old = made(user)
        token, new = services.rotate_token(actor=acting(user), token=token)
        services.revoke_token(actor=acting(user), token=token)
        assert {web().get("/api/v1/users", **bearer(each)).status_code for each in (old, new)} == {401}

    def test_over_rest_in_one_call_whose_answer_is_not_kept(self, api):
        client = api(person())
        token = client.post("/api/v1/tokens", {"name": "x", "scopes": ["trust:read"], "days": 7}).json()
        answer = client.post(f"/api/v1/tokens/{token['id']}/rotate", {"overlap_hours": 1, "days": 30})
        assert answer.status_code == 200 and answer["Cache-Control"] == "no-store"
        assert answer.json()["secret"] != token["secret"]
        assert "secret" not in client.get(f"/api/v1/tokens/{token['id']}").json()
        refused = client.post(f"/api/v1/tokens/{token['id']}/rotate", {"overlap_hours": 73})
        assert refused.status_code == 422

    def test_only_its_holder_rotates_and_not_what_has_ended(self):
        user = person()
        token, _secret = made(user)
        for other in (person(), person("security"), person("administrator")):
            with pytest.raises(NotAllowed):
                services.rotate_token(actor=acting(other), token=token)
        with clock.at(token.expires_at + timedelta(seconds=1)), pytest.raises(Conflict):
            services.rotate_token(actor=acting(user), token=token)

    def test_a_narrow_token_does_not_rotate_a_wide_one(self, api):
        user = person()
        wide, _secret = made(user, scopes=["read", "write"])
        client = api(user, "accounts:read", "accounts.tokens:write")
        assert client.post(f"/api/v1/tokens/{wide.pk}/rotate", {}).status_code == 422

    def test_it_leaves_evidence_without_any_secret(self):
        user = person()
        token, old = made(user)
        _token, new = services.rotate_token(actor=acting(user), token=token)
        event = Event.objects.get(act="token.rotated")
        assert event.data["previous_prefix"] == old[:12]
        assert old not in str(event.data) and new not in str(event.data)


class TestEditing:
    def test_a_token_only_ever_loses_scopes(self, api):
        client = api(person())
        body = {"name": "x", "scopes": ["catalog:read", "trust:read"], "days": 7}
        token = client.post("/api/v1/tokens", body).json()
        url = f"/api/v1/tokens/{token['id']}"
        fewer = client.patch(url, {"scopes": ["catalog.servers:read"], "purpose": "Nightly report"})
        assert fewer.status_code == 200 and fewer.json()["scopes"] == ["catalog.servers:read"]
        assert client.patch(url, {"scopes": ["catalog:read"]}).status_code == 422
        assert client.patch(url, {"name": "y"}, headers={"If-Match": '"0.1"'}).status_code == 412

    def test_a_secret_in_its_purpose_is_refused(self):
        with pytest.raises(Invalid):
            made(person(), purpose="use password=hunter2-and-more for it")


class TestEnds:
    def test_a_leavers_tokens_are_revoked_and_that_is_said(self, web, django_capture_on_commit_callbacks):
        user, admin = person(), person("administrator")
        token, secret = made(user)
        with django_capture_on_commit_callbacks(execute=True):
            services.set_active(actor=acting(admin), user=user, active=False)
        assert web().get("/api/v1/users", **bearer(secret)).status_code == 401
        assert services.revoke_tokens_of_leavers() == 1
        assert Event.objects.get(act="token.revoked").data == {"because": "owner left"}
        services.set_active(actor=acting(admin), user=user, active=True)
        token.refresh_from_db()
        assert token.revoked_at and web().get("/api/v1/users", **bearer(secret)).status_code == 401
        assert services.revoke_tokens_of_leavers() == 0

    def test_a_week_before_its_end_its_owner_is_told_once(self):
        user = person()
        token, secret = made(user, days=10)
        assert services.warn_of_token_ends() == 0
        with clock.at(clock.now() + timedelta(days=4)):
            assert services.warn_of_token_ends() == 1
            assert services.warn_of_token_ends() == 0
        (letter,) = mail.outbox
        assert letter.to == [user.email] and token.prefix in letter.body and secret not in letter.body
        assert f"/account/tokens/{token.pk}" in letter.body

    def test_a_mail_server_that_is_down_is_tried_again(self, monkeypatch):
        made(person(), days=3)
        broken = "registry.accounts.services.tokens.send_mail"
        with monkeypatch.context() as patch:
            patch.setattr(broken, lambda *_a, **_k: (_ for _ in ()).throw(OSError("down")))
            assert services.warn_of_token_ends() == 0
        assert ApiToken.objects.get().warned_at is None
        assert services.warn_of_token_ends() == 1


class TestPages:
    def test_making_rotating_and_narrowing_on_pages(self, web):
        user = person()
        client = web(user)
        body = {"name": "CI", "purpose": "Export", "days": 7, "networks": "10.0.0.0/8\n192.0.2.1", "scopes": "read"}
        page = client.post("/account/tokens", body | {"scopes": ["catalog:read"]})
        token = ApiToken.objects.get()
        assert page.status_code == 200 and token.prefix in page.content.decode()
        assert token.networks == ["10.0.0.0/8", "192.0.2.1/32"]
        page = client.post(f"/account/tokens/{token.pk}/rotate", {"overlap_hours": 1, "days": 30})
        assert page.status_code == 200 and "stw_" in page.content.decode()
        assert "no-store" in page["Cache-Control"]
        detail = client.get(f"/account/tokens/{token.pk}").content.decode()
        assert token.prefix in detail and "Nobody has used it since the rotation" in detail
        token.refresh_from_db()
        change = {"name": "CI", "scopes": ["catalog.servers:read"], "version": token.etag}
        assert client.post(f"/account/tokens/{token.pk}", change).status_code == 302
        token.refresh_from_db()
        assert token.scopes == ["catalog.servers:read"] and token.networks == []

    def test_others_do_not_see_it_and_security_only_looks(self, web):
        token, _secret = made(person())
        assert web(person()).get(f"/account/tokens/{token.pk}").status_code == 404
        guard = web(person("security"))
        assert guard.get(f"/account/tokens/{token.pk}").status_code == 200
        assert guard.post(f"/account/tokens/{token.pk}", {"name": "z", "scopes": ["catalog:read"]}).status_code == 403
        assert guard.post(f"/account/tokens/{token.pk}/rotate", {"overlap_hours": 0, "days": 9}).status_code == 403
        assert guard.post(f"/account/tokens/{token.pk}/revoke").status_code == 302
