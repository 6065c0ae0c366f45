"""Reading the trail: who sees what, what filters find, what the CSV holds."""

import csv
import io
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from registry.accounts.services import create_team, set_roles
from registry.audit.models import Event, LogKey
from registry.audit.queries import register_subject, story_visible_to
from registry.audit.services import record, seal_events, sign_checkpoint
from registry.core import clock
from registry.core.errors import NotFound
from tests.audit.test_chain import tamper
from tests.factories import acting, outsider, person, team

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin():
    return person("administrator", name="Ada Kowalski", email="ada@example.test")


@pytest.fixture
def history(admin):
    """Ada sets the roles of Ines and makes a team; Ines does something too."""
    ines = person(name="Ines Moreau", email="ines@example.test")
    set_roles(actor=acting(admin), user=ines, roles=["member", "reviewer"])
    create_team(actor=acting(admin), name="Data Platform", slug="data-platform")
    with transaction.atomic():
        record(actor=acting(ines), act="server.registered", subject=team(name="=cmd"), data={"reason": "needed"})
    return ines


def acts(client, query=""):
    return [event.act for event in client.get(f"/audit?{query}").context["page"]]


class TestList:
    @pytest.mark.parametrize("role", ["auditor", "security", "administrator"])
    def test_those_who_oversee_read_everything(self, web, history, role):
        assert {"user.roles_set", "team.created", "server.registered"} <= set(acts(web(person(role))))

    def test_a_member_reads_what_they_did(self, web, history):
        assert set(acts(web(history))) == {"server.registered", "user.signed_in"}

    def test_an_outsider_is_refused_and_a_stranger_is_sent_to_sign_in(self, web, history):
        assert web(outsider()).get("/audit").status_code == 403
        assert web().get("/audit")["Location"].startswith("/sign-in")

    def test_filters_narrow_it_down(self, web, admin, history):
        client = web(person("auditor"))
        assert acts(client, "q=ines+roles") == ["user.roles_set"]
        assert acts(client, "act=team.") == ["team.created"]
        assert acts(client, "subject_type=USER&act=user.roles") == ["user.roles_set"]
        assert acts(client, f"subject_id={history.pk}") == ["user.roles_set"]
        assert set(acts(client, "actor=ada%40")) == {"user.roles_set", "team.created"}
        assert acts(client, f"actor_id={history.pk}") == ["server.registered"]

    def test_a_time_range_includes_its_start_and_not_its_end(self, web, history):
        client = web(person("auditor"))
        event = Event.objects.get(act="team.created")
        at, after = (quote(moment.isoformat()) for moment in (event.at, event.at + timedelta(microseconds=1)))
        assert acts(client, f"since={at}&until={after}") == ["team.created"]
        assert acts(client, f"since={at}&until={at}") == []
        assert acts(client, f"since={quote((clock.now() + timedelta(hours=1)).isoformat())}") == []

    def test_what_matches_nothing_offers_a_way_out(self, web, history):
        text = web(person("auditor")).get("/audit?q=unheard-of").content.decode()
        assert "Nothing matches" in text and 'href="/audit"' in text

    def test_pages_go_back_in_time_and_cost_the_same(self, web, history, django_assert_max_num_queries):
        with transaction.atomic():
            for _ in range(70):
                record(actor=acting(history), act="server.edited", subject=history)
        client = web(person("auditor"))
        client.get("/audit")  # How much waits for somebody is remembered for a moment.
        with django_assert_max_num_queries(7):  # one of them notes the look
            first = client.get("/audit?act=server.edited").context["page"]
        second = client.get(first.older).context["page"]
        assert (len(first), len(second), second.older) == (50, 20, None)
        assert first.items[-1].at > second.items[0].at

    def test_the_seal_is_shown(self, web, history):
        client = web(person("auditor"))
        assert "waits" in client.get("/audit?act=team.created").content.decode()
        seal_events()
        leaf = Event.objects.get(act="team.created").seal.leaf_hash
        assert leaf in client.get("/audit?act=team.created").content.decode()


