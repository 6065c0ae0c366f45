"""No cell of an export begins what a spreadsheet would run."""

import csv
import io

import pytest
from django.urls import reverse

from registry.audit.models import Event
from registry.core.csv import FORMULA
from tests import factories as make
from tests.security import hostile
from tests.security.urls import PATTERNS

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def estate(kept):
    return hostile.estate()


def exports(estate):
    """Each address that answers CSV, with who may have it."""
    job = make.import_job({"name": "=1+1", "title": hostile.SHORT}, requested_by=estate.reader)
    return {
        "trust:relationships_csv": reverse("trust:relationships_csv"),
        "trust:explore_csv": f"{reverse('trust:explore_csv')}?of=server:{estate.server.pk}",
        "discovery:shadows_csv": reverse("discovery:shadows_csv"),
        "discovery:secret_sources_csv": reverse("discovery:secret_sources_csv"),
        "discovery:import_csv": reverse("discovery:import_csv", args=[job.pk]),
        "audit:export": reverse("audit:export"),
        "audit:server_story_csv": reverse("audit:server_story_csv", args=[estate.server.pk]),
        "reviews:campaign_csv": f"{reverse('reviews:campaign_csv', args=[estate.campaign.pk])}",
    }


def cells(answer):
    """As a spreadsheet splits it: at commas, at semicolons, at tabs."""
    raw = b"".join(answer.streaming_content) if answer.streaming else answer.content
    text = raw.decode("utf-8-sig")
    return [cell for sign in ",;\t" for row in csv.reader(io.StringIO(text), delimiter=sign) for cell in row]


def test_every_export(estate, web, api, kept):
    client, dangerous, defused = web(estate.reader), {}, 0
    addresses = exports(estate)
    assert {name for name in PATTERNS if name.endswith(("_csv", "audit:export"))} <= set(addresses), "one is not tried"
    for name, address in addresses.items():
        answer = client.get(address)
        assert answer.status_code == 200 and answer["Content-Type"].startswith("text/csv"), (name, answer.status_code)
        assert answer["Content-Disposition"].startswith("attachment"), name
        found = cells(answer)
        assert found, name
        if bad := [cell for cell in found if cell.startswith(FORMULA)]:
            dangerous[name] = bad[:3]
        defused += sum(cell.startswith("'=") for cell in found)
    rest = api(estate.reader)
    for what in ("decisions", "items", "population", "exceptions"):
        answer = rest.get(f"/api/v1/campaigns/{estate.campaign.pk}/{what}.csv")
        if answer.status_code == 200 and (bad := [cell for cell in cells(answer) if cell.startswith(FORMULA)]):
            dangerous[what] = bad[:3]
    answer = rest.get("/api/v1/trust/export?format=csv&as=csv")
    if answer.status_code == 200 and (bad := [cell for cell in cells(answer) if cell.startswith(FORMULA)]):
        dangerous["trust export"] = bad[:3]
    assert not dangerous
    assert defused > 5, "too little was tried"
    assert Event.objects.filter(subject_label__startswith="=").exists()
