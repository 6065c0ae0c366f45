"""What is put into people's mouths is true, and what is wrong with their input is said in one round."""

import pytest
from django.urls import reverse

from registry.catalog import services as catalog
from registry.reviews.carefulness import Metrics, judge
from registry.reviews.models import Decision, Remediation, Template
from registry.reviews.services.quality import reviewer_statistics
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann():
    return make.person("reviewer", name="Ann")


class TestStatement:
    def test_says_what_was_opened(self, ann, web):
        for _number in range(3):
            make.grant()
        campaign = make.campaign(ann, kinds=["grant"])
        for item in campaign.items.all():
            make.decide(item)
        address = reverse("reviews:sign_off", args=[campaign.pk])
        assert "I have looked at the evidence of each item" in web(ann).get(address).text
        Decision.objects.filter(pk=Decision.objects.first().pk).update(opened_evidence_at=None)
        page = web(ann).get(address).text
        assert "I have opened the evidence of 2 of 3 items." in page
        assert "evidence of each item" not in page
        Decision.objects.update(opened_evidence_at=None)
        assert "without opening the evidence" in web(ann).get(address).text


class TestCarefulness:
    def test_few_decisions_say_nothing(self, ann, web):
        make.active_server()
        campaign = make.campaign(ann, kinds=["server"])
        make.decide(campaign.items.get())
        page = web(ann).get(reverse("reviews:sign_off", args=[campaign.pk])).text
        assert "Too few to tell" in page
        assert "Careful" not in page
        make.sign(campaign, ann)
        (row,) = reviewer_statistics(campaign)
        assert row.too_few
        page = web(campaign.owner).get(reverse("reviews:campaign", args=[campaign.pk])).text
        assert "Too few to tell" in page


def test_the_red_sentence_is_not_said_twice():
    figures = {"p10_ms": 9_000, "median_ms": 20_000, "p90_ms": 60_000, "bulk": 0, "fast": 0, "fast_high": 0, "burst": 0}
    answers = {"chose_first": 0, "agreed_before": None, "agreed_after": None, "swayed": 0, "changed": 0, "peers": None}
    verdict, said = judge(Metrics(decisions=22, kept=1.0, opened=0.0, **figures, **answers))
    assert verdict == "red"
    assert len(said) == 1, said


class TestInput:
    @pytest.fixture
    def removed(self, ann):
        make.grant()
        campaign = make.campaign(ann, kinds=["grant"])
        make.decide(campaign.items.get(), "revoke", reason="Unused.")
        make.sign(campaign, ann)
        return Remediation.objects.get()

    def test_whether_it_took_effect_has_to_be_said(self, removed, api):
        guard = make.person("security")
        answer = api(guard).post(f"/api/v1/remediations/{removed.pk}/confirm", {"proof": "Looked."}, format="json")
        assert answer.status_code == 422
        assert "effective" in answer.content.decode()
        removed.refresh_from_db()
        assert removed.state == "verifying"

    def test_an_unknown_field_hides_nothing_else(self, removed, api):
        guard = make.person("security")
        answer = api(guard).post(f"/api/v1/remediations/{removed.pk}/confirm", {"prof": "Looked."}, format="json")
        assert answer.status_code == 422
        told = answer.content.decode()
        assert all(f'"/{name}"' in told for name in ("prof", "proof", "effective")), told

    def test_a_template_is_told_all_that_is_wrong_at_once(self, web):
        manager = make.person("campaign_manager")
        made = make.template()
        sent = {"name": made.name, "kinds": ["server"], "cadence_days": "many", "stages": "1", "challenge_days": "99"}
        page = web(manager).post(reverse("reviews:template_new"), sent)
        assert page.status_code == 422
        assert "There is a template with this name already." in page.text
        assert "Enter a whole number." in page.text
        assert Template.objects.count() == 1

    def test_an_intake_says_what_its_purpose_does_not_allow(self, ann, web):
        system = make.system(data_class="restricted")
        server = make.complete_draft()
        make.requested_connection(server=server, system=system)
        purpose = server.current_purpose if hasattr(server, "current_purpose") else None
        assert purpose is None or "restricted" not in purpose.data_classes
        catalog.submit_server(actor=make.acting(server.owner), server=server)
        item = make.intake(server)
        held = make.work_of(item)
        page = web(held.reviewer).get(reverse("reviews:item", args=[item.campaign_id, item.pk])).text
        assert "It reaches data that its purpose does not allow: Restricted." in page
