"""The workbench: a window of a long queue, ways to look at it, what each item shows, and what other rooms may add."""

import re
from datetime import timedelta

import pytest
from django.db import connection as database
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse

import registry.urls
from registry.catalog import services as catalog
from registry.core import clock, panels
from registry.reviews import desk
from registry.reviews import services as reviews
from registry.reviews.models import Decision, Delegation, ExceptionRecord, Item, Remediation, Trigger, WorkItem
from registry.reviews.presentation import SLOTS
from registry.reviews.queue import Changed, Grouping, Question, Tab, lineup
from registry.reviews.states import ItemState
from tests import factories as make

pytestmark = pytest.mark.django_db

READS = [{"name": "query", "confirmed_class": "read"}]


@pytest.fixture
def reviewer():
    return make.person("reviewer", name="Rita Reviewer")


def open_items(reviewer, number, **facts):
    """A campaign of this many servers."""
    for _ in range(number):
        make.active_server(tools=READS)
    return make.campaign(reviewer, kinds=["server"], **facts)


def ask(reviewer, campaign, window=60, current=None, after=None, until=None, **question):
    return lineup(
        make.acting(reviewer), campaign, Question(**question), current=current, after=after, until=until, window=window
    )


def ids(drawn):
    return [line.id for line in drawn.lines]