class TestExport:
    def rows(self, answer):
        return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))

    def test_holds_exactly_what_the_page_matches(self, web, history):
        seal_events()
        answer = web(person("auditor")).get("/audit/events.csv?act=server.registered")
        row = self.rows(answer)[0]
        assert row["actor"] == "Ines Moreau (ines@example.test)" and row["data"] == '{"reason": "needed"}'
        assert row["leaf_hash"] == Event.objects.get(act="server.registered").seal.leaf_hash
        assert answer["Content-Type"].startswith("text/csv")

    def test_a_name_that_is_a_formula_is_defused(self, web, history):
        row = self.rows(web(person("auditor")).get("/audit/events.csv?act=server.registered"))[0]
        assert row["subject"] == "'=cmd"

    def test_members_export_only_their_own(self, web, history):
        rows = self.rows(web(history).get("/audit/events.csv"))
        assert {row["actor_id"] for row in rows} == {str(history.pk)}

    def test_strangers_export_nothing(self, web, history):
        assert web(outsider()).get("/audit/events.csv").status_code == 403


class TestEvent:
    def test_shows_facts_and_its_place(self, web, history):
        seal_events()
        event = Event.objects.get(act="user.roles_set")
        text = web(person("auditor")).get(f"/audit/events/{event.pk}").content.decode()
        assert "member, reviewer" in text and event.seal.leaf_hash in text and "Sealed" in text

    def test_says_when_it_was_changed_after_sealing(self, web, history):
        seal_events()
        event = Event.objects.get(act="user.roles_set")
        tamper(("UPDATE audit_event SET actor_label = 'Nobody' WHERE id = %s", event.pk))
        text = web(person("auditor")).get(f"/audit/events/{event.pk}").content.decode()
        assert "Does not match its seal" in text

    def test_somebody_elses_is_not_there(self, web, history):
        event = Event.objects.get(act="team.created")
        assert web(history).get(f"/audit/events/{event.pk}").status_code == 404
        assert web(outsider()).get(f"/audit/events/{event.pk}").status_code == 403


class TestChainPage:
    def test_verifies_on_request(self, web, history):
        seal_events()
        client = web(person("auditor"))
        assert "Verified." not in client.get("/audit/chain").content.decode()
        assert "Verified." in client.post("/audit/chain").content.decode()

    def test_names_what_is_broken(self, web, history):
        seal_events()
        event = Event.objects.get(act="team.created")
        tamper(("UPDATE audit_event SET act = 'x' WHERE id = %s", event.pk))
        text = web(person("auditor")).post("/audit/chain").content.decode()
        assert "The log is broken." in text and str(event.pk) in text

    def test_a_long_chain_is_left_to_the_command(self, web, history, monkeypatch):
        monkeypatch.setattr("registry.audit.views.VERIFY_IN_BROWSER", 1)
        seal_events()
        text = web(person("auditor")).post("/audit/chain").content.decode()
        assert "manage.py verify_audit" in text and "Verified." not in text

    @pytest.mark.parametrize("role", ["member", "reviewer", "campaign_manager"])
    def test_is_for_those_who_oversee(self, web, role):
        assert web(person(role)).get("/audit/chain").status_code == 403
        assert web(person(role)).post("/audit/chain").status_code == 403


class TestStory:
    def test_whoever_sees_the_thing_reads_its_story(self, web, history):
        text = web(person()).get(f"/audit/story/user/{history.pk}").content.decode()
        assert "User roles set" in text and "Ada Kowalski" in text

    def test_as_a_panel_it_is_a_fragment(self, web, history):
        answer = web(person()).get(f"/audit/story/user/{history.pk}", headers={"HX-Request": "true"})
        assert "<html" not in answer.content.decode() and "User roles set" in answer.content.decode()
        assert "HX-Request" in answer["Vary"]

    def test_of_a_thing_one_may_not_see_there_is_none(self, web, history):
        assert web(outsider()).get(f"/audit/story/user/{history.pk}").status_code == 404
        assert web(person()).get(f"/audit/story/unheard-of/{history.pk}").status_code == 404
        assert web().get(f"/audit/story/user/{history.pk}").status_code in (302, 404)

    def test_a_room_decides_who_sees_its_things(self, history, monkeypatch):
        from registry.accounts.models import User
        from registry.audit.queries import reading

        monkeypatch.setattr(reading, "_subjects", {})
        register_subject("user", lambda actor: User.objects.none())
        with pytest.raises(NotFound):
            story_visible_to(acting(person()), "user", history.pk)
        assert story_visible_to(acting(person("auditor")), "user", history.pk).exists()


