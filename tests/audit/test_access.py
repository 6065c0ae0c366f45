"""Looks at what is sensitive are noted, once; the story of a server tells of everything that belongs to it."""

import csv
import io
from datetime import timedelta

import pytest
from django.urls import reverse

from registry.audit.models import Event
from registry.audit.queries import public_keys, server_story_visible_to
from registry.audit.services import record_access, record_export, seal_events
from registry.audit.verifier import verify_file
from registry.core import clock
from registry.core.errors import NotFound
from tests import factories as make
from tests.factories import acting, outsider, person

pytestmark = pytest.mark.django_db


def looks(act):
    return Event.objects.filter(act=act)


class TestLooks:
    def test_the_same_look_is_noted_once_an_hour_in_one_statement(self, django_assert_num_queries):
        reader = acting(person("auditor"))
        moment = clock.now().replace(minute=10)
        with clock.at(moment), django_assert_num_queries(2):
            for _ in range(2):
                record_access(actor=reader, act="audit.viewed", subject="audit trail")
        assert looks("audit.viewed").count() == 1
        with clock.at(moment + timedelta(hours=1)):
            record_access(actor=reader, act="audit.viewed", subject="audit trail")
        assert looks("audit.viewed").count() == 2

    def test_another_person_page_or_question_is_another_look(self):
        reader, other = acting(person("auditor")), acting(person("auditor"))
        for actor, of, question in [(reader, "a", ""), (other, "a", ""), (reader, "b", ""), (reader, "a", "q=x")]:
            record_export(actor=actor, of=of, question=question)
        assert looks("list.exported").count() == 4

    def test_an_id_of_a_look_is_a_uuid_like_all_others(self):
        record_access(actor=acting(person("auditor")), act="audit.viewed", subject="audit trail")
        event = looks("audit.viewed").get()
        assert (event.pk.version, event.pk.variant) == (7, "specified in RFC 4122")
        assert seal_events() and looks("audit.viewed").get().seal.position

    def test_the_trail_of_others_and_its_exports(self, web):
        client = web(person("auditor"))
        for _ in range(2):
            client.get("/audit?act=grant")
            b"".join(client.get("/audit/events.csv?act=grant").streaming_content)
        assert looks("audit.viewed").count() == 1
        assert looks("audit.exported").get().data == {"form": "csv", "question": "act=grant"}

    def test_reading_what_one_did_oneself_is_no_look(self, web):
        web(person()).get("/audit")
        assert not looks("audit.viewed").exists()

    def test_a_confidential_server_is_noted_and_an_open_one_is_not(self, web):
        open_one, secret = make.active_server(), make.active_server(confidential=True)
        client = web(person("security"))
        for server in (open_one, secret):
            assert client.get(reverse("catalog:server", args=[server.pk])).status_code == 200
        assert [event.subject_id for event in looks("server.viewed")] == [secret.pk]

    @pytest.mark.parametrize(
        "name", ["discovery:shadows_csv", "discovery:secret_sources_csv", "trust:relationships_csv"]
    )
    def test_lists_that_are_taken_away(self, web, name):
        b"".join(web(person("security")).get(reverse(name)).streaming_content)
        assert looks("list.exported").count() == 1

    def test_the_token_of_somebody_else(self, web):
        owner = person()
        make.token_for(owner)
        address = reverse("accounts:token", args=[owner.api_tokens.get().pk])
        web(owner).get(address)
        assert not looks("token.viewed").exists()
        if web(person("administrator")).get(address).status_code == 200:
            assert looks("token.viewed").count() == 1


MAKERS = {"agent": make.agent, "server": make.active_server, "system": make.system}
CONFIDENTIAL_DOORS = {
    "page": lambda kind, pk: reverse(f"catalog:{kind}", args=[pk]),
    "rest": lambda kind, pk: f"/api/v1/{kind}s/{pk}",
    "explorer": lambda kind, pk: f"{reverse('trust:explore')}?ask=around&of={kind}:{pk}",
    "file": lambda kind, pk: f"{reverse('trust:explore_csv')}?ask=around&of={kind}:{pk}",
    "panel": lambda kind, pk: reverse(f"trust:{kind}_impact", args=[pk]),
    "question": lambda kind, pk: f"/api/v1/trust/impact?{kind}={pk}",
}


