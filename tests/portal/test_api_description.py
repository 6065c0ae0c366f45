"""The description of the REST API: made once, the same for everybody, counted like any call."""

import pytest
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator

from registry.core import limits
from registry.portal.views import api_docs
from tests import factories as make

pytestmark = pytest.mark.django_db
ADDRESS = reverse("portal:openapi")


@pytest.fixture
def made(monkeypatch):
    """How often it was made, beginning with a process that has not."""
    times = []

    def get_schema(self, request=None, public=False):
        times.append((request, public))
        return {"openapi": "3.1.1", "paths": {}}

    monkeypatch.setattr(SchemaGenerator, "get_schema", get_schema)
    monkeypatch.setattr(api_docs, "_descriptions", {})
    return times


def test_it_is_made_once_for_everybody(web, made):
    answers = [client.get(ADDRESS) for client in (web(), web(make.person()), web(make.person("administrator")))]
    assert len(made) == 1 and made[0][1], "for the public: nobody's rights are in it"
    assert len({answer.content for answer in answers}) == 1 and len({answer["ETag"] for answer in answers}) == 1


def test_whoever_has_it_is_told_so(web, made):
    first = web().get(ADDRESS)
    again = web().get(ADDRESS, headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304 and not again.content and again["ETag"] == first["ETag"]
    assert web().get(ADDRESS, headers={"If-None-Match": '"other"'}).status_code == 200
    assert web().post(ADDRESS).status_code == 405


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/vnd.oai.openapi+json"),
        ("application/json", "application/json"),
        ("text/html", "application/json"),
    ],
)
def test_its_media_type(web, made, accept, content_type):
    answer = web().get(ADDRESS, headers={"Accept": accept})
    assert answer["Content-Type"] == content_type and answer.json()["openapi"] == "3.1.1"


def test_it_is_counted(web, made, settings, monkeypatch):
    monkeypatch.setattr(limits.time, "time", lambda: 1_800_000_000.0)
    settings.RATE_LIMITS = {"anonymous": (2, 60), "api": (3, 60)}
    limits.forget()
    assert [web().get(ADDRESS).status_code for _ in range(3)] == [200, 200, 429]
    client = web(make.person())
    answers = [client.get(ADDRESS) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert answers[-1]["Content-Type"] == "application/problem+json"
    limits.forget()