class TestApi:
    def test_lists_newest_first_with_the_seal(self, api, history):
        seal_events()
        client = api(person("auditor"))
        found = client.get("/api/v1/audit/events?act=user.roles_set").json()["results"]
        assert len(found) == 1 and found[0]["seal"]["position"] > 0
        assert found[0]["data"] == {"before": ["member"], "after": ["member", "reviewer"]}
        assert client.get(f"/api/v1/audit/events/{found[0]['id']}").json() == found[0]

    def test_an_unsealed_event_says_null(self, api, history):
        found = api(person("auditor")).get("/api/v1/audit/events?act=team.created").json()["results"]
        assert found[0]["seal"] is None

    def test_a_member_gets_their_own(self, api, history):
        found = api(history).get("/api/v1/audit/events").json()["results"]
        assert {event["actor_id"] for event in found} == {str(history.pk)}

    def test_who_may_call(self, api, history):
        assert api().get("/api/v1/audit/events").status_code == 401
        assert api(person("auditor"), "catalog:read").get("/api/v1/audit/events").status_code == 403
        assert api(person("auditor")).post("/api/v1/audit/events", {}).status_code in (403, 405)

    def test_a_wrong_filter_is_a_problem_on_its_field(self, api):
        answer = api(person("auditor")).get("/api/v1/audit/events?subject_id=x")
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/subject_id"


class TestCommand:
    """Exit codes are those of the offline verifier."""

    def said(self, capsys, **options):
        try:
            call_command("verify_audit", **options)
        except CommandError as failed:
            return failed.returncode, str(failed)
        return 0, capsys.readouterr().out

    def test_says_that_it_verifies_and_how_far_it_is_signed(self, history, capsys):
        seal_events()
        assert self.said(capsys)[0] == 3
        capsys.readouterr()
        sign_checkpoint()
        code, text = self.said(capsys)
        assert code == 0 and text.startswith("verified: ") and "root " in text

    def test_names_the_first_bad_record_and_fails(self, history, capsys):
        seal_events()
        event = Event.objects.get(act="team.created")
        tamper(("UPDATE audit_event SET act = 'x' WHERE id = %s", event.pk))
        code, text = self.said(capsys)
        assert code == 1 and f"event {event.pk} at position" in text

    def test_what_was_noted_and_is_gone_fails(self, history, capsys, tmp_path):
        seal_events()
        assert "cut off" in self.said(capsys, root="0" * 64)[1]
        (tmp_path / "noted.txt").write_text("no checkpoint")
        assert self.said(capsys, checkpoint=[str(tmp_path / "noted.txt")])[0] == 2
        (tmp_path / "noted.txt").write_text(sign_checkpoint().note)
        assert self.said(capsys, checkpoint=[str(tmp_path / "noted.txt")])[0] == 0

    def test_a_key_is_replaced(self, history, capsys, settings, tmp_path):
        settings.AUDIT_SIGNING_KEY_FILE = str(tmp_path / "key.pem")
        seal_events()
        before = sign_checkpoint().key
        call_command("rotate_audit_key")
        assert LogKey.objects.count() == 2 and before.key not in capsys.readouterr().out
        assert Event.objects.filter(act="audit.key_replaced").exists()
        settings.AUDIT_SIGNING_KEY = "from the environment"
        with pytest.raises(CommandError, match="comes from the environment"):
            call_command("rotate_audit_key")
