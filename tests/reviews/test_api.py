"""REST: the same acts under the same permissions, with ETag, If-Match and problem+json."""

from datetime import timedelta

import pytest

from registry.catalog import services as catalog
from registry.core import clock
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, Decision, Item
from tests import factories as make

pytestmark = pytest.mark.django_db
ROOT = "/api/v1"


@pytest.fixture
def reviewer():
    return make.person("reviewer")


@pytest.fixture
def reviewed(reviewer):
    server = make.active_server()
    make.grant(server=server, tools=["query", "export"])
    campaign = make.campaign(reviewer)
    return campaign, {item.kind: item for item in campaign.items.all()}, server


def former_member(api):
    """A client of somebody whose roles are gone while their token is not."""
    person = make.person()
    client = api(person)
    person.roles = []
    person.save()
    return client


class TestSetUp:
    def test_template_to_campaign(self, api, reviewer, django_capture_on_commit_callbacks):
        make.active_server()
        client = api(make.person("campaign_manager"))
        refused = client.post(f"{ROOT}/templates", {"name": "Q", "kinds": ["server"], "cadence_days": 2})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/cadence_days")
        stages = [{"reviewers": [str(reviewer.pk)]}]
        made = client.post(f"{ROOT}/templates", {"name": "Q", "kinds": ["server"], "stages": stages})
        assert made.status_code == 201
        template = made.json()
        url = f"{ROOT}/templates/{template['id']}"
        assert client.patch(url, {"scope": {"tier": ["low"]}}, headers={"If-Match": '"x.1"'}).status_code == 412
        assert (
            client.patch(url, {"scope": {"tier": ["low", "medium"]}}, headers={"If-Match": made["ETag"]}).status_code
            == 200
        )
        assert client.get(f"{url}/scope").json() == {"server": 1}
        launched = client.post(f"{ROOT}/campaigns", {"template": template["id"], "period": "2026-Q4"})
        assert (launched.status_code, launched.json()["state"]) == (201, "generating")
        again = client.post(f"{ROOT}/campaigns", {"template": template["id"], "period": "2026-Q4"})
        assert again.status_code == 409
        assert launched.json()["id"] in again.json()["detail"]
        reviews.generate_items(campaign_id=Campaign.objects.get().pk)
        detail = client.get(f"{ROOT}/campaigns/{launched.json()['id']}").json()
        assert (detail["state"], detail["progress"]["total"], detail["gate"]) == ("active", 1, [])

    def test_acts_of_the_manager(self, api, reviewed, reviewer):
        campaign, items, _ = reviewed
        url = f"{ROOT}/campaigns/{campaign.pk}"
        client = api(campaign.owner)
        assert (
            client.post(
                f"{url}/extend", {"until": str(clock.today() + timedelta(days=40)), "reason": "Later"}
            ).status_code
            == 200
        )
        assert client.post(f"{url}/remind", {"reviewer": str(reviewer.pk)}).status_code == 200
        assert client.post(f"{url}/activate").status_code == 409
        assert client.post(f"{url}/retry-generation").status_code == 409
        assert client.post(f"{url}/cancel", {"reason": ""}).status_code == 422
        for person in (reviewer, make.person()):
            assert api(person).post(f"{url}/cancel", {"reason": "No"}).status_code == 403
        for item in items.values():
            make.decide(item)
        make.sign(campaign, reviewer)
        closed = client.post(f"{url}/close", {"statement": "Complete."})
        assert (closed.status_code, closed.json()["state"]) == (200, "completed")

    def test_scopes_and_anonymous(self, api, reviewed):
        campaign, *_ = reviewed
        assert api().get(f"{ROOT}/campaigns").status_code == 401
        assert former_member(api).get(f"{ROOT}/campaigns").status_code == 403
        reading = api(campaign.owner, "reviews:read")
        assert reading.get(f"{ROOT}/campaigns").status_code == 200
        assert reading.get(f"{ROOT}/items").json()["results"]
        told = reading.post(f"{ROOT}/campaigns/{campaign.pk}/cancel", {"reason": "x"})
        assert (told.status_code, told.json()["detail"]) == (403, "This token lacks the scope reviews:write.")
        assert api(campaign.owner, "catalog:read").get(f"{ROOT}/campaigns").status_code == 403


