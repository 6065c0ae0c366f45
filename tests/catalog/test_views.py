"""The catalog's pages: who sees what, what the lists cost, and that every act goes through its service."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import localdate

from registry.catalog.models import Agent, Issuer, System
from registry.catalog.services import (
    return_server,
    set_certified_until,
    submit_server,
    suspend_server,
    withdraw_server,
)
from registry.catalog.views import SERVERS_PER_PAGE
from registry.core import clock, panels
from tests import factories as make

pytestmark = pytest.mark.django_db


def servers_url(**query):
    return f"{reverse('catalog:servers')}?{urlencode(query, doseq=True)}"


def page_of(thing, name="server"):
    return reverse(f"catalog:{name}", args=[thing.pk])


def names_on(response):
    return {server.name for server in response.context["page"].items}


LISTS = ["catalog:servers", "catalog:systems", "catalog:agents", "catalog:issuers"]


class TestDoors:
    @pytest.mark.parametrize("name", LISTS)
    def test_anonymous_signs_in_first(self, web, name):
        answer = web().get(reverse(name))
        assert answer.status_code == 302
        assert answer.url == f"{reverse('accounts:sign_in')}?{urlencode({'next': reverse(name)})}"

    @pytest.mark.parametrize("name", LISTS)
    def test_somebody_without_a_role_is_told_why(self, web, name):
        answer = web(make.outsider()).get(reverse(name))
        assert answer.status_code == 403
        assert "You need a role to read the catalog." in answer.content.decode()

    @pytest.mark.parametrize("name", LISTS)
    def test_an_empty_list_offers_the_next_step(self, web, name):
        answer = web(make.person("security")).get(reverse(name))
        assert answer.status_code == 200
        assert 'class="empty"' in answer.content.decode()

    def test_what_is_confidential_is_not_there(self, web):
        owner = make.person()
        hidden = make.draft(created_by=owner, confidential=True)
        for path in (page_of(hidden), reverse("catalog:server_json", args=[hidden.pk])):
            assert web(make.person()).get(path).status_code == 404
            assert web(owner).get(path).status_code == 200
            assert web(make.person("auditor")).get(path).status_code == 200
        assert hidden.name not in names_on(web(make.person()).get(servers_url()))


class TestServerList:
    def test_costs_the_same_for_one_and_for_many(self, web, django_assert_num_queries, django_assert_max_num_queries):
        client = web(make.person())
        make.active_server()
        client.get(servers_url())  # How much waits for somebody is remembered for a moment.
        with django_assert_max_num_queries(12) as few:
            client.get(servers_url())
        for _ in range(5):
            make.active_server()
        with django_assert_num_queries(len(few)):
            client.get(servers_url())

    def test_a_full_page_stays_below_sixty_kilobytes(self, web):
        people = [make.person(name=f"Somebody with a name {number}") for number in range(5)]
        team = make.team()
        for number in range(SERVERS_PER_PAGE):
            server = make.complete_draft(owner=people[number % 5], in_team=team)
            set_certified_until(actor=make.SYSTEM_ACTOR, thing=server, until=clock.now() + timedelta(days=90))
        answer = web(make.person()).get(servers_url())
        assert len(answer.context["page"].items) == SERVERS_PER_PAGE
        assert len(answer.content) < 60_000

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"q": "ledger"}, {"com.example/ledger"}),
            ({"q": "ware"}, {"com.example/warehouse"}),
            ({"lifecycle": "active"}, {"com.example/ledger"}),
            ({"lifecycle": ["active", "draft"]}, {"com.example/ledger", "com.example/warehouse"}),
            ({"tool_class": "execute"}, {"com.example/ledger"}),
            ({"data_class": "restricted"}, {"com.example/ledger"}),
            ({"secret_kind": "none"}, {"com.example/warehouse"}),
            ({"certified": "true"}, {"com.example/ledger"}),
            ({"certified": "false"}, {"com.example/warehouse"}),
            ({"lapses_within": "30"}, {"com.example/ledger"}),
            ({"lapses_within": "5"}, set()),
            ({"environment": "test"}, {"com.example/warehouse"}),
            ({"owner": "lena"}, {"com.example/ledger"}),
            ({"owner": "me"}, {"com.example/warehouse"}),
            ({"tier": "nonsense"}, set()),
        ],
    )
    def test_filters(self, web, query, expected):
        me = make.person()
        ledger = make.active_server(
            name="com.example/ledger",
            owner=make.person(name="Lena Ledger"),
            tools=[{"name": "run", "confirmed_class": "execute"}],
            data_classes=("restricted",),
        )
        set_certified_until(actor=make.SYSTEM_ACTOR, thing=ledger, until=clock.now() + timedelta(days=10))
        make.complete_draft(
            name="com.example/warehouse",
            environment="test",
            owner=me,
            secret={"kind": "none", "reason": "Public data."},
        )
        assert names_on(web(me).get(servers_url(**query))) == expected

    def test_a_team_is_named_by_slug_or_id(self, web):
        team = make.team()
        server = make.complete_draft(in_team=team)
        make.draft()
        client = web(make.person())
        for name in (team.slug, team.pk):
            assert names_on(client.get(servers_url(team=name))) == {server.name}

    def test_what_is_chosen_can_be_dropped_one_by_one(self, web):
        make.draft()
        page = web(make.person()).get(servers_url(lifecycle=["active", "draft"], q="server")).content.decode()
        assert f'href="{reverse("catalog:servers")}?lifecycle=active&amp;q=server"' in page

    def test_nothing_that_matches_is_not_an_empty_catalog(self, web):
        make.draft()
        page = web(make.person()).get(servers_url(q="absent")).content.decode()
        assert "Nothing matches" in page

    def test_every_saved_view_is_a_valid_question(self, web):
        client = web(make.person())
        for view in client.get(servers_url()).context["views"]:
            answer = client.get(f"{reverse('catalog:servers')}?{view.query}")
            assert answer.context["filter"].is_valid(), view.query

    def test_older_and_newer(self, web):
        for _ in range(SERVERS_PER_PAGE + 2):
            make.draft()
        client = web(make.person())
        first = client.get(servers_url(q="server"))
        second = client.get(first.context["page"].older)
        assert len(second.context["page"].items) == 2
        assert names_on(first).isdisjoint(names_on(second))
        assert names_on(client.get(second.context["page"].newer)) == names_on(first)

    def test_completeness_counts_what_is_listed(self, web):
        make.active_server()
        make.draft()
        answer = web(make.person()).get(reverse("catalog:servers_completeness"))
        counts = answer.context["counts"]
        assert (counts["total"], counts["ownerless"], counts["deputyless"], counts["uncertified"]) == (2, 1, 1, 1)


class TestServerPage:
    @pytest.mark.parametrize("tab", ["overview", "tools", "trust", "reviews", "history"])
    def test_tabs_cost_the_same_for_many_parts(self, web, django_assert_max_num_queries, tab):
        server = make.complete_draft(
            tools=[{"name": f"tool_{number}", "confirmed_class": "read"} for number in range(30)]
        )
        path = page_of(server) if tab == "overview" else reverse("catalog:server_tab", args=[server.pk, tab])
        client = web(make.person())
        client.get(path)  # How much waits for somebody is remembered for a moment.
        with django_assert_max_num_queries(22):
            answer = client.get(path)
        assert answer.status_code == 200
        assert len(answer.content) < 60_000

    def test_an_unknown_tab_is_not_found(self, web):
        server = make.draft()
        assert web(make.person()).get(reverse("catalog:server_tab", args=[server.pk, "secrets"])).status_code == 404

    def test_is_reached_by_name(self, web):
        server = make.draft(name="com.example/warehouse-sql")
        answer = web(make.person()).get("/servers/com.example/warehouse-sql/")
        assert (answer.status_code, answer.url) == (302, page_of(server))
        assert web(make.person()).get("/servers/com.example/absent/").status_code == 404

    def test_a_draft_shows_what_is_missing_and_whose_buttons_are_whose(self, web):
        owner = make.person()
        server = make.draft(created_by=owner)
        own = web(owner).get(page_of(server)).content.decode()
        assert "Name an owner." in own
        assert reverse("portal:registration", args=[server.pk, "check"]) in own
        other = web(make.person()).get(page_of(server)).content.decode()
        assert reverse("portal:registration", args=[server.pk, "check"]) not in other
        assert "Retire…" not in other

    def test_returned_with_reasons_shows_them_on_top(self, web):
        server = make.submitted_server()
        return_server(actor=make.acting(make.person("reviewer")), server=server, reason="Pin the package version.")
        page = web(server.owner).get(page_of(server)).content.decode()
        assert "Returned with reasons" in page
        assert "Pin the package version." in page

    def test_withdrawn_by_its_people_is_not_returned_by_a_reviewer(self, web):
        server = make.submitted_server()
        return_server(actor=make.acting(make.person("reviewer")), server=server, reason="Pin the package version.")
        submit_server(actor=make.acting(server.owner), server=server)
        withdraw_server(actor=make.acting(server.owner), server=server)
        page = web(server.owner).get(page_of(server)).content.decode()
        assert "Back in draft" in page
        assert "Withdrawn by its people." in page
        assert "Returned with reasons" not in page

    def test_what_was_certified_once_is_not_called_never_certified(self, web):
        server = make.active_server()
        set_certified_until(actor=make.SYSTEM_ACTOR, thing=server, until=clock.now() + timedelta(days=90))
        set_certified_until(actor=make.SYSTEM_ACTOR, thing=server, until=None)
        client = web(server.owner)
        for path in (page_of(server), servers_url()):
            page = client.get(path).content.decode().lower()
            assert "not certified" in page
            assert "never certified" not in page

    @pytest.mark.parametrize("days", [4, 128])
    def test_a_certification_that_lapsed_says_so(self, web, days):
        server = make.active_server()
        until = clock.now() - timedelta(days=days)
        set_certified_until(actor=make.SYSTEM_ACTOR, thing=server, until=until)
        words = "lapsed 4 days ago" if days == 4 else f"lapsed {date_format(localdate(until), 'j F Y')}"
        client = web(server.owner)
        for path in (page_of(server), servers_url(), reverse("portal:home")):
            assert f'class="tone-danger strong">{words}</time>' in client.get(path).content.decode()

    def test_submitted_can_be_withdrawn_by_its_people_only(self, web):
        server = make.submitted_server()
        path = reverse("catalog:withdraw", args=[server.pk])
        assert web(make.person()).post(path).status_code == 403
        assert web(server.owner).get(path).status_code == 405
        assert web(server.owner).post(path).status_code == 302
        server.refresh_from_db()
        assert server.lifecycle == "draft"

    def test_a_second_withdrawal_is_a_conflict(self, web):
        server = make.submitted_server()
        withdraw_server(actor=make.acting(server.owner), server=server)
        assert web(server.owner).post(reverse("catalog:withdraw", args=[server.pk])).status_code == 409

    def test_server_json_is_what_a_publisher_writes(self, web):
        server = make.draft(
            name="com.example/warehouse-sql",
            release="1.2.0",
            repository_url="https://github.com/example/warehouse-sql",
            endpoints=[
                {"transport": "streamable-http", "url": "https://mcp.example.test/mcp"},
                {
                    "transport": "stdio",
                    "package_registry": "npm",
                    "package_identifier": "@x/y",
                    "package_version": "1.2.0",
                },
            ],
        )
        entry = web(make.person()).get(reverse("catalog:server_json", args=[server.pk])).json()
        assert entry["name"] == "com.example/warehouse-sql"
        assert entry["remotes"] == [{"type": "streamable-http", "url": "https://mcp.example.test/mcp"}]
        assert entry["packages"] == [
            {"registryType": "npm", "identifier": "@x/y", "version": "1.2.0", "transport": {"type": "stdio"}}
        ]
        assert entry["repository"] == {"url": "https://github.com/example/warehouse-sql", "source": "github"}

    def test_history_names_field_person_and_both_values(self, web):
        owner = make.person(name="Ona Owner")
        server = make.draft(created_by=owner, title="Before")
        web(owner).post(
            reverse("portal:registration", args=[server.pk, "identity"]),
            {
                "name": server.name, "title": "After", "environment": "production",
                "endpoints-TOTAL_FORMS": 1, "endpoints-INITIAL_FORMS": 0,
                "endpoints-0-url": server.endpoints.get().url, "endpoints-0-transport": "streamable-http",
            },
        )  # fmt: skip
        page = web(make.person()).get(reverse("catalog:server_tab", args=[server.pk, "history"])).content.decode()
        assert "Ona Owner: server changed" in page
        assert "<del>Before</del> <ins>After</ins>" in page


class TestPanels:
    @pytest.fixture(autouse=True)
    def only_these(self, monkeypatch):
        monkeypatch.setattr(panels, "_panels", {})

    def test_an_upper_room_shows_itself_by_url_name(self, web):
        panels.register(page="server", url_name="trust:absent_panel", title="Absent")
        server = make.draft()
        page = web(make.person()).get(page_of(server)).content.decode()
        assert "Absent" not in page

    def test_panels_stand_in_their_order_and_only_once(self):
        panels.register(page="server", url_name="catalog:server_json", title="Second", order=20)
        panels.register(page="server", url_name="catalog:server", title="First", order=10)
        panels.register(page="server", url_name="catalog:server", title="First again", order=10)
        server = make.draft()
        placed = panels.panels_for("server", server.pk)
        assert [panel.title for panel in placed] == ["First", "Second"]
        assert placed[0].room == "catalog"


class TestEndings:
    def test_suspending_says_what_breaks_asks_why_and_acts(self, web):
        server = make.active_server()
        client, path = web(server.owner), reverse("catalog:suspend", args=[server.pk])
        page = client.get(path).content.decode()
        assert "Every agent with a grant loses this server" in page
        assert "Disable the role" in page
        assert client.post(path, {"reason": "", "version": server.etag}).status_code == 422
        assert client.post(path, {"reason": "Odd calls", "version": server.etag}).status_code == 302
        server.refresh_from_db()
        assert (server.lifecycle, server.lifecycle_reason) == ("suspended", "Odd calls")

    def test_a_stale_page_is_refused(self, web):
        server = make.active_server()
        stale = server.etag
        web(server.owner).post(
            reverse("catalog:suspend", args=[server.pk]), {"reason": "Odd calls", "version": '"0.0"'}
        )
        server.refresh_from_db()
        assert (server.lifecycle, server.etag) == ("active", stale)

    def test_others_may_not_suspend(self, web):
        server = make.active_server()
        path = reverse("catalog:suspend", args=[server.pk])
        assert web(make.person()).get(path).status_code == 403
        answer = web(make.person()).post(path, {"reason": "Because"})
        server.refresh_from_db()
        assert (answer.status_code, server.lifecycle) == (403, "active")
        assert "security or an administrator may suspend" in answer.content.decode()

    def test_its_own_people_may_not_resume_it(self, web):
        owner = make.person("security")
        server = make.active_server(owner=owner)
        suspend_server(actor=make.acting(owner), server=server, reason="Odd calls")
        path = reverse("catalog:resume", args=[server.pk])
        refused = web(owner).post(path, {"reason": "Fine again"})
        assert refused.status_code == 403
        assert "must be decided by somebody else" in refused.content.decode()
        assert web(make.person("security")).post(path, {"reason": "Looked at it"}).status_code == 302

    def test_retiring_is_final(self, web):
        server = make.active_server()
        client = web(server.owner)
        client.post(reverse("catalog:retire", args=[server.pk]), {"reason": "Replaced"})
        server.refresh_from_db()
        assert server.lifecycle == "retired"
        page = client.get(page_of(server)).content.decode()
        assert "Replaced" in page
        assert reverse("portal:registration", args=[server.pk, "identity"]) not in page


SYSTEM = {"name": "Ledger replica", "kind": "database", "data_class": "confidential", "environment": "production"}


class TestSystems:
    def test_any_member_registers_one_and_answers_for_it(self, web):
        me = make.person()
        client = web(me)
        assert client.get(reverse("catalog:system_new")).context["form"].initial["owner"] == me
        answer = client.post(reverse("catalog:system_new"), SYSTEM | {"owner": me.email})
        system = System.objects.get()
        assert answer.url == page_of(system, "system")
        assert (system.owner, system.data_class) == (me, "confidential")

    def test_the_same_name_twice_is_refused_with_what_was_typed(self, web):
        make.system(name="Ledger replica", environment="production")
        answer = web(make.person()).post(reverse("catalog:system_new"), SYSTEM | {"description": "The books."})
        assert answer.status_code == 422
        assert "The books." in answer.content.decode()
        assert System.objects.count() == 1

    def test_only_its_people_change_it(self, web):
        owner = make.person()
        system = make.system(owner=owner)
        path = reverse("catalog:system_edit", args=[system.pk])
        assert web(make.person()).post(path, SYSTEM).status_code == 403
        assert web(owner).post(path, SYSTEM | {"version": system.etag, "owner": owner.email}).status_code == 302
        system.refresh_from_db()
        assert system.name == "Ledger replica"

    def test_a_stale_form_is_refused_with_what_was_typed(self, web):
        owner = make.person()
        system = make.system(owner=owner)
        answer = web(owner).post(
            reverse("catalog:system_edit", args=[system.pk]), SYSTEM | {"version": '"0.0"', "owner": owner.email}
        )
        assert answer.status_code == 412
        assert 'value="Ledger replica"' in answer.content.decode()

    def test_retires_with_a_reason(self, web):
        owner = make.person()
        system = make.system(owner=owner)
        path = reverse("catalog:system_retire", args=[system.pk])
        assert web(owner).get(path).status_code == 200
        assert web(owner).post(path, {"reason": ""}).status_code == 422
        assert web(owner).post(path, {"reason": "Switched off"}).status_code == 302
        assert web(owner).get(path).status_code == 409

    def test_list_costs_the_same_for_one_and_for_many(
        self, web, django_assert_num_queries, django_assert_max_num_queries
    ):
        client = web(make.person())
        make.system()
        client.get(reverse("catalog:systems"))  # How much waits for somebody is remembered for a moment.
        with django_assert_max_num_queries(12) as few:
            client.get(reverse("catalog:systems"))
        for _ in range(5):
            make.system()
        with django_assert_num_queries(len(few)):
            client.get(reverse("catalog:systems"))


class TestAgents:
    def test_is_known_by_something(self, web):
        me = make.person()
        facts = {"name": "Forecast", "kind": "ai_agent", "environment": "production", "owner": me.email}
        refused = web(me).post(reverse("catalog:agent_new"), facts)
        assert refused.status_code == 422
        assert 'href="#id_spiffe_id"' in refused.content.decode()
        web(me).post(reverse("catalog:agent_new"), facts | {"spiffe_id": "spiffe://example.org/agents/forecast"})
        agent = Agent.objects.get()
        page = web(make.person()).get(page_of(agent, "agent")).content.decode()
        assert "spiffe://example.org/agents/forecast" in page

    def test_list_costs_the_same_for_one_and_for_many(
        self, web, django_assert_num_queries, django_assert_max_num_queries
    ):
        client = web(make.person())
        make.agent()
        client.get(reverse("catalog:agents"))  # How much waits for somebody is remembered for a moment.
        with django_assert_max_num_queries(13) as few:
            client.get(reverse("catalog:agents"))
        for _ in range(5):
            make.agent()
        with django_assert_num_queries(len(few)):
            client.get(reverse("catalog:agents"))


class TestIssuers:
    FACTS = {"name": "Halden", "kind": "oidc", "uri": "https://login.example.test"}

    def test_security_accepts_one_and_a_member_may_not(self, web):
        path = reverse("catalog:issuer_new")
        assert web(make.person()).get(path).status_code == 403
        assert web(make.person()).post(path, self.FACTS).status_code == 403
        assert not Issuer.objects.exists()
        assert web(make.person("security")).post(path, self.FACTS).status_code == 302
        assert Issuer.objects.get().uri == "https://login.example.test"

    def test_an_identifier_that_does_not_fit_is_said_at_its_field(self, web):
        answer = web(make.person("security")).post(reverse("catalog:issuer_new"), self.FACTS | {"uri": "spiffe://x"})
        assert answer.status_code == 422
        assert 'href="#id_uri"' in answer.content.decode()

    def test_retires(self, web):
        issuer = make.issuer()
        path = reverse("catalog:issuer_retire", args=[issuer.pk])
        assert web(make.person()).post(path, {"reason": "Gone"}).status_code == 403
        assert web(make.person("administrator")).post(path, {"reason": "Gone"}).status_code == 302
        issuer.refresh_from_db()
        assert issuer.standing == "retired"


class TestOptions:
    def test_suggests_what_is_visible_and_narrows_down(self, web):
        owner = make.person()
        make.system(name="Sales warehouse")
        make.system(name="Ledger replica", confidential=True, owner=owner, created_by=owner)
        url = reverse("catalog:options", args=["systems"])
        page = web(make.person()).get(url).content.decode()
        assert "Sales warehouse (production)" in page
        assert "Ledger" not in page
        assert "Ledger" in web(owner).get(url, {"system": "ledg"}).content.decode()

    def test_people_are_found_by_name_and_named_by_address(self, web):
        make.person(name="Ines Moreau", email="ines@example.test")
        make.person(name="Left Already", active=False)
        page = web(make.person()).get(reverse("catalog:options", args=["people"]), {"owner": "moreau"})
        assert page.content.decode().strip() == '<option value="ines@example.test" label="Ines Moreau"></option>'

    def test_an_unknown_kind_is_not_found(self, web):
        assert web(make.person()).get(reverse("catalog:options", args=["secrets"])).status_code == 404
