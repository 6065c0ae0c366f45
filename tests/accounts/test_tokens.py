"""API tokens: scopes per resource, networks, rotation with overlap, warnings, and the end with their owner."""

from datetime import timedelta

import pytest
from django.core import mail

from registry.accounts import services
from registry.accounts.models import ApiToken, ServicePrincipal
from registry.accounts.networks import may_come_from, read_networks
from registry.audit.models import Event
from registry.core import clock, scopes
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotAllowed, NotSignedIn
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

    @pytest.mark.parametrize(
        "together",
        [
            ["0.0.0.0/1", "128.0.0.0/1"],
            ["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/3"],
            [f"{first}.0.0.0/8" for first in range(1, 40)],
            ["::/1", "8000::/1"],
            ["2000::/4", "3000::/4"],
            ["10.0.0.0/8", "2000::/3"],
        ],
    )
    def test_networks_that_together_let_in_almost_everybody_are_refused(self, together):
        with pytest.raises(Invalid) as refused:
            read_networks(together)
        assert "restrict nothing" in refused.value.fields["networks"][0]

    def test_large_private_networks_are_not(self):
        private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "2001:db8::/32"]
        assert read_networks(private) == private

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

    def test_a_token_rotates_no_other_of_its_holder(self, api):
        user = person()
        wide, _secret = made(user, scopes=["read", "write"])
        alike, _secret = made(user, scopes=["accounts:read"])
        client = api(user, "accounts:read", "accounts.tokens:write")
        for other in (wide, alike):
            assert client.post(f"/api/v1/tokens/{other.pk}/rotate", {}).status_code == 403
            assert client.patch(f"/api/v1/tokens/{other.pk}", {"networks": []}).status_code == 403

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


