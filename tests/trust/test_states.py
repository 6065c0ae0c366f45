"""The state machine, walked at random through the services: whatever is tried, what holds must hold."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.audit.models import Event
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import RegistryError
from registry.trust import services
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD, OPEN, RELATIONSHIP, Status
from tests import factories as make

pytestmark = pytest.mark.django_db

MOVES = ["request", "approve", "refuse", "withdraw", "suspend", "resume", "revoke", "reduce", "expire", "certify"]


def test_every_state_is_in_the_table_or_final() -> None:
    final = {Status.REDUCED, Status.REPLACED, Status.REVOKED, Status.EXPIRED, Status.REFUSED, Status.WITHDRAWN}
    assert set(RELATIONSHIP.moves) == set(OPEN)
    assert {after for follow in RELATIONSHIP.moves.values() for after in follow} | {Status.REQUESTED} == set(Status)
    assert final.isdisjoint(RELATIONSHIP.moves)


class Walk:
    """One pair of ends, everybody who may act on it, and a tool or scope less with each reduction."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.model: Any = Grant if kind == "grant" else Connection
        self.server = make.active_server(tools=[{"name": name, "confirmed_class": "read"} for name in ("a", "b", "c")])
        self.requester, self.security = make.person(), make.person("security")
        self.other_end = make.agent() if kind == "grant" else make.system()

    def latest(self) -> Any:
        return self.model.objects.order_by("-id").first()

    def do(self, move: str) -> None:
        if move == "request":
            self.request()
        elif move == "expire":
            self.expire()
        elif (thing := self.latest()) is not None:
            getattr(self, move)(thing)

    def request(self) -> None:
        terms = {
            "actor": make.acting(self.requester),
            "server": self.server,
            "reason": "Needed.",
            "valid_until": clock.now() + timedelta(days=9),
        }
        if self.kind == "grant":
            services.request_grant(agent=self.other_end, tools=["a", "b", "c"], **terms)
        else:
            services.request_connection(system=self.other_end, access="read", scopes=["a", "b", "c"], **terms)

    def approve(self, thing: Any) -> None:
        service = services.approve_grant if self.kind == "grant" else services.approve_connection
        service(actor=make.acting(self.security), **{self.kind: thing})

    def refuse(self, thing: Any) -> None:
        services.refuse_relationship(actor=make.acting(self.security), relationship=thing, reason="No.")

    def withdraw(self, thing: Any) -> None:
        services.withdraw_relationship(actor=make.acting(self.requester), relationship=thing)

    def suspend(self, thing: Any) -> None:
        services.suspend_relationship(actor=make.acting(self.security), relationship=thing, reason="Wait.")

    def resume(self, thing: Any) -> None:
        services.resume_relationship(actor=make.acting(self.security), relationship=thing, reason="Go on.")

    def revoke(self, thing: Any) -> None:
        services.revoke_relationship(actor=make.acting(self.security), relationship=thing, reason="Over.")

    def reduce(self, thing: Any) -> None:
        actor = make.acting(self.security)
        if self.kind == "grant":
            services.reduce_grant(actor=actor, grant=thing, kept_tools=thing.tools[:-1], reason="Less.")
        else:
            services.reduce_connection(actor=actor, connection=thing, kept_scopes=thing.scopes[:-1], reason="Less.")

    def certify(self, thing: Any) -> None:
        services.set_certified_until(
            actor=Actor.system("sign-off"), relationship=thing, until=clock.now() + timedelta(days=5)
        )

    def expire(self) -> None:
        self.model.objects.filter(pk=getattr(self.latest(), "pk", None)).update(
            valid_until=clock.now() - timedelta(seconds=1)
        )
        services.expire_due(now=clock.now())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(["grant", "connection"]), moves=st.lists(st.sampled_from(MOVES), max_size=14))
def test_any_walk_keeps_what_must_hold(kind: str, moves: list[str]) -> None:
    with transaction.atomic():
        walk = Walk(kind)
        for move in moves:
            before = dict(walk.model.objects.values_list("pk", "status"))
            events = Event.objects.count()
            try:
                with transaction.atomic():
                    walk.do(move)
            except RegistryError as error:
                assert error.status in (409, 422), move
                assert Event.objects.count() == events
                assert dict(walk.model.objects.values_list("pk", "status")) == before
                continue
            versions = list(walk.model.objects.all())
            for thing in versions:
                was = before.get(thing.pk, thing.status)
                assert was == thing.status or RELATIONSHIP.allows(was, thing.status), (was, thing.status)
                assert (thing.ended_at is None) == thing.is_open
                assert thing.certified_until is None or thing.status in HELD
                assert thing.activated_at is not None or thing.status not in (*HELD, "reduced", "replaced", "revoked")
            assert sum(thing.status in HELD for thing in versions) <= 1
            assert sum(thing.status == Status.REQUESTED for thing in versions) <= 1
        transaction.set_rollback(True)
