"""Over REST: adding people, seeing them leave and come back, roles that wait for a second person, teams."""

import pytest

from registry.accounts.models import RoleProposal, Team, User
from registry.audit.models import Event
from tests.factories import person, team

pytestmark = pytest.mark.django_db
SOMEBODY = {"email": "Nia@example.org", "name": "Nia New", "roles": ["member", "reviewer"]}


class TestPeople:
    def test_an_administrator_adds_somebody(self, api):
        client = api(person("administrator"))
        answer = client.post("/api/v1/users", SOMEBODY, format="json")
        assert answer.status_code == 201, answer.content
        made = User.objects.get(pk=answer.json()["id"])
        assert (made.email, made.roles) == ("nia@example.org", ["member", "reviewer"])
        assert not made.has_usable_password() and answer["ETag"]
        assert Event.objects.filter(act="user.created", subject_id=made.pk).exists()
        again = client.post("/api/v1/users", SOMEBODY | {"email": "nia@EXAMPLE.org"}, format="json")
        assert again.status_code == 409

    def test_a_first_password_is_checked_and_not_answered(self, api):
        client = api(person("administrator"))
        weak = client.post("/api/v1/users", SOMEBODY | {"password": "12345"}, format="json")
        assert weak.status_code == 422 and weak.json()["errors"][0]["pointer"] == "/password"
        words = "correct horse battery staple"
        answer = client.post("/api/v1/users", SOMEBODY | {"password": words}, format="json")
        assert answer.status_code == 201 and words not in answer.content.decode()
        assert User.objects.get(pk=answer.json()["id"]).check_password(words)

    @pytest.mark.parametrize("role", ["member", "reviewer", "campaign_manager", "security", "auditor"])
    def test_nobody_else_does(self, api, role):
        client, somebody, ours = api(person(role)), person(), team()
        for method, path, body in (
            ("post", "users", SOMEBODY),
            ("post", f"users/{somebody.pk}/deactivate", None),
            ("post", f"users/{somebody.pk}/reactivate", None),
            ("post", "teams", {"name": "Data", "slug": "data"}),
            ("patch", f"teams/{ours.pk}", {"members": []}),
        ):
            assert getattr(client, method)(f"/api/v1/{path}", body, format="json").status_code == 403, path
        somebody.refresh_from_db()
        assert somebody.is_active

    def test_a_token_needs_the_scope(self, api):
        client = api(person("administrator"), "accounts:read", "accounts.tokens:write")
        refused = client.post("/api/v1/users", SOMEBODY, format="json")
        assert refused.status_code == 403 and "accounts.people:write" in refused.json()["detail"]

    def test_somebody_leaves_and_comes_back(self, api):
        administrator, somebody = person("administrator"), person()
        client, address = api(administrator), f"/api/v1/users/{somebody.pk}"
        etag = client.get(address)["ETag"]
        left = client.post(f"{address}/deactivate", headers={"If-Match": etag})
        assert left.json()["is_active"] is False and left.json()["left_at"]
        assert client.post(f"{address}/reactivate", headers={"If-Match": etag}).status_code == 412
        assert client.post(f"{address}/deactivate").status_code == 200, "said again, nothing changes"
        assert Event.objects.filter(act="user.deactivated", subject_id=somebody.pk).count() == 1
        back = client.post(f"{address}/reactivate").json()
        assert back["is_active"] is True and back["left_at"] is None
        assert client.post(f"/api/v1/users/{administrator.pk}/deactivate").status_code == 409

    def test_roles_that_wait_are_a_proposal_and_not_an_answer_of_old_ones(self, api):
        client, somebody = api(person("administrator")), person("member")
        person("administrator")  # somebody is there to confirm
        address = f"/api/v1/users/{somebody.pk}/roles"
        waits = client.put(address, {"roles": ["member", "auditor"]}, format="json")
        assert waits.status_code == 202
        proposal = RoleProposal.objects.get(user=somebody)
        assert waits.json()["id"] == str(proposal.pk) and waits.json()["state"] == "proposed"
        assert waits.json()["roles"] == ["member", "auditor"] and waits["ETag"] == proposal.etag
        somebody.refresh_from_db()
        assert somebody.roles == ["member"]
        done = client.put(address, {"roles": ["member", "reviewer"]}, format="json")
        assert done.status_code == 200 and done.json()["roles"] == ["member", "reviewer"]


class TestTeams:
    def test_a_team_is_created_and_changed(self, api):
        client, lead, other = api(person("administrator")), person(), person()
        made = client.post("/api/v1/teams", {"name": "Data", "slug": "data", "lead": str(lead.pk)}, format="json")
        assert made.status_code == 201, made.content
        address = f"/api/v1/teams/{made.json()['id']}"
        again = client.post("/api/v1/teams", {"name": "data", "slug": "data"}, format="json")
        assert again.status_code == 409
        etag = client.get(address)["ETag"]
        body = {"members": [str(lead.pk), str(other.pk)]}
        changed = client.patch(address, body, format="json", headers={"If-Match": etag})
        assert changed.status_code == 200, changed.content
        assert set(changed.json()["members"]) == set(body["members"])
        assert changed.json()["lead"] == str(lead.pk), "what is not sent stays"
        assert client.patch(address, {"lead": None}, format="json", headers={"If-Match": etag}).status_code == 412
        assert client.patch(address, {"lead": None}, format="json").json()["lead"] is None
        assert Team.objects.get(slug="data").members.count() == 2

    def test_the_directory_says_who_belongs_to_its_teams(self, api):
        ours = team(person())
        Team.objects.filter(pk=ours.pk).update(provisioned=True)
        answer = api(person("administrator")).patch(f"/api/v1/teams/{ours.pk}", {"members": []}, format="json")
        assert answer.status_code == 409