class TestDecisions:
    def test_decide_change_undo_and_sign(self, api, reviewed, reviewer):
        campaign, items, server = reviewed
        client = api(reviewer)
        seen = client.get(f"{ROOT}/items/{items['grant'].pk}")
        body = seen.json()
        assert body["seen"]["evidence_hash"] == items["grant"].evidence_hash
        assert body["reducible"] == ["export", "query"]
        assert body["decision"] is None
        answer = {"item": body["id"], "value": "certify", "evidence_hash": body["evidence_hash"], "reason": "Fine."}
        assert client.post(f"{ROOT}/decisions", answer).status_code == 428
        assert client.post(f"{ROOT}/decisions", answer, headers={"If-Match": '"x"'}).status_code == 412
        made = client.post(f"{ROOT}/decisions", answer, headers={"If-Match": seen["ETag"]})
        assert made.status_code == 200
        assert client.post(f"{ROOT}/decisions", answer, headers={"If-Match": seen["ETag"]}).status_code == 412
        changed = client.post(
            f"{ROOT}/decisions",
            {**answer, "value": "certify_reduced", "kept": ["query"]},
            headers={"If-Match": made["ETag"]},
        )
        assert (changed.status_code, changed.json()["kept"]) == (200, ["query"])
        assert Decision.objects.count() == 1
        url = f"{ROOT}/decisions/{changed.json()['id']}"
        assert client.delete(url).status_code == 428
        assert client.delete(url, headers={"If-Match": changed["ETag"]}).status_code == 204
        fresh = client.get(f"{ROOT}/items/{body['id']}")["ETag"]
        client.post(
            f"{ROOT}/decisions", {**answer, "value": "certify_reduced", "kept": ["query"]}, headers={"If-Match": fresh}
        )
        signed = client.post(f"{ROOT}/sign-offs", {"campaign": str(campaign.pk), "statement": "I looked."})
        assert (signed.status_code, signed.json()["decision_count"], signed.json()["auth_method"]) == (201, 1, "token")
        certificate = client.get(f"{ROOT}/certificates/{items['grant'].grant.superseded_by.pk}")
        assert certificate.status_code == 200
        assert client.get(f"{ROOT}/certificates/{items['grant'].grant_id}").status_code == 404
        assert client.get(f"{ROOT}/certificates/{server.pk}").status_code == 404
        remediation = client.get(f"{ROOT}/remediations").json()["results"][0]
        confirm = f"{ROOT}/remediations/{remediation['id']}/confirm"
        assert client.post(confirm, {"proof": "Gone", "effective": True}).status_code == 403
        gone = {"proof": "The gateway refuses it.", "effective": True}
        done = api(make.person("security")).post(confirm, gone)
        assert (done.status_code, done.json()["state"]) == (200, "verified")

    def test_owner_outsider_and_other_reviewers_cannot(self, api, reviewed):
        campaign, items, server = reviewed
        item = items["server"]
        body = {"item": str(item.pk), "value": "certify", "evidence_hash": item.evidence_hash}
        for person in (server.owner, campaign.owner, make.person("reviewer"), make.person("administrator")):
            client = api(person)
            told = client.post(f"{ROOT}/decisions", body, headers={"If-Match": "*"})
            assert told.status_code == 403
            assert told["Content-Type"] == "application/problem+json"
        assert former_member(api).post(f"{ROOT}/decisions", body, headers={"If-Match": "*"}).status_code == 404
        assert api().post(f"{ROOT}/decisions", body, headers={"If-Match": "*"}).status_code == 401

    def test_an_owner_who_is_also_reviewer_is_told_why(self, api, reviewed, reviewer):
        _campaign, items, server = reviewed
        type(server).objects.filter(pk=server.pk).update(created_by=reviewer)
        item = items["server"]
        body = {"item": str(item.pk), "value": "certify", "evidence_hash": item.evidence_hash}
        client = api(reviewer)
        seen = client.get(f"{ROOT}/items/{item.pk}")
        told = client.post(f"{ROOT}/decisions", body, headers={"If-Match": seen["ETag"]})
        assert told.status_code == 403
        assert "registered the server" in told.json()["detail"]
        assert told.json()["type"].endswith("#not-independent")

    def test_drafts_are_their_authors_business(self, api, reviewed, reviewer):
        _campaign, items, _ = reviewed
        make.decide(items["server"])
        assert len(api(reviewer).get(f"{ROOT}/decisions").json()["results"]) == 1
        assert api(make.person("security")).get(f"{ROOT}/decisions").json()["results"] == []

    def test_changed_facts_are_shown_beside_and_confirmed(self, api, reviewed, reviewer):
        _campaign, items, server = reviewed
        item = items["server"]
        catalog.set_tools(
            actor=make.acting(server.owner), server=server, tools=[{"name": "purge", "confirmed_class": "destructive"}]
        )
        client = api(reviewer)
        answered = client.get(f"{ROOT}/items/{item.pk}")
        body = {"item": str(item.pk), "value": "certify", "evidence_hash": item.evidence_hash}
        assert client.post(f"{ROOT}/decisions", body, headers={"If-Match": "*"}).status_code == 428, "names nothing"
        seen = answered.json()
        assert seen["seen"]["fingerprint"] == item.fingerprint
        assert seen["current"]["fingerprint"] != item.fingerprint
        assert {"sign": "add", "kind": "Tool", "what": "purge", "detail": "Destructive"} in seen["drift"]
        row = next(row for row in seen["comparison"] if row["what"] == "purge")
        assert (row["section"], row["kind"], row["launch"], row["since_launch"]) == ("tools", "Tool", None, "add")
        assert row["now"]["value"] == "Destructive"
        kept = [row for row in seen["comparison"] if row["section"] == "owner"]
        assert [(row["launch"] == row["now"], row["since_launch"]) for row in kept] == [(True, "")]
        body = {"item": str(item.pk), "value": "certify", "evidence_hash": item.evidence_hash}
        assert client.post(f"{ROOT}/decisions", body, headers={"If-Match": answered["ETag"]}).status_code == 409
        url = f"{ROOT}/items/{item.pk}/confirm-facts"
        assert client.post(url, {"evidence_hash": item.evidence_hash}).status_code == 412
        done = client.post(url, {"evidence_hash": seen["current"]["evidence_hash"]})
        assert (done.status_code, done.json()["drift"]) == (200, [])
        # What was seen later stands beside what was frozen at launch, never over it (invariant 1).
        row = next(row for row in done.json()["comparison"] if row["what"] == "purge")
        assert (row["launch"], row["now"]["value"], row["since_launch"]) == (None, "Destructive", "add")
        body["evidence_hash"] = seen["current"]["evidence_hash"]
        assert client.post(f"{ROOT}/decisions", body, headers={"If-Match": done["ETag"]}).status_code in (200, 422)

    def test_recuse_and_hand_over(self, api, reviewed, reviewer):
        campaign, items, _ = reviewed
        second = make.person("reviewer")
        campaign.template.first_stage.reviewers.add(second)
        url = f"{ROOT}/items/{items['server'].pk}"
        assert api(second).post(f"{url}/recuse", {"reason": "Mine"}).status_code == 403
        assert api(reviewer).post(f"{url}/recuse", {"reason": "Mine"}).status_code == 200
        assert make.work_of(items["server"]).reviewer == second
        hand = {"to": str(reviewer.pk), "note": "Back to you"}
        told = api(campaign.owner).post(f"{url}/hand-over", hand)
        assert told.status_code == 409, "stepped back before"
        third = make.person("reviewer")
        assert api(campaign.owner).post(f"{url}/hand-over", {"to": str(third.pk), "note": "Yours"}).status_code == 200

    def test_of_several_each_hands_on_their_own_place(self, api):
        pair = [make.person("reviewer"), make.person("reviewer")]
        make.active_server()
        campaign = make.campaign(*pair, kinds=["server"], reviewers_per_item=2)
        url, spare = f"{ROOT}/items/{campaign.items.get().pk}/hand-over", make.person("reviewer")
        places = campaign.items.get().work_items
        for each in pair:
            spare = make.person("reviewer")
            assert api(each).post(url, {"to": str(spare.pk), "note": "Away"}).status_code in (200, 204)
            assert (places.filter(reviewer=each).exists(), places.get(reviewer=spare).state) == (False, "open")
        asked = api(campaign.owner).post(url, {"to": str(make.person("reviewer").pk)})
        assert (asked.status_code, asked.json()["errors"][0]["pointer"]) == (422, "/from")
        body = {"to": str(make.person("reviewer").pk), "from": str(spare.pk), "note": "Away"}
        stale = api(campaign.owner).post(url, body, headers={"If-Match": '"of yesterday"'})
        assert stale.status_code == 412
        assert api(campaign.owner).post(url, body).status_code == 200
        assert not places.filter(reviewer=spare).exists()

    def test_a_misspelt_field_is_refused(self, api):
        told = api(make.person("campaign_manager")).post(f"{ROOT}/templates", {"name": "All", "scops": {}})
        assert told.status_code == 422
        assert "/scops" in {error["pointer"] for error in told.json()["errors"]}

    @pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "tomorrow"])
    def test_a_day_nobody_can_foresee(self, api, reviewed, day):
        campaign, *_ = reviewed
        told = api(campaign.owner).get(f"{ROOT}/campaigns/{campaign.pk}/simulation?day={day}")
        assert (told.status_code, told.json()["errors"][0]["pointer"]) == (422, "/day")

    def test_intake(self, api, reviewer):
        server = make.submitted_server()
        item = make.intake(server)
        client = api(reviewer)
        seen = client.get(f"{ROOT}/items/{item.pk}")
        body = {"value": "certify", "evidence_hash": seen.json()["evidence_hash"], "reason": "Read."}
        url = f"{ROOT}/items/{item.pk}/decide-intake"
        assert client.post(url, body).status_code == 428
        assert api(server.owner).post(url, body, headers={"If-Match": seen["ETag"]}).status_code == 403
        done = client.post(url, body, headers={"If-Match": seen["ETag"]})
        assert (done.status_code, done.json()["state"]) == (200, "certified")
        certificate = client.get(f"{ROOT}/certificates/{server.pk}").json()
        server.refresh_from_db()
        assert certificate["kind"] == "server"
        assert server.lifecycle == "active"

    def test_a_token_for_reviews_alone_suffices(self, api, reviewer):
        server = make.submitted_server()
        make.requested_connection(server=server)
        item = make.intake(server)
        client = api(reviewer, "reviews:read", "reviews:write")
        seen = client.get(f"{ROOT}/items/{item.pk}")
        body = {"value": "certify", "evidence_hash": seen.json()["evidence_hash"], "reason": "Read."}
        done = client.post(f"{ROOT}/items/{item.pk}/decide-intake", body, headers={"If-Match": seen["ETag"]})
        assert done.status_code == 200, done.json()


