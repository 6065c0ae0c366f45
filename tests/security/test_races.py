"""The same act twice at the same moment, from two connections, is done once."""

from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from django.db import connection

from registry.audit.models import Event
from registry.core.errors import RegistryError
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
