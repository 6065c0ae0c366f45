"""The beat schedule is gathered from every room, and events held back are delivered once."""

from dataclasses import dataclass

import pytest

from registry.celery import app, gather_schedule
from registry.core import events


def test_every_scheduled_task_exists_and_does_not_pile_up():
    schedule = gather_schedule()
    assert {"beat-tick", "seal-audit-events", "expire-trust-relationships", "launch-due-campaigns"} <= set(schedule)
    for name, entry in schedule.items():
        assert entry["task"] in app.tasks, name
        assert entry["options"]["expires"] >= entry["schedule"], name


@dataclass(frozen=True)
class Rang:
    door: int


@pytest.mark.django_db(transaction=True)
def test_events_held_back_are_delivered_once_and_in_order():
    heard: list[Rang] = []
    events.subscribe(Rang, heard.append)
    with events.each_once() as waiting:
        for door in (1, 2, 1):
            events.publish(Rang(door))
        assert list(waiting) == [Rang(1), Rang(2)]
        assert heard == []
    assert heard == [Rang(1), Rang(2)]
    events.publish(Rang(1))
    assert heard[2:] == [Rang(1)]
