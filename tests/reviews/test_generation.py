"""Generation in two sessions: ends as in one, and what stops one of them loses and doubles nothing."""

from threading import Thread, current_thread, main_thread

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction

from registry.audit.models import Event
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, EvidenceBlock, Item, WorkItem
from registry.reviews.services import generation
from tests import factories as make

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def launch(monkeypatch):
    """Launches a template over servers with 2, 3, 4 and 1 grants: in chunks of at most 4."""
    monkeypatch.setattr(generation, "CHUNK", 4)
    pool = [make.person("reviewer") for _ in range(3)]
    for number in (2, 3, 4, 1):
        server = make.active_server()
        for _ in range(number):
            make.grant(server=server)
    template = make.template(*pool, kinds=["grant"])
    manager = make.acting(template.owner)

    def launched(period):
        for running in Campaign.objects.filter(state="active"):
            reviews.cancel_campaign(actor=manager, campaign=running, reason="To compare")
        return reviews.launch_campaign(actor=manager, template=template, period=period)

    return launched


@pytest.fixture
def rounds(monkeypatch):
    """The chunks of every round that two sessions did together."""
    seen, real = [], generation.in_lanes

    def noted(chunks, work):
        seen.append([(chunk.first, chunk.last) for chunk in chunks])
        real(chunks, work)

    monkeypatch.setattr(generation, "in_lanes", noted)
    return seen


def outcome(campaign):
    campaign.refresh_from_db()
    assert campaign.state == "active", campaign.state_reason
    assert_whole(campaign)
    return [
        (item.grant_id, item.fingerprint, item.evidence_hash, make.work_of(item).reviewer_id)
        for item in campaign.items.order_by("pk")
    ]


def assert_whole(campaign):
    """Every item up to where the campaign stands is there once, with its reviewer and its block, and none beyond."""
    campaign.refresh_from_db()
    items = Item.objects.filter(campaign=campaign)
    entries = campaign.population.filter(position__lte=campaign.processed).order_by("position")
    assert list(items.order_by("pk").values_list("grant", flat=True)) == list(entries.values_list("grant", flat=True))
    assert WorkItem.objects.filter(item__campaign=campaign).count() == campaign.processed
    chunks = Event.objects.filter(act="campaign.items_generated", subject_id=campaign.pk).order_by("at")
    positions = [event.data["positions"] for event in chunks]
    assert [first - 1 for first, _last in positions] == [0, *(last for _first, last in positions)][:-1]
    assert positions[-1][1] == campaign.processed


def alone(launch, period):
    """The outcome in one session: whatever happens inside a transaction stays in it."""
    campaign = launch(period)
    with transaction.atomic():
        assert reviews.generate_items(campaign_id=campaign.pk) is True
    return outcome(campaign)


def in_a_lane(monkeypatch, name, then, *, call):
    """At this call of `name` in a lane, after it did its work, `then` happens; once."""
    real, calls = getattr(generation, name), []

    def patched(*arguments):
        result = real(*arguments)
        if current_thread() is not main_thread():
            calls.append(arguments)
            if len(calls) == call:
                then()
        return result

    monkeypatch.setattr(generation, name, patched)
    return calls


def test_two_sessions_come_to_what_one_does(launch, rounds):
    expected = alone(launch, "alone")
    assert rounds == [], "inside a transaction other sessions see nothing"
    together = launch("together")
    assert reviews.generate_items(campaign_id=together.pk) is True
    assert rounds == [[(1, 2), (3, 5), (6, 9), (10, 10)]], "each ends with its server"
    assert outcome(together) == expected


def test_what_fits_one_chunk_needs_no_second_session(launch, rounds, monkeypatch):
    monkeypatch.setattr(generation, "CHUNK", 10)
    campaign = launch("small")
    assert reviews.generate_items(campaign_id=campaign.pk) is True
    assert rounds == [] and len(outcome(campaign)) == 10


