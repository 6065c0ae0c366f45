"""The pages: who sees them, what they do without a script, and what they cost."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse

from registry.catalog import services as catalog
from registry.core import clock
from registry.core.events import _deliver
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, Decision, Item, Template
from registry.reviews.services.letters import send_letters
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def kept_reviewed(kept):
    reviewer = make.person("reviewer", name="Rita Reviewer")
    server = make.active_server(title="Warehouse SQL")
    grant = make.grant(server=server, tools=["query", "export"], agent=make.agent(name="Forecast agent"))
    connection = make.connection(server=server, access="write", system=make.system(name="Ledger replica"))
    campaign = make.campaign(reviewer)
    return reviewer, (campaign, {item.kind: item for item in campaign.items.all()}, server, grant, connection)


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, f"no hidden field {name}"
    return found[1].replace("&quot;", '"')


def fields_of(page: str) -> dict[str, str]:
    return {name: hidden(page, name) for name in ("evidence_hash", "version", "shown")}


class TestWhoSees:
    def test_pages_of_a_campaign(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        urls = [
            reverse("reviews:campaigns"),
            reverse("reviews:templates"),
            reverse("reviews:certificates"),
            reverse("reviews:inbox"),
            reverse("reviews:campaign", args=[campaign.pk]),
            reverse("reviews:campaign_csv", args=[campaign.pk]),
            reverse("reviews:item", args=[campaign.pk, items["grant"].pk]),
            reverse("reviews:launch", args=[campaign.template_id]),
        ]
        for person in (make.person(), reviewer, campaign.owner, make.person("auditor")):
            for url in urls:
                assert web(person).get(url).status_code == 200, url
        for url in urls:
            assert web(make.outsider()).get(url).status_code == 403, url
            answer = web().get(url)
            assert (answer.status_code, "sign-in" in answer["Location"] or "next=" in answer["Location"]) == (302, True)

    def test_what_is_confidential_is_seen_by_its_people_only(self, web, reviewer):
        server = make.active_server(confidential=True)
        campaign = make.campaign(reviewer, kinds=["server"])
        item = campaign.items.get()
        url = reverse("reviews:item", args=[campaign.pk, item.pk])
        assert web(make.person()).get(url).status_code == 404
        assert item.label not in web(make.person()).get(reverse("reviews:campaign", args=[campaign.pk])).text
        for person in (reviewer, campaign.owner, server.owner, make.person("security")):
            assert web(person).get(url).status_code == 200
        assert web(make.person()).get(reverse("reviews:server_panel", args=[server.pk])).status_code == 404

    def test_an_intake_is_as_visible_as_its_server(self, web):
        make.person("reviewer")
        item = make.intake(make.submitted_server(confidential=True))
        assert web(make.person()).get(reverse("reviews:campaign", args=[item.campaign_id])).status_code == 404
        assert "Intake of" not in web(make.person()).get(reverse("reviews:campaigns")).text


class TestWorkbench:
    def test_shows_the_evidence_and_preselects_nothing(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        page = web(reviewer).get(reverse("reviews:item", args=[campaign.pk, items["grant"].pk])).text
        assert "Forecast agent may use 2 tools of Warehouse SQL" in page
        assert "No activity log connected: use unknown" in page
        assert "It was never certified" in page
        radios = re.findall(r'<input type="radio" name="value"[^>]*>', page)
        assert len(radios) == 5
        assert not any("checked" in radio for radio in radios)

    def test_without_a_script_from_the_inbox_to_the_receipt(self, web, reviewed, reviewer):
        campaign, items, server, grant, _connection = reviewed
        client = web(reviewer)
        assert campaign.name in client.get(reverse("reviews:inbox")).text
        answer = client.get(reverse("reviews:workbench", args=[campaign.pk]))
        for _ in range(3):
            assert answer.status_code == 302
            url = answer["Location"]
            page = client.get(url).text
            kind = next(kind for kind, item in items.items() if str(item.pk) in url)
            sent = {**fields_of(page), "reason": "Checked."}
            sent |= {"grant": {"value": "certify_reduced", "kept": ["query"]}}.get(kind, {"value": "certify"})
            answer = client.post(reverse("reviews:decide", args=[campaign.pk, items[kind].pk]), sent)
        assert answer["Location"] == reverse("reviews:workbench", args=[campaign.pk])
        assert "All decided" in client.get(answer["Location"]).text
        sign = reverse("reviews:sign_off", args=[campaign.pk])
        page = client.get(sign)
        assert ">Sign 3 decisions<" in page.text and "ties out" in page.text
        shown = hidden(page.text, "expected")
        refused = client.post(sign, {"statement": "I looked.", "password": "not mine", "expected": shown})
        assert refused.status_code == 422
        assert "not your password" in refused.text
        assert "not mine" not in refused.text
        sent = {"statement": "I looked.", "password": make.PASSWORD, "expected": shown}
        done = client.post(sign, sent, follow=True)
        assert done.status_code == 200
        signature = campaign.sign_offs.get()
        assert signature.decisions_root in done.text
        server.refresh_from_db()
        grant.refresh_from_db()
        assert server.certified_until is not None
        assert grant.superseded_by.tools == ["query"]

    def test_a_refused_answer_comes_back_with_what_was_typed(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        client = web(reviewer)
        url = reverse("reviews:item", args=[campaign.pk, items["connection"].pk])
        sent = {**fields_of(client.get(url).text), "value": "revoke", "reason": "  "}
        answer = client.post(reverse("reviews:decide", args=[campaign.pk, items["connection"].pk]), sent)
        assert answer.status_code == 422
        assert "you take something away" in answer.text
        assert re.search(r'value="revoke"[^>]*checked', answer.text)
        assert not Decision.objects.exists()

    def test_the_second_tab_gets_a_panel_instead_of_overwriting(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        client = web(reviewer)
        item = items["server"]
        fields = fields_of(client.get(reverse("reviews:item", args=[campaign.pk, item.pk])).text)
        decide = reverse("reviews:decide", args=[campaign.pk, item.pk])
        assert client.post(decide, {**fields, "value": "certify", "reason": "Fine."}).status_code == 302
        answer = client.post(decide, {**fields, "value": "revoke", "reason": "From the other tab"})
        assert answer.status_code == 412
        assert "Nothing was overwritten" in answer.text
        assert "From the other tab" in answer.text
        assert Decision.objects.get().value == "certify"

    def test_changed_facts_lock_the_decision_until_seen(self, web, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        client = web(reviewer)
        item = items["server"]
        url = reverse("reviews:item", args=[campaign.pk, item.pk])
        fields = fields_of(client.get(url).text)
        catalog.set_tools(
            actor=make.acting(server.owner), server=server, tools=[{"name": "purge", "confirmed_class": "destructive"}]
        )
        refused = client.post(reverse("reviews:decide", args=[campaign.pk, item.pk]), {**fields, "value": "certify"})
        assert refused.status_code == 409
        page = client.get(url).text
        assert "The facts changed after they were recorded" in page
        assert 'name="value"' not in page
        shown = hidden(page, "evidence_hash")
        assert client.post(reverse("reviews:confirm_facts", args=[campaign.pk, item.pk]), {"evidence_hash": shown})
        assert 'name="value"' in client.get(url).text

    def test_undo(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        make.decide(items["server"])
        client = web(reviewer)
        page = client.get(reverse("reviews:item", args=[campaign.pk, items["server"].pk])).text
        undo = reverse("reviews:undo", args=[campaign.pk, items["server"].pk])
        assert client.post(undo, {"version": hidden(page, "version")}).status_code == 302
        assert not Decision.objects.exists()

    def test_late_is_said_and_refused(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        client = web(reviewer)
        url = reverse("reviews:item", args=[campaign.pk, items["server"].pk])
        fields = fields_of(client.get(url).text)
        Item.objects.update(due_at=clock.now() - timedelta(minutes=1))
        answer = client.post(
            reverse("reviews:decide", args=[campaign.pk, items["server"].pk]), {**fields, "value": "certify"}
        )
        assert answer.status_code == 409
        assert "deadline" in answer.text.lower()
        assert "Late decisions are refused" in client.get(url).text

    def test_somebody_who_is_not_independent_any_more_is_told_why(self, web, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        type(server).objects.filter(pk=server.pk).update(owner=reviewer)
        page = web(reviewer).get(reverse("reviews:item", args=[campaign.pk, items["server"].pk])).text
        assert "owns the server" in page
        assert 'name="value"' not in page

    def test_only_the_reviewer_has_controls(self, web, reviewed):
        campaign, items, server, *_ = reviewed
        item = items["server"]
        for person in (server.owner, campaign.owner, make.person("reviewer"), make.person("administrator")):
            page = web(person).get(reverse("reviews:item", args=[campaign.pk, item.pk]))
            assert 'name="value"' not in page.text
            answer = web(person).post(
                reverse("reviews:decide", args=[campaign.pk, item.pk]),
                {"value": "certify", "evidence_hash": item.evidence_hash},
            )
            assert answer.status_code == 403
            assert "Your decision was not recorded" in answer.text
            assert 'role="alert"' in answer.text
        assert not Decision.objects.exists()

    def test_two_servers_of_one_short_name_are_two_groups(self, web, reviewer):
        for name in ("com.atlassian/mcp", "io.sentry/mcp", "com.example/warehouse"):
            make.active_server(name=name)
        campaign = make.campaign(reviewer, kinds=["server"])
        page = web(reviewer).get(reverse("reviews:workbench", args=[campaign.pk]), follow=True).text
        groups = re.findall(r'<span class="mono full">([^<]*)<', page)
        assert sorted(groups) == ["com.atlassian/mcp", "com.example/warehouse", "io.sentry/mcp"]

    def test_only_a_strict_part_can_be_kept(self, web, reviewer):
        server = make.active_server()
        one = make.grant(server=server, tools=["query"])
        two = make.grant(server=server, tools=["query", "export"])
        reads = make.connection(server=server, access="read", scopes=["orders"])
        campaign = make.campaign(reviewer, kinds=["grant", "connection"])
        for thing, offered in ((one, False), (two, True), (reads, False)):
            item = campaign.items.get(**{thing.kind: thing})
            page = web(reviewer).get(reverse("reviews:item", args=[campaign.pk, item.pk])).text
            assert ('value="certify_reduced"' in page) is offered

    def test_evidence_of_a_server_and_a_grant_is_whole(self, web, reviewer):
        server = make.active_server()
        grant, connection = make.grant(server=server), make.connection(server=server)
        server.tools.update(confirmed_class="")
        campaign = make.campaign(reviewer)
        items = {item.kind: item for item in campaign.items.all()}
        client = web(reviewer)
        page = client.get(reverse("reviews:item", args=[campaign.pk, items["server"].pk]), {"evidence": "all"}).text
        step = server.revocation_steps.first()
        source = make.source_of(server)
        for told in (
            server.endpoints.get().canonical_uri, step.instruction, step.responsible, f"{step.expected_minutes} min",
            str(source.get_credential_type_display()), "Data it may touch", "not confirmed, treated as",
            connection.valid_until.date().isoformat(),
        ):  # fmt: skip
            assert told in page, told
        page = client.get(reverse("reviews:item", args=[campaign.pk, items["grant"].pk])).text
        assert grant.valid_until.date().isoformat() in page
        assert f"at most {grant.max_token_lifetime_seconds} seconds" in page
        assert re.search(rf"Requested by</dt><dd>{grant.requested_by.name}<", page)

    def test_certifying_names_the_tools_it_approves(self, web, reviewer):
        settled, moving = make.active_server(), make.active_server()
        moving.tools.filter(name="export").update(approved_digest="")
        campaign = make.campaign(reviewer, kinds=["server"])
        pages = {
            item.server_id: web(reviewer).get(reverse("reviews:item", args=[campaign.pk, item.pk])).text
            for item in campaign.items.all()
        }
        assert "Stays as it is" in pages[settled.pk]
        assert "Your signature also approves 1 tool that is not approved yet: export." in pages[moving.pk]
        assert "Stays as it is" not in pages[moving.pk]


class TestOver:
    """An item whose review is over shows what was decided then, not what is true now."""

    def page(self, web, item: Item) -> str:
        return web(make.person("auditor")).get(reverse("reviews:item", args=[item.campaign_id, item.pk])).text

    def test_the_switches_show_what_is_left_and_nothing_is_said_of_losses(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        make.decide(items["grant"], "certify_reduced", kept=["query"])
        make.sign(campaign, reviewer)
        page = self.page(web, items["grant"])
        switches = dict(re.findall(r'role="switch"[^>]*value="(\w+)"[^>]*?data-keep="\w+"([^>]*)>', page))
        assert {tool: "checked" in rest for tool, rest in switches.items()} == {"query": True, "export": False}
        assert all("disabled" in rest for rest in switches.values())
        assert "cutting it breaks nothing" not in page

    def test_it_compares_with_what_was_certified_before_it(self, web, reviewed, reviewer):
        first, items, *_ = reviewed
        make.decide(items["grant"])
        make.sign(first, reviewer)
        later = make.campaign(reviewer, owner=first.owner, kinds=["grant"])
        make.decide(later.items.get())
        make.sign(later, reviewer)
        assert "It was never certified" in self.page(web, items["grant"])
        assert "Nothing material changed" in self.page(web, later.items.get())

    def test_a_finished_campaign_is_not_late(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        make.decide_all(campaign, reviewer)
        make.sign(campaign, reviewer)
        reviews.close_campaign(
            actor=make.acting(campaign.owner), campaign=campaign, statement="All done.", auth_method="password"
        )
        with clock.at(campaign.due_at + timedelta(days=50)):
            page = self.page(web, items["server"])
        assert "Completed" in page
        assert "days late" not in page


class TestManyGrants:
    def test_an_agent_with_many_keeps_its_page_short(self, web, reviewer):
        agent = make.agent(name="Dispatcher")
        for number in range(12):
            make.grant(agent=agent, server=make.active_server(title=f"Server {number}"))
        item = make.campaign(reviewer, kinds=["agent"]).items.get()
        page = web(reviewer).get(reverse("reviews:item", args=[item.campaign_id, item.pk])).text
        assert "2 more servers, none more critical" in page
        in_sight, _summary, rest = page.partition("2 more servers")
        assert in_sight.count('<td class="h2 num">') == 10
        assert rest.count('<td class="h2 num">') == 2


class TestSignature:
    def sign(self, client, campaign, shown):
        url = reverse("reviews:sign_off", args=[campaign.pk])
        return client.post(url, {"statement": "I looked.", "password": make.PASSWORD, "expected": shown})

    def shown(self, client, campaign):
        return hidden(client.get(reverse("reviews:sign_off", args=[campaign.pk])).text, "expected")

    def test_covers_what_was_shown_and_nothing_else(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        make.decide(items["server"])
        client = web(reviewer)
        shown = self.shown(client, campaign)
        make.decide(items["grant"], "revoke")
        refused = self.sign(client, campaign, shown)
        assert refused.status_code == 412
        assert "Something changed since you looked" in refused.text
        assert self.sign(client, campaign, "").status_code == 412
        assert not campaign.sign_offs.exists()
        shown = hidden(refused.text, "expected")
        make.decide(items["grant"], "certify")
        assert self.sign(client, campaign, shown).status_code == 412
        assert self.sign(client, campaign, self.shown(client, campaign)).status_code == 302
        assert campaign.sign_offs.get().decision_count == 2

    @pytest.mark.parametrize("swept", [False, True])
    def test_names_the_items_whose_facts_changed(self, web, reviewer, swept):
        other, _kept = make.active_server(), make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        for item in campaign.items.all():
            make.decide(item)
        moved = campaign.items.get(server=other)
        client = web(reviewer)
        shown = self.shown(client, campaign)
        catalog.set_tools(
            actor=make.acting(other.owner), server=other, tools=[{"name": "purge", "confirmed_class": "destructive"}]
        )
        if swept:
            reviews.sweep_items()
        refused = self.sign(client, campaign, shown)
        assert refused.status_code == 409
        assert f"the facts of these changed since you decided; look at them again: {moved.label}." in refused.text
        assert not campaign.sign_offs.exists()

    def test_a_server_is_suspended_by_word(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        make.decide(items["server"], "revoke")
        page = web(reviewer).get(reverse("reviews:sign_off", args=[campaign.pk])).text
        assert "Suspend" in page
        assert "Revoke" not in page

    def test_recuse_and_hand_over(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        second = make.person("reviewer")
        campaign.template.first_stage.reviewers.add(second)
        client = web(reviewer)
        recuse = reverse("reviews:recuse", args=[campaign.pk, items["server"].pk])
        version = hidden(client.get(recuse).text, "version")
        assert client.post(recuse, {"reason": "", "version": version}).status_code == 422
        assert client.post(recuse, {"reason": "My brother runs it.", "version": version}).status_code == 302
        assert make.work_of(items["server"]).reviewer == second
        hand = reverse("reviews:hand_over", args=[campaign.pk, items["grant"].pk])
        manager = web(campaign.owner)
        version = hidden(manager.get(hand).text, "version")
        done = manager.post(hand, {"to": second.pk, "note": "Please.", "version": version})
        assert done.status_code == 302
        assert make.work_of(items["grant"]).reviewer == second
        assert web(make.person("reviewer")).get(hand).status_code == 403


class TestIntake:
    def test_return_correct_and_activate(self, web):
        reviewer = make.person("reviewer")
        server = make.submitted_server()
        asked = make.requested_connection(server=server, requested_by=server.owner)
        item = make.intake(server)
        client = web(reviewer)
        url = reverse("reviews:item", args=[item.campaign_id, item.pk])
        page = client.get(url).text
        assert "Activate" in page
        act = reverse("reviews:decide_intake", args=[item.campaign_id, item.pk])
        sent = {"evidence_hash": hidden(page, "evidence_hash"), "version": hidden(page, "version")}
        refused = client.post(act, {**sent, "value": "return", "reason": "", "password": make.PASSWORD})
        assert refused.status_code == 422
        refused = client.post(act, {**sent, "value": "return", "reason": "Say more.", "password": "wrong"})
        assert refused.status_code == 422
        done = client.post(act, {**sent, "value": "return", "reason": "Say more.", "password": make.PASSWORD})
        assert done.status_code == 302
        server.refresh_from_db()
        assert (server.lifecycle, server.lifecycle_reason) == ("draft", "Say more.")
        catalog.submit_server(actor=make.acting(server.owner), server=server)
        again = make.intake(server)
        page = client.get(reverse("reviews:item", args=[again.campaign_id, again.pk])).text
        done = client.post(
            reverse("reviews:decide_intake", args=[again.campaign_id, again.pk]),
            {
                "evidence_hash": hidden(page, "evidence_hash"),
                "version": hidden(page, "version"),
                "value": "certify",
                "password": make.PASSWORD,
            },
        )
        assert done.status_code == 302
        server.refresh_from_db()
        asked.refresh_from_db()
        assert (server.lifecycle, asked.status) == ("active", "active")
        assert server.certified_until is not None
        panel = web(make.person()).get(
            reverse("reviews:server_panel", args=[server.pk]), headers={"HX-Request": "true"}
        )
        assert "Certified until" in panel.text

    def test_a_lost_act_says_so_and_gives_the_words_back(self, web):
        reviewer = make.person("reviewer")
        server = make.submitted_server()
        item = make.intake(server)
        client = web(reviewer)
        page = client.get(reverse("reviews:item", args=[item.campaign_id, item.pk])).text
        act = reverse("reviews:decide_intake", args=[item.campaign_id, item.pk])
        sent = {name: hidden(page, name) for name in ("evidence_hash", "version")}
        sent |= {"value": "return", "password": make.PASSWORD}
        stranger = web(make.person("reviewer")).post(act, {**sent, "reason": "Not mine to say."})
        assert stranger.status_code == 403
        assert "Your decision was not recorded" in stranger.text
        assert client.post(act, {**sent, "reason": "First tab."}).status_code == 302
        lost = client.post(act, {**sent, "reason": "Second tab."})
        assert lost.status_code in (403, 409)
        for page in (lost, stranger):
            assert 'role="alert"' in page.text
        assert "Your decision was not recorded" in lost.text
        assert "Second tab." in lost.text
        shown = client.get(reverse("reviews:campaign", args=[item.campaign_id])).text
        assert "1 returned" in shown
        assert "1 revoked" not in shown

    def test_an_answer_to_a_withdrawn_registration_is_told_to_be_lost(self, web):
        reviewer = make.person("reviewer")
        server = make.submitted_server()
        item = make.intake(server)
        client = web(reviewer)
        page = client.get(reverse("reviews:item", args=[item.campaign_id, item.pk])).text
        sent = {name: hidden(page, name) for name in ("evidence_hash", "version")}
        catalog.withdraw_server(actor=make.acting(server.owner), server=server)
        act = reverse("reviews:decide_intake", args=[item.campaign_id, item.pk])
        sent |= {"value": "certify", "reason": "Looks fine.", "password": make.PASSWORD}
        lost = client.post(act, sent)
        assert lost.status_code in (403, 409)
        assert "Your decision was not recorded" in lost.text
        assert "Looks fine." in lost.text


class TestCampaignPages:
    def test_a_preview_counts_what_is_left_out(self, web, reviewer):
        for _ in range(2):
            make.active_server()
        make.campaign(reviewer, kinds=["server"])
        make.active_server()
        template = make.template(reviewer, kinds=["server"])
        page = web(template.owner).get(reverse("reviews:launch", args=[template.pk])).text
        assert "1 item, 2 left out." in page
        assert "Launch 1 item" in page
        make.campaign(reviewer, kinds=["server"])
        page = web(template.owner).get(reverse("reviews:launch", args=[template.pk])).text
        assert "Nothing is left to review" in page

    def test_a_campaign_with_open_items_does_not_offer_its_signature(self, web, reviewed):
        campaign, *_ = reviewed
        page = web(campaign.owner).get(reverse("reviews:campaign_close", args=[campaign.pk])).text
        assert "3 items have no outcome yet" in page
        assert "Every item has its outcome" not in page
        assert 'name="password"' not in page

    def test_template_preview_and_launch(self, web, reviewer, django_capture_on_commit_callbacks):
        make.active_server()
        manager = make.person("campaign_manager")
        client = web(manager)
        new = reverse("reviews:template_new")
        form = {
            "name": "Quarterly", "kinds": ["server"], "scope.tier": ["low", "medium"], "stages": 1, "enabled": "on",
            "stages.1.reviewer_rule": "pool", "stages.1.reviewers": [reviewer.pk], "stages.1.reviewers_per_item": 1,
            "stages.1.strategy": "by_tier", "stages.1.duration_days": 14, "cadence_days": 90, "challenge_days": 0,
            "grouping": "server", "ladder.critical_5": "9", "ladder.high_5": "9", "ladder.medium_4": "9",
            "ladder.low_4": "9",
        }  # fmt: skip
        assert client.post(new, {**form, "cadence_days": 3}).status_code == 422
        saved = client.post(new, form)
        template = Template.objects.get()
        assert saved["Location"] == reverse("reviews:launch", args=[template.pk])
        assert template.scope == {"tier": ["low", "medium"]}
        page = client.get(saved["Location"]).text
        assert "Rita Reviewer" in page
        launched = client.post(saved["Location"], {"period": "2026-Q4"})
        campaign = Campaign.objects.get()
        assert launched["Location"] == reverse("reviews:campaign", args=[campaign.pk])
        assert "hx-get" in client.get(launched["Location"]).text
        again = client.post(saved["Location"], {"period": "2026-Q4"})
        assert again.status_code == 409
        assert reverse("reviews:campaign", args=[campaign.pk]) in again.text
        reviews.generate_items(campaign_id=campaign.pk)
        done = client.get(reverse("reviews:campaign_progress", args=[campaign.pk]), headers={"HX-Request": "true"})
        assert done["HX-Refresh"] == "true"
        count = client.get(reverse("reviews:template_count"), {"kinds": "server", "scope.tier": "low"})
        assert "<b>1</b> in scope now" in count.text

    def test_only_managers_set_up_and_launch(self, web, reviewed, reviewer):
        campaign, *_ = reviewed
        for person in (reviewer, make.person(), make.person("security")):
            client = web(person)
            assert client.get(reverse("reviews:template_new")).status_code == 403
            assert (
                client.post(reverse("reviews:launch", args=[campaign.template_id]), {"period": "x"}).status_code == 403
            )
            assert client.get(reverse("reviews:campaign_cancel", args=[campaign.pk])).status_code == 403
            assert client.post(reverse("reviews:campaign_activate", args=[campaign.pk])).status_code == 403

    def test_the_gate_names_what_blocks_and_how_to_mend_it(self, web):
        server = make.active_server()
        only = server.owner
        only.roles = ["reviewer"]
        only.save()
        campaign = make.campaign(only, kinds=["server"])
        assert campaign.state == "staged"
        client = web(campaign.owner)
        url = reverse("reviews:campaign", args=[campaign.pk])
        page = client.get(url).text
        item = campaign.items.get()
        assert "no eligible independent reviewer" in page
        hand = reverse("reviews:hand_over", args=[campaign.pk, item.pk])
        assert hand in page
        told = client.post(reverse("reviews:campaign_activate", args=[campaign.pk]), follow=True).text
        assert "1 item has no eligible independent reviewer" in told
        refused = client.post(hand, {"to": only.pk, "note": ""})
        assert refused.status_code in (403, 422)
        campaign.template.first_stage.reviewers.add(make.person("reviewer"))
        client.post(reverse("reviews:campaign_retry", args=[campaign.pk]))
        campaign.refresh_from_db()
        assert campaign.state == "active"

    def test_cancel_extend_remind_and_close(self, web, reviewed, reviewer, mailoutbox):
        campaign, items, *_ = reviewed
        client = web(campaign.owner)
        client.post(reverse("reviews:campaign_remind", args=[campaign.pk, reviewer.pk]))
        send_letters(now=clock.now())
        assert [mail.to for mail in mailoutbox] == [[reviewer.email]]
        told = client.post(reverse("reviews:campaign_remind", args=[campaign.pk, reviewer.pk]), follow=True)
        assert "reminded today already" in told.text
        extend = reverse("reviews:campaign_extend", args=[campaign.pk])
        later = clock.today() + timedelta(days=60)
        assert client.post(extend, {"until": clock.today(), "reason": "x"}).status_code == 422
        assert client.post(extend, {"until": "9999-12-31", "reason": "x"}).status_code == 422
        assert client.post(extend, {"until": later, "reason": "Holidays"}).status_code == 302
        for item in items.values():
            make.decide(item, "revoke")
        make.sign(campaign, reviewer)
        close = reverse("reviews:campaign_close", args=[campaign.pk])
        assert client.get(close).status_code == 200
        assert client.post(close, {"statement": "Done.", "password": make.PASSWORD}).status_code == 302
        campaign.refresh_from_db()
        assert campaign.state == "remediating"
        security = make.person("security")
        remediation = items["grant"].remediation
        confirm = reverse("reviews:remediation_confirm", args=[remediation.pk])
        assert client.get(confirm).status_code == 403
        page = web(security).get(confirm).text
        sent = {"proof": "403 from the gateway", "effective": "yes", "version": hidden(page, "version")}
        assert web(security).post(confirm, sent).status_code == 302
        remediation.refresh_from_db()
        assert remediation.state == "verified"
        cancel = reverse("reviews:campaign_cancel", args=[campaign.pk])
        assert client.post(cancel, {"reason": "Superseded"}).status_code == 302
        campaign.refresh_from_db()
        assert campaign.state == "cancelled"

    def test_csv_is_the_view_it_was_asked_from(self, web, reviewed):
        campaign, items, *_ = reviewed
        decision = make.decide(items["server"], reason="=cmd()")
        make.sign(campaign, decision.work_item.reviewer)
        text = b"".join(
            web(campaign.owner)
            .get(reverse("reviews:campaign_csv", args=[campaign.pk]), {"kind": "server"})
            .streaming_content
        ).decode()
        _header, row, *about = text.splitlines()
        assert "'=cmd()" in row
        assert {line.partition(",")[0] for line in about} >= {'"# population_hash"', '"# audit_head"', '"# rows"'}

    def test_certificates_are_listed(self, web, reviewed, reviewer):
        campaign, items, *_ = reviewed
        for item in items.values():
            make.decide(item)
        make.sign(campaign, reviewer)
        page = web(make.person()).get(reverse("reviews:certificates"), {"valid": "true"}).text
        assert "Warehouse SQL" in page
        assert "Rita Reviewer" in page


class TestCosts:
    def test_lists_ask_the_same_number_of_questions_for_any_length(self, web, reviewer, django_assert_max_num_queries):
        for _ in range(6):
            make.grant()
        campaign = make.campaign(reviewer)
        first = campaign.items.first()
        for url in (
            reverse("reviews:campaign", args=[campaign.pk]),
            reverse("reviews:campaigns"),
            reverse("reviews:item", args=[campaign.pk, first.pk]),
            reverse("reviews:sign_off", args=[campaign.pk]),
        ):
            client = web(reviewer)
            with django_assert_max_num_queries(45) as few:
                client.get(url)
            for _ in range(0):
                make.grant()
            assert len(few.captured_queries) <= 45, url


def test_events_only_enqueue(monkeypatch):
    """Subscribers do nothing but call `delay`."""
    from registry.catalog.events import ServerChanged, ServerSubmitted
    from registry.core.ids import new_id
    from registry.reviews import tasks

    sent = []
    for name in ("recheck", "open_intake"):
        monkeypatch.setattr(getattr(tasks, name), "delay", lambda name=name, **facts: sent.append((name, facts)))
    server = new_id()
    _deliver(ServerSubmitted(server_id=server))
    _deliver(ServerChanged(server_id=server))
    assert ("open_intake", {"server_id": str(server)}) in sent
    assert ("recheck", {"kind": "server", "subject_id": str(server)}) in sent


def test_an_owner_who_posts_a_decision_on_their_own_server_reads_why_not(web):
    make.person("reviewer")
    server = make.submitted_server()
    item = make.intake(server)
    url = reverse("reviews:decide_intake", args=[item.campaign_id, item.pk])
    answer = web(server.owner).post(
        url, {"value": "certify", "reason": "Mine.", "evidence_hash": item.evidence_hash, "password": make.PASSWORD}
    )
    assert answer.status_code == 403
    assert "owns the server" in answer.content.decode()
    server.refresh_from_db()
    assert server.lifecycle == "submitted"
