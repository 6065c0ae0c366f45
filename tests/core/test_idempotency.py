"""A repeated POST with the same Idempotency-Key acts once and answers twice."""

from datetime import timedelta

import pytest

from registry.catalog.models import System
from registry.core import clock
from registry.core.models import IdempotentAnswer
from registry.core.tasks import forget_answers
from tests import factories as make

pytestmark = pytest.mark.django_db
BODY = {"name": "Ledger", "kind": "database", "data_class": "internal"}


def post(client, headers, body=BODY, key="a1"):
    return client.post("/api/v1/systems", body, content_type="application/json", HTTP_IDEMPOTENCY_KEY=key, **headers)


def test_the_second_call_gets_the_first_answer_and_nothing_happens_twice(client):
    headers = make.bearer(make.person())
    first, second = post(client, headers), post(client, headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert first["ETag"] == second["ETag"]
    assert second["Idempotent-Replayed"] == "true"
    assert System.objects.count() == 1


def test_another_body_under_the_same_key_is_refused(client):
    headers = make.bearer(make.person())
    post(client, headers)
    response = post(client, headers, BODY | {"name": "Other"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/Idempotency-Key"


def test_a_refusal_is_an_answer_too(client):
    headers = make.bearer(make.person())
    assert post(client, headers, BODY | {"kind": "?"}).status_code == 422
    assert post(client, headers, BODY | {"kind": "?"}).status_code == 422
    assert IdempotentAnswer.objects.get().status == 422


def test_while_the_first_call_runs_the_second_waits(client):
    headers = make.bearer(make.person())
    post(client, headers)
    IdempotentAnswer.objects.update(status=None)
    assert post(client, headers).status_code == 409
    IdempotentAnswer.objects.update(created_at=clock.now() - timedelta(minutes=5))
    assert post(client, headers, BODY | {"name": "After the crash"}).status_code == 201


def test_keys_of_different_callers_do_not_meet(client):
    post(client, make.bearer(make.person()))
    assert post(client, make.bearer(make.person()), BODY | {"name": "Mine"}).status_code == 201


def test_answers_are_forgotten_after_a_day(client):
    post(client, make.bearer(make.person()))
    forget_answers()
    assert IdempotentAnswer.objects.exists()
    IdempotentAnswer.objects.update(created_at=clock.now() - timedelta(hours=25))
    forget_answers()
    assert not IdempotentAnswer.objects.exists()
