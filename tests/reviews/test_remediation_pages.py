"""Remediations and exceptions on pages and over REST: who sees which act, what each does, and that lists stay cheap."""

from datetime import timedelta

import pytest
from django.urls import reverse

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core import clock
from registry.reviews import services as reviews
from registry.reviews.models import Challenge, ExceptionRecord, Remediation
from tests import factories as make

pytestmark = pytest.mark.django_db
ROOT = "/api/v1"


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def security() -> User:
    return make.person("security", name="Sol Security")


def revoked(reviewer: User, number: int = 1, **facts) -> list[Remediation]:
    make.many_grants(make.active_server(), number)
    campaign = make.campaign(reviewer, kinds=["grant"], **facts)
    make.decide_all(campaign, reviewer, "revoke", reason="Nobody uses it.")
    make.sign(campaign, reviewer)
    return list(Remediation.objects.filter(item__campaign=campaign).order_by("pk"))


@pytest.fixture
def row(reviewer) -> Remediation:
    [made] = revoked(reviewer)
    return made


def page_of(row: Remediation) -> str:
    return reverse("reviews:remediation", args=[row.pk])


class TestPages:
    def test_the_list_says_where_each_stands_and_filters(self, web, row):
        client = web(make.person())
        text = client.get(reverse("reviews:remediations")).text
        assert row.item.label in text
        assert "Verifying" in text
        for query, shown in (
            ({"state": "verifying"}, True),
            ({"state": "regressed"}, False),
            ({"open": "true"}, True),
            ({"open": "false"}, False),
            ({"kind": "reduce"}, False),
            ({"campaign": row.item.campaign_id}, True),
            ({"q": "nothing like it"}, False),
        ):
            assert (page_of(row) in client.get(reverse("reviews:remediations"), query).text) is shown, query
        assert "Nothing matches" in client.get(reverse("reviews:remediations"), {"state": "regressed"}).text

    def test_empty_lists_say_what_would_be_there(self, web):
        client = web(make.person())
        assert "Nothing was taken away yet" in client.get(reverse("reviews:remediations")).text
        assert "No exceptions" in client.get(reverse("reviews:exceptions")).text

    def test_lists_cost_the_same_for_one_and_for_many(self, web, reviewer, django_assert_max_num_queries):
        client = web(make.person())
        revoked(reviewer, 2)
        for address in ("reviews:remediations", "reviews:exceptions"):
            client.get(reverse(address))
        revoked(reviewer, 9)
        for each in Remediation.objects.all()[:6]:
            each.state = "not_verified"
            each.save()
            reviews.request_exception(
                actor=make.acting(each.item.campaign.owner),
                remediation=each,
                reason="Later",
                compensating_control="Watched",
                expires_at=clock.now() + timedelta(days=3),
            )
        for address in ("reviews:remediations", "reviews:exceptions"):
            with django_assert_max_num_queries(12):
                client.get(reverse(address))

    def test_what_one_may_not_see_is_not_there(self, web, reviewer):
        [hidden] = revoked(reviewer)
        Server.objects.update(confidential=True)
        for name in ("remediation", "remediation_confirm", "remediation_report", "remediation_object"):
            assert web(make.person()).get(reverse(f"reviews:{name}", args=[hidden.pk])).status_code == 404
        assert page_of(hidden) not in web(make.person()).get(reverse("reviews:remediations")).text
        assert web(make.person("security")).get(page_of(hidden)).status_code == 200

    def test_acts_are_offered_to_those_who_may(self, web, row, reviewer, security):
        confirm = reverse("reviews:remediation_confirm", args=[row.pk])
        assert confirm in web(security).get(page_of(row)).text
        for somebody in (make.person(), row.item.subject.server.owner, row.item.campaign.owner):
            assert confirm not in web(somebody).get(page_of(row)).text
        reviewer.roles = ["reviewer", "security"]
        reviewer.save()
        text = web(reviewer).get(page_of(row)).text
        assert confirm not in text
        assert "you decided on it" in text

    def test_seeing_it_gone(self, web, row, security):
        address = reverse("reviews:remediation_confirm", args=[row.pk])
        client = web(security)
        refused = client.post(address, {"proof": "", "effective": "yes"})
        assert refused.status_code == 422
        done = client.post(address, {"proof": "403 from the gateway.", "effective": "yes", "version": row.etag})
        assert (done.status_code, done.url) == (302, page_of(row))
        text = client.get(page_of(row)).text
        assert "403 from the gateway." in text
        assert "Seen to be gone" in text
        stale = client.post(address, {"proof": "Again.", "effective": "no", "version": row.etag})
        assert stale.status_code == 412

    def test_from_not_gone_to_an_exception_and_its_end(self, web, row, security):
        client, owner = web(security), row.item.subject.server.owner
        client.post(
            reverse("reviews:remediation_confirm", args=[row.pk]), {"proof": "It still answers.", "effective": "no"}
        )
        asked = web(owner).post(
            reverse("reviews:remediation_except", args=[row.pk]),
            {
                "reason": "Vendor needs a month.",
                "compensating_control": "Watched.",
                "expires_at": (clock.today() + timedelta(days=10)).isoformat(),
            },
        )
        assert asked.status_code == 302
        exception = ExceptionRecord.objects.get()
        assert exception.expires_at.date() == clock.today() + timedelta(days=10)
        decide = reverse("reviews:exception_decide", args=[exception.pk])
        assert decide in client.get(page_of(row)).text
        assert decide not in web(owner).get(page_of(row)).text
        assert client.post(decide, {"approved": "no", "reason": ""}).status_code == 422
        assert client.post(decide, {"approved": "yes"}).status_code == 302
        assert "lets it stay" in client.get(page_of(row)).text
        assert "Watched." in client.get(reverse("reviews:exceptions"), {"state": "active"}).text
        end = reverse("reviews:exception_end", args=[exception.pk])
        assert web(owner).post(end, {"reason": "The vendor was early."}).status_code == 302
        row.refresh_from_db()
        assert row.state == "verifying"

    def test_too_long_an_exception_is_said_beside_the_day(self, web, row, security):
        web(security).post(
            reverse("reviews:remediation_confirm", args=[row.pk]), {"proof": "It still answers.", "effective": "no"}
        )
        answer = web(row.item.subject.server.owner).post(
            reverse("reviews:remediation_except", args=[row.pk]),
            {"reason": "No.", "compensating_control": "No.", "expires_at": "2199-01-01"},
        )
        assert answer.status_code == 422
        assert "the tier is" in answer.text

    def test_objecting_and_deciding_on_it(self, web, reviewer, security):
        [row] = revoked(reviewer, challenge_days=5)
        owner = row.item.subject.server.owner
        form = reverse("reviews:remediation_object", args=[row.pk])
        assert form in web(owner).get(page_of(row)).text
        assert form not in web(make.person()).get(page_of(row)).text
        assert web(make.person()).post(form, {"reason": "Mine."}).status_code == 403
        assert web(owner).post(form, {"reason": "Payroll runs on it."}).status_code == 302
        text = web(security).get(page_of(row)).text
        assert "Payroll runs on it." in text
        decide = reverse("reviews:challenge_decide", args=[Challenge.objects.get().pk])
        assert decide in text
        assert web(security).post(decide, {"upheld": "yes", "answer": "Right."}).status_code == 302
        row.refresh_from_db()
        assert row.state == "withdrawn"
        assert "Withdrawn" in web(make.person()).get(page_of(row)).text

    def test_carrying_it_out_again_by_hand_and_reporting(self, web, row, security):
        client = web(security)
        client.post(
            reverse("reviews:remediation_confirm", args=[row.pk]), {"proof": "It still answers.", "effective": "no"}
        )
        retry = reverse("reviews:remediation_retry", args=[row.pk])
        assert client.get(retry).status_code == 200
        assert client.post(retry, {"channel": "manual", "instruction": "Delete key 7."}).status_code == 302
        text = client.get(page_of(row)).text
        assert "Delete key 7." in text
        report = reverse("reviews:remediation_report", args=[row.pk])
        assert report in web(row.item.subject.server.owner).get(page_of(row)).text
        assert client.post(report, {"reference": ""}).status_code == 422
        assert client.post(report, {"reference": "CHG-7"}).status_code == 302
        assert "CHG-7" in client.get(page_of(row)).text


