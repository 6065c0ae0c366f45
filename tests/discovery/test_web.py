"""The pages and the REST resource of imports, for those who may and those who may not."""

import csv
import io
import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from registry.catalog.models import Server
from registry.discovery import services
from registry.discovery.formats import read_rows
from registry.discovery.models import ImportJob
from registry.discovery.plan import File
from registry.discovery.states import JobState
from tests import factories as make
from tests.discovery import shapes

pytestmark = pytest.mark.django_db
COLLECTION = json.dumps(shapes.collection())


def finished(user: Any, entries: list[Any] | None = None, name: str = "entries.json") -> ImportJob:
    file = File(name, read_rows(entries or shapes.collection()))
    return services.import_entries(actor=make.acting(user), files=[file])


def upload(text: str, name: str = "entries.json") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode())


# --- Pages -----------------------------------------------------------------------------------------------


def test_from_upload_over_preview_to_the_report(web: Any) -> None:
    member = make.person()
    client = web(member)
    assert client.get(reverse("discovery:import_new")).status_code == 200
    answer = client.post(reverse("discovery:import_new"), {"uploads": [upload(COLLECTION)], "text": ""}, follow=True)
    job = ImportJob.objects.get()
    assert answer.redirect_chain == [(reverse("discovery:import", args=[job.pk]), 302)]
    page = answer.content.decode()
    assert "Import 5 entries" in page
    assert "no-slash" not in page and "reverse-DNS" in page
    assert not Server.objects.exists()
    for value in shapes.PLANTED:
        assert value not in page
    only = client.get(reverse("discovery:import", args=[job.pk]), {"outcome": "refused"})
    assert "com.example/weather" not in only.content.decode()

    client.post(reverse("discovery:import_start", args=[job.pk]))
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
    running = client.get(reverse("discovery:import", args=[job.pk])).content.decode()
    assert reverse("discovery:import_progress", args=[job.pk]) in running
    fragment = client.get(reverse("discovery:import_progress", args=[job.pk]))
    assert "HX-Refresh" not in fragment.headers
    assert "0 of 9" in fragment.content.decode()

    services.run_import(job_id=job.pk)
    fragment = client.get(reverse("discovery:import_progress", args=[job.pk]))
    assert fragment.headers["HX-Refresh"] == "true"
    page = client.get(reverse("discovery:import", args=[job.pk])).content.decode()
    server = Server.objects.get(name="com.example/weather")
    assert reverse("catalog:server", args=[server.pk]) in page
    refused = client.get(reverse("discovery:import", args=[job.pk]), {"outcome": "refused"}).content.decode()
    assert "name: is empty" in refused and "com.example/weather" not in refused


