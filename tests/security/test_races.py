"""The same act twice at the same moment, from two connections, is done once."""

from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread

import pytest
from django.db import connection, transaction

from registry.audit.models import Event
from registry.core.errors import RegistryError
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, Decision, Item, SignOff
from registry.trust import services as trust
from registry.trust.models import Grant
from tests import factories as make

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*acts: Callable[[], object]) -> list[str]:
    """What each brought about: "done", or the name of the error."""
    ready, outcomes = Barrier(len(acts)), []

    def run(act: Callable[[], object]) -> None:
        try:
            ready.wait(10)
            act()
            outcomes.append("done")
        except RegistryError as error:
            outcomes.append(type(error).__name__)
        finally:
            connection.close()

    threads = [Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


def meanwhile(first: Callable[[], object], second: Callable[[], object]) -> RegistryError | None:
    """The second begins when the first is done and not yet committed. Returns what the second raised."""
    raised: list[RegistryError] = []

    def run() -> None:
        try:
            second()
        except RegistryError as error:
            raised.append(error)
        finally:
            connection.close()

    thread = Thread(target=run)
    with transaction.atomic():
        first()
        thread.start()
        while thread.is_alive() and not _somebody_waits():
            thread.join(0.02)
    thread.join(30)
    assert not thread.is_alive()
    return raised[0] if raised else None


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


class TestSigningTwice:
    """The same decisions in two tabs, the same campaign by two people who may."""

    STATEMENT = {"statement": "I looked at each of them.", "auth_method": "password"}

    @pytest.fixture
    def campaign(self, transactional_db):
        make.active_server()
        campaign = make.campaign(make.person("reviewer"), kinds=["server"])
        make.decide(campaign.items.get())
        return campaign

    def sign(self, campaign):
        reviewer = Decision.objects.get().work_item.reviewer
        return partial(reviews.sign_off, actor=make.acting(reviewer), campaign=Campaign.objects.get(), **self.STATEMENT)

    def signed_once(self):
        assert SignOff.objects.filter(kind="reviewer").count() == 1
        assert Event.objects.filter(act="decisions.signed").count() == 1
        assert Item.objects.get().state == "certified"
        assert Decision.objects.get().sign_off == SignOff.objects.get(kind="reviewer")

    def test_the_second_tab_hears_that_it_is_signed(self, campaign):
        refused = meanwhile(self.sign(campaign), self.sign(campaign))
        assert refused is not None and refused.status == 409 and "nothing left to sign" in refused.message
        self.signed_once()

    def test_at_the_very_same_moment(self, campaign):
        assert sorted(at_once(self.sign(campaign), self.sign(campaign))) == ["Conflict", "done"]
        self.signed_once()

    def test_closing_the_campaign(self, campaign):
        self.sign(campaign)()
        two = [make.acting(campaign.owner), make.acting(make.person("campaign_manager"))]
        acts = [
            partial(reviews.close_campaign, actor=actor, campaign=Campaign.objects.get(), **self.STATEMENT)
            for actor in two
        ]
        refused = meanwhile(*acts)
        assert refused is not None and refused.status == 409
        assert SignOff.objects.get(kind="campaign").reviewer == campaign.owner
        assert Campaign.objects.get().state == "completed"


def test_approving_twice_and_refusing_meanwhile():
    grant = make.requested_grant()
    first, second = (make.acting(make.person("reviewer")) for _ in range(2))
    outcomes = at_once(
        lambda: trust.approve_grant(actor=first, grant=Grant.objects.get(pk=grant.pk)),
        lambda: trust.approve_grant(actor=second, grant=Grant.objects.get(pk=grant.pk)),
        lambda: trust.refuse_relationship(
            actor=second, relationship=Grant.objects.get(pk=grant.pk), reason="Not needed."
        ),
    )
    assert len(outcomes) == 3 and outcomes.count("done") == 1, outcomes
    acts = Event.objects.filter(subject_id=grant.pk, act__in=("grant.approved", "grant.refused"))
    assert acts.count() == 1
