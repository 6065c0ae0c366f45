"""What is kept of a configuration: no credential, wherever in it somebody put one, and the same server all the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from registry.audit.models import Event
from registry.discovery import services as discovery
from registry.discovery.address_secrets import is_random, private_parts, without_private_parts
from registry.discovery.formats import read_document
from registry.discovery.formats.clients import read_configuration
from registry.discovery.identity import identify_command, identify_url
from registry.discovery.models import Shadow, Sighting
from registry.discovery.plan import File
from tests import factories as make

V = "k3yQ9zX1vB7mN2cT8rW4"
UUID = "3f2b8c1e-9d4a-4b7e-8f60-12ab34cd56ef"


def read(*entries: dict[str, Any], **besides: Any) -> list[Any]:
    servers = {f"s{n}": entry for n, entry in enumerate(entries)}
    return read_configuration({"mcpServers": servers, **besides}, place="p")


def places(configured: Any) -> list[str]:
    return [each["path"].removeprefix("/mcpServers/s0") for each in configured.secrets]


# --- Addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [
    f"https://h.example/mcp?api%5Fkey={V}",
    f"https://h.example/mcp?k={V}",
    "https://h.example/mcp?k=hunter2horse",
    f"https://h.example/mcp?code={V}",
    f"https://h.example/mcp?profile={V}",
    f"https://h.example/mcp?{V}",
    "https://h.example/mcp?whatever=s3cr3t%20horse!",
    f"https://h.example/{V}/mcp",
    f"https://h.example/%6b{V[1:]}/mcp",
    f"https://h.example/v1/{V}/sse",
    f"https://backend.example/composio/server/{UUID}/mcp",
    f"https://h.example/{UUID}/slack",
    f"https://{V}.hooks.example/mcp",
])  # fmt: skip
def test_a_credential_anywhere_in_an_address_is_told_of_and_not_kept(url):
    (found,) = read({"url": url})
    kept = json.dumps([found.sighting(), Event.__name__]).lower()
    for value in (V, V[1:], UUID, "hunter2", "s3cr3t"):
        assert value.lower() not in kept
    assert places(found) == ["/url"]
    assert found.identified and found.canonical_uri == identify_url(url).uri == identify_url(found.canonical_uri).uri


@pytest.mark.parametrize("url", [
    "https://mcp.exa.ai/mcp?tools=web_search_exa,get_code_context_exa",
    "https://mcp.example.com/mcp?project_ref=examplefakeprojectref&read_only=true",
    "https://mcp.example.com/mcp?tenant=acme&region=eu-west-1&version=2025-11-25&n=12&foo=bar",
    "https://my-service-a1b2c3d4e5-ew.a.run.app/mcp",
    "https://atomic-research-mcp-server.example.com/m365agentstoolkit/v2",
    "https://{tenant}.example.com/{path}?key={key}",
])  # fmt: skip
def test_an_ordinary_address_is_no_credential(url):
    assert not list(private_parts(url)) and without_private_parts(url) == url


# --- Keys beside placeholders, as names, behind words ----------------------------------------------------

R = "Zq7XvR2mLp9KtW4sBn6Y"
WORDS = "hunterhorsepass"


@pytest.mark.parametrize("rest", [
    f"/mcp?config=%7B%22apiKey%22%3A%22{R}%22%7D", f"/mcp?config=%7B%22apiKey%22%3A%22{WORDS}%22%7D",
    f"/mcp?{R}=1", f"/mcp?{R}=", f"/mcp?%257Ba%257D{R}=1",
    f"/{{x}}{R}/mcp", f"/mcp?x={{{R}}}", f"/mcp?foo={{{R}}}", f"/mcp?foo=<{R}>", f"/mcp?foo=%3C{R}%3E",
    f"/mcp?foo=${{{R}}}", f"/mcp?foo=${R}", f"/<{R}>/mcp", f"/${{A:-{R}}}/mcp", f"/mcp?apiKey={{a}}{WORDS}",
    f"/key-0123456789abcdef.{R}/m", f"/v1:{R}/m", f"/a,{R}", f"/a~{R}", f"/mcp@{R}", f"/mcp;{R}",
    f'/mcp?foo="{R}"', f"/mcp?foo=a {R}", f"/mcp?tools=search,{R}",
    f"/token/{WORDS}/", f"/api-key/{WORDS}/mcp", f"/auth/{WORDS}", f"/%2574oken/{WORDS}/mcp", f"/key={WORDS}",
    f"/token:{WORDS}/mcp", f"/mcp;token={WORDS}", f"/mcp%3Ftoken%3D{WORDS}", f"/mcp%25253Ftoken%25253D{WORDS}",
    f"/mcp%2Ftoken%2F{WORDS}/x", f"/mcp?name=token%3D{WORDS}", f"/mcp?accessToken={WORDS}",
    f"/mcp?token={WORDS[:6]}xxxx{WORDS}", f"/mcp?token=horse.{WORDS}", f"/mcp?token={WORDS}(",
    f"/mcp?tools={WORDS}{WORDS}", f"/mcp?account={R}", f"/mcp?account={WORDS}{WORDS}", f"/mcp?profile={WORDS}2{WORDS}",
])  # fmt: skip
def test_a_key_is_told_of_whatever_stands_beside_or_before_it(rest):
    url = f"https://h.example{rest}"
    (found,) = read({"url": url})
    kept = json.dumps([found.sighting()]).lower()
    assert R.lower() not in kept and WORDS not in kept
    assert places(found) == ["/url"]
    assert found.identified and found.canonical_uri == identify_url(url).uri == identify_url(found.canonical_uri).uri


def test_such_keys_are_no_less_kept_apart():
    def kept(path: str) -> str:
        return identify_url(f"https://h.example{path}").uri

    for shape, key in (("/{{x}}{}/mcp", R), ("/token/{}/mcp", WORDS), ("/mcp?{}=1", R), ("/key={}", WORDS)):
        assert kept(shape.format(key)) == kept(shape.format(key)) != kept(shape.format(key[::-1]))


@pytest.mark.parametrize("url", [
    "https://{host}/mcp",
    "http://jenkins:8080/mcp-server/stateless",
    "http://localhost:3001/sse",
    "http://localhost:5000",
    "http://localhost:8000/sse",
    "http://localhost:8080/v1",
    "http://localhost:8090/api/v1",
    "http://your-internal-kali:5000/",
    "https://aka.ms/devbox/mcp/preview",
    "https://api.githubcopilot.com/mcp/",
    "https://bindings.mcp.cloudflare.com/sse",
    "https://mcp.amap.com/sse?key=<YOUR_TOKEN>",
    "https://mcp.anonymous.modelcontextprotocol.io/http",
    "https://mcp.anonymous.modelcontextprotocol.io/sse",
    "https://mcp.atlassian.com/v1/sse",
    "https://mcp.context7.com/mcp",
    "https://mcp.cyphrex.io/mcp",
    "https://mcp.exa.ai/mcp?tools=web_search_exa,get_code_context_exa,crawling_exa,company_research_exa,"
    "linkedin_search_exa,deep_researcher_start,deep_researcher_check",
    "https://mcp.sentry.dev/mcp/example-org/example-project",
    "https://mcp.supabase.com/mcp",
    "https://mcp.supabase.com/mcp?project_ref=examplefakeprojectref",
    "https://observability.mcp.cloudflare.com/sse",
    "https://open-aware.qodo.ai/mcp",
    "https://smithery.ai/servers/serveall7208/kbag",
    "https://your-project.supabase.co",
])  # fmt: skip
def test_addresses_that_people_really_use_are_kept_as_they_are(url):
    assert without_private_parts(url) == url
    assert places(read({"url": url})[0]) == []


@pytest.mark.parametrize("url", [
    "https://h.example/{a}{b}/mcp?x=${input:api_key}&y={{ name }}&z=$TENANT",
    "https://h.example/token/{token}/mcp?token=<TOKEN>",
    "https://h.example/token/YOUR_TOKEN/mcp?api_key=your-key-here&token=sk-xxxxxxxx",
    "https://h.example/auth/mcp?Authorization=Bearer%20${TOKEN}",
    "https://h.example/v1/mcp?model=gpt-4o-mini&profile=dev-team&account=123456789012&locale=zh-Hans&timeout=30s",
    "https://acme.vault.azure.net/secrets/warehouse",
])  # fmt: skip
def test_whole_placeholders_and_plain_values_are_kept(url):
    assert not list(private_parts(url)) and without_private_parts(url) == url


def test_the_same_key_is_the_same_server_and_another_key_another():
    one, again, other = (identify_url(f"https://h.example/{each}/mcp").uri for each in (UUID, UUID, UUID[::-1]))
    assert one == again != other


@pytest.mark.parametrize("url", [f"https://h.example/{UUID}/mcp", f"https://{V}.hooks.example/mcp"])
@pytest.mark.django_db
def test_a_server_catalogued_with_such_an_address_is_found_behind_it(url):
    assert make.sighting(url=url).shadow is not None
    server = make.draft(endpoints=[{"transport": "streamable-http", "url": url.lower()}])
    assert make.sighting(url=url.lower()).shadow.server == server


@examples(max_examples=60, deadline=None)
@given(st.binary(min_size=16, max_size=40))
def test_whatever_is_random_goes_in_every_usual_writing(data: bytes):
    for text in (data.hex(), data.hex().upper()):
        if len(set(data)) > 8:
            assert is_random(text)


@examples(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_taking_private_parts_out_twice_changes_nothing(text: str):
    once = without_private_parts(f"https://h.example/{text}?a={text}")
    assert without_private_parts(once) == once


# --- The rest of an entry --------------------------------------------------------------------------------


@pytest.mark.parametrize(("entry", "where"), [
    ({"command": "npx", "args": ["p"], "env": {"DB_PASSWORD": 123456}}, "/env/DB_PASSWORD"),
    ({"command": "npx", "args": ["p"], "env": {"DB_PASSWORD": "4711"}}, "/env/DB_PASSWORD"),
    ({"command": "tool", "args": ["-k", V]}, "/args/1"),
    ({"command": "tool", "args": ["-pS3cret99x"]}, "/args/0"),
    ({"command": "tool", "args": ["-u", "bob:hunter2"]}, "/args/1"),
    ({"command": "npx", "args": ["p"], "env": {"FOO": V}}, "/env/FOO"),
    ({"url": "https://h.example/mcp", "headers": {"X-Foo": V}}, "/headers/X-Foo"),
    ({"command": "npx", "args": ["p"], "env": {V: "1"}}, f"/env/{V}"),
    ({"command": "npx", "args": ["p"], "env": {"FOO": f"${{{V}}}"}}, "/env/FOO"),
    ({"url": "https://h.example/mcp", "headers": {"X-Foo": f"{{{V}}}"}}, "/headers/X-Foo"),
])  # fmt: skip
def test_a_credential_outside_of_addresses_is_told_of_and_not_kept(entry, where):
    (found,) = read(entry)
    assert places(found) == [where.replace(V, "[REDACTED]")]
    assert V not in json.dumps(found.sighting())


@pytest.mark.parametrize("entry", [
    {"command": "docker", "args": ["run", "-u", "node:staff", "-p", "8080:80", "-e", "X", "mcp/image:1"]},
    {"command": "npx", "args": ["-y", "-p", "@scope/pkg2go", "bin"], "env": {"CLIENT_ID": UUID, "MAX_TOKENS": 4096}},
    {"command": "curl", "args": ["-k", "https://h.example/mcp"], "env": {"COMMIT_SHA": "0123456789abcdef01234567"}},
])  # fmt: skip
def test_ports_packages_and_ids_are_none(entry):
    assert places(read(entry)[0]) == []


def test_a_token_in_place_of_a_name_is_none():
    (found,) = read_configuration({"mcpServers": {V: {"url": "https://h.example/mcp"}}}, place="p")
    assert (found.entry, found.secrets[0]["path"]) == ("[REDACTED]", "/mcpServers/[REDACTED]")


def test_the_default_of_a_prompt_stands_with_the_entries_that_ask():
    document = {
        "inputs": [{"id": "k", "type": "promptString", "password": True, "default": "hunter2horse"}],
        "servers": {"a": {"url": "https://a.example/mcp"}, "b": {"command": "x", "env": {"Q": "${input:k}"}}},
    }
    a, b = read_configuration(document, place="p")
    assert (a.secrets, [each["path"] for each in b.secrets]) == ([], ["/inputs/0/default"])


def test_a_key_at_the_root_is_told_of_once():
    first, second = read({"url": "https://a.example/mcp"}, {"url": "https://b.example/mcp"}, apiKey=V)
    assert [each["path"] for each in first.secrets] == ["/apiKey"] and not second.secrets


def test_a_key_that_stands_twice_is_told_of():
    text = '{"mcpServers": {"a": {"command": "npx", "env": {"A": "1", "A": "2"}}, // first\n "a": {"command": "uvx"},}}'
    *read_rows, told = [row.read for row in read_document(text)]
    assert [each.name for each in read_rows] == ["a"]
    assert list(told.fields) == ["/mcpServers/a"]


# --- Over REST -------------------------------------------------------------------------------------------

HALF = "\ud800"


@pytest.mark.parametrize("given", [
    {"envFile": HALF}, {"bearer_token_env_var": HALF}, {"env_vars": [HALF]}, {"env": {HALF: "x", "API_KEY": V}},
    {"headers": {"A": "${" + HALF + "}"}}, {"env_http_headers": {HALF: HALF}}, {"url": f"https://h.example/{HALF}"},
])  # fmt: skip
@pytest.mark.django_db
def test_half_a_character_breaks_nothing(api, given):
    entry = {"command": "npx", "env": {"API_KEY": V}, **given}
    body = json.dumps({"client": "c", "place": "p", "configuration": {"mcpServers": {"x": entry}}})
    answer = api(make.person()).generic("POST", "/api/v1/sightings", body, content_type="application/json")
    assert answer.status_code == 201, answer.content[:300]
    assert "/mcpServers/x/env/API_KEY" in answer.content.decode()


@pytest.mark.django_db
def test_keys_that_stand_twice_in_what_was_sent_are_told_of(api):
    body = '{"client": "c", "place": "p", "configuration": {"mcpServers": {"x": {"url": "https://h.example/1"}, '
    body += '"x": {"url": "https://h.example/2"}}}}'
    answer = api(make.person()).generic("POST", "/api/v1/sightings", body, content_type="application/json")
    assert [each["reasons"][0].partition(":")[0] for each in answer.json()["refused"]] == ["/mcpServers/x"]


def test_no_renderer_of_logs_prints_local_variables(settings):
    import structlog

    formatter = settings.LOGGING["formatters"]
    (made,) = formatter.values()
    renderer = made.get("processor")
    if isinstance(renderer, structlog.dev.ConsoleRenderer):
        assert renderer._exception_formatter is structlog.dev.plain_traceback
    assert structlog.processors.format_exc_info in made["foreign_pre_chain"]


# --- Who sees where --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_places_and_findings_are_for_those_who_act_on_them(api, web):
    reporter = make.person()
    told = make.sighting(reporter, url="https://h.example/mcp", headers={"X-Api-Key": V}, place="adas-laptop")
    about = f"/shadows/{told.shadow_id}/"
    for user in (reporter, make.person("security"), make.person("auditor")):
        assert len(api(user).get("/api/v1/sightings").json()["results"]) == 1
        page = web(user).get(about).content.decode()
        assert "adas-laptop" in page and "X-Api-Key" in page
        assert "adas-laptop" not in str(list(Event.objects.filter(subject_id=told.shadow_id).values_list("data")))
        assert web(user).get("/shadows/?q=adas-laptop").context["page"].items
    for user in (make.person(), make.person("administrator"), make.person("reviewer")):
        assert api(user).get("/api/v1/sightings").json()["results"] == []
        assert api(user).get(f"/api/v1/sightings/{told.pk}").status_code == 404
        page = web(user).get(about).content.decode()
        assert "Seen once" in page and "adas-laptop" not in page and "X-Api-Key" not in page
        assert not web(user).get("/shadows/?q=adas-laptop").context["page"].items
        assert not web(user).get("/shadows/?inline_secret=true").context["page"].items
        rows = b"".join(web(user).get("/shadows/list.csv").streaming_content).decode().splitlines()
        assert '"1","Cursor","1","0"' in rows[1]
    assert Shadow.objects.count() == Sighting.objects.count() == 1


@pytest.mark.django_db
def test_who_answers_for_the_server_sees_where_it_is_used(api):
    server = make.active_server(endpoints=[{"transport": "streamable-http", "url": "https://h.example/mcp"}])
    make.sighting(url="https://h.example/mcp")
    assert len(api(server.owner).get("/api/v1/sightings").json()["results"]) == 1
    assert api(make.person()).get("/api/v1/sightings").json()["results"] == []


@pytest.mark.parametrize(("command", "arguments", "label"), [
    ("npx", ["-y", "./two words"], "billing (npx)"),
    ("docker", [], "billing (docker)"),
    ("<a/b>", [], "billing"),
    ("python", ["server.py"], "python server.py"),
    (f"/opt/{V}", [], "{key}"),
])  # fmt: skip
def test_a_label_says_more_than_the_launcher(command, arguments, label):
    assert identify_command(command, arguments, name="billing").label == label


@pytest.mark.django_db
def test_reports_of_imports_name_places_to_few(web):
    reporter = make.person()
    configuration = {"mcpServers": {"x": {"url": "https://h.example/mcp", "headers": {"X-Api-Key": V}}}}
    rows = read_document(json.dumps(configuration))
    job = discovery.request_import(actor=make.acting(reporter), files=[File("mcp.json", rows)], source="mcp.json")
    discovery.run_import(job_id=job.pk)
    for user, sees in ((reporter, True), (make.person("security"), True), (make.person(), False)):
        assert ("X-Api-Key" in web(user).get(f"/imports/{job.pk}/").content.decode()) is sees
        rows = b"".join(web(user).get(f"/imports/{job.pk}/results.csv").streaming_content).decode()
        assert ("X-Api-Key" in rows) is sees
