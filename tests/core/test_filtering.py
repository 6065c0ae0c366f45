"""A filter that cannot be read finds nothing, and says so: it never answers everything."""

import pytest
from django.urls import reverse

from registry.audit.models import Event
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def estate(kept):
    """Somebody who sees everything, and one of the things that lists with files are about."""
    reader = make.person("administrator", "auditor", "security", "campaign_manager", name="Rea Reader")
    server = make.active_server(title="Weather")
    make.sighting(by=reader, entry="somewhere")
    job = make.import_job({"name": "com.example/one"}, requested_by=reader)
    return reader, server, job


@pytest.mark.parametrize("query", ["since=bad", "until=2026-13-40", "subject_id=zz"])
def test_the_audit_trail(estate, web, api, query):
    reader, *_ = estate
    assert Event.objects.exists()
    client, field = web(reader), query.partition("=")[0]
    page = client.get(f"/audit?{query}")
    assert page.status_code == 200 and not page.context["page"].items
    text = page.content.decode()
    assert 'role="alert"' in text and page.context["filter"].wrong and "So nothing is shown" in text
    file = client.get(f"/audit/events.csv?{query}")
    assert file.status_code == 422 and file["Content-Type"].startswith("text/html")
    assert "Content-Disposition" not in file.headers
    answer = api(reader).get(f"{reverse('api:event-list')}?{query}")
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == f"/{field}"


def test_a_right_filter_answers_still(estate, web):
    reader, server, _ = estate
    page = web(reader).get(f"/audit?since=2020-01-01&subject_id={server.pk}")
    assert page.context["page"].items and not page.context["filter"].wrong
    assert web(reader).get("/audit/events.csv?since=2020-01-01").status_code == 200


def test_other_files(estate, web):
    reader, server, job = estate
    client = web(reader)
    for address in (
        f"{reverse('audit:server_story_csv', args=[server.pk])}?since=bad",
        f"{reverse('discovery:shadows_csv')}?state=nothing",
        f"{reverse('discovery:secret_sources_csv')}?state=nothing",
        f"{reverse('discovery:import_csv', args=[job.pk])}?outcome=nothing",
        f"{reverse('trust:relationships_csv')}?status=nothing",
    ):
        answer = client.get(address)
        assert answer.status_code == 422 and "Content-Disposition" not in answer.headers, address


@pytest.mark.parametrize(
    "address", ["/servers/?tier=nothing", "/people?role=nothing", "/shadows/?state=nothing", "/imports/?state=nothing"]
)
def test_other_pages(estate, web, address):
    answer = web(estate[0]).get(address)
    assert answer.status_code == 200 and not answer.context["page"].items
    assert "So nothing is shown" in answer.content.decode()


def test_other_resources(estate, api):
    reader, _, job = estate
    assert api(reader).get(f"/api/v1/imports/{job.pk}/results?outcome=nothing").status_code == 422