class TestLists:
    def test_filters_and_confidentiality(self, api, reviewer):
        hidden = make.active_server(confidential=True)
        shown = make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        items = api(make.person()).get(f"{ROOT}/items", {"campaign": str(campaign.pk)}).json()["results"]
        assert [row["subject"] for row in items] == [str(shown.pk)]
        assert api(make.person()).get(f"{ROOT}/items", {"server": str(hidden.pk)}).json()["results"] == []
        mine = api(reviewer).get(f"{ROOT}/items", {"mine": "true", "state": "in_review"}).json()["results"]
        assert len(mine) == 2
        assert api(reviewer).get(f"{ROOT}/items", {"tier": "critical"}).json()["results"] == []
        assert api(reviewer).get(f"{ROOT}/items", {"state": "nonsense"}).status_code in (400, 422)

    def test_the_cost_of_lists_does_not_grow(self, api, reviewer):
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        def measured(path, **query):
            client = api(campaign.owner)
            with CaptureQueriesContext(connection) as captured:
                assert client.get(f"{ROOT}/{path}", query).status_code == 200
            return len(captured)

        make.grant()
        campaign = make.campaign(reviewer)
        few = {path: measured(path) for path in ("items", "campaigns", "decisions", "certificates")}
        for _ in range(4):
            make.grant()
        more = make.campaign(reviewer, owner=campaign.owner)
        for item in more.items.all():
            make.decide(item)
        make.sign(more, reviewer)
        assert {path: measured(path) for path in few} == few
        assert Item.objects.count() > 8

    def test_schema_has_no_warnings(self):
        from drf_spectacular.drainage import GENERATOR_STATS
        from drf_spectacular.generators import SchemaGenerator

        with GENERATOR_STATS.silence():
            schema = SchemaGenerator().get_schema(request=None, public=True)
        ours = [path for path in schema["paths"] if any(f"/{r}" in path for r in ("campaigns", "items", "decisions"))]
        assert len(ours) > 10
        told = [m for messages in (GENERATOR_STATS._warn_cache, GENERATOR_STATS._error_cache) for m in messages]
        assert [message for message in told if "reviews" in message] == []
