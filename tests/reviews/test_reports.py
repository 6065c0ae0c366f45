"""What is left of a campaign: its report, its rows as files, and how reviewers decide."""

import csv
import io
import json
import tracemalloc
from collections import deque
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from registry.accounts.models import User
from registry.audit.models import Batch
from registry.audit.services import seal_events
from registry.catalog import services as catalog
from registry.catalog.models import Agent
from registry.core import clock
from registry.reviews import reports
from registry.reviews import services as reviews
from registry.reviews.models import (
    Campaign,
    Decision,
    Item,
    PopulationEntry,
    QualityVerdict,
    Remediation,
    SignOff,
    WorkItem,
)
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer():
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def signed(reviewer):
    """A campaign with a signed certify, reduce and revoke, and one subject that was left out."""
    server = make.active_server(title="Warehouse SQL")
    make.grant(server=server, tools=["query", "export"], agent=make.agent(name="Forecast agent"))
    make.connection(server=server)
    other = make.active_server(title="Elsewhere")
    make.campaign(reviewer, kinds=["server"], scope={"q": "Elsewhere"})
    campaign = make.campaign(reviewer, scope={"owner": str(server.owner_id)}, kinds=["server"])
    reviews.cancel_campaign(actor=make.acting(campaign.owner), campaign=campaign, reason="Only tried")
    campaign = make.campaign(reviewer)
    items = {item.kind: item for item in campaign.items.all()}
    make.decide(items["server"], "certify", reason="=HYPERLINK()")
    make.decide(items["grant"], "certify_reduced", kept=["query"])
    make.decide(items["connection"], "revoke")
    make.sign(campaign, reviewer)
    campaign.refresh_from_db()
    assert campaign.population.exclude(excluded_because="").get().server == other
    return campaign


def file(web, person, campaign, what="items", form="csv", **query) -> str:
    answer = web(person).get(reverse("reviews:campaign_export", args=[campaign.pk, what, form]), query)
    assert answer.status_code == 200
    assert answer.streaming
    return b"".join(answer.streaming_content).decode()


