"""One's own account: preferences, password, tokens."""

import re

import pytest

from registry.accounts.models import ApiToken
from registry.accounts.services import change_password, create_token, set_preferences
from registry.audit.models import Event
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotAllowed
from tests.factories import PASSWORD, acting, person, token_for

pytestmark = pytest.mark.django_db
NEW = "a new and longer one"


def as_token(user, *scopes):
    return Actor("token", user=user, scopes=frozenset(scopes or ["accounts:read", "accounts:write"]))


class TestPreferences:
    def test_single_keys_can_be_switched_off(self, web):
        user = person()
        assert web(user).post("/account", {}).status_code == 302
        user.refresh_from_db()
        assert user.single_keys is False
        assert Event.objects.get(act="user.preferences_set").data == {"single_keys": False}

    def test_setting_what_is_set_leaves_no_trace(self):
        set_preferences(actor=acting(person()), single_keys=True)
        assert not Event.objects.exists()

    def test_a_token_cannot(self):
        with pytest.raises(NotAllowed):
            set_preferences(actor=as_token(person()), single_keys=False)


class TestPassword:
    def data(self, **changes):
        return {"current_password": PASSWORD, "new_password": NEW, "repeated": NEW, **changes}

    def test_is_changed_and_this_browser_stays_signed_in(self, web):
        user = person()
        here, elsewhere = web(user), web(user)
        assert here.post("/account/password", self.data())["Location"] == "/account"
        user.refresh_from_db()
        assert user.check_password(NEW)
        assert here.get("/account").status_code == 200
        assert elsewhere.get("/account").status_code == 302
        assert Event.objects.get(act="user.password_changed").data == {}

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"current_password": "wrong"}, "not your current password"),
            ({"new_password": "short", "repeated": "short"}, "too short"),
            ({"new_password": "password1234", "repeated": "password1234"}, "too common"),
            ({"repeated": "something else"}, "differ"),
        ],
    )
    def test_a_refusal_stands_beside_its_field_and_shows_no_password(self, web, changes, said):
        user = person()
        answer = web(user).post("/account/password", self.data(**changes))
        text = answer.content.decode()
        assert answer.status_code == 422 and said in text and NEW not in text
        user.refresh_from_db()
        assert user.check_password(PASSWORD)

    def test_a_token_cannot(self):
        with pytest.raises(NotAllowed):
            change_password(actor=as_token(person()), current_password=PASSWORD, new_password=NEW)


class TestTokens:
    def make(self, client, **changes):
        return client.post("/account/tokens", {"name": "CI", "scopes": ["catalog:read"], "days": 90, **changes})

    def test_the_secret_is_shown_once_and_works(self, web):
        user = person()
        client = web(user)
        answer = self.make(client)
        secret = re.search(r'<pre id="secret">(stw_[\w-]+)</pre>', answer.content.decode()).group(1)
        assert f"Bearer {secret}" in answer.content.decode().replace("&quot;", '"')
        assert "no-store" in answer["Cache-Control"]
        assert secret not in client.get("/account/tokens").content.decode()
        token = ApiToken.objects.get()
        assert (token.user, token.scopes, token.state) == (user, ["catalog:read"], "active")
        assert secret not in str(Event.objects.values_list("data", flat=True))
        assert web().get("/api/v1/tokens", headers={"Authorization": f"Bearer {secret}"}).status_code == 403

    @pytest.mark.parametrize(
        "changes", [{"name": ""}, {"scopes": []}, {"days": 0}, {"days": 366}, {"scopes": ["everything"]}]
    )
    def test_what_is_missing_is_said(self, web, changes):
        answer = self.make(web(person()), **changes)
        assert answer.status_code == 422 and not ApiToken.objects.exists()

    def test_revoking_asks_first_and_then_ends_it(self, web):
        user = person()
        secret = token_for(user)
        token = ApiToken.objects.get()
        client = web(user)
        assert "What stops working" in client.get(f"/account/tokens/{token.pk}/revoke").content.decode()
        assert client.post(f"/account/tokens/{token.pk}/revoke")["Location"] == "/account/tokens"
        assert web().get("/api/v1/tokens", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
        assert client.post(f"/account/tokens/{token.pk}/revoke").status_code == 409

    def test_somebody_elses_token_is_not_there(self, web):
        token_for(person())
        token = ApiToken.objects.get()
        assert web(person("reviewer")).get(f"/account/tokens/{token.pk}/revoke").status_code == 404

    def test_security_revokes_any(self, web):
        owner = person()
        token_for(owner)
        token = ApiToken.objects.get()
        answer = web(person("security")).post(f"/account/tokens/{token.pk}/revoke")
        assert answer["Location"] == f"/people/{owner.pk}"
        token.refresh_from_db()
        assert token.state == "revoked"

    def test_a_token_cannot_make_a_stronger_one(self):
        user = person()
        token_for(user, "accounts:write", "catalog:read")
        held = ApiToken.objects.get()
        weak = Actor("token", user=user, scopes=frozenset(held.scopes), token_id=held.pk)
        create_token(actor=weak, user=user, name="same", scopes=["catalog:read"], days=1)
        with pytest.raises(Invalid) as refused:
            create_token(actor=weak, user=user, name="more", scopes=["catalog:write"], days=1)
        assert "catalog:write" in refused.value.fields["scopes"][0]

    def test_a_secret_in_the_name_is_refused(self, web):
        answer = self.make(web(person()), name="ghp_" + "A1b2C3d4E5" * 3 + "F6g7h8")
        assert answer.status_code == 422 and not ApiToken.objects.exists()
