"""How carefully somebody decided, and the gate before the signature: nobody waves two hundred things through alone."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from registry.accounts.models import User
from registry.audit.models import Event
from registry.catalog.models import Agent
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotAllowed, NotIndependent, NotSignedIn, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.carefulness import Peers, Row, Verdict, judge, measure, percentile
from registry.reviews.models import Campaign, Decision, Letter, QualityVerdict, SignOff, WorkItem
from registry.reviews.services import quality
from registry.reviews.services.quality import Careless
from tests import factories as make

START = datetime(2026, 11, 22, 9, tzinfo=UTC)


# --- The figures, without a database ---------------------------------------------------------------------


def row(place: int, **facts: Any) -> Row:
    """The place-th of careful decisions: one a minute, 40 seconds of it on the item."""
    values: dict[str, Any] = {
        "pk": uuid4(), "version": 1, "value": "certify", "decided_ms": 40_000,
        "decided_at": START + timedelta(minutes=place), "opened_evidence_at": START, "bulk_id": None,
        "first_value": "", "recommended": "", "tier": "medium",
    }  # fmt: skip
    return Row(**(values | facts))


def careful(number: int, **facts: Any) -> list[Row]:
    return [row(place, **facts) for place in range(number)]


def paced(number: int, seconds: float, **facts: Any) -> list[Row]:
    """So many, one after the other, each in so many seconds."""
    return [
        row(place, decided_ms=int(seconds * 1000), decided_at=START + timedelta(seconds=seconds * (place + 1)), **facts)
        for place in range(number)
    ]


def verdict(rows: list[Row], earlier: list[Row] | None = None, peers: Peers | None = None) -> str:
    return judge(measure(rows, earlier or [], peers))[0]


PEERS = Peers(decisions=100, reviewers=4, kept=0.7, opened=0.9, median_ms=50_000, of_campaign=True)


class TestVerdict:
    def test_two_hundred_keeps_in_ninety_seconds_are_red(self):
        found, reasons = judge(measure(paced(200, 0.45), [], None))
        assert found == Verdict.RED
        assert "Half of the 200 decisions took 0.5 seconds or less" in reasons[0]

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (careful(200), "green"),
            (paced(19, 0.5), "green"),  # too few to say anything
            (paced(20, 2.9), "red"),
            (paced(20, 3.1), "amber"),
            (paced(40, 7.9), "amber"),
            (paced(40, 8.1), "green"),
            (careful(20, opened_evidence_at=None), "red"),
            (careful(19, opened_evidence_at=None), "green"),
            (careful(20, opened_evidence_at=None, value="revoke"), "amber"),
            (careful(20, opened_evidence_at=None, value="certify_reduced"), "amber"),
            (careful(100, opened_evidence_at=None)[:81] + careful(19), "red"),
            (careful(40, opened_evidence_at=None)[:25] + careful(15), "amber"),
            (careful(40, bulk_id=uuid4()), "amber"),
            ([*careful(30), row(31, tier="critical", decided_ms=4_000)], "amber"),
            ([*careful(30), row(31, tier="low", decided_ms=4_000)], "green"),
        ],
    )
    def test_thresholds(self, rows, expected):
        assert verdict(rows) == expected

    def test_slow_ones_among_them_do_not_hide_a_burst(self):
        hasty = paced(60, 0.8)
        slow = [row(100 + place, decided_ms=600_000) for place in range(100)]
        assert verdict([*hasty, *slow]) == "red"

    def test_signing_in_slices_does_not_hide_it_either(self):
        everything = paced(200, 0.45)
        assert verdict(everything[19:38], earlier=everything[:19]) == "red"
        later = [row(60 * 24 + place) for place in range(5)]
        assert verdict(later, earlier=everything) == "green", "what was signed long ago is not measured again"

    def test_a_bulk_is_as_fast_as_the_time_it_took(self):
        def bulk(seconds: float) -> list[Row]:
            return [
                row(0, bulk_id=one, decided_ms=int(seconds * 1000 / 25), decided_at=START) for one in [uuid4()] * 25
            ]

        assert verdict(bulk(10)) == "red"
        assert verdict([*bulk(300), *careful(30)]) == "green"

    def test_kept_far_more_than_peers(self):
        assert verdict(careful(20), peers=PEERS) == "amber"
        assert verdict([*careful(20), *careful(5, value="revoke")], peers=PEERS) == "green"
        assert verdict(careful(20), peers=None) == "green", "unknown peers accuse nobody"

    def test_answers_that_follow_the_rules_once_they_are_read(self):
        swayed = careful(6, first_value="revoke", recommended="certify", value="certify", tier="high")
        found = measure(swayed, [], None)
        assert (found.agreed_before, found.agreed_after, found.swayed, found.changed) == (0.0, 1.0, 6, 6)
        assert judge(found)[0] == "amber"
        own = careful(6, first_value="certify", recommended="certify", value="certify", tier="high")
        assert judge(measure(own, [], None))[0] == "green"

    def test_percentiles_not_averages(self):
        rows = [row(place, decided_ms=ms) for place, ms in enumerate([1000] * 10 + [600_000])]
        found = measure(rows, [], None)
        assert (found.p10_ms, found.median_ms, found.p90_ms) == (1000, 1000, 1000)
        assert [percentile([10, 20, 30, 40], part) for part in (0, 0.5, 1)] == [10, 25, 40]

    def test_of_nothing_there_is_no_quality(self):
        with pytest.raises(ValueError):
            measure([], [], None)


# --- The gate --------------------------------------------------------------------------------------------


@pytest.fixture
def reviewer(db) -> User:
    return make.person("reviewer", name="Rita Reviewer")


def reviewed(reviewer: User, number: int = 22) -> Campaign:
    make.many_grants(make.active_server(), number)
    made = make.campaign(reviewer, kinds=["grant"])
    assert made.state == "active", made.state_reason
    return made


def drafted(campaign: Campaign, *, seconds: float) -> None:
    """All items kept at this pace, written as rows: what `decide_all` says in a tenth of the time."""
    now, rows = clock.now(), []
    for place, held in enumerate(WorkItem.objects.filter(item__campaign=campaign).select_related("item")):
        at = now - timedelta(seconds=seconds * place)
        facts = {"decided_at": at, "decided_ms": int(seconds * 1000), "opened_evidence_at": at}
        rows.append(Decision(work_item=held, value="certify", evidence_hash=held.item.evidence_hash, **facts))
    Decision.objects.bulk_create(rows)
    WorkItem.objects.filter(item__campaign=campaign).update(state="responded")
    campaign.items.update(state="decided")


@pytest.fixture
def hasty(reviewer) -> Campaign:
    """Twenty-two keeps at the pace of two hundred in ninety seconds."""
    made = reviewed(reviewer)
    make.decide_all(made, reviewer, seconds=0.45)
    return made


def red(campaign: Campaign, reviewer: User) -> QualityVerdict:
    found = reviews.assess(actor=make.acting(reviewer), campaign=campaign)
    assert found.verdict == "red"
    return found


class TestGate:
    def test_nobody_signs_two_hundred_keeps_in_ninety_seconds_alone(self, reviewer):
        campaign = reviewed(reviewer, 200)
        drafted(campaign, seconds=0.45)
        guard = make.person("security", name="Greta Guard")
        with pytest.raises(Careless) as refused:
            make.sign(campaign, reviewer)
        assert campaign.owner.name in refused.value.message
        assert guard.name in refused.value.message
        assert (refused.value.status, refused.value.code) == (409, "careless")
        assert not SignOff.objects.exists()
        assert not Decision.objects.filter(signed_at__isnull=False).exists()
        kept = QualityVerdict.objects.get()
        assert (kept.verdict, kept.metrics["decisions"]) == ("red", 200), "the verdict outlives the refusal"

    def test_a_second_person_lets_them_be_signed(self, hasty, reviewer):
        verdict = red(hasty, reviewer)
        given = reviews.confirm_quality(
            actor=make.acting(hasty.owner), verdict=verdict, reason="Equal read-only grants; I looked at six."
        )
        assert given.by == hasty.owner
        assert make.sign(hasty, reviewer).decision_count == 22
        said = Event.objects.get(act="quality.confirmed")
        assert said.data["reviewer"] == str(reviewer.pk)

    def test_a_changed_draft_asks_again(self, hasty, reviewer):
        reviews.confirm_quality(actor=make.acting(hasty.owner), verdict=red(hasty, reviewer), reason="Looked.")
        make.decide(hasty.items.order_by("pk").first(), "certify", reason="Another reason.")
        with pytest.raises(Careless):
            make.sign(hasty, reviewer)
        assert QualityVerdict.objects.count() == 2

    def test_careful_decisions_are_signed_by_one(self, reviewer):
        campaign = reviewed(reviewer)
        make.decide_all(campaign, reviewer, seconds=30)
        assert make.sign(campaign, reviewer).decision_count == 22
        assert QualityVerdict.objects.get().verdict == "green"

    def test_one_verdict_for_one_set_of_drafts(self, hasty, reviewer):
        assert red(hasty, reviewer).pk == red(hasty, reviewer).pk
        assert Event.objects.filter(act="quality.assessed").count() == 1

    def test_whoever_can_confirm_is_told_once(self, hasty, reviewer):
        red(hasty, reviewer)
        red(hasty, reviewer)
        letter = Letter.objects.get(key__startswith="careless:")
        assert letter.to == hasty.owner
        assert reviewer.name in letter.text and "seconds or less" in letter.text

    def test_where_the_owner_left_others_are_told(self, hasty, reviewer):
        guard = make.person("security")
        User.objects.filter(pk=hasty.owner_id).update(is_active=False)
        hasty.refresh_from_db()
        red(hasty, reviewer)
        told = set(Letter.objects.filter(key__startswith="careless:").values_list("to", flat=True))
        assert guard.pk in told
        assert not {reviewer.pk, hasty.owner_id} & told

    def test_the_verdict_is_written_once_and_for_all(self, hasty, reviewer):
        red(hasty, reviewer)
        with pytest.raises(DatabaseError), transaction.atomic():
            QualityVerdict.objects.update(verdict="green")
        with pytest.raises(DatabaseError), transaction.atomic():
            QualityVerdict.objects.all().delete()

    def test_without_drafts_there_is_no_verdict(self, reviewer):
        campaign = reviewed(reviewer, 2)
        with pytest.raises(Conflict):
            reviews.assess(actor=make.acting(reviewer), campaign=campaign)


class TestWhoConfirms:
    @pytest.mark.parametrize("role", ["campaign_manager", "security"])
    def test_these_roles(self, hasty, reviewer, role):
        reviews.confirm_quality(actor=make.acting(make.person(role)), verdict=red(hasty, reviewer), reason="Looked.")
        assert make.sign(hasty, reviewer)

    @pytest.mark.parametrize("role", ["reviewer", "auditor", "administrator", "member"])
    def test_not_these(self, hasty, reviewer, role):
        with pytest.raises(NotAllowed):
            reviews.confirm_quality(
                actor=make.acting(make.person(role)), verdict=red(hasty, reviewer), reason="Looked."
            )

    def test_not_the_reviewer_whatever_their_roles(self, hasty, reviewer):
        verdict = red(hasty, reviewer)
        reviewer.roles = ["reviewer", "campaign_manager", "security"]
        reviewer.save()
        with pytest.raises(NotIndependent) as refused:
            reviews.confirm_quality(actor=make.acting(reviewer), verdict=verdict, reason="I am careful.")
        assert "made these decisions" in refused.value.message

    def test_not_somebody_with_a_stake_in_what_is_decided(self, hasty, reviewer):
        guard = make.person("security")
        verdict = red(hasty, reviewer)
        Agent.objects.filter(pk=hasty.items.order_by("pk").last().grant.agent_id).update(owner=guard)
        with pytest.raises(NotIndependent) as refused:
            reviews.confirm_quality(actor=make.acting(guard), verdict=verdict, reason="Fine.")
        assert "stake" in refused.value.message

    def test_not_nobody(self, hasty, reviewer):
        verdict = red(hasty, reviewer)
        with pytest.raises((NotSignedIn, NotIndependent)):
            reviews.confirm_quality(actor=Actor.anonymous(), verdict=verdict, reason="X")
        with pytest.raises(NotIndependent):
            reviews.confirm_quality(actor=Actor.system("night"), verdict=verdict, reason="X")

    def test_it_wants_a_reason_without_secrets(self, hasty, reviewer):
        verdict, by = red(hasty, reviewer), make.acting(hasty.owner)
        with pytest.raises(Invalid) as refused:
            reviews.confirm_quality(actor=by, verdict=verdict, reason=" ")
        assert list(refused.value.fields) == ["reason"]
        with pytest.raises(SecretRefused):
            reviews.confirm_quality(actor=by, verdict=verdict, reason="password=hunter2hunter2")

    def test_only_once_and_only_red_and_only_the_present_drafts(self, hasty, reviewer):
        verdict, by = red(hasty, reviewer), make.acting(hasty.owner)
        reviews.undo_decision(actor=make.acting(reviewer), work_item=make.work_of(hasty.items.order_by("pk").first()))
        with pytest.raises(Conflict) as refused:
            reviews.confirm_quality(actor=by, verdict=verdict, reason="Looked.")
        assert "other decisions by now" in refused.value.message
        fresh = red(hasty, reviewer)
        reviews.confirm_quality(actor=by, verdict=fresh, reason="Looked.")
        with pytest.raises(Conflict):
            reviews.confirm_quality(actor=by, verdict=fresh, reason="Looked.")

    def test_a_green_one_needs_nobody(self, reviewer):
        campaign = reviewed(reviewer, 2)
        make.decide_all(campaign, reviewer)
        verdict = reviews.assess(actor=make.acting(reviewer), campaign=campaign)
        with pytest.raises(Conflict):
            reviews.confirm_quality(actor=make.acting(campaign.owner), verdict=verdict, reason="Looked.")


class TestPeersAndStatistics:
    def test_peers_of_the_campaign_else_of_recent_ones_else_unknown(self, reviewer):
        other = make.person("reviewer")
        make.many_grants(make.active_server(), 22)
        earlier = make.campaign(other, kinds=["grant"])
        make.decide_all(earlier, other, "revoke", seconds=20)
        make.sign(earlier, other)
        make.many_grants(make.active_server(), 4)
        now = make.campaign(reviewer, kinds=["grant"])
        make.decide_all(now, reviewer)
        found = quality.peers_of(reviewer.pk, now)
        assert found is not None
        assert (found.decisions, found.reviewers, found.kept, found.of_campaign) == (22, 1, 0.0, False)
        assert found.median_ms == pytest.approx(20_000, abs=100)
        assert quality.peers_of(other.pk, now) is None, "four are too few"

    def test_one_row_per_reviewer_in_percentiles(self, hasty, reviewer):
        red(hasty, reviewer)
        (row,) = quality.reviewer_statistics(hasty)
        assert (row.reviewer, row.decisions, row.signed, row.kept, row.opened) == (reviewer, 22, 0, 1.0, 1.0)
        assert row.p10 <= row.median <= row.p90 < 1
        assert row.verdict is not None and row.verdict.verdict == "red"

    def test_three_queries_however_many(self, hasty):
        with CaptureQueriesContext(connection) as asked:
            quality.reviewer_statistics(hasty)
        assert len(asked) == 3

    def test_open_verdicts_are_red_current_and_unconfirmed(self, hasty, reviewer):
        assert quality.open_verdicts(hasty) == []
        verdict = red(hasty, reviewer)
        assert quality.open_verdicts(hasty) == [verdict]
        reviews.undo_decision(actor=make.acting(reviewer), work_item=make.work_of(hasty.items.order_by("pk").first()))
        assert quality.open_verdicts(hasty) == []
        again = red(hasty, reviewer)
        assert quality.open_verdicts(hasty) == [again]
        reviews.confirm_quality(actor=make.acting(hasty.owner), verdict=again, reason="Looked.")
        assert quality.open_verdicts(hasty) == []


# --- Pages and REST --------------------------------------------------------------------------------------


class TestPages:
    def test_the_page_says_why_and_who_and_puts_it_before_a_second_person(self, web, hasty, reviewer):
        client, url = web(reviewer), reverse("reviews:sign_off", args=[hasty.pk])
        page = client.get(url).text
        assert "Half of the 22 decisions" in page
        assert hasty.owner.name in page
        assert "Sign 22 decisions" not in page
        assert not QualityVerdict.objects.exists(), "looking writes nothing down"
        client.post(reverse("reviews:sign_off_ask", args=[hasty.pk]))
        assert QualityVerdict.objects.get().verdict == "red"
        assert "Ask for a second look" not in client.get(url).text

    def test_signing_all_the_same_is_refused(self, web, hasty, reviewer):
        url = reverse("reviews:sign_off", args=[hasty.pk])
        sent = web(reviewer).post(
            url, {"statement": "I looked.", "password": make.PASSWORD, "expected": look_digest(hasty, reviewer)}
        )
        assert sent.status_code == 409
        assert "Nothing is signed" in sent.text
        assert not SignOff.objects.exists()

    def test_the_second_person_confirms_and_the_first_signs(self, web, hasty, reviewer):
        url = reverse("reviews:quality", args=[red(hasty, reviewer).pk])
        second = web(hasty.owner)
        page = second.get(url).text
        assert reviewer.name in page and "Let them be signed" in page
        assert hasty.items.first().label in page
        assert second.post(url, {"reason": ""}).status_code == 422
        assert second.post(url, {"reason": "Equal, read only; looked at six."}).status_code == 302
        mine = web(reviewer).get(reverse("reviews:sign_off", args=[hasty.pk])).text
        assert "Sign 22 decisions" in mine and "looked at six" in mine

    def test_who_sees_the_verdict(self, web, hasty, reviewer):
        url = reverse("reviews:quality", args=[red(hasty, reviewer).pk])
        for person, status in (
            (reviewer, 200), (hasty.owner, 200), (make.person("security"), 200), (make.person("auditor"), 200),
            (make.person("reviewer"), 404), (make.person(), 404), (make.outsider(), 403),
        ):  # fmt: skip
            assert web(person).get(url).status_code == status, person.roles
        assert "Let them be signed" not in web(reviewer).get(url).text
        assert web(reviewer).post(url, {"reason": "I say so."}).status_code == 403
        assert web(make.person("auditor")).post(url, {"reason": "Fine."}).status_code == 403

    def test_over_rest(self, api, hasty, reviewer):
        client = api(reviewer)
        refused = client.post("/api/v1/sign-offs", {"campaign": str(hasty.pk), "statement": "I looked."})
        assert (refused.status_code, refused.json()["type"].rpartition("#")[2]) == (409, "careless")
        assert f"{hasty.owner.name} (who owns the campaign)" in refused.json()["detail"]
        (listed,) = client.get("/api/v1/quality-verdicts").json()["results"]
        assert (listed["verdict"], listed["confirmation"]) == ("red", None)
        assert api(make.person()).get("/api/v1/quality-verdicts").json()["results"] == []
        url = f"/api/v1/quality-verdicts/{listed['id']}"
        assert client.post(f"{url}/confirm", {"reason": "Mine."}).status_code == 403
        second = api(hasty.owner)
        assert second.post(f"{url}/confirm", {"reason": "Looked at six."}).status_code == 201
        assert second.get(url).json()["confirmation"]["reason"] == "Looked at six."
        assert client.post("/api/v1/sign-offs", {"campaign": str(hasty.pk), "statement": "I."}).status_code == 201


def look_digest(campaign: Campaign, reviewer: User) -> str:
    found = quality.look_at(reviewer.pk, campaign)
    assert found is not None
    return found.digest


class TestSignOffPage:
    def test_counts_tie_out(self, web, reviewer):
        other = make.person("reviewer")
        campaign = reviewed(reviewer, 6)
        items = list(campaign.items.order_by("pk"))
        for item in items[:2]:
            make.decide(item)
        make.sign(campaign, reviewer)
        make.decide(items[2], "revoke", reason="Nobody needs it.")
        make.decide(items[3])
        reviews.reassign_work_item(
            actor=make.acting(reviewer), work_item=make.work_of(items[4]), to=other, note="Knows it."
        )
        from registry.reviews.signing import tally

        found = tally(campaign, reviewer.pk)
        assert (found.assigned, found.decided, found.signed, found.open, found.handed_on, found.gone) == (
            6, 2, 2, 1, 1, 0,
        )  # fmt: skip
        assert found.ties_out
        assert tally(campaign, other.pk).assigned == 1
        page = web(reviewer).get(reverse("reviews:sign_off", args=[campaign.pk])).text
        assert "ties out" in page

    def test_what_is_taken_away_comes_first(self, web, reviewer):
        server = make.active_server()
        make.grant(server=server, tools=["query", "export"])
        make.connection(server=server, access="write", scopes=["orders", "stock"])
        campaign = make.campaign(reviewer)
        items = {item.kind: item for item in campaign.items.all()}
        make.decide(items["server"])
        make.decide(items["grant"], "certify_reduced", kept=["query"])
        make.decide(items["connection"], "revoke")
        page = web(reviewer).get(reverse("reviews:sign_off", args=[campaign.pk])).text
        # Beside the verdict, hasty answers are named before.
        places = [
            page.index(items[kind].label + "</a>", page.index('id="decisions"'))
            for kind in ("connection", "grant", "server")
        ]
        assert places == sorted(places)
        assert f"{server.label} loses" in page
        assert "<code>export</code>" in page

    def test_the_verdict_comes_first_and_many_kept_ones_are_folded(self, web, reviewer):
        server = make.active_server()
        make.many_grants(server, 12)
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide_all(campaign, reviewer)
        first = WorkItem.objects.filter(item__campaign=campaign).first()
        make.decide(first.item, "revoke")
        page = web(reviewer).get(reverse("reviews:sign_off", args=[campaign.pk])).text
        verdict, rows, signature = (
            page.index(each) for each in ("How you decided", 'id="decisions"', 'id="signature"')
        )
        assert verdict < rows < signature
        folded = re.search(r'<details><summary class="qgroup">.*?<span class="num">11</span>', page, re.S)
        assert folded
        assert f"{first.item.label}</a>" in page[rows : folded.start()]
        assert "v-certify" not in page[rows : folded.start()]

    @pytest.mark.parametrize("name", ["sign_off", "quality"])
    def test_the_number_of_queries_does_not_grow_with_the_drafts(self, web, reviewer, name):
        def cost(number: int) -> int:
            server = make.active_server()
            make.many_grants(server, number)
            campaign = make.campaign(reviewer, kinds=["grant"], scope={"q": server.name})
            make.decide_all(campaign, reviewer, seconds=0.4)
            verdict = reviews.assess(actor=make.acting(reviewer), campaign=campaign)
            client = web(reviewer if name == "sign_off" else campaign.owner)
            url = reverse(f"reviews:{name}", args=[campaign.pk if name == "sign_off" else verdict.pk])
            client.get(url)
            with CaptureQueriesContext(connection) as asked:
                assert client.get(url).status_code == 200
            return len(asked)

        few, many = cost(22), cost(70)
        assert few == many
        assert many <= 30

    def test_long_lists_are_paged(self, web, reviewer):
        campaign = reviewed(reviewer, 60)
        make.decide_all(campaign, reviewer, "revoke", seconds=20)
        client, url = web(reviewer), reverse("reviews:sign_off", args=[campaign.pk])
        first = client.get(url)
        page = first.context["page"]
        assert len(page.items) == 50 and page.older
        rest = client.get(page.older).context["page"].items
        assert len(rest) == 10
        assert not {each.pk for each in rest} & {each.pk for each in page.items}
        assert first.context["quality"].found.metrics.decisions == 60


class TestReceipt:
    def test_the_file_is_what_was_hashed(self, web, reviewer):
        from hashlib import sha256

        campaign = reviewed(reviewer, 3)
        make.decide_all(campaign, reviewer)
        signature = make.sign(campaign, reviewer)
        client = web(reviewer)
        page = client.get(reverse("reviews:receipt", args=[signature.pk])).text
        file = reverse("reviews:receipt_decisions", args=[signature.pk])
        assert signature.decisions_root in page and file in page
        sent = client.get(file)
        assert sha256(sent.content).hexdigest() == signature.decisions_root
        assert web(make.outsider()).get(file).status_code == 403

    def test_whoever_does_not_see_all_of_it_gets_no_file(self, web, reviewer):
        server = make.active_server()
        make.many_grants(server, 2)
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide_all(campaign, reviewer)
        signature = make.sign(campaign, reviewer)
        type(server).objects.filter(pk=server.pk).update(confidential=True)
        file = reverse("reviews:receipt_decisions", args=[signature.pk])
        assert web(make.person()).get(file).status_code == 404
        assert web(reviewer).get(file).status_code == 200
        assert file not in web(make.person()).get(reverse("reviews:receipt", args=[signature.pk])).text
