"""People and teams: everybody looks, administrators change."""

import pytest

from registry.accounts.models import Team, User
from registry.accounts.services import create_user, set_active, set_members
from registry.audit.models import Event
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from tests.factories import acting, outsider, person, team

pytestmark = pytest.mark.django_db


class TestList:
    def test_members_search_and_filter(self, web):
        ines = person("reviewer", name="Ines Moreau")
        person("member", name="Jonas Keller")
        person("member", name="Gone Away", active=False)
        group = team()
        set_members(actor=acting(person("administrator", name="Ada")), team=group, users=[ines])
        client = web(ines)

        def names(query):
            return [user.name for user in client.get(f"/people?{query}").context["page"]]

        assert names("q=keller+jonas") == ["Jonas Keller"]
        assert names("role=reviewer") == ["Ines Moreau"]
        assert names("active=false") == ["Gone Away"]
        assert names(f"team={group.slug}") == ["Ines Moreau"]
        assert names("q=nobody") == []

    def test_costs_the_same_for_many(self, web, django_assert_num_queries):
        client = web(person())
        client.get("/people")

        def queries():
            from django.db import connection
            from django.test.utils import CaptureQueriesContext

            with CaptureQueriesContext(
                connection,
            ) as captured:
                client.get("/people")
            return len(captured)

        few = queries()
        for _ in range(30):
            person()
        assert queries() == few <= 8

    @pytest.mark.parametrize("path", ["/people", "/teams"])
    def test_without_a_role_there_is_nothing_to_see(self, web, path):
        assert web(outsider()).get(path).status_code == 403
        assert web().get(path).status_code == 302

    def test_an_outsider_sees_only_themselves(self, web):
        me = outsider()
        assert web(me).get(f"/people/{me.pk}").status_code == 200
        assert web(me).get(f"/people/{person().pk}").status_code == 404


class TestAdministration:
    def test_adds_a_person(self, web):
        client = web(person("administrator"))
        answer = client.post("/people/new", {"email": "New@Example.test", "name": " New One ", "roles": ["member"]})
        user = User.objects.get(email="new@example.test")
        assert answer["Location"] == f"/people/{user.pk}"
        assert (user.name, user.roles, user.has_usable_password()) == ("New One", ["member"], False)

    def test_an_address_twice_is_refused_on_its_field(self, web):
        taken = person(email="taken@example.test")
        answer = web(person("administrator")).post("/people/new", {"email": "TAKEN@example.test", "name": "X"})
        assert answer.status_code == 409 and "Already in use." in answer.content.decode()
        assert User.objects.filter(email__iexact=taken.email).count() == 1

    def test_a_weak_first_password_is_refused(self):
        with pytest.raises(Invalid) as refused:
            create_user(actor=acting(person("administrator")), email="a@b.test", name="A", password="short")
        assert "password" in refused.value.fields

    def test_whoever_gave_a_password_does_not_know_it_for_long(self, web):
        given, own = "a-first-one-2026", "my-own-choice-2026"
        body = {"email": "new@example.test", "name": "New", "roles": ["member"], "password": given}
        assert web(person("administrator")).post("/people/new", body).status_code == 302
        client = web()
        client.post("/sign-in", {"email": "new@example.test", "password": given})
        for path in ("/", "/servers/", "/account/tokens", "/people"):
            assert client.get(path)["Location"] == "/account"
        assert client.post("/account/tokens", {"name": "t", "days": 1, "scopes": ["catalog:read"]}).status_code == 302
        assert client.get("/api/v1/servers").status_code == 403
        assert client.get("/servers/", headers={"HX-Request": "true"}).status_code == 403
        assert "Choose a password of your own first" in client.get("/account").content.decode()
        change = {"current_password": given, "new_password": given, "repeated": given}
        assert client.post("/account/password", change).status_code == 422, "the same is nobody's own"
        assert client.post("/account/password", change | {"new_password": own, "repeated": own}).status_code == 302
        assert client.get("/servers/").status_code == 200
        assert not User.objects.get(email="new@example.test").password_given

    def test_a_password_that_the_server_gave_needs_no_change(self):
        values = {"email": "root@example.test", "name": "Root", "password": "given-on-the-server-1"}
        assert not create_user(actor=Actor.system("create_user command"), **values).password_given

    def test_sets_roles(self, web):
        user = person()
        client = web(person("administrator"))
        assert client.post(f"/people/{user.pk}/roles", {"roles": ["member", "security"]}).status_code == 302
        user.refresh_from_db()
        assert user.roles == ["member", "security"]
        assert Event.objects.get(act="user.roles_set").data == {
            "before": ["member"],
            "after": ["member", "security"],
            "alone": True,
        }

    def test_nobody_takes_the_last_key_from_themselves(self, web):
        admin = person("administrator")
        answer = web(admin).post(f"/people/{admin.pk}/roles", {"roles": ["member"]})
        assert answer.status_code == 409 and "from yourself" in answer.content.decode()
        with pytest.raises(Conflict):
            set_active(actor=acting(admin), user=admin, active=False)

    def test_bringing_somebody_back_gives_no_role_that_oversees_others_and_says_so(self, web):
        user = person("reviewer", "auditor")
        client = web(person("administrator"))
        client.post(f"/people/{user.pk}/standing", {"active": "false"})
        text = client.post(f"/people/{user.pk}/standing", {"active": "true"}, follow=True).content.decode()
        assert "Not restored: Auditor." in text
        user.refresh_from_db()
        assert user.is_active and user.roles == ["reviewer"]

    def test_deactivating_ends_sessions_and_tokens_at_once(self, web, api):
        user = person()
        browser, script = web(user), api(user)
        assert script.get("/api/v1/users").status_code == 200
        assert web(person("administrator")).post(f"/people/{user.pk}/standing", {"active": "false"}).status_code == 302
        assert browser.get("/account").status_code == 302
        assert script.get("/api/v1/users").status_code == 401

    @pytest.mark.parametrize("role", ["member", "reviewer", "campaign_manager", "security", "auditor"])
    def test_nobody_else_changes_people(self, web, role):
        user, client = person(), web(person(role))
        assert client.get("/people/new").status_code == 403
        assert client.post("/people/new", {"email": "x@y.test", "name": "X"}).status_code == 403
        assert client.post(f"/people/{user.pk}/roles", {"roles": ["administrator"]}).status_code == 403
        assert client.post(f"/people/{user.pk}/standing", {"active": "false"}).status_code == 403
        assert client.post("/teams/new", {"name": "X", "slug": "x"}).status_code == 403
        user.refresh_from_db()
        assert (user.roles, user.is_active) == (["member"], True)

    def test_the_page_offers_changes_only_to_administrators(self, web):
        user = person()
        assert "Set roles" in web(person("administrator")).get(f"/people/{user.pk}").content.decode()
        assert "Set roles" not in web(person("auditor")).get(f"/people/{user.pk}").content.decode()


