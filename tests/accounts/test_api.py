"""People, teams and tokens over REST."""

import pytest

from registry.accounts.models import ApiToken
from registry.accounts.services import set_members
from registry.audit.models import Event
from tests.factories import acting, outsider, person, team

pytestmark = pytest.mark.django_db


def test_users_are_listed_and_filtered(api):
    ines = person("reviewer", name="Ines Moreau")
    client = api(ines)
    person(name="Jonas Keller")
    found = client.get("/api/v1/users?role=reviewer").json()
    assert set(found) == {"results", "next", "previous"}
    assert [(user["name"], user["roles"]) for user in found["results"]] == [("Ines Moreau", ["reviewer"])]
    assert "password" not in found["results"][0]


def test_a_user_has_an_etag(api):
    user = person()
    answer = api(user).get(f"/api/v1/users/{user.pk}")
    assert answer["ETag"] == user.etag and answer.json()["email"] == user.email


def test_a_team_lists_its_members(api):
    user, group = person(), team()
    set_members(actor=acting(person("administrator")), team=group, users=[user])
    assert api(user).get(f"/api/v1/teams/{group.pk}").json()["members"] == [str(user.pk)]


def test_lists_cost_the_same_for_many(api, django_assert_max_num_queries):
    client = api(person())
    for _ in range(20):
        group = team()
        set_members(actor=acting(person("administrator")), team=group, users=[person()])
    for path in ("users", "teams", "tokens"):
        with django_assert_max_num_queries(5):
            assert client.get(f"/api/v1/{path}").status_code == 200


class TestTokens:
    def test_are_created_and_revoked(self, api):
        user = person()
        client = api(user)
        answer = client.post("/api/v1/tokens", {"name": "CI", "scopes": ["trust:read"], "days": 7})
        made = answer.json()
        assert answer.status_code == 201 and answer["Cache-Control"] == "no-store"
        assert made["secret"].startswith(made["prefix"]) and made["scopes"] == ["trust:read"]
        assert "secret" not in client.get(f"/api/v1/tokens/{made['id']}").json()
        assert client.post(f"/api/v1/tokens/{made['id']}/revoke").json()["revoked_at"]
        assert client.post(f"/api/v1/tokens/{made['id']}/revoke").status_code == 409

    def test_a_secret_is_not_kept_to_be_replayed(self, api):
        from registry.core.models import IdempotentAnswer

        client = api(person())
        body = {"name": "CI", "scopes": ["trust:read"], "days": 7}
        client.post("/api/v1/tokens", body, headers={"Idempotency-Key": "same"})
        assert not IdempotentAnswer.objects.exists()

    def test_others_are_for_those_who_oversee(self, api):
        stranger = person("administrator")
        api(stranger)
        token = ApiToken.objects.get(user=stranger)
        for role in ("member", "reviewer", "campaign_manager", "auditor"):
            client = api(person(role))
            assert client.get(f"/api/v1/tokens/{token.pk}").status_code == 404, role
            assert client.post(f"/api/v1/tokens/{token.pk}/revoke").status_code == 404, role
            assert client.get("/api/v1/tokens?of=all").status_code == 403, role
        for role in ("security", "administrator"):
            client = api(person(role))
            assert str(stranger.pk) not in {row["user"] for row in client.get("/api/v1/tokens").json()["results"]}
            for question in ("of=all", f"of=all&user={stranger.pk}&usable=true"):
                rows = client.get(f"/api/v1/tokens?{question}").json()["results"]
                assert str(token.pk) in {row["id"] for row in rows}, role
            assert client.get(f"/api/v1/tokens?of=all&user={stranger.pk}&usable=false").json()["results"] == []
            assert client.get(f"/api/v1/tokens/{token.pk}").json()["user"] == str(stranger.pk)
            assert Event.objects.filter(act="token.viewed", subject_id=token.pk).exists()
            assert client.post(f"/api/v1/tokens/{token.pk}/rotate").status_code == 403, (
                "they end it, they do not use it"
            )
            assert client.patch(f"/api/v1/tokens/{token.pk}", {"name": "Mine"}).status_code == 403
        assert client.post(f"/api/v1/tokens/{token.pk}/revoke").json()["revoked_at"]
        token.refresh_from_db()
        assert token.state == "revoked"

    def test_a_refusal_points_at_its_field(self, api):
        answer = api(person()).post("/api/v1/tokens", {"name": "CI", "scopes": ["root"], "days": 7})
        assert answer.status_code == 422 and answer["Content-Type"] == "application/problem+json"
        assert answer.json()["errors"][0]["pointer"] == "/scopes"

    def test_a_reading_token_does_not_create(self, api):
        answer = api(person(), "accounts:read").post("/api/v1/tokens", {"name": "x", "scopes": ["read"]})
        assert answer.status_code == 403 and "accounts:write" in answer.json()["detail"]

    def test_usable_tokens_are_told_from_ended_ones(self, api):
        user = person()
        client = api(user)
        made = client.post("/api/v1/tokens", {"name": "x", "scopes": ["trust:read"], "days": 1}).json()
        client.post(f"/api/v1/tokens/{made['id']}/revoke")
        assert [each["id"] for each in client.get("/api/v1/tokens?usable=false").json()["results"]] == [made["id"]]
        assert made["id"] not in str(client.get("/api/v1/tokens?usable=true").json())


@pytest.mark.parametrize("path", ["users", "teams", "tokens"])
def test_who_may_call(api, path):
    assert api().get(f"/api/v1/{path}").status_code == 401
    assert api(person(), "catalog:read").get(f"/api/v1/{path}").status_code == 403
    assert api(person()).get(f"/api/v1/{path}").status_code == 200


def test_a_token_of_somebody_who_lost_every_role_does_nothing(api):
    user = person()
    client = api(user)
    user.roles = []
    user.save()
    assert client.get("/api/v1/users").status_code == 403
    assert outsider().roles == []