class TestRest:
    def post(self, client, row, act, **body):
        return client.post(f"{ROOT}/remediations/{row.pk}/{act}", body)

    def test_a_life_over_rest(self, api, row, security):
        client, owner = api(security), api(row.item.subject.server.owner)
        body = client.get(f"{ROOT}/remediations/{row.pk}").json()
        assert (body["state"], body["subject_kind"], body["subject"]) == ("verifying", "grant", str(row.item.grant_id))
        etag = client.get(f"{ROOT}/remediations/{row.pk}")["ETag"]
        seen = client.post(
            f"{ROOT}/remediations/{row.pk}/confirm", {"proof": "It answers.", "effective": False}, HTTP_IF_MATCH=etag
        )
        assert seen.json()["state"] == "not_verified"
        stale = client.post(f"{ROOT}/remediations/{row.pk}/retry", {}, HTTP_IF_MATCH=etag)
        assert stale.status_code == 412
        again = self.post(client, row, "retry", channel="manual", instruction="Delete key 7.")
        assert (again.json()["state"], again.json()["channel"], again.json()["round"]) == ("dispatched", "manual", 2)
        assert self.post(owner, row, "report", reference="CHG-7").json()["state"] == "verifying"
        observed = self.post(
            client, row, "observe", source="activity", confirmed=True, observed_at=clock.now().isoformat(), proof="None"
        )
        assert (observed.status_code, observed.json()["confirmed"]) == (201, True)
        assert client.get(f"{ROOT}/remediations/{row.pk}").json()["state"] == "verified"
        assert self.post(client, row, "retry").status_code == 409
        assert client.get(f"{ROOT}/remediations", {"open": "true"}).json()["results"] == []
        found = client.get(f"{ROOT}/remediations", {"subject": str(row.item.grant_id)}).json()["results"]
        assert [each["id"] for each in found] == [str(row.pk)]

    def test_exceptions_over_rest(self, api, row, security):
        client, owner = api(security), api(row.item.subject.server.owner)
        self.post(client, row, "confirm", proof="It answers.", effective=False)
        asked = self.post(
            owner,
            row,
            "exception",
            reason="Vendor",
            compensating_control="Watched",
            expires_at=(clock.now() + timedelta(days=9)).isoformat(),
        )
        assert (asked.status_code, asked.json()["state"]) == (201, "requested")
        address = f"{ROOT}/exceptions/{asked.json()['id']}"
        assert owner.post(f"{address}/approve").status_code == 403
        assert client.post(f"{address}/approve").json()["state"] == "active"
        assert client.post(f"{address}/refuse", {"reason": "No"}).status_code == 409
        assert client.get(f"{ROOT}/exceptions", {"state": "active"}).json()["results"][0]["id"] == asked.json()["id"]
        assert owner.post(f"{address}/end", {"reason": "Done"}).json()["state"] == "closed"

    def test_objections_over_rest(self, api, reviewer, security):
        [row] = revoked(reviewer, challenge_days=5)
        assert self.post(api(make.person()), row, "challenge", reason="Mine").status_code == 403
        made = self.post(api(row.item.subject.agent.owner), row, "challenge", reason="It is needed.")
        assert made.status_code == 201
        address = f"{ROOT}/challenges/{made.json()['id']}"
        assert api(security).get(f"{ROOT}/challenges", {"open": "true"}).json()["results"]
        assert api(make.person()).post(f"{address}/decide", {"upheld": True, "answer": "x"}).status_code == 403
        done = api(security).post(f"{address}/decide", {"upheld": False, "answer": "Not any more."})
        assert (done.status_code, done.json()["upheld"]) == (200, False)
        row.refresh_from_db()
        assert row.state == "verifying"

    def test_a_token_without_the_scope_may_not(self, api, row, security):
        client = api(security, "reviews:read")
        assert client.get(f"{ROOT}/remediations/{row.pk}").status_code == 200
        assert self.post(client, row, "confirm", proof="Gone.").status_code == 403