class TestLineup:
    """The reads behind the queue."""

    def test_pages_forward_and_back_cover_everything_once(self, reviewer):
        campaign = open_items(reviewer, 7)
        everything = ids(ask(reviewer, campaign))
        assert len(set(everything)) == 7
        first = ask(reviewer, campaign, window=3)
        second = ask(reviewer, campaign, window=3, after=first.lines[-1].id)
        third = ask(reviewer, campaign, window=3, after=second.lines[-1].id)
        assert ids(first) + ids(second) + ids(third) == everything
        assert [(page.earlier, page.later) for page in (first, second, third)] == [(0, 4), (3, 1), (6, 0)]
        assert ids(ask(reviewer, campaign, window=3, until=third.lines[0].id)) == ids(second)

    def test_before_the_second_line_is_the_first_alone(self, reviewer):
        campaign = open_items(reviewer, 4)
        everything = ids(ask(reviewer, campaign))
        page = ask(reviewer, campaign, window=3, until=everything[1])
        assert ids(page) == everything[:1]
        assert (page.earlier, page.later, page.matching) == (0, 3, 4)

    def test_the_window_stands_around_the_current_item(self, reviewer, monkeypatch):
        monkeypatch.setattr("registry.reviews.queue.BEFORE", 1)
        campaign = open_items(reviewer, 8)
        everything = ids(ask(reviewer, campaign))
        drawn = ask(reviewer, campaign, window=4, current=everything[4])
        assert ids(drawn) == everything[3:7]
        assert (drawn.previous, drawn.next) == (everything[3], everything[5])
        assert (drawn.earlier, drawn.later, drawn.matching) == (3, 1, 8)
        assert ids(ask(reviewer, campaign, window=4, current=everything[0])) == everything[:4]
        # On another page of the queue the way from item to item stays that of the item one looks at.
        paged = ask(reviewer, campaign, window=2, current=everything[4], after=everything[5])
        assert ids(paged) == everything[6:]
        assert (paged.previous, paged.next) == (everything[3], everything[5])

    def test_ends_of_the_queue(self, reviewer):
        campaign = open_items(reviewer, 3)
        first, _second, last = ids(ask(reviewer, campaign))
        assert ask(reviewer, campaign, current=first).previous is None
        assert ask(reviewer, campaign, current=last).next is None
        assert ask(reviewer, campaign, current=last).next_open == first

    def test_next_open_leaves_out_what_is_answered(self, reviewer):
        campaign = open_items(reviewer, 3)
        first, second, last = ids(ask(reviewer, campaign))
        make.decide(Item.objects.get(pk=second))
        drawn = ask(reviewer, campaign, current=first)
        assert drawn.next_open == last
        make.decide(Item.objects.get(pk=last))
        assert ask(reviewer, campaign, current=first).next_open is None
        assert ask(reviewer, campaign, current=last).next_open == first

    def test_the_current_item_is_drawn_where_it_stands_although_its_tab_is_another(self, reviewer):
        campaign = open_items(reviewer, 3)
        everything = ids(ask(reviewer, campaign))
        make.decide(Item.objects.get(pk=everything[1]))
        assert ids(ask(reviewer, campaign)) == [everything[0], everything[2]]
        assert ids(ask(reviewer, campaign, current=everything[1])) == everything

    def test_tabs_and_counts(self, reviewer):
        campaign = open_items(reviewer, 4)
        one, two, three, four = (Item.objects.get(pk=pk) for pk in ids(ask(reviewer, campaign)))
        make.decide(one)
        make.sign(campaign, reviewer)
        make.decide(two, "revoke")
        counts = ask(reviewer, campaign).counts
        assert (counts.todo, counts.unsigned, counts.signed) == (2, 1, 1)
        assert (counts.decided, counts.total, counts.by_value) == (2, 4, {"certify": 1, "suspend": 1})
        assert [ids(ask(reviewer, campaign, tab=tab)) for tab in Tab.values] == [
            [three.pk, four.pk],
            [two.pk],
            [one.pk],
        ]

    def test_only_ones_own(self, reviewer):
        other = make.person("reviewer")
        for _ in range(4):
            make.active_server(tools=READS)
        campaign = make.campaign(reviewer, other, kinds=["server"])
        mine, theirs = ids(ask(reviewer, campaign)), ids(ask(other, campaign))
        assert (len(mine), len(theirs)) == (2, 2)
        assert not set(mine) & set(theirs)
        stranger = ask(make.person("reviewer"), campaign)
        assert (ids(stranger), stranger.counts.total) == ([], 0)

    def test_other_campaigns_and_what_ended_ask_nothing(self, reviewer):
        old = open_items(reviewer, 2)
        for item in old.items.all():
            make.decide(item)
        make.sign(old, reviewer)
        gone, _kept = Item.objects.filter(campaign=old)
        campaign = make.campaign(reviewer, kinds=["server"])
        catalog.retire_server(actor=make.acting(gone.server.owner), server=gone.server, reason="Replaced.")
        reviews.sweep_items()
        assert campaign.items.get(server=gone.server).state == ItemState.OBSOLETE
        counts = ask(reviewer, campaign).counts
        assert (counts.todo, counts.signed, counts.total) == (1, 0, 1)

    def test_what_was_handed_on_is_not_in_ones_queue(self, reviewer):
        campaign = open_items(reviewer, 2)
        item = Item.objects.get(pk=ids(ask(reviewer, campaign))[0])
        other = make.person("reviewer")
        reviews.reassign_work_item(
            actor=make.acting(reviewer), work_item=make.work_of(item), to=other, note="You know it."
        )
        assert item.pk not in ids(ask(reviewer, campaign))
        assert ids(ask(other, campaign)) == [item.pk]

    def test_grouped_by_server_the_worst_tier_first(self, reviewer):
        calm = make.active_server(tools=READS, title="Aardvark", name="com.example/aardvark")
        harsh = make.active_server(data_classes=("restricted",), title="Zebra", name="com.example/zebra")
        for server in (calm, harsh):
            make.grant(server=server)
        campaign = make.campaign(reviewer, kinds=["server", "grant"])
        drawn = ask(reviewer, campaign)
        assert [line.group_name for line in drawn.lines] == ["com.example/zebra"] * 2 + ["com.example/aardvark"] * 2
        assert [line.kind for line in drawn.lines] == ["server", "grant"] * 2
        assert drawn.groups == {str(calm.pk): 2, str(harsh.pk): 2}

    def test_a_group_counts_what_is_not_drawn(self, reviewer):
        server = make.active_server(tools=READS)
        for _ in range(5):
            make.grant(server=server, tools=["query"])
        campaign = make.campaign(reviewer, kinds=["grant"])
        drawn = ask(reviewer, campaign, window=2)
        assert (len(drawn.lines), drawn.groups) == (2, {str(server.pk): 5})

    def test_grouped_by_system_a_server_stands_with_the_most_sensitive_it_reaches(self, reviewer):
        server = make.active_server(data_classes=("internal", "confidential"))
        books = make.system(name="Books", data_class="internal")
        ledger = make.system(name="Ledger", data_class="confidential")
        for system in (books, ledger):
            make.connection(server=server, system=system)
        make.grant(server=server)
        lonely = make.active_server(tools=READS, name="com.example/lonely")
        campaign = make.campaign(reviewer)
        named = {
            (line.kind, line.label): line.group_name for line in ask(reviewer, campaign, grouping=Grouping.SYSTEM).lines
        }
        assert named.pop(("server", lonely.name)) == ""
        assert sorted(named.values()) == ["Books", "Ledger", "Ledger", "Ledger"]

    def test_grouped_by_team_and_flat(self, reviewer):
        teams = [make.team(name=name) for name in ("Finance", "Platform")]
        for team in teams:
            make.active_server(in_team=team, tools=READS)
        make.agent(team=teams[0], name="Ledger bot")
        campaign = make.campaign(reviewer, kinds=["server", "agent"])
        by_team = ask(reviewer, campaign, grouping=Grouping.TEAM)
        assert sorted(line.group_name for line in by_team.lines) == ["Finance", "Finance", "Platform"]
        flat = ask(reviewer, campaign, grouping=Grouping.FLAT)
        assert set(flat.groups) == {""}
        assert len(flat.lines) == 3

    def test_filters(self, reviewer):
        server = make.active_server(tools=READS, title="Stock 100% sure")
        make.grant(server=server, tools=["query"], agent=make.agent(name="Forecast agent"))
        harsh = make.active_server(data_classes=("restricted",))
        campaign = make.campaign(reviewer, kinds=["server", "grant"])
        grant = campaign.items.get(kind="grant")

        def found(**question):
            return set(ids(ask(reviewer, campaign, **question)))

        assert found(text="forecast") == {grant.pk}
        assert found(text="sure forecast") == {grant.pk}
        assert found(text="100%") == {grant.pk}
        assert found(text="1_0") == set()
        assert found(kind="grant") == {grant.pk}
        worst = campaign.items.get(server=harsh)
        assert found(tier=worst.tier, kind="server") == {worst.pk}
        # A filter narrows the way to the next item as well.
        assert ask(reviewer, campaign, current=worst.pk, kind="grant").next_open == grant.pk
        assert ask(reviewer, campaign, current=grant.pk, kind="grant").next_open is None

    def test_filter_by_what_changed(self, reviewer):
        same, other, fresh = (make.active_server(tools=READS) for _ in range(3))
        first = make.campaign(reviewer, kinds=["server"])
        for server in (same, other):
            make.decide(first.items.get(server=server))
        make.sign(first, reviewer)
        reviews.cancel_campaign(actor=make.acting(first.owner), campaign=first, reason="Cut short.")
        catalog.set_tools(
            actor=make.acting(other.owner), server=other, tools=[{"name": "more", "confirmed_class": "read"}]
        )
        campaign = make.campaign(reviewer, kinds=["server"])

        def found(changed):
            return {line.label for line in ask(reviewer, campaign, changed=changed).lines}

        assert found(Changed.NOTHING) == {same.name}
        assert found(Changed.SINCE) == {other.name}
        assert found(Changed.NEVER) == {fresh.name}
        assert found(Changed.MEANWHILE) == set()
        assert {line.label: line.since for line in ask(reviewer, campaign).lines} == {
            same.name: "", other.name: "since", fresh.name: "never",
        }  # fmt: skip
        catalog.set_tools(
            actor=make.acting(same.owner), server=same, tools=[{"name": "purge", "confirmed_class": "destructive"}]
        )
        reviews.sweep_items()
        assert found(Changed.MEANWHILE) == {same.name}


