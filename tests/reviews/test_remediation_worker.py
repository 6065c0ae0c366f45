"""Remediations survive their worker: killed at random points, nothing is lost and nothing is done twice.

A real worker process with a channel of its own, which notes in the database what it did, so that the killing of the
worker cannot make it forget.
"""

import random
import time

import pytest

from registry.audit.models import Event
from registry.core import clock
from registry.reviews import executors, tasks
from registry.reviews import services as reviews
from registry.reviews.models import Item, Letter, Remediation
from registry.reviews.services.remediation import LEASE
from registry.trust.models import Grant
from tests import factories as make

pytestmark = [pytest.mark.worker, pytest.mark.django_db(transaction=True)]
GRANTS = 60
KILLS = 5
SEED = 20261122

APP = '''
"""A room above reviews that brings a channel: slow enough to be killed in, and it remembers each errand it did."""

import os
import time
from pathlib import Path

from django.apps import AppConfig

DONE = Path(os.environ["ERRANDS"])


class Slow:
    channel = "slow"

    def carry_out(self, remediation):
        from registry.reviews.executors import Report

        time.sleep(0.05)
        # Asked twice for the same errand it is done once, and the second time says so.
        try:
            (DONE / remediation.errand.replace(":", "_")).touch(exist_ok=False)
        except FileExistsError:
            return Report(True, f"done before: {remediation.errand}")
        time.sleep(0.05)
        return Report(True, remediation.errand)


class SlowChannel(AppConfig):
    name = "slow_channel"

    def ready(self):
        from registry.reviews import executors

        executors.register(Slow())
'''
SETTINGS = """
from registry.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "slow_channel.apps.SlowChannel"]
"""


class Here:
    """The same name in this process, which only writes rows."""

    channel = "slow"

    def carry_out(self, remediation):
        raise AssertionError("the worker does this")


@pytest.fixture
def slow_worker(idle_worker, tmp_path):
    """A worker with the slow channel installed, and the folder where the channel notes its errands."""
    errands, room = tmp_path / "errands", tmp_path / "slow_channel"
    errands.mkdir()
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "apps.py").write_text(APP)
    (tmp_path / "slow_settings.py").write_text(SETTINGS)
    idle_worker.environment |= {
        "PYTHONPATH": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "slow_settings",
        "ERRANDS": str(errands),
    }
    executors.register(Here())
    yield idle_worker, errands
    executors._executors.pop("slow", None)


def revoked(number: int) -> list[Remediation]:
    """So many revoked grants that were not seen to be gone."""
    reviewer = make.person("reviewer")
    make.many_grants(make.active_server(), number)
    campaign = make.campaign(reviewer, kinds=["grant"], challenge_days=1)
    make.decide_all(campaign, reviewer, "revoke")
    make.sign(campaign, reviewer)
    return list(Remediation.objects.filter(item__campaign=campaign).order_by("pk"))


def test_killed_anywhere_nothing_is_lost_and_nothing_done_twice(slow_worker):
    worker, errands = slow_worker
    rows = revoked(GRANTS)
    assert {row.state for row in rows} == {"challenge"}
    # Half of them go over the slow channel as well; the time to object is over for all.
    slow = [row.pk for row in rows[::2]]
    Remediation.objects.filter(pk__in=slow).update(channel="slow")
    Remediation.objects.update(challenge_until=clock.now())

    def moved() -> int:
        return Remediation.objects.exclude(state="challenge").count()

    chance, stopped_at = random.Random(SEED), []  # noqa: S311 - repeatable, not secret
    for _ in range(KILLS):
        worker.start()
        tasks.follow_up_remediations.delay()
        # In the middle of one of the next few rows, wherever it then is.
        target = moved() + chance.randint(1, 9)
        worker.wait_for(lambda target=target: moved() >= target, "the row to kill it at", within=60)
        time.sleep(chance.uniform(0, 0.12))
        worker.kill()
        stopped_at.append(moved())
        # What a dead worker had claimed is due again when its lease is over; no need to wait for that here.
        Remediation.objects.filter(next_attempt_at__isnull=False).update(next_attempt_at=clock.now() - LEASE)

    assert all(0 < done < GRANTS for done in stopped_at), f"a kill did not meet it at work: {stopped_at}"
    worker.start()
    tasks.follow_up_remediations.delay()
    left = Remediation.objects.exclude(state="verifying")
    worker.wait_for(lambda: not left.exists(), "the rest", within=90)

    assert Remediation.objects.count() == GRANTS == Item.objects.filter(remediation__isnull=False).count()
    assert set(Remediation.objects.values_list("round", flat=True)) == {1}
    assert set(Grant.objects.values_list("status", flat=True)) == {"revoked"}
    for act, expected in (
        ("grant.revoked", GRANTS),
        ("remediation.planned", GRANTS),
        ("remediation.challenge", GRANTS),
        ("remediation.dispatched", GRANTS),
        ("remediation.reported_done", GRANTS),
        ("remediation.verifying", GRANTS),
    ):
        assert Event.objects.filter(act=act).count() == expected, act
    done = sorted(path.name for path in errands.iterdir())
    assert done == sorted(f"{pk}_1" for pk in slow)


def test_the_registrys_act_and_its_state_are_one(slow_worker, monkeypatch):
    """Whatever breaks between the two takes both back."""
    rows = revoked(2)
    Remediation.objects.update(challenge_until=clock.now())

    def broken(*args, **kwargs):
        raise RuntimeError("power cut")

    monkeypatch.setattr("registry.reviews.services.remediation.reported", broken)
    with pytest.raises(RuntimeError):
        reviews.follow_up(now=clock.now())
    assert set(Remediation.objects.values_list("state", flat=True)) == {"challenge"}
    assert set(Grant.objects.values_list("status", flat=True)) == {"active"}
    monkeypatch.undo()
    reviews.follow_up(now=clock.now())
    assert set(Grant.objects.values_list("status", flat=True)) == {"revoked"}
    assert Event.objects.filter(act="grant.revoked").count() == len(rows)


def test_nobody_is_told_twice_however_often_the_sweep_runs(slow_worker):
    worker, _errands = slow_worker
    rows = revoked(4)
    Remediation.objects.update(challenge_until=clock.now())
    reviews.follow_up(now=clock.now())
    Remediation.objects.update(verify_by=clock.now())
    worker.start()
    for _ in range(4):
        tasks.follow_up_remediations.delay()
    waiting = Remediation.objects.exclude(state="not_verified")
    worker.wait_for(lambda: not waiting.exists(), "the window to close")
    reviews.follow_up(now=clock.now())
    told = Letter.objects.filter(key__startswith="not_verified:")
    assert told.values("to").distinct().count() * len(rows) == told.count()
    assert Event.objects.filter(act="remediation.not_verified").count() == len(rows)