def table(text: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The rows of a CSV file, and what it says about itself."""
    lines = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    first = next(iter(lines[0]))
    about = {row[first].removeprefix("# "): list(row.values())[1] for row in lines if row[first].startswith("# ")}
    return [row for row in lines if not row[first].startswith("# ")], about


class TestFiles:
    def test_items_with_everybody_who_was_asked_and_what_they_signed(self, web, signed, reviewer):
        rows, about = table(file(web, signed.owner, signed))
        by_kind = {row["kind"]: row for row in rows}
        assert {kind: row["decision"] for kind, row in by_kind.items()} == {
            "server": "certify",
            "grant": "certify_reduced",
            "connection": "revoke",
        }
        grant = by_kind["grant"]
        assert (grant["kept"], grant["reviewer_email"], grant["state"]) == (
            "query",
            reviewer.email,
            "certified_reduced",
        )
        assert grant["chosen_because"]
        assert grant["decision_evidence_hash"] == grant["evidence_hash"]
        assert by_kind["server"]["reason"] == "'=HYPERLINK()", "a spreadsheet must not run it"
        assert about["rows"] == "3"
        assert about["population_hash"] == signed.population_hash

    def test_name_the_link_of_the_audit_chain_they_were_taken_at(self, web, signed):
        seal_events()
        head = Batch.objects.order_by("-number").first()
        answer = web(signed.owner).get(reverse("reviews:campaign_csv", args=[signed.pk]))
        _rows, about = table(b"".join(answer.streaming_content).decode())
        assert (about["audit_head"], about["audit_batch"]) == (head.root_hash, str(head.number))
        assert answer["X-Audit-Chain-Head"] == head.root_hash
        assert answer["X-Population-Hash"] == signed.population_hash
        for what in reports.KINDS_OF_FILE:
            body = json.loads(file(web, signed.owner, signed, what, "json"))
            assert (body["audit_head"], body["population_hash"]) == (head.root_hash, signed.population_hash)

    def test_json_nests_who_was_asked(self, web, signed, reviewer):
        body = json.loads(file(web, signed.owner, signed, form="json", kind="grant"))
        (item,) = body["items"]
        assert [(each["decision"], each["kept"]) for each in item["work"]] == [("certify_reduced", ["query"])]
        assert body["rows"] == 1

    def test_drafts_are_their_authors_business(self, web, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        make.decide(campaign.items.get(), "revoke", reason="Between us")
        for form in ("csv", "json"):
            text = file(web, campaign.owner, campaign, form=form)
            assert "Between us" not in text
            assert "decided" in text, "that there is an answer is no secret"

    def test_population_ties_out_and_says_why_somebody_is_missing(self, web, signed):
        rows, about = table(file(web, signed.owner, signed, "population"))
        assert [row["included"] for row in rows].count("True") == signed.items.count() == 3
        (left_out,) = [row for row in rows if row["included"] == "False"]
        assert "It is reviewed in" in left_out["excluded_because"]
        assert int(about["rows"]) == PopulationEntry.objects.filter(campaign=signed).count()

    def test_population_is_for_those_who_run_or_oversee(self, web, api, signed, reviewer):
        for person, status in (
            (signed.owner, 200),
            (make.person("auditor"), 200),
            (make.person("security"), 200),
            (reviewer, 403),
            (make.person(), 403),
        ):
            url = reverse("reviews:campaign_export", args=[signed.pk, "population", "csv"])
            assert web(person).get(url).status_code == status, person.roles
            assert api(person).get(f"/api/v1/campaigns/{signed.pk}/population.csv").status_code == status

    def test_confidential_items_reach_only_their_people(self, web, reviewer):
        server = make.active_server(title="Payroll", confidential=True)
        campaign = make.campaign(reviewer, kinds=["server"])
        assert server.name in file(web, campaign.owner, campaign)
        text = file(web, make.person(), campaign)
        assert server.name not in text
        assert table(text)[1]["rows"] == "0"

    def test_signatures_and_remediations(self, web, signed, reviewer):
        rows, _about = table(file(web, make.person(), signed, "sign-offs"))
        assert [(row["email"], row["decisions"]) for row in rows] == [(reviewer.email, "3")]
        assert rows[0]["root"] == signed.sign_offs.get().decisions_root
        rows, _about = table(file(web, signed.owner, signed, "remediations"))
        assert {row["kind"] for row in rows} == {"reduce", "revoke"}
        assert all(row["decided_by"] == reviewer.email for row in rows)

    def test_what_is_no_file_is_not_there(self, web, signed):
        for what, form in (("people", "csv"), ("items", "xml")):
            url = reverse("reviews:campaign_export", args=[signed.pk, what, form])
            assert web(signed.owner).get(url).status_code == 404

    def test_over_rest_with_strict_filters(self, api, signed):
        client, root = api(signed.owner), f"/api/v1/campaigns/{signed.pk}"
        answer = client.get(f"{root}/items.csv", {"kind": "grant"})
        assert answer["Content-Type"].startswith("text/csv")
        assert len(table(b"".join(answer.streaming_content).decode())[0]) == 1
        body = json.loads(b"".join(client.get(f"{root}/items.json").streaming_content))
        assert body["rows"] == 3
        assert client.get(f"{root}/items.json", {"knid": "grant"}).status_code == 422
        assert client.get(f"{root}/items.json", {"kind": "planet"}).status_code == 422
        assert client.get(f"{root}/items.xml").status_code == 404
        assert api().get(f"{root}/items.csv").status_code == 401

    def test_a_campaign_one_may_not_see_has_no_files(self, web, api):
        make.person("reviewer")
        item = make.intake(make.submitted_server(confidential=True))
        outsider = make.person()
        assert web(outsider).get(reverse("reviews:campaign_csv", args=[item.campaign_id])).status_code == 404
        assert web(outsider).get(reverse("reviews:report", args=[item.campaign_id])).status_code == 404
        assert api(outsider).get(f"/api/v1/campaigns/{item.campaign_id}/items.csv").status_code == 404


class TestManyRows:
    """Written while it is read: what it takes does not grow with what there is."""

    def fill(self, number: int) -> Campaign:
        now = clock.now()
        person, owner = make.person("reviewer"), make.person("campaign_manager")
        campaign = Campaign.objects.create(
            name=f"Many {number}", period="x", scope_hash="x", state="active", due_at=now, owner=owner, total=number
        )
        signature = SignOff.objects.create(
            campaign=campaign, reviewer=person, decisions_root="0" * 64, decision_count=number, statement="All.", at=now
        )
        agents = Agent.objects.bulk_create(
            Agent(name=f"Agent {number}-{n}", kind="ai_agent", spiffe_id=f"spiffe://x.test/{number}/{n}", owner=owner)
            for n in range(number)
        )
        items = Item.objects.bulk_create(
            Item(
                campaign=campaign, kind="agent", agent=agent, label=agent.name, tier="low", due_at=now,
                state="certified", outcome="certify", fingerprint="f" * 64, evidence_hash="e" * 64,
                snapshot={"facts": {}, "context": {"names": {}}},
            )
            for agent in agents
        )  # fmt: skip
        held = WorkItem.objects.bulk_create(
            WorkItem(item=item, reviewer=person, original_reviewer=person, chosen_because="By load.", state="closed")
            for item in items
        )
        Decision.objects.bulk_create(
            Decision(
                work_item=work, value="certify", reason="Looked at everything there is to look at.", decided_at=now,
                evidence_hash="e" * 64, signed_at=now, sign_off=signature,
            )
            for work in held
        )  # fmt: skip
        return campaign

    def peak(self, campaign: Campaign, form: str) -> int:
        """Most bytes held at one moment while the file is made and thrown away."""
        response = reports.answer_file("items", form, campaign, make.acting(campaign.owner), campaign.items.all())
        tracemalloc.start()
        try:
            deque(response.streaming_content, maxlen=0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    @pytest.mark.usefixtures("prompt_collector")
    @pytest.mark.parametrize("form", ["csv", "json"])
    def test_memory_does_not_grow_with_the_rows(self, form, monkeypatch):
        """`make bench ARGS=export` measures the process at 100,000 rows; here a chunk is small instead."""
        monkeypatch.setattr(reports, "CHUNK", 300)
        few, many = self.fill(600), self.fill(3000)
        self.peak(few, form)
        small, large = self.peak(few, form), self.peak(many, form)
        assert large < small * 1.3

    def test_nothing_is_lost_where_chunks_meet(self, monkeypatch):
        monkeypatch.setattr(reports, "CHUNK", 7)
        campaign = self.fill(40)
        found = list(reports.items(campaign.items.all()))
        assert len(found) == 40
        assert all(len(work) == 1 and work[0]["decision"] == "certify" for _item, work in found)
        some = campaign.items.filter(label__endswith="3")
        assert {item["label"] for item, _work in reports.items(some)} == set(some.values_list("label", flat=True))


class TestReport:
    def test_says_what_an_auditor_asks(self, web, signed, reviewer):
        page = web(make.person("auditor")).get(reverse("reviews:report", args=[signed.pk])).text
        for told in (
            signed.population_hash,
            signed.sign_offs.get().decisions_root,
            "It is reviewed in",
            "every 90 days",
            "How carefully",
            "Audit chain, newest batch",
        ):
            assert told in page, told

    @pytest.mark.parametrize("stage", ["undecided", "drafted", "signed", "lapsed", "obsolete", "cancelled"])
    def test_all_parts_add_up_to_the_items(self, web, reviewer, stage):
        """Whatever became of an item, the report has a place for it."""
        first = make.active_server()
        make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        one = campaign.items.get(server=first)
        if stage in ("drafted", "signed"):
            make.decide(one)
        if stage == "signed":
            make.sign(campaign, reviewer)
        if stage == "lapsed":
            with clock.at(campaign.due_at + timedelta(days=40)):
                reviews.sweep_ladders(now=clock.now())
        if stage == "obsolete":
            catalog.retire_server(actor=make.acting(make.person("security")), server=first, reason="It is replaced.")
            reviews.sweep_items()
        if stage == "cancelled":
            reviews.cancel_campaign(actor=make.acting(campaign.owner), campaign=campaign, reason="Wrong scope.")
        campaign.refresh_from_db()
        found = reports.summary(campaign, make.acting(campaign.owner))
        parts = dict(found.parts)
        assert sum(parts.values()) == found.items == 2
        assert found.parts_tie_out
        where = {"undecided": "undecided", "drafted": "unsigned", "signed": "by_people", "lapsed": "by_clock"}
        assert parts[where.get(stage, stage)], parts
        assert (
            "does not tie out"
            not in web(make.person("auditor")).get(reverse("reviews:report", args=[campaign.pk])).text
        )

    def test_a_suspension_is_called_what_its_reviewer_read(self, web, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        make.decide(campaign.items.get(), "revoke", reason="Nobody needs it.")
        signature = make.sign(campaign, reviewer)
        browser = web(make.person("auditor"))
        report = browser.get(reverse("reviews:report", args=[campaign.pk])).text
        assert "Suspend" in report
        row = Remediation.objects.get()
        pages = [
            reverse("reviews:receipt", args=[signature.pk]),
            reverse("reviews:remediation", args=[row.pk]),
            reverse("reviews:campaign", args=[campaign.pk]),
        ]
        for page in pages:
            told = browser.get(page).text
            assert "Suspend" in told, page
            assert ">Revoke<" not in told, page

    def test_numbers(self, signed, reviewer):
        found = reports.summary(signed, make.acting(signed.owner))
        assert (found.population, found.items, found.exclusions, found.ties_out) == (4, 3, 1, True)
        assert {value: n for value, _tiers, n in found.decided} == {"certify": 1, "certify_reduced": 1, "revoke": 1}
        assert (found.by_people, found.by_system, found.deciders, found.assigned) == (3, [], 1, 3)
        assert sum(n for _state, n in found.remediations) == 2

    def test_what_the_clock_settled_is_nobodys_decision(self, signed, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        Item.objects.filter(campaign=campaign).update(state="lapsed", outcome="no_response")
        found = reports.summary(campaign, make.acting(campaign.owner))
        assert (found.by_people, found.by_system) == (0, [("lapsed", campaign.items.count())])

    def test_pace_is_for_those_who_oversee(self, web, signed):
        page = web(make.person()).get(reverse("reviews:report", args=[signed.pk])).text
        assert "How carefully" not in page
        assert "Population and exclusions" not in page

    def test_summary_over_rest(self, api, signed):
        body = api(signed.owner).get(f"/api/v1/campaigns/{signed.pk}/summary").json()
        assert (body["population"], body["items"], body["exclusions"], body["ties_out"]) == (4, 3, 1, True)
        assert body["decisions"]["revoke"] == {signed.items.get(kind="connection").tier: 1}
        assert body["sign_offs"][0]["decision_count"] == 3
        assert body["care"]
        assert api(make.person()).get(f"/api/v1/campaigns/{signed.pk}/summary").json()["care"] == []

    def test_costs_the_same_for_any_size(self, web, reviewer, signed):
        client = web(signed.owner)

        def measured(campaign: Campaign) -> int:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(reverse("reviews:report", args=[campaign.pk])).status_code == 200
            return len(captured)

        measured(signed)
        few = measured(signed)
        for _ in range(5):
            make.grant(tools=["query", "export"])
        larger = make.campaign(reviewer, owner=signed.owner)
        for item in larger.items.all():
            make.decide(item, "revoke" if item.kind == "grant" else "certify")
        make.sign(larger, reviewer)
        assert measured(larger) == few


class TestStatistics:
    def test_everybody_for_those_who_oversee_else_ones_own(self, web, api, signed, reviewer):
        other = make.person("reviewer", name="Sam Second")
        make.active_server()
        campaign = make.campaign(other, kinds=["server"])
        make.decide(campaign.items.last())
        make.sign(campaign, other)
        url = reverse("reviews:statistics")
        for person in (signed.owner, make.person("security"), make.person("auditor")):
            page = web(person).get(url).text
            assert "Rita Reviewer" in page
            assert "Sam Second" in page
        page = web(reviewer).get(url).text
        assert "Rita Reviewer" in page
        assert "Sam Second" not in page
        rows = api(other).get("/api/v1/reviewer-statistics").json()
        assert [row["reviewer"] for row in rows] == [str(other.pk)]
        assert len(api(signed.owner).get("/api/v1/reviewer-statistics").json()) == 2

    def test_figures(self, signed, reviewer):
        QualityVerdict.objects.create(
            campaign=signed, reviewer=reviewer, drafts_digest="x", metrics={}, verdict="red", at=clock.now()
        )
        (line,) = reports.reviewer_table(make.acting(reviewer))
        assert (line.decisions, line.campaigns, line.red, line.confirmed) == (3, 1, 1, 0)
        assert line.kept == pytest.approx(1 / 3)
        assert line.open == WorkItem.objects.filter(reviewer=reviewer, state="open").count()

    def test_registrations_measure_nobodys_pace(self, reviewer):
        item = make.intake(make.submitted_server())
        held = make.work_of(item)
        reviews.decide_intake(
            actor=make.acting(held.reviewer),
            work_item=held,
            value="certify",
            reason="It says what it does.",
            evidence_hash=item.seen.evidence_hash,
            auth_method="password",
        )
        assert Decision.objects.filter(signed_at__isnull=False).exists()
        assert all(line.decisions == 0 for line in reports.reviewer_table(make.acting(make.person("security"))))

    def test_costs_four_questions_for_any_number_of_people(self, signed, reviewer, django_assert_num_queries):
        people = [make.person("reviewer") for _ in range(4)]
        assert User.objects.filter(pk__in=[each.pk for each in people]).count() == 4
        actor = make.acting(signed.owner)
        with django_assert_num_queries(4):
            reports.reviewer_table(actor)