class TestLineage:
    """A token that makes a token: the child never has more, never from elsewhere, never for longer."""

    @pytest.fixture
    def user(self):
        return person()

    @pytest.fixture
    def parent(self, user):
        scopes = ["accounts:read", "accounts.tokens:write", "catalog:read"]
        return made(user, days=1, scopes=scopes, networks=["127.0.0.0/8"])

    @pytest.fixture
    def call(self, web):
        def call(secret, path, body=None, method="post"):
            return getattr(web(), method)(f"/api/v1/tokens{path}", body, "application/json", **bearer(secret))

        return call

    def make(self, call, secret, **facts):
        return call(secret, "", {"name": "child", "scopes": ["catalog:read"], "days": 365} | facts)

    def test_a_child_ends_with_its_parent_and_comes_from_nowhere_else(self, call, parent):
        token, secret = parent
        child = self.make(call, secret, networks=[]).json()
        stored = ApiToken.objects.get(pk=child["id"])
        assert child["parent"] == str(token.pk) and stored.expires_at == token.expires_at
        assert child["networks"] == ["127.0.0.0/8"]
        assert self.make(call, secret, networks=["127.0.0.1"]).json()["networks"] == ["127.0.0.1/32"]
        refused = self.make(call, secret, networks=["127.0.0.1", "192.0.2.0/24"])
        assert refused.status_code == 422 and "192.0.2.0/24" in str(refused.json())

    def test_revoking_the_parent_ends_children_and_theirs(self, call, web, user, parent):
        token, secret = parent
        child = self.make(call, secret, scopes=["accounts.tokens:write", "catalog:read"]).json()["secret"]
        grandchild = self.make(call, child).json()["secret"]
        assert web().get("/api/v1/servers", **bearer(grandchild)).status_code == 200
        services.revoke_token(actor=acting(user), token=token)
        for each in (secret, child, grandchild):
            assert web().get("/api/v1/servers", **bearer(each)).status_code == 401
        told = [event.data.get("because", "") for event in Event.objects.filter(act="token.revoked")]
        assert sorted(told) == ["", *["the token that made it was revoked"] * 2]

    def test_it_neither_frees_itself_of_its_networks_nor_lives_longer(self, call, parent):
        token, secret = parent
        for networks in ([], ["127.0.0.0/8", "192.0.2.0/24"]):
            refused = call(secret, f"/{token.pk}", {"networks": networks}, "patch")
            assert refused.status_code == 422 and "networks" in str(refused.json())
        assert call(secret, f"/{token.pk}", {"networks": ["127.0.0.1"]}, "patch").status_code == 200
        rotated = call(secret, f"/{token.pk}/rotate", {"days": 365})
        token.refresh_from_db()
        assert rotated.status_code == 200 and token.networks == ["127.0.0.1/32"]
        assert token.expires_at - clock.now() <= timedelta(days=1, seconds=1)

    def test_a_child_that_rotates_still_ends_with_its_parent(self, call, parent):
        token, secret = parent
        child = self.make(call, secret, scopes=["accounts.tokens:write", "accounts:read"]).json()
        assert call(child["secret"], f"/{child['id']}/rotate", {"days": 365}).status_code == 200
        assert ApiToken.objects.get(pk=child["id"]).expires_at == token.expires_at
        assert call(child["secret"], f"/{token.pk}/rotate", {}).status_code == 403, "a child is not its parent"

    def test_a_person_prolongs_a_parent_but_no_child_beyond_it(self, call, user, parent):
        token, secret = parent
        child = ApiToken.objects.get(pk=self.make(call, secret).json()["id"])
        services.rotate_token(actor=acting(user), token=child, days=300)
        child.refresh_from_db()
        assert child.expires_at == token.expires_at
        with pytest.raises(Invalid):
            services.edit_token(actor=acting(user), token=child, networks=[])
        token, _secret = services.rotate_token(actor=acting(user), token=token, days=300)
        assert token.expires_at - clock.now() > timedelta(days=299)
        child, _secret = services.rotate_token(actor=acting(user), token=child, days=300)
        token, _secret = services.rotate_token(actor=acting(user), token=token, days=2)
        assert child.expires_at > token.expires_at == ApiToken.objects.get(pk=child.pk).expires_at

    def test_what_a_parent_loses_its_children_lose(self, call, user, parent):
        token, secret = parent
        narrow = ApiToken.objects.get(pk=self.make(call, secret, scopes=["catalog.servers:read"]).json()["id"])
        wide = ApiToken.objects.get(pk=self.make(call, secret).json()["id"])
        other = ApiToken.objects.get(pk=self.make(call, secret, networks=["127.0.0.2"]).json()["id"])
        systems = ["catalog.systems:read", "accounts:read"]
        services.edit_token(actor=acting(user), token=token, scopes=systems, networks=["127.0.0.1"])
        for each in (narrow, wide, other):
            each.refresh_from_db()
        assert narrow.revoked_at and other.revoked_at, "nothing is left of what these had"
        assert (wide.scopes, wide.networks, wide.revoked_at) == (["catalog.systems:read"], ["127.0.0.1/32"], None)

    def test_a_revoked_token_makes_none_however_it_got_here(self, user, parent):
        token, _secret = parent
        actor = Actor("token", user=user, scopes=frozenset(token.scopes), token_id=token.pk)
        services.revoke_token(actor=acting(user), token=token)
        with pytest.raises(NotSignedIn):
            services.create_token(actor=actor, user=user, name="late", scopes=["catalog:read"], days=1)

    def test_pages_say_who_made_what(self, call, web, user, parent):
        token, secret = parent
        child = self.make(call, secret, name="Offspring").json()
        assert "Offspring" in web(user).get(f"/account/tokens/{token.pk}").content.decode()
        assert "CI" in web(user).get(f"/account/tokens/{child['id']}").content.decode()
        warned = web(user).get(f"/account/tokens/{token.pk}/revoke").content.decode()
        assert "Offspring" in warned

    def test_a_service_principal_that_a_token_makes_waits_for_its_owner(self, api, user):
        from tests.factories import workload_issuer

        facts = {"name": "w", "purpose": "Reads.", "subject": "a:b", "scopes": ["catalog:read"]}
        body = facts | {"issuer": str(workload_issuer().pk)}
        client = api(user, "accounts:read", "accounts.machines:write", "catalog:read")
        made_so = client.post("/api/v1/service-principals", body)
        assert made_so.status_code == 201 and made_so.json()["state"] == "proposed"
        assert client.post(f"/api/v1/service-principals/{made_so.json()['id']}/resume").status_code == 403
        principal = ServicePrincipal.objects.get()
        assert services.resume_principal(actor=acting(user), principal=principal).state == "active"
        changed = client.patch(f"/api/v1/service-principals/{principal.pk}", {"subject": "a:c"})
        assert changed.json()["state"] == "proposed"


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

    def test_names_that_hide_are_spelled_out_in_the_mail(self):
        made(person(), days=3)
        ApiToken.objects.update(name="ci\u202etpircs")
        assert services.warn_of_token_ends() == 1
        (letter,) = mail.outbox
        assert "ci[U+202E]tpircs" in letter.subject and "\u202e" not in letter.body

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