def test_a_server_with_more_than_a_chunk_is_cut(launch, monkeypatch):
    campaign = launch("cut")
    monkeypatch.setattr(generation, "CHUNK", 2)
    assert [chunk[:2] for chunk in generation._chunks(campaign)] == [(1, 2), (3, 4), (5, 5), (6, 7), (8, 9), (10, 10)]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_session_that_dies_between_blocks_and_items(launch, monkeypatch, call):
    expected = alone(launch, "alone")
    campaign = launch("killed")

    def die():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    in_a_lane(monkeypatch, "write_blocks", die, call=call)
    assert reviews.generate_items(campaign_id=campaign.pk) is True
    assert outcome(campaign) == expected
    kept = set(EvidenceBlock.objects.values_list("digest", flat=True))
    assert set(Item.objects.values_list("block", flat=True)) <= kept


@pytest.mark.parametrize(
    ("step", "error"),
    [("write_blocks", IntegrityError), ("_write_work", OperationalError), ("_assignments", OperationalError)],
)
def test_facts_that_moved_in_between_are_frozen_again(launch, monkeypatch, step, error):
    expected = alone(launch, "alone")
    campaign = launch("moved")

    def moved():
        raise error("the facts moved")

    calls = in_a_lane(monkeypatch, step, moved, call=2)
    assert reviews.generate_items(campaign_id=campaign.pk) is True
    assert len(calls) >= 2 and outcome(campaign) == expected


def test_a_defect_surfaces_and_leaves_whole_chunks(launch, monkeypatch):
    expected = alone(launch, "alone")
    campaign = launch("defect")
    with monkeypatch.context() as patched:
        in_a_lane(patched, "write_blocks", lambda: 1 / 0, call=3)
        with pytest.raises(ZeroDivisionError):
            reviews.generate_items(campaign_id=campaign.pk)
    assert_whole(campaign)
    assert campaign.state == "generating" and 0 < campaign.processed < campaign.total
    assert reviews.generate_items(campaign_id=campaign.pk) is True
    assert outcome(campaign) == expected


def test_a_cancellation_in_between_leaves_no_open_item(launch, monkeypatch):
    campaign = launch("cancelled")
    manager = make.acting(campaign.owner)

    def cancel():
        reviews.cancel_campaign(actor=manager, campaign=campaign, reason="A mistake")
        connection.close()

    def meanwhile():
        other = Thread(target=cancel)
        other.start()
        other.join(timeout=30)

    # The third: by then the first chunk is done, whose items the cancellation has to close.
    in_a_lane(monkeypatch, "write_blocks", meanwhile, call=3)
    assert reviews.generate_items(campaign_id=campaign.pk) is False
    assert_whole(campaign)
    assert campaign.state == "cancelled" and 0 < campaign.processed < campaign.total
    assert not campaign.items.filter(state__in=("pending", "in_review")).exists()


def test_another_worker_is_left_alone(launch, rounds):
    campaign = launch("busy")
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [generation._LOCK_CLASS, str(campaign.pk)])
        assert reviews.generate_items(campaign_id=campaign.pk) is False
        assert rounds == [] and not Item.objects.filter(campaign=campaign).exists()
    finally:
        other.close()


def test_a_chunk_counts_only_where_the_campaign_stands(launch):
    """The guard behind the lock: a worker that comes late with a chunk of its own rolls it back."""
    campaign = launch("late")
    chunk = generation._Chunk(1, 4, generation._prefix())
    assert generation._generate_chunk(campaign.pk, generation.GENERATOR) is True
    with pytest.raises(generation.Overtaken), transaction.atomic():
        generation._write_chunk(campaign.pk, generation.GENERATOR, chunk)
    later = generation._Chunk(9, 10, generation._prefix())
    with pytest.raises(generation.Overtaken), transaction.atomic():
        generation._write_chunk(campaign.pk, generation.GENERATOR, later)
    assert_whole(campaign)