def test_pasted_text_and_several_files(web: Any) -> None:
    client = web(make.person())
    uploads = [upload(json.dumps(shapes.current()), "a.json"), upload(shapes.DOCKER_YAML, "server.yaml")]
    client.post(reverse("discovery:import_new"), {"uploads": uploads, "text": json.dumps(shapes.middle())})
    job = ImportJob.objects.get()
    assert (job.total, job.source) == (3, "a.json, server.yaml, pasted text")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"text": ""}, "Choose a file or paste"),
        ({"text": "{"}, "neither JSON nor TOML nor a Docker server.yaml (line 1"),
        ({"text": '{"mcpServers": {}}'}, "without any server"),
        ({"text": "[]"}, "no entry in this"),
        ({"uploads": [SimpleUploadedFile("x.json", b"\xff\xfe\x00")], "text": ""}, "not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_said_beside_the_field(web: Any, data: dict[str, Any], why: str) -> None:
    answer = web(make.person()).post(reverse("discovery:import_new"), data)
    assert answer.status_code == 422
    assert why in answer.content.decode()
    assert not ImportJob.objects.exists()


def test_discarding_a_preview_and_stopping_a_run(web: Any) -> None:
    member = make.person()
    client = web(member)
    client.post(reverse("discovery:import_new"), {"text": COLLECTION})
    preview = ImportJob.objects.get()
    answer = client.post(reverse("discovery:import_stop", args=[preview.pk]))
    assert answer.url == reverse("discovery:imports")
    queued = services.request_import(actor=make.acting(member), files=[File("x", read_rows(shapes.collection()))])
    client.post(reverse("discovery:import_stop", args=[queued.pk]))
    queued.refresh_from_db()
    assert queued.state == JobState.STOPPED
    # A second click finds it stopped and says so instead of failing.
    again = client.post(reverse("discovery:import_stop", args=[queued.pk]), follow=True)
    assert "cannot become stopped" in again.content.decode()


def test_csv_of_the_report(web: Any) -> None:
    member = make.person()
    job = finished(member)
    answer = web(member).get(reverse("discovery:import_csv", args=[job.pk]), {"outcome": "refused"})
    lines = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    assert lines[0] == ["file", "index", "name", "outcome", "reasons", "server_id"]
    assert lines[1][:4] == ["entries.json", "5", "", "refused"] and lines[1][4].startswith("name: is empty")
    assert len(lines) == 3


def test_who_sees_what(web: Any) -> None:
    maker, other = make.person(), make.person()
    preview = services.request_import(
        actor=make.acting(maker), files=[File("x", read_rows(shapes.collection()))], state=JobState.PREVIEW
    )
    done = finished(maker)
    pages = [reverse("discovery:imports"), reverse("discovery:import_new"), reverse("discovery:import", args=[done.pk])]
    for page in pages:
        assert web().get(page).status_code == 302
        assert web(make.outsider()).get(page).status_code == 403
        assert web(other).get(page).status_code == 200
    assert web(other).get(reverse("discovery:import", args=[preview.pk])).status_code == 404
    assert web(other).post(reverse("discovery:import_start", args=[preview.pk])).status_code == 404
    queued = services.request_import(actor=make.acting(maker), files=[File("x", read_rows(shapes.collection()))])
    assert web(other).post(reverse("discovery:import_stop", args=[queued.pk])).status_code == 403


def test_the_lists_ask_the_database_a_fixed_number_of_times(web: Any, django_assert_max_num_queries: Any) -> None:
    member = make.person()
    client = web(member)
    for number in range(4):
        job = finished(member, name=f"{number}.json")
    client.get(reverse("discovery:imports"))
    with django_assert_max_num_queries(10):
        client.get(reverse("discovery:imports"))
    with django_assert_max_num_queries(11):
        client.get(reverse("discovery:import", args=[job.pk]))


def test_the_list_filters_and_shows_an_empty_state(web: Any) -> None:
    member = make.person()
    client = web(member)
    assert "Nothing was imported yet" in client.get(reverse("discovery:imports")).content.decode()
    finished(member, name="first.json")
    finished(member, name="second.json")
    page = client.get(reverse("discovery:imports"), {"q": "second"}).content.decode()
    assert "second.json" in page and "first.json" not in page
    assert "Nothing matches" in client.get(reverse("discovery:imports"), {"state": "failed"}).content.decode()


def test_long_reports_and_previews_have_pages(web: Any) -> None:
    member = make.person()
    entries = [shapes.middle(name=f"com.example/s{number}") for number in range(60)]
    client = web(member)
    client.post(reverse("discovery:import_new"), {"text": json.dumps(entries)})
    job = ImportJob.objects.get()
    url = reverse("discovery:import", args=[job.pk])
    first, second = client.get(url).content.decode(), client.get(url, {"from": 50}).content.decode()
    assert "com.example/s49<" in first and "com.example/s50<" not in first
    assert "com.example/s50<" in second
    assert client.get(url, {"from": "nonsense", "outcome": "x"}).status_code == 200


# --- REST ------------------------------------------------------------------------------------------------


def test_import_over_rest(api: Any) -> None:
    member = make.person()
    client = api(member)
    answer = client.post("/api/v1/imports", {"source": "ci", "entries": shapes.collection()})
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert (body["state"], body["total"], body["source"]) == ("queued", 9, "ci")
    services.run_import(job_id=body["id"])
    detail = client.get(f"/api/v1/imports/{body['id']}").json()
    assert detail["state"] == "finished"
    assert detail["counts"] == {"imported": 4, "updated": 1, "seen": 0, "skipped": 2, "refused": 2}
    listed = client.get("/api/v1/imports", {"state": "finished"}).json()
    assert [row["id"] for row in listed["results"]] == [body["id"]]
    assert listed["results"][0]["counts"] == detail["counts"]
    results = client.get(f"/api/v1/imports/{body['id']}/results", {"outcome": "refused"}).json()
    assert [(row["index"], row["outcome"]) for row in results["results"]] == [(5, "refused"), (6, "refused")]
    assert set(results) == {"results", "next", "previous"}
    page = client.get(f"/api/v1/imports/{body['id']}/results", {"limit": 4}).json()
    assert [row["position"] for row in page["results"]] == [0, 1, 2, 3]
    following = client.get(page["next"]).json()
    assert [row["position"] for row in following["results"]] == [4, 5, 6, 7]


def test_a_repeated_call_with_its_key_makes_one_import(api: Any) -> None:
    client = api(make.person())
    for _ in range(2):
        client.post("/api/v1/imports", {"source": "ci", "entries": [shapes.current()]}, HTTP_IDEMPOTENCY_KEY="k1")
    assert ImportJob.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"entries": [{}]}, "/source"),
        ({"source": "x"}, "/entries"),
        ({"source": "x", "entries": []}, "/entries"),
        ({"source": "x", "entries": "no"}, "/entries"),
        ({"source": f"https://x.test/?token={shapes.TOKEN}", "entries": [{}]}, "/source"),
    ],
)
def test_rest_refuses_with_a_pointer(api: Any, body: dict[str, Any], pointer: str) -> None:
    answer = api(make.person()).post("/api/v1/imports", body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert shapes.TOKEN not in answer.content.decode()


def test_rest_permissions(api: Any) -> None:
    member = make.person()
    job = finished(member)
    assert api().get("/api/v1/imports").status_code == 401
    assert api(member, "catalog:read").get("/api/v1/imports").status_code == 403
    reader = api(member, "discovery:read")
    assert reader.get(f"/api/v1/imports/{job.pk}").status_code == 200
    assert reader.post("/api/v1/imports", {"source": "x", "entries": [{}]}).status_code == 403
    queued = services.request_import(actor=make.acting(member), files=[File("x", read_rows([shapes.current()]))])
    assert api(make.person()).post(f"/api/v1/imports/{queued.pk}/stop").status_code == 403
    assert api(member).post(f"/api/v1/imports/{queued.pk}/stop").json()["state"] == "stopped"
    assert api(member).post(f"/api/v1/imports/{queued.pk}/start").status_code == 409
