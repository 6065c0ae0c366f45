"""A launch survives its worker: killed in the middle and started again, it ends as if nothing had happened."""

import time
from datetime import timedelta
from random import Random

import pytest

from registry.audit.models import Event
from registry.catalog.models import Agent
from registry.core import clock
from registry.core.bulk import Sql, insert_select, table_of
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, Item, WorkItem
from registry.reviews.services import generation
from registry.trust.models import Grant
from tests import factories as make

pytestmark = [pytest.mark.worker, pytest.mark.django_db(transaction=True)]
GRANTS = 30_000
KILLS = 2


def many_grants() -> None:
    """A population of several chunks; written by the database, because only its size matters."""
    server = make.active_server()
    pattern = make.grant(server=server)
    people = {"owner_id": pattern.agent.owner_id, "created_by_id": pattern.agent.owner_id}
    insert_select(
        Agent,
        {
            "id": Sql("gen_random_uuid()"),
            "name": Sql("'Agent ' || n"),
            "kind": "workload",
            "spiffe_id": Sql("'spiffe://example.test/bulk/' || n"),
            **people,
        },
        Sql("generate_series(1, %s) AS made(n)", (GRANTS,)),
    )
    insert_select(
        Grant,
        {
            "id": Sql("gen_random_uuid()"),
            "lineage": Sql("gen_random_uuid()"),
            "agent_id": Sql("agent.id"),
            "server_id": server.pk,
            "tools": ["query"],
            "purpose_id": pattern.purpose_id,
            "reason": "Bulk",
            "status": "active",
            "valid_until": pattern.valid_until,
            "activated_at": pattern.activated_at,
            "requested_by_id": pattern.requested_by_id,
        },
        Sql(f"{table_of(Agent)} agent WHERE agent.kind = 'workload'"),
    )


def outcome(campaign: Campaign) -> list[tuple]:
    """What came of a launch, apart from ids and instants. The evidence hash covers the snapshot."""
    items = Item.objects.filter(campaign=campaign).order_by("grant_id", "server_id", "work_items__pk")
    return list(
        items.values_list("kind", "server", "grant", "label", "fingerprint", "evidence_hash", "tier",
                          "work_items__reviewer", "work_items__chosen_because")
    )  # fmt: skip


def resumed(campaign: Campaign) -> None:
    """What the beat does every few seconds once a launch has not moved for a while; no need to wait for that here.

    The session of a killed worker may still hold its chunk, so once is not enough.
    """
    reviews.resume_generation(now=clock.now() + generation.STALE_AFTER + timedelta(seconds=1))
    time.sleep(0.3)


def finished(campaign: Campaign) -> bool:
    return Campaign.objects.get(pk=campaign.pk).state == "active"


def test_killed_at_random_points_again_and_again(worker):
    """Whatever a kill interrupts, between two chunks or inside one, the launch ends as an undisturbed one does."""
    chance = Random(20_261_122)  # noqa: S311 - any points will do, but the same ones every time
    # Security, because the worker also opens intakes, which go to reviewers: the loads at both launches must be equal.
    pool = [make.person("security") for _ in range(4)]
    many_grants()
    template = make.template(*pool, kinds=["grant"], reviewers_per_item=2)
    manager = make.acting(template.owner)

    disturbed = reviews.launch_campaign(actor=manager, template=template, period="disturbed")
    seen = []
    for _ in range(KILLS):
        before = Campaign.objects.get(pk=disturbed.pk).processed

        def further(done: int = before) -> bool:
            resumed(disturbed)
            return Campaign.objects.get(pk=disturbed.pk).processed > done

        worker.wait_for(further, "a chunk", within=60)
        time.sleep(chance.uniform(0, 0.4))
        worker.kill()
        stopped = Campaign.objects.get(pk=disturbed.pk)
        seen.append(stopped.processed)
        assert stopped.state == "generating", "the launch was over before the kill; make the population larger"
        # Whatever is there is whole: every item has its two reviewers, and no item is beyond what is accounted for.
        assert Item.objects.filter(campaign=disturbed).count() == stopped.processed
        assert WorkItem.objects.filter(item__campaign=disturbed).count() == 2 * stopped.processed
        worker.start()

    assert seen == sorted(seen) and 0 < seen[0] < seen[-1] < stopped.total
    worker.wait_for(lambda: resumed(disturbed) or finished(disturbed), "the resumed launch", within=90)
    ended = outcome(disturbed)
    assert len(ended) == 2 * Campaign.objects.get(pk=disturbed.pk).total == 2 * (GRANTS + 1)
    chunks = Event.objects.filter(act="campaign.items_generated", subject_id=disturbed.pk).order_by("at")
    positions = [event.data["positions"] for event in chunks]
    assert [first for first, _last in positions] == [1, *(last + 1 for _first, last in positions[:-1])]

    reviews.cancel_campaign(actor=manager, campaign=disturbed, reason="To compare")
    undisturbed = reviews.launch_campaign(actor=manager, template=template, period="undisturbed")
    worker.wait_for(lambda: finished(undisturbed), "the undisturbed launch", within=90)
    assert outcome(undisturbed) == ended


def test_a_submission_reaches_its_reviewer_through_the_worker(worker):
    reviewer = make.person("reviewer")
    server = make.submitted_server()
    worker.wait_for(lambda: Item.objects.filter(server=server, state="in_review").exists(), "the intake")
    assert make.work_of(Item.objects.get(server=server)).reviewer == reviewer