class TestDoors:
    """Whichever door it comes through, a look at what is confidential is noted."""

    @pytest.mark.parametrize("kind", ["agent", "server", "system"])
    @pytest.mark.parametrize("door", CONFIDENTIAL_DOORS)
    def test_of_something_confidential(self, web, kind, door):
        reader, thing = person("security"), MAKERS[kind](confidential=True)
        browser = web(reader)
        for _ in range(2):
            assert browser.get(CONFIDENTIAL_DOORS[door](kind, thing.pk)).status_code == 200
        seen = Event.objects.filter(actor_id=reader.pk, act=f"{kind}.viewed").values_list("subject_id", flat=True)
        assert list(seen) == [thing.pk]

    @pytest.mark.parametrize("door", CONFIDENTIAL_DOORS)
    def test_of_something_open_is_nobodys_business(self, web, door):
        reader, thing = person("security"), make.active_server()
        assert web(reader).get(CONFIDENTIAL_DOORS[door]("server", thing.pk)).status_code == 200
        assert not Event.objects.filter(actor_id=reader.pk, act__endswith=".viewed").exists()

    def test_parts_of_a_confidential_server_over_rest(self, web):
        reader, part = person("security"), make.active_server(confidential=True).purposes.first()
        assert web(reader).get(f"/api/v1/purposes/{part.pk}").status_code == 200
        assert looks("server.viewed").filter(actor_id=reader.pk).count() == 1

    def test_a_story_and_an_event_of_others(self, web):
        reader, thing = person("auditor"), make.active_server()
        browser = web(reader)
        event = Event.objects.filter(subject_id=thing.pk).first()
        for url in (reverse("audit:event", args=[event.pk]), f"/api/v1/audit/events/{event.pk}"):
            assert browser.get(url).status_code == 200
        assert looks("audit.viewed").filter(actor_id=reader.pk).count() == 2
        for url in (reverse("audit:server_story", args=[thing.pk]), reverse("audit:story", args=["server", thing.pk])):
            assert browser.get(url).status_code == 200
        assert looks("story.viewed").filter(actor_id=reader.pk, subject_id=thing.pk).count() == 1

    def test_who_looked_is_told_to_nobody_but_those_who_oversee(self, web):
        thing = make.system(confidential=True)
        web(person("security", name="Curious Carla")).get(reverse("catalog:system", args=[thing.pk]))
        url = reverse("audit:story", args=["system", thing.pk])
        assert "Curious Carla" not in web(thing.owner).get(url).content.decode()
        assert "Curious Carla" in web(person("auditor")).get(url).content.decode()

    @pytest.mark.parametrize("form", ["csv", "svg", "json"])
    def test_every_file_is_noted_by_its_view_or_by_the_middleware(self, web, form):
        reader, thing = person(), make.active_server()
        url = reverse(f"trust:explore_{form}")
        browser = web(reader)
        assert browser.get(f"{url}?ask=around&of=server:{thing.pk}").status_code == 200
        told = looks("list.exported").get(actor_id=reader.pk)
        assert told.subject_label == url and told.data["form"] == form and str(thing.pk) in told.data["question"]

    def test_a_file_taken_with_a_token_is_noted_as_the_tokens(self, client):
        reader, thing = person(), make.active_server()
        url = f"/api/v1/trust/export?format=csv&server={thing.pk}"
        assert client.get(url, **make.bearer(reader)).getvalue()
        assert looks("list.exported").get(actor_id=reader.pk).actor_kind == "token"


class TestStoryOfAServer:
    @pytest.fixture
    def server(self):
        server = make.active_server()
        make.grant(server=server)
        make.connection(server=server)
        make.grant()  # of another server
        return server

    def kinds(self, actor, server):
        return set(server_story_visible_to(actor, server.pk).values_list("subject_type", flat=True))

    def test_tells_of_what_belongs_to_it_and_of_nothing_else(self, server):
        story = server_story_visible_to(acting(person("auditor")), server.pk)
        assert {"server", "grant", "connection"} <= {event.subject_type for event in story}
        mine = {
            server.pk,
            *server.grants.values_list("pk", flat=True),
            *server.connections.values_list("pk", flat=True),
        }
        assert {event.subject_id for event in story} <= mine

    def test_reviews_are_told_but_for_drafts(self, server):
        reviewer = person("reviewer")
        campaign = make.campaign(reviewer, person("reviewer"))
        item = campaign.items.get(server=server)
        make.decide(item, "certify")
        drafts = Event.objects.filter(act__startswith="decision.", subject_type="item", subject_id=item.pk)
        assert "item" in self.kinds(acting(person("auditor")), server) or not drafts.exists()
        told = server_story_visible_to(acting(server.owner), server.pk)
        assert not told.filter(act__startswith="decision.").exists()

    def test_of_a_server_one_may_not_see_there_is_none(self, server):
        hidden = make.active_server(confidential=True)
        with pytest.raises(NotFound):
            server_story_visible_to(acting(person()), hidden.pk)
        assert self.kinds(acting(person("auditor")), hidden)

    def test_the_page_filters_and_links_and_costs_the_same(self, web, server, django_assert_max_num_queries):
        client = web(person("auditor"))
        address = reverse("audit:server_story", args=[server.pk])
        assert address in client.get(reverse("catalog:server_tab", args=[server.pk, "history"])).content.decode()
        text = client.get(address).content.decode()
        assert "Everything about it" in text and server.label in text
        with django_assert_max_num_queries(8):
            page = client.get(f"{address}?subject_type=grant").context["page"]
        assert {event.subject_type for event in page} == {"grant"}
        assert "Nothing matches" in client.get(f"{address}?q=unheard-of").content.decode()

    def test_is_exported_as_csv_and_with_proofs(self, web, server):
        client, address = web(person("auditor")), reverse("audit:server_story_csv", args=[server.pk])
        rows = list(csv.DictReader(io.StringIO(b"".join(client.get(address).streaming_content).decode("utf-8-sig"))))
        assert {"server", "grant"} <= {row["subject_type"] for row in rows}
        proved = reverse("audit:server_story_proved", args=[server.pk])
        assert client.get(proved).status_code == 409, "nothing is sealed yet"
        seal_events()
        report = verify_file(io.BytesIO(b"".join(client.get(proved).streaming_content)), keys=public_keys())
        assert report.fully_vouched and report.events >= len(rows)
        assert looks("audit.exported").count() == 2

    def test_who_may_read_it(self, web, server):
        address = reverse("audit:server_story", args=[server.pk])
        assert web(person()).get(address).status_code == 200
        assert web(outsider()).get(address).status_code == 403
        assert web().get(address)["Location"].startswith("/sign-in")
