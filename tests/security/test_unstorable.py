"""Characters that no database has in a text: refused with a 400 at every door, in the form that belongs to it."""

import json
from urllib.parse import quote

import pytest
from django.urls import NoReverseMatch, reverse
from django.urls.converters import IntConverter, SlugConverter, UUIDConverter

from tests import factories as make
from tests.security.urls import PATTERNS

pytestmark = pytest.mark.django_db
NARROW = (UUIDConverter, IntConverter, SlugConverter)
HALF = "\ud800"
PROVISION = "accounts:provision"


def takes_any_text(name: str) -> bool:
    pattern = PATTERNS[name].pattern
    wide = [each for each in pattern.converters.values() if not isinstance(each, NARROW)]
    return bool(wide or set(pattern.regex.groupindex) - set(pattern.converters))


DOORS = sorted(filter(takes_any_text, PATTERNS))


def asked(client, address, method):
    return client.generic(method, address, b"{}" if method != "GET" else b"", "application/json")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_null_character_in_a_path(web, method):
    """Wherever a path has a part that is no number, no id and no slug."""
    client, wrong, tried = web(make.person("administrator")), {}, 0
    for name in DOORS:
        pattern = PATTERNS[name].pattern
        values = dict.fromkeys({*pattern.regex.groupindex, *pattern.converters}, f"{'a' * 8}\x00")
        for each, converter in pattern.converters.items():
            if isinstance(converter, UUIDConverter):
                values[each] = "00000000-0000-0000-0000-000000000000"
            elif isinstance(converter, NARROW):
                values[each] = 1
        try:
            address = reverse(name, kwargs=values)
        except NoReverseMatch:  # letters of one kind alone
            continue
        tried += 1
        status = asked(client, address, method).status_code
        if status not in (400, 404, 405):
            wrong[address] = status
    assert not wrong and tried > 100


@pytest.mark.parametrize(
    "address", ["/servers/a%00/b/", "/servers/?q=%00", "/servers/?%00=1", "/v0.1/servers/a%00%2Fb/versions", "/a%00b"]
)
def test_null_characters_in_addresses(web, address):
    for client in (web(), web(make.person())):
        assert client.get(address).status_code == 400
    assert web(make.person()).get("/servers/?q=a%01").status_code < 500


def test_a_null_character_in_a_form(web):
    client = web(make.person("administrator", "security"))
    for address, data in {
        "/sign-in": {"email": "a\0@example.test", "password": "x"},
        "/people/teams": {"name": "x\0"},
        "/theme": {"theme\0": "dark"},
        "/imports/new/": {"text": "{}\0"},
    }.items():
        answer = client.post(address, data)
        assert answer.status_code in (400, 404), (address, answer.status_code)
    with_file = client.post("/imports/new/", {"text": "\0"}, HTTP_HX_REQUEST="true")
    assert with_file.status_code == 400 and b"<html" not in with_file.content


# --- The directory ---------------------------------------------------------------------------------------


@pytest.fixture
def scim(web):
    user = make.person("administrator")
    headers = {"HTTP_AUTHORIZATION": f"Bearer {make.token_for(user, PROVISION)}"}
    client = web()

    def ask(method, path, body=None):
        content = b"" if body is None else json.dumps(body).encode()
        return client.generic(method, f"/scim/v2/{path}", content, "application/scim+json", **headers)

    return ask


def is_refused(answer, scim_type=None):
    assert answer.status_code == 400, answer.content[:200]
    assert answer["Content-Type"] == "application/scim+json"
    said = answer.json()
    assert said["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"] and said["status"] == "400"
    assert scim_type is None or said["scimType"] == scim_type


@pytest.mark.parametrize("bad", ["\\ud800", "\\u0000", "a\\udfffb"])
@pytest.mark.parametrize("path", ["Users?filter=userName", "Users?filter=emails.value", "Groups?filter=displayName"])
def test_filters_of_a_directory(scim, path, bad):
    wanted = quote(f' eq "{bad}"')
    is_refused(scim("GET", f"{path}{wanted}"), "invalidFilter")


def test_searches_and_bodies_of_a_directory(scim):
    search = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": 'userName eq "\\ud800"'}
    is_refused(scim("POST", "Users/.search", search))
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "a@example.test"}
    for name in ("userName", "displayName", "externalId"):
        for bad in (f"a{HALF}@example.test", "a\0@example.test"):
            is_refused(scim("POST", "Users", user | {name: bad}))
    group = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": f"x{HALF}"}
    is_refused(scim("POST", "Groups", group))
    made = scim("POST", "Users", user | {"emails": [{"value": "a@example.test"}]})
    assert made.status_code == 201, made.content
    for value in (HALF, "\0"):
        operation = {"op": "replace", "path": "displayName", "value": f"x{value}"}
        patch = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
        is_refused(scim("PATCH", f"Users/{made.json()['id']}", patch))


def test_what_breaks_is_told_in_the_form_of_its_address(scim, web, monkeypatch):
    from registry.accounts.scim import views

    def broken(*_args):
        raise RuntimeError("quite-secret")

    monkeypatch.setattr(views, "people_matching", broken)
    client = web()
    client.raise_request_exception = False
    user = make.person("administrator")
    answer = client.get("/scim/v2/Users", HTTP_AUTHORIZATION=f"Bearer {make.token_for(user, PROVISION)}")
    assert answer.status_code == 500 and answer["Content-Type"] == "application/scim+json"
    assert answer.json()["status"] == "500" and b"quite-secret" not in answer.content
    missing = web().get("/scim/v2/Users/a%00")
    assert missing.status_code == 400 and missing["Content-Type"] == "application/scim+json"