class TestQueuePage:
    def test_shows_a_window_with_the_way_on(self, web, reviewer, monkeypatch):
        monkeypatch.setattr("registry.reviews.queue.WINDOW", 3)
        campaign = open_items(reviewer, 5)
        client = web(reviewer)
        page = client.get(reverse("reviews:workbench", args=[campaign.pk]), follow=True).text
        assert len(re.findall(r'<div class="q(?: \w+)*">', page)) == 3
        assert "2 more" in page
        later = re.search(r'class="qmore" href="([^"]+)"', page)[1]
        assert later.startswith("?after=")
        page = client.get(reverse("reviews:workbench", args=[campaign.pk]) + later).text
        assert "3 earlier" in page

    def test_the_campaign_chooses_the_view_and_the_reader_another_which_is_remembered(self, web, reviewer):
        campaign = open_items(reviewer, 2, grouping="team")
        client = web(reviewer)
        bench = reverse("reviews:workbench", args=[campaign.pk])
        assert "By team, highest tier first" in client.get(bench, follow=True).text
        assert "One list, highest tier first" in client.get(f"{bench}?by=flat", follow=True).text
        assert "One list, highest tier first" in client.get(bench, follow=True).text
        # Only here: another campaign keeps its own default, and an unknown view is none.
        make.active_server()
        assert (
            "By server"
            in client.get(
                reverse("reviews:workbench", args=[make.campaign(reviewer, kinds=["server"]).pk]), follow=True
            ).text
        )
        assert client.get(f"{bench}?by=nonsense", follow=True).status_code == 200

    def test_the_address_keeps_tab_view_and_filter_through_a_decision(self, web, reviewer):
        campaign = open_items(reviewer, 3)
        client = web(reviewer)
        tier = campaign.items.first().tier
        answer = client.get(reverse("reviews:workbench", args=[campaign.pk]), {"by": "flat", "tier": tier})
        page = client.get(answer["Location"]).text
        action = re.search(r'id="decision" method="post" action="([^"]+)"', page)[1].replace("&amp;", "&")
        assert f"by=flat&tier={tier}" in action
        sent = {name: re.search(rf'name="{name}" value="([^"]*)"', page)[1].replace("&quot;", '"')
                for name in ("evidence_hash", "version", "shown")}  # fmt: skip
        answer = client.post(action, {**sent, "value": "certify", "reason": "Fine."})
        assert answer.status_code == 302
        assert f"?by=flat&tier={tier}#item" in answer["Location"]

    def test_nothing_matches_says_so_and_offers_the_way_back(self, web, reviewer):
        campaign = open_items(reviewer, 1)
        page = web(reviewer).get(reverse("reviews:workbench", args=[campaign.pk]), {"q": "no such thing"}).text
        assert "Nothing matches the filter" in page
        assert "1 item is to do" in page

    def test_ids_in_an_address_that_are_none_count_as_none(self, web, reviewer):
        campaign = open_items(reviewer, 1)
        bench = reverse("reviews:workbench", args=[campaign.pk])
        for wrong in ("after=xyz", "until=1", "tier=huge", "kind=person", "changed=perhaps"):
            assert web(reviewer).get(f"{bench}?{wrong}", follow=True).status_code == 200


