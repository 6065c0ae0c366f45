"""A launch survives its worker: killed in the middle and started again, it ends as if nothing had happened."""

from datetime import timedelta

import pytest

from registry.core import clock
from registry.reviews import services as reviews
from registry.reviews import tasks
from registry.reviews.models import Campaign, Item
from registry.trust.models import Grant
from tests import factories as make

pytestmark = [pytest.mark.worker, pytest.mark.django_db(transaction=True)]
GRANTS = 1400


def many_grants() -> None:
    """A population large enough that a launch takes a while; written in bulk, because only its size matters."""
    server = make.active_server()
    pattern = make.grant(server=server)
    agents = [make.agent(owner=pattern.agent.owner, created_by=pattern.agent.owner) for _ in range(2)]
    grants = []
    for number in range(GRANTS):
        agent = type(agents[0])(
            name=f"Agent {number}", kind="workload", spiffe_id=f"spiffe://example.test/bulk/{number}",
            owner=pattern.agent.owner, created_by=pattern.agent.owner,
        )  # fmt: skip
        agents.append(agent)
        grants.append(
            Grant(
                agent=agent,
                server=server,
                tools=["query"],
                purpose=pattern.purpose,
                reason="Bulk",
                status="active",
                valid_until=pattern.valid_until,
                activated_at=pattern.activated_at,
                requested_by=pattern.requested_by,
            )
        )
    type(agents[0]).objects.bulk_create(agents[2:])
    Grant.objects.bulk_create(grants)


def outcome(campaign: Campaign) -> list[tuple]:
    items = Item.objects.filter(campaign=campaign).order_by("grant_id", "server_id")
    return list(
        items.values_list("kind", "server", "grant", "label", "snapshot", "fingerprint", "evidence_hash",
                          "tier", "work_items__reviewer", "work_items__chosen_because")
    )  # fmt: skip


def finished(campaign: Campaign) -> bool:
    return Campaign.objects.get(pk=campaign.pk).state == "active"


def test_killed_in_the_middle(worker):
    pool = [make.person("reviewer") for _ in range(4)]
    many_grants()
    template = make.template(*pool, kinds=["server", "grant"])
    manager = make.acting(template.owner)

    disturbed = reviews.launch_campaign(actor=manager, template=template, period="disturbed")
    worker.wait_for(lambda: Campaign.objects.get(pk=disturbed.pk).processed > 0, "the first chunk")
    worker.kill()
    stopped = Campaign.objects.get(pk=disturbed.pk)
    assert stopped.state == "generating", "the launch was over before the kill; make the population larger"
    assert 0 < stopped.processed < stopped.total

    worker.start()
    # The message died with the worker, so only the sweep finds the launch; no need to wait its thirty seconds here.
    Campaign.objects.filter(pk=disturbed.pk).update(progressed_at=clock.now() - timedelta(minutes=1))
    tasks.resume_generation.delay()
    worker.wait_for(lambda: finished(disturbed), "the resumed launch", within=40)
    ended = outcome(disturbed)
    assert len(ended) == Campaign.objects.get(pk=disturbed.pk).total == GRANTS + 2

    reviews.cancel_campaign(actor=manager, campaign=disturbed, reason="To compare")
    undisturbed = reviews.launch_campaign(actor=manager, template=template, period="undisturbed")
    worker.wait_for(lambda: finished(undisturbed), "the undisturbed launch", within=40)
    assert outcome(undisturbed) == ended


def test_a_submission_reaches_its_reviewer_through_the_worker(worker):
    reviewer = make.person("reviewer")
    server = make.submitted_server()
    worker.wait_for(lambda: Item.objects.filter(server=server, state="in_review").exists(), "the intake")
    assert make.work_of(Item.objects.get(server=server)).reviewer == reviewer
