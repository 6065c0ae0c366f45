"""Fields nobody offered change nothing: over REST they are refused, in forms they are unread."""

import pytest
from django.urls import reverse

from registry.accounts.models import User
from registry.catalog.models import Server, System
from tests import factories as make

pytestmark = pytest.mark.django_db
STRANGE = {
    "id": "01a20572-5981-712d-a75d-0c54da8734a8",
    "pk": "01a20572-5981-712d-a75d-0c54da8734a8",
    "created_by": "01a20572-5981-712d-a75d-0c54da8734a8",
    "created_at": "2020-01-01T00:00:00Z",
    "owner": "01a20572-5981-712d-a75d-0c54da8734a8",
    "owner_accepted_at": "2020-01-01T00:00:00Z",
    "lifecycle": "active",
    "state": "active",
    "status": "active",
    "standing": "active",
    "tier": "low",
    "tier_override": "low",
    "version": 99,
    "certified_until": "2099-01-01T00:00:00Z",
    "quarantined_at": None,
    "activated_at": "2020-01-01T00:00:00Z",
    "approved_by": "01a20572-5981-712d-a75d-0c54da8734a8",
    "is_active": False,
    "is_staff": True,
    "is_superuser": True,
    "roles": ["administrator"],
    "admitted": ["01a20572-5981-712d-a75d-0c54da8734a8"],
    "user": "01a20572-5981-712d-a75d-0c54da8734a8",
    "secret_hash": "x",
}

FILLED = {name: value for name, value in STRANGE.items() if value is not None}


def facts(thing):
    return type(thing).objects.filter(pk=thing.pk).values().get()


def refused(answer, name):
    return answer.status_code == 422 and f"/{name}" in [each["pointer"] for each in answer.json()["errors"]]


@pytest.mark.parametrize("kind", ["server", "system", "agent"])
def test_over_rest_each_is_refused_or_unread(api, kind):
    owner = make.person()
    made = make.draft(created_by=owner) if kind == "server" else getattr(make, kind)(owner=owner, created_by=owner)
    client, before = api(owner), facts(made)
    offered = {"owner"} if kind != "server" else set()
    for name, value in STRANGE.items():
        if name in offered:
            continue
        answer = client.patch(f"/api/v1/{kind}s/{made.pk}", {name: value}, headers={"If-Match": "*"})
        # What an answer says and nobody may send is unread; what is no field at all is refused.
        assert refused(answer, name) or name in answer.json(), (name, answer.content)
    after = facts(made)
    for each in (before, after):
        del each["updated_at"], each["version"]
    assert after == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("servers", {"name": "com.example/own-terms"}),
        ("tokens", {"name": "mine", "scopes": ["read"], "days": 7}),
        ("registries", {"name": "Own", "base_url": "https://own.example.test"}),
        ("service-principals", {"name": "own"}),
    ],
)
def test_what_is_made_over_rest_is_made_of_what_is_offered(api, path, body):
    client = api(make.person("administrator", "security"))
    answer = client.post(f"/api/v1/{path}", body | {"id": STRANGE["id"], "created_by": STRANGE["created_by"]})
    assert refused(answer, "id") and refused(answer, "created_by"), answer.content


def test_acts_over_rest_take_only_their_reason(api):
    server = make.active_server()
    client = api(server.owner)
    for name, value in STRANGE.items():
        answer = client.post(f"/api/v1/servers/{server.pk}/suspend", {"reason": "A test.", name: value})
        assert refused(answer, name), name
    server.refresh_from_db()
    assert server.lifecycle == "active"


def test_a_member_writes_no_people_over_rest(api):
    member = make.person()
    for method in ("put", "patch", "delete"):
        answer = getattr(api(member), method)(f"/api/v1/users/{member.pk}", {"roles": ["administrator"]})
        assert answer.status_code == 405
    somebody = {"email": "puppet@example.test", "name": "Puppet", "roles": ["administrator"]}
    assert api(member).post("/api/v1/users", somebody).status_code == 403
    assert not User.objects.filter(email=somebody["email"]).exists()
    member.refresh_from_db()
    assert member.roles == ["member"]


def test_ones_own_account_form_gives_no_roles(web):
    member = make.person()
    form = {"name": member.name, "timezone": "UTC", "language": "en", "mail": "daily"}
    for address in (reverse("accounts:account"), reverse("accounts:password")):
        web(member).post(address, form | FILLED | {"roles": "administrator", "email": "root@example.test"})
    after = User.objects.get(pk=member.pk)
    kept = ("roles", "is_active", "email", "is_superuser")
    assert {n: getattr(after, n, None) for n in kept} == {n: getattr(member, n, None) for n in kept}


def test_the_form_of_a_system_keeps_what_it_does_not_ask(web):
    owner = make.person()
    system = make.system(owner=owner, created_by=owner)
    form = {
        "name": "Renamed", "kind": system.kind, "data_class": system.data_class, "environment": system.environment,
        "owner": owner.pk, "version": system.etag,
    }  # fmt: skip
    strange = {name: value for name, value in FILLED.items() if name not in form}
    answer = web(owner).post(reverse("catalog:system_edit", args=[system.pk]), form | strange)
    assert answer.status_code in (302, 422)
    after, before = System.objects.get(pk=system.pk), system
    for name in ("pk", "created_by_id", "created_at", "standing", "admitted"):
        assert getattr(after, name) == getattr(before, name), name


def test_a_registration_by_hand_begins_as_a_draft(web):
    member = make.person()
    form = {
        "name": "com.example/by-form", "title": "By form", "environment": "production",
        "endpoints-TOTAL_FORMS": "1", "endpoints-INITIAL_FORMS": "0",
        "endpoints-0-transport": "streamable-http", "endpoints-0-url": "https://form.example.test/mcp",
    }  # fmt: skip
    web(member).post(reverse("portal:register_by_hand"), FILLED | form)
    server = Server.objects.get(name="com.example/by-form")
    assert (server.lifecycle, server.created_by_id, server.activated_at) == ("draft", member.pk, None)
    assert server.owner_id in (None, member.pk) and server.certified_until is None and server.admitted == []