class TestTeams:
    def test_a_team_is_made_and_staffed(self, web):
        lead, member = person(name="Lead"), person(email="second@example.test")
        client = web(person("administrator"))
        assert client.post("/teams/new", {"name": "Data", "slug": "data"})["Location"] == "/teams/data"
        answer = client.post("/teams/data", {"lead": lead.pk, "members": f"{lead.email}\nSECOND@example.test"})
        group = Team.objects.get(slug="data")
        assert answer.status_code == 302
        assert group.lead == lead and set(group.members.all()) == {lead, member}
        acts = Event.objects.filter(subject_id=group.pk).order_by("at").values_list("act", flat=True)
        assert list(acts) == ["team.created", "team.lead_set", "team.members_set"]

    def test_an_unknown_address_is_named(self, web):
        group = team()
        answer = web(person("administrator")).post(f"/teams/{group.slug}", {"members": "who@example.test"})
        assert answer.status_code == 422 and "who@example.test" in answer.content.decode()
        assert not group.members.exists()

    def test_saving_it_as_it_is_leaves_no_trace(self, web):
        group = team()
        before = Event.objects.filter(subject_id=group.pk).count()
        web(person("administrator")).post(f"/teams/{group.slug}", {"lead": group.lead_id or "", "members": ""})
        assert Event.objects.filter(subject_id=group.pk).count() == before

    def test_a_name_twice_is_refused_on_its_field(self, web):
        group = team()
        answer = web(person("administrator")).post("/teams/new", {"name": group.name.upper(), "slug": "other"})
        assert answer.status_code == 409 and "Already in use." in answer.content.decode()

    def test_members_look_but_do_not_change(self, web):
        group, client = team(), web(person())
        assert client.get(f"/teams/{group.slug}").status_code == 200
        assert client.post(f"/teams/{group.slug}", {"members": ""}).status_code == 403
        assert client.get("/teams/no-such").status_code == 404


def test_field_history_names_who_changed_what(web):
    from auditlog.models import LogEntry

    user, admin = person(), person("administrator")
    web(admin).post(f"/people/{user.pk}/roles", {"roles": ["auditor"]})
    entry = LogEntry.objects.get_for_object(user).latest("timestamp")
    assert entry.actor == admin and "roles" in entry.changes
    assert "password" not in str([each.changes for each in LogEntry.objects.get_for_object(user)])
