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