class TestItemPage:
    def page(self, web, reader, item):
        return web(reader).get(reverse("reviews:item", args=[item.campaign_id, item.pk])).text

    def test_costs_the_same_for_a_long_queue(self, web, reviewer):
        """The number of statements does not depend on how much somebody holds, or on how much of it is decided."""
        server = make.active_server(tools=READS)
        grants = [make.grant(server=server, tools=["query"]) for _ in range(2)]
        small = make.campaign(reviewer, kinds=["grant"], name="Small")
        client = web(reviewer)

        def asked(item):
            url = reverse("reviews:item", args=[item.campaign_id, item.pk])
            client.get(url)
            with CaptureQueriesContext(
                database,
            ) as queries:
                assert client.get(url).status_code == 200
            return len(queries)

        few = asked(small.items.get(grant=grants[0]))
        for _ in range(9):
            make.grant(server=server, tools=["query"])
        large = make.campaign(reviewer, kinds=["grant"], name="Large")
        assert large.items.count() == 9
        many = asked(large.items.first())
        assert few == many
        assert many <= 23

    def test_an_answer_leads_where_its_page_said(self, web, reviewer):
        """The page names the next item, so that answering need not order the whole queue again."""
        campaign = open_items(reviewer, 4)
        first, second, third, _last = ids(ask(reviewer, campaign))
        client = web(reviewer)

        def answer(item, **sent):
            page = reverse("reviews:item", args=[campaign.pk, item])
            shown = client.get(page).text
            fields = {
                name: re.search(f'name="{name}" value="([^"]*)"', shown)[1] for name in ("evidence_hash", "following")
            }
            given = {**fields, "value": "certify", "reason": "Needed.", **sent}
            with CaptureQueriesContext(database) as asked:
                told = client.post(reverse("reviews:decide", args=[campaign.pk, item]), given)
            ordered = any("row_number()" in query["sql"] for query in asked)
            return fields["following"], told["Location"].partition("#")[0].rpartition("items/")[2].strip("/"), ordered

        named, followed, ordered = answer(first)
        assert (named, followed, ordered) == (str(second), str(second), False)
        # Answered meanwhile in another tab; somebody else's; of no campaign; no id: the queue is asked.
        for stale in (str(first), str(make.campaign(make.person("reviewer")).pk), "", "nonsense", str(second)):
            _named, followed, ordered = answer(second, following=stale)
            assert (followed, ordered) == (str(third), True), stale

    def test_every_kind_reads_in_one_sentence(self, web, reviewer):
        server = make.active_server(title="Warehouse SQL")
        agent = make.agent(name="Forecast agent")
        make.grant(server=server, agent=agent)
        make.connection(server=server, system=make.system(name="Ledger"), access="write")
        campaign = make.campaign(reviewer, kinds=["server", "grant", "connection", "agent"])
        said = {
            "server": "Warehouse SQL offers 2 tools in production, reaching Ledger",
            "grant": "Forecast agent may use 2 tools of Warehouse SQL on behalf of signed-in people",
            "connection": "Warehouse SQL may read and write on Ledger (internal data)",
            "agent": f"Forecast agent is known as {agent.spiffe_id}, belongs to {agent.owner.name} "
            "and may call 1 server.",
        }
        for kind, words in said.items():
            assert words in self.page(web, reviewer, campaign.items.get(kind=kind)), kind

    def test_what_changed_comes_first_in_words(self, web, reviewer):
        server = make.active_server(tools=READS)
        first = make.campaign(reviewer, kinds=["server"])
        make.decide(first.items.get())
        make.sign(first, reviewer)
        catalog.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[*READS, {"name": "refund", "confirmed_class": "write"}],
        )
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        page = self.page(web, reviewer, item)
        assert re.search(r"Added</span> Tool <span class=\"strong\">refund", page)
        assert page.index("Added</span>") < page.index("Blast radius") < page.index("Past decisions")
        # The full comparison names the same fact at three instants, in words.
        page = web(reviewer).get(reverse("reviews:item", args=[item.campaign_id, item.pk]), {"evidence": "all"}).text
        row = re.search(r'<tr class="moved add">.*?</tr>', page, re.S)[0]
        assert "refund" in row
        then, launch, now, label = re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)
        assert "not there" in then
        assert launch == now
        assert "Write" in launch
        assert "Added" in label

    def test_nothing_changed_is_said(self, web, reviewer):
        make.active_server(tools=READS)
        first = make.campaign(reviewer, kinds=["server"])
        make.decide(first.items.get(), reason="As last year.")
        make.sign(first, reviewer)
        page = self.page(web, reviewer, make.campaign(reviewer, kinds=["server"]).items.get())
        assert "Nothing material changed" in page
        assert "As last year." in page

    def test_what_is_not_known_is_not_called_unused_or_fine(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        page = self.page(web, reviewer, item)
        for name, slot in SLOTS.items():
            filled = panels.panels_for(f"review.{name}.{item.kind}", item.subject_pk)
            assert (str(slot.unknown).replace("'", "&#x27;") in page) == (not filled)
        assert "unused" not in page.replace("not that it is unused", "")

    def test_another_room_fills_a_place(self, web, reviewer, monkeypatch):
        """Registered by slot and kind; the fragment gets the subject's id, and what is not known is no longer said."""
        monkeypatch.setattr(panels, "_panels", {name: list(found) for name, found in panels._panels.items()})
        fragment = path("use-of/<uuid:pk>/", lambda request, pk: HttpResponse(f"12 calls of {pk}"), name="use_of_grant")
        monkeypatch.setattr(registry.urls, "urlpatterns", [*registry.urls.urlpatterns, fragment])
        from django.urls import clear_url_caches

        clear_url_caches()
        panels.register(page="review.activity.grant", url_name="use_of_grant", title="Use in 90 days")
        grant = make.grant()
        campaign = make.campaign(reviewer, kinds=["grant", "server"])
        filled = self.page(web, reviewer, campaign.items.get(kind="grant"))
        assert f'hx-get="/use-of/{grant.pk}/"' in filled
        assert "No activity log connected" not in filled
        assert str(SLOTS["activity"].unknown) not in filled
        assert str(SLOTS["findings"].unknown) in filled
        assert "No activity log connected" in self.page(web, reviewer, campaign.items.get(kind="server"))
        clear_url_caches()

    def test_who_loses_function_is_named_before_one_revokes(self, web, reviewer):
        server = make.active_server(title="Warehouse SQL")
        ledger = make.system(name="Ledger")
        make.connection(server=server, system=ledger)
        make.grant(server=server, agent=make.agent(name="Forecast agent"))
        campaign = make.campaign(reviewer)
        for kind in ("server", "connection"):
            page = self.page(web, reviewer, campaign.items.get(kind=kind))
            assert "1 agent loses function if this is cut" in page
            assert "Forecast agent: Ledger" in re.sub(r"\s+", " ", page)

    def test_what_opened_it_is_told(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        Trigger.objects.create(
            kind="server", server=item.server, cause=Trigger.Cause.OWNER_LEFT, detail="Ona Owner", absorbed_by=item
        )
        page = self.page(web, reviewer, item)
        assert "Opened because: The owner left, Ona Owner" in page

    def test_why_me_and_who_not(self, web, reviewer):
        server = make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        item = campaign.items.get()
        page = self.page(web, reviewer, item)
        assert item.work_items.get().chosen_because in page
        barred = {each.user: each.reasons for each in desk.could_not_be_asked(item)}
        assert "owns the server" in barred[server.owner]
        assert server.owner.name in page
        assert "owns the server" in page

    def test_history_shows_dissent(self, web, reviewer):
        other = make.person("reviewer", name="Doubting Dan")
        server = make.active_server(tools=READS)
        campaign = make.campaign(
            kinds=["server"],
            stages=[{"reviewers": [reviewer, other], "reviewers_per_item": 2, "strategy": "one_deny_denies"}],
        )
        item = campaign.items.get()
        for work_item, value in zip(
            item.work_items.order_by("reviewer__name"), ("revoke", "certify"), strict=True
        ):  # Dan, then Rita
            reviews.save_decision(
                actor=make.acting(work_item.reviewer), work_item=work_item, value=value, reason="Because.",
                evidence_hash=item.evidence_hash,
            )  # fmt: skip
        for person in (reviewer, other):
            make.sign(campaign, person)
        item.refresh_from_db()
        assert item.outcome == "revoke"
        catalog.resume_server(actor=make.acting(make.person("security")), server=server, reason="Mended.")
        again = make.campaign(reviewer, kinds=["server"]).items.get()
        past = [(each.decision.value, each.dissents) for each in desk.past_decisions(again)]
        assert past == [("revoke", False), ("certify", True)]
        assert "dissent: the review came out otherwise" in self.page(web, reviewer, again)
        # What was revoked is no baseline, though one of the two certified it.
        assert desk.last_certified(again) is None

    def test_history_tells_of_an_exception_though_nobody_had_decided(self, web, reviewer):
        """The clock cuts what nobody answered, and that too may be left in place for a while."""
        server = make.active_server(tools=READS)
        earlier = make.campaign(reviewer, kinds=["server"], name="Nobody answered").items.get()
        assert desk.past_exceptions(earlier) == []
        Item.objects.filter(pk=earlier.pk).update(state=ItemState.OBSOLETE)
        row = Remediation.objects.create(item=earlier, kind="revoke", reason="Nobody answered in time.")
        left = ExceptionRecord.objects.create(
            remediation=row, requested_by=server.owner, expires_at=clock.now() + timedelta(days=20),
            reason="The vendor closes it in December.", compensating_control="Its calls are watched.",
        )  # fmt: skip
        again = make.campaign(reviewer, kinds=["server"], name="Once more").items.get()
        assert desk.past_decisions(again) == []
        assert desk.past_exceptions(again) == [left]
        page = self.page(web, reviewer, again)
        assert "The vendor closes it in December." in page
        assert "Nobody answered" in page

    def test_certify_is_never_chosen_for_anybody(self, web, reviewer):
        server = make.active_server(tools=READS)
        first = make.campaign(reviewer, kinds=["server"])
        make.decide(first.items.get())
        make.sign(first, reviewer)
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        page = self.page(web, reviewer, item)
        radios = re.findall(r'<input type="radio" name="value"[^>]*>', page)
        assert radios
        assert not any("checked" in radio for radio in radios)
        assert server.name in page

    def test_the_rules_are_silent_on_high_tiers_before_a_first_own_answer(self, web, reviewer):
        tools = [*READS, {"name": "drop", "confirmed_class": "destructive"}]
        make.grant(server=make.active_server(data_classes=("restricted",), tools=tools), all_tools=True)
        campaign = make.campaign(reviewer, kinds=["grant"])
        item = campaign.items.get()
        assert item.tier in ("high", "critical")
        client = web(reviewer)
        url = reverse("reviews:item", args=[campaign.pk, item.pk])
        page = client.get(url).text
        assert "shown after your own first answer" in page
        assert "Against it" not in page
        assert client.get(url, {"evidence": "all"}).status_code == 200
        sent = {name: re.search(rf'name="{name}" value="([^"]*)"', page)[1].replace("&quot;", '"')
                for name in ("evidence_hash", "version", "shown")}  # fmt: skip
        answer = client.post(
            reverse("reviews:decide", args=[campaign.pk, item.pk]), {**sent, "value": "certify", "reason": "Needed."}
        )
        recommended = Decision.objects.get().recommended
        assert recommended not in ("", "certify")
        # They differ, so the reader stays and sees why; answering once more goes on.
        assert str(item.pk) in answer["Location"]
        page = client.get(answer["Location"]).text
        assert "The rules see it differently" in page
        sent["version"] = re.search(r'name="version" value="([^"]*)"', page)[1].replace("&quot;", '"')
        answer = client.post(
            reverse("reviews:decide", args=[campaign.pk, item.pk]), {**sent, "value": "certify", "reason": "Needed."}
        )
        assert answer["Location"] == reverse("reviews:workbench", args=[campaign.pk])

    def test_two_tabs_show_both_answers_and_replace_knowingly(self, web, reviewer):
        campaign = open_items(reviewer, 1)
        item = campaign.items.get()
        client = web(reviewer)
        page = client.get(reverse("reviews:item", args=[campaign.pk, item.pk])).text
        sent = {name: re.search(rf'name="{name}" value="([^"]*)"', page)[1].replace("&quot;", '"')
                for name in ("evidence_hash", "version", "shown")}  # fmt: skip
        decide = reverse("reviews:decide", args=[campaign.pk, item.pk])
        assert client.post(decide, {**sent, "value": "certify", "reason": "First tab."}).status_code == 302
        answer = client.post(decide, {**sent, "value": "revoke", "reason": "Second tab."})
        assert answer.status_code == 412
        assert "First tab." in answer.text
        assert "Second tab." in answer.text
        assert re.search(r'value="revoke"[^>]*checked', answer.text)
        assert Decision.objects.get().value == "certify"
        sent["version"] = re.search(r'name="version" value="([^"]*)"', answer.text)[1].replace("&quot;", '"')
        assert client.post(decide, {**sent, "value": "revoke", "reason": "Second tab."}).status_code == 302
        assert Decision.objects.get().value == "revoke"

    def test_the_last_answer_is_undone_from_the_next_item(self, web, reviewer):
        campaign = open_items(reviewer, 2)
        first, second = campaign.items.all()
        make.decide(first)
        client = web(reviewer)
        page = client.get(reverse("reviews:item", args=[campaign.pk, second.pk])).text
        assert first.label in page[page.index("Saved:") :]
        undo = re.search(r'id="undo" method="post" action="([^"]+)"', page)[1]
        version = re.findall(r'name="version" value="([^"]*)"', page)[-1].replace("&quot;", '"')
        answer = client.post(undo, {"version": version}, follow=True)
        assert "Your answer is taken back." in answer.text
        assert first.label in answer.text
        assert not Decision.objects.exists()

    def test_looking_counts_from_the_first_time(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        url = reverse("reviews:item", args=[item.campaign_id, item.pk])
        web(item.campaign.owner).get(url)
        assert WorkItem.objects.get().first_shown_at is None
        web(reviewer).get(url)
        shown = WorkItem.objects.get().first_shown_at
        assert shown is not None
        web(reviewer).get(url)
        assert WorkItem.objects.get().first_shown_at == shown


def fields_of(page):
    found = re.search(r'<form class="decide".*?</form>', page, re.S)[0]
    return {name: re.search(rf'name="{name}" value="([^"]*)"', found)[1].replace("&quot;", '"')
            for name in ("evidence_hash", "version", "shown")}  # fmt: skip


class TestOpenedEvidence:
    """Looking at the page opens nothing; following the link to all evidence does, with and without scripts."""

    @pytest.fixture
    def critical(self, reviewer):
        server = make.active_server(tools=READS)
        make.override_tier(server, "critical")
        return make.campaign(reviewer, kinds=["server"]).items.get()

    def url(self, item):
        return reverse("reviews:item", args=[item.campaign_id, item.pk])

    def test_the_page_shows_a_link_and_the_link_opens_it(self, web, reviewer, critical):
        client = web(reviewer)
        page = client.get(self.url(critical)).text
        assert "What is signed" not in page and "to be opened before this is kept" in page
        assert WorkItem.objects.get().evidence_opened_at is None
        link = re.search(r'href="([^"]*evidence=all[^"]*)"[^>]*data-keys="e"', page)[1].replace("&amp;", "&")
        assert link.endswith("#all")
        assert "What is signed" in client.get(link).text
        assert WorkItem.objects.get().evidence_opened_at is not None

    def test_in_place_only_the_evidence_comes(self, web, reviewer, critical):
        part = web(reviewer).get(f"{self.url(critical)}?evidence=all", headers={"HX-Request": "true"}).text
        assert "What is signed" in part and "<html" not in part
        assert WorkItem.objects.get().evidence_opened_at is not None

    def test_somebody_who_only_reads_opens_nothing_for_the_reviewer(self, web, critical):
        assert "What is signed" in web(critical.campaign.owner).get(f"{self.url(critical)}?evidence=all").text
        assert WorkItem.objects.get().evidence_opened_at is None

    def test_a_critical_item_is_refused_with_its_evidence_opened_and_nothing_lost(self, web, reviewer, critical):
        client = web(reviewer)
        decide = reverse("reviews:decide", args=[critical.campaign_id, critical.pk])
        sent = {**fields_of(client.get(self.url(critical)).text), "value": "certify", "reason": "As agreed."}
        refused = client.post(decide, sent)
        assert refused.status_code == 422
        assert not Decision.objects.exists()
        assert "nothing critical is kept with its evidence unopened" in refused.text
        assert "What is signed" in refused.text and "As agreed." in refused.text
        assert re.search(r'value="certify"[^>]*checked', refused.text)
        assert client.post(decide, {**sent, **fields_of(refused.text)}).status_code == 302
        assert Decision.objects.get().opened_evidence_at is not None

    def test_an_ordinary_answer_without_it_says_so(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        client = web(reviewer)
        sent = {**fields_of(client.get(self.url(item)).text), "value": "certify", "reason": "Fine."}
        decide = reverse("reviews:decide", args=[item.campaign_id, item.pk])
        assert client.post(decide, sent).status_code == 302
        assert Decision.objects.get().opened_evidence_at is None


class TestActOnlyAddresses:
    BROWSER = {"Accept": "text/html,application/xhtml+xml"}

    @pytest.mark.parametrize("act", ["decide", "undo", "confirm_facts", "decide_intake"])
    def test_a_reload_leads_to_the_item_and_keeps_the_view(self, web, reviewer, act):
        item = open_items(reviewer, 1).items.get()
        place = [item.campaign_id, item.pk]
        answer = web(reviewer).get(f"{reverse(f'reviews:{act}', args=place)}?by=flat", headers=self.BROWSER)
        assert answer.status_code == 302
        assert answer["Location"] == f"{reverse('reviews:item', args=place)}?by=flat"

    def test_acts_on_a_campaign_lead_to_it(self, web, reviewer):
        campaign = open_items(reviewer, 1)
        client = web(reviewer)
        remind = reverse("reviews:campaign_remind", args=[campaign.pk, reviewer.pk])
        for act, page in (
            (reverse("reviews:campaign_recheck", args=[campaign.pk]), "campaign"),
            (remind, "campaign"),
            (reverse("reviews:sign_off_ask", args=[campaign.pk]), "sign_off"),
        ):
            assert client.get(act, headers=self.BROWSER)["Location"] == reverse(f"reviews:{page}", args=[campaign.pk])

    def test_a_program_is_told_405(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        assert web(reviewer).get(reverse("reviews:decide", args=[item.campaign_id, item.pk])).status_code == 405

    def test_after_the_session_ended_one_comes_back_to_the_item_and_is_told(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        place = [item.campaign_id, item.pk]
        client = web()
        gone = client.post(reverse("reviews:decide", args=place), {"value": "certify", "reason": "Typed at length."})
        assert gone.status_code == 302 and "/sign-in" in gone["Location"]
        client = web(reviewer)
        answer = client.get(gone["Location"], headers=self.BROWSER, follow=True)
        assert answer.request["PATH_INFO"] == reverse("reviews:item", args=place)
        assert answer.status_code == 200
        assert "what you sent was not saved" in answer.text
        assert "unsent" not in answer.request["QUERY_STRING"]
        assert "what you sent was not saved" not in client.get(reverse("reviews:item", args=place)).text


class TestNothingTypedTwice:
    def test_a_missing_reason_gets_the_focus(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        client = web(reviewer)
        page = client.get(reverse("reviews:item", args=[item.campaign_id, item.pk])).text
        assert "autofocus" not in page
        decide = reverse("reviews:decide", args=[item.campaign_id, item.pk])
        refused = client.post(decide, {**fields_of(page), "value": "revoke", "reason": ""})
        assert refused.status_code == 422
        assert re.search(r'<textarea[^>]*id="reason"[^>]*aria-invalid="true"[^>]*autofocus', refused.text)
        assert refused.text.count("autofocus") == 1

    def test_undo_leaves_the_answer_as_an_unfinished_one(self, web, reviewer):
        item = open_items(reviewer, 1).items.get()
        make.decide(item, "revoke", reason="Nobody calls it.")
        client = web(reviewer)
        url = reverse("reviews:item", args=[item.campaign_id, item.pk])
        version = re.search(r'name="version" value="([^"]*)"', client.get(url).text)[1].replace("&quot;", '"')
        undo = reverse("reviews:undo", args=[item.campaign_id, item.pk])
        page = client.post(undo, {"version": version}, follow=True).text
        assert re.search(r'id="reason"[^>]*>Nobody calls it\.</textarea>', page)
        assert re.search(r'name="value" value="revoke"[^>]*checked', page)
        assert "Nobody calls it." in client.get(url).text
        client.post(reverse("reviews:unfinished", args=[item.campaign_id, item.pk]), {"discard": "1"})
        assert "Nobody calls it." not in client.get(url).text


def test_the_current_item_that_is_decided_is_drawn_as_decided(web, reviewer):
    campaign = open_items(reviewer, 1)
    item = campaign.items.get()
    make.decide(item)
    page = web(reviewer).get(reverse("reviews:item", args=[campaign.pk, item.pk])).text
    queue = page[page.index('class="qlist"') : page.index('class="evidence"')]
    assert "Decided" in queue
    assert '<span class="num">0</span>' not in queue
    assert 'type="checkbox"' not in queue


class TestInbox:
    def test_sorts_by_what_it_is(self, web, reviewer):
        open_items(reviewer, 2, name="Quarterly", instructions="Mind the ledger.")
        intake = make.work_of(make.intake(make.submitted_server(title="Newcomer")))
        if intake.reviewer != reviewer:
            reviews.reassign_work_item(actor=make.acting(intake.reviewer), work_item=intake, to=reviewer, note="Yours.")
        page = web(reviewer).get(reverse("reviews:inbox")).text
        assert "2 items, about 3 min" in page
        assert "Mind the ledger." in page
        assert page.index("Campaigns</h2>") < page.index("New registrations")
        assert "Something changed" not in page
        assert "Waits for your signature" not in page

    def test_what_only_waits_for_a_signature_stands_apart(self, web, reviewer):
        campaign = open_items(reviewer, 1)
        make.decide(campaign.items.get())
        page = web(reviewer).get(reverse("reviews:inbox")).text
        assert "Waits for your signature" in page
        assert reverse("reviews:sign_off", args=[campaign.pk]) in page

    def test_the_owner_signs_the_whole(self, web, reviewer):
        campaign = open_items(reviewer, 1)
        make.decide(campaign.items.get())
        make.sign(campaign, reviewer)
        campaign.refresh_from_db()
        assert campaign.state == "sign_off"
        page = web(campaign.owner).get(reverse("reviews:inbox")).text
        assert reverse("reviews:campaign_close", args=[campaign.pk]) in page
        assert (
            reverse("reviews:campaign_close", args=[campaign.pk])
            not in web(reviewer).get(reverse("reviews:inbox")).text
        )

    def test_whom_one_stands_in_for(self, web, reviewer):
        away = make.person("reviewer", name="Away Anna")
        today = clock.today()
        for start, end, ended in ((0, 5, None), (-9, -2, None), (0, 5, clock.now())):
            Delegation.objects.create(
                delegator=away, delegate=reviewer, starts_on=today + timedelta(days=start),
                ends_on=today + timedelta(days=end), ended_at=ended,
            )  # fmt: skip
        assert len(desk.standing_in(make.acting(reviewer))) == 1
        page = web(reviewer).get(reverse("reviews:inbox")).text
        assert "for Away Anna" in page
        assert "Nothing waits for you" in page
        assert "You stand in" not in web(away).get(reverse("reviews:inbox")).text
