"""The directory speaks SCIM 2.0: who there is, who belongs together, who left (RFC 7643, RFC 7644)."""

import json
from itertools import count
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from registry.accounts import services
from registry.accounts.models import GroupRole, Membership, Team, User
from registry.audit.models import Event
from registry.core.errors import Conflict
from tests import factories as make

pytestmark = pytest.mark.django_db
CORE = "urn:ietf:params:scim:schemas:core:2.0"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
_number = count(1)


class Directory:
    """A client as a directory is one: JSON in, JSON out, a bearer token."""

    def __init__(self, token: str) -> None:
        self.client = Client(raise_request_exception=True)
        self.token = token

    def ask(self, method: str, path: str, body=None, *, raw: bytes | None = None, **headers: str):
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return self.client.generic(
            method,
            f"/scim/v2/{path}",
            sent,
            content_type="application/scim+json",
            headers={"Authorization": f"Bearer {self.token}", **headers},
        )

    def get(self, path: str, **headers: str):
        return self.ask("GET", path, **headers)

    def user(self, **facts):
        """The body of a new user."""
        number = next(_number)
        address = f"zoe{number}@example.org"
        return {
            "schemas": [f"{CORE}:User", ENTERPRISE],
            "externalId": f"00u{number}",
            "userName": address,
            "name": {"givenName": "Zoe", "familyName": "Adler"},
            "emails": [{"value": address, "type": "work", "primary": True}],
            "active": True,
            **facts,
        }

    def add_user(self, **facts) -> dict:
        answer = self.ask("POST", "Users", self.user(**facts))
        assert answer.status_code == 201, answer.content
        return answer.json()

    def patch(self, path: str, *operations: dict, **headers: str):
        return self.ask("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, **headers)


@pytest.fixture
def admin(db):
    return make.person("administrator", name="Ada Admin")


@pytest.fixture
def directory(admin):
    return Directory(make.token_for(admin, "accounts:provision"))


def refused(answer, status: int, scim_type: str | None = None) -> dict:
    """An error in the form of RFC 7644 section 3.12."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/scim+json")
    body = answer.json()
    assert body["schemas"] == [ERROR]
    assert body["status"] == str(status)
    assert body.get("scimType") == scim_type
    return body


# --- Who may ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["Users", "Groups", "ServiceProviderConfig", "Schemas", "ResourceTypes"])
def test_nobody_without_a_token_learns_anything(db, path):
    answer = Client().get(f"/scim/v2/{path}")
    refused(answer, 401)
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_session_is_no_directory(web, admin):
    refused(web(admin).get("/scim/v2/Users"), 403)


def test_a_token_with_every_other_scope_is_refused(admin):
    everything = Directory(make.token_for(admin))
    assert "accounts:provision" in refused(everything.get("Users"), 403)["detail"]
    refused(everything.ask("POST", "Users", everything.user()), 403)


@pytest.mark.parametrize("role", ["member", "security", "auditor", "campaign_manager"])
def test_only_an_administrator_makes_such_a_token(api, role):
    someone = make.person(role)
    answer = api(someone).post("/api/v1/tokens", {"name": "idp", "scopes": ["accounts:provision"], "days": 30})
    assert answer.status_code == 422
    assert "scopes" in json.dumps(answer.json())


def test_who_is_no_administrator_any_more_provisions_nobody(admin, directory):
    admin.roles = ["member"]
    admin.save()
    refused(directory.get("Users"), 403)


def test_the_token_provisions_and_does_nothing_else(directory):
    answer = directory.client.get("/api/v1/servers", headers={"Authorization": f"Bearer {directory.token}"})
    assert answer.status_code == 403
    answer = directory.client.get("/api/v1/users", headers={"Authorization": f"Bearer {directory.token}"})
    assert answer.status_code == 403


# --- About the service -----------------------------------------------------------------------------------


def test_it_says_what_it_can(directory):
    config = directory.get("ServiceProviderConfig").json()
    assert config["patch"]["supported"] and config["filter"]["supported"] and config["etag"]["supported"]
    assert not config["bulk"]["supported"] and not config["sort"]["supported"]
    assert config["authenticationSchemes"][0]["type"] == "oauthbearertoken"
    types = directory.get("ResourceTypes").json()
    assert [each["endpoint"] for each in types["Resources"]] == ["/Users", "/Groups"]
    schemas = {each["id"]: each for each in directory.get("Schemas").json()["Resources"]}
    assert set(schemas) == {f"{CORE}:User", f"{CORE}:Group", ENTERPRISE}
    kept = {attribute["name"] for attribute in schemas[f"{CORE}:User"]["attributes"]}
    assert {"userName", "displayName", "active", "emails", "name", "groups"} <= kept
    assert "phoneNumbers" not in kept  # what is not kept is not claimed
    one = directory.get(f"Schemas/{CORE}:User").json()
    assert one["id"] == f"{CORE}:User" and one["meta"]["resourceType"] == "Schema"
    refused(directory.get("Schemas/urn:nothing"), 404)


@pytest.mark.parametrize(("path", "status"), [("Me", 501), ("Bulk", 501), ("Nothing", 404), ("Users/not-an-id", 404)])
def test_what_is_not_here_is_said_in_scim(directory, path, status):
    refused(directory.get(path), status)


# --- Users -----------------------------------------------------------------------------------------------


def test_somebody_new_can_be_read_again_as_they_were_written(directory):
    boss = directory.add_user()
    answer = directory.ask("POST", "Users", directory.user(**{ENTERPRISE: {"manager": {"value": boss["id"]}}}))
    assert answer.status_code == 201
    made = answer.json()
    assert answer["Location"] == made["meta"]["location"]
    assert answer["ETag"] == made["meta"]["version"] and answer["ETag"].startswith('W/"')
    assert made["displayName"] == "Zoe Adler"
    assert made[ENTERPRISE]["manager"]["value"] == boss["id"]
    read = directory.get(f"Users/{made['id']}")
    assert read.json() == made
    assert directory.get(f"Users/{made['id']}", **{"If-None-Match": read["ETag"]}).status_code == 304
    user = User.objects.get(pk=made["id"])
    assert (user.name, user.roles, user.is_active) == ("Zoe Adler", ["member"], True)
    assert str(user.manager_id) == boss["id"]
    assert not user.has_usable_password()
    assert Event.objects.filter(act="user.provisioned", subject_id=user.pk).exists()


def test_what_is_not_kept_is_accepted_and_dropped(directory):
    made = directory.add_user(phoneNumbers=[{"value": "+49 1"}], title="CEO", locale="de", password="hunter2hunter2")
    assert "phoneNumbers" not in made and "password" not in made and "title" not in made


def test_the_same_name_address_or_id_twice_is_a_conflict(directory):
    made = directory.add_user()
    called = {"userName": made["userName"].upper()}
    for same in (called, {"externalId": made["externalId"]}, {"emails": made["emails"]}):
        refused(directory.ask("POST", "Users", directory.user(**same)), 409, "uniqueness")


@pytest.mark.parametrize(
    ("facts", "scim_type"),
    [
        ({"userName": ""}, "invalidValue"),
        ({"userName": None}, "invalidValue"),
        ({"userName": "zoe", "emails": []}, "invalidValue"),
        ({"userName": "a\0b@example.org"}, "invalidValue"),
        ({"displayName": "x" * 121}, "invalidValue"),
        ({"externalId": "x" * 256}, "invalidValue"),
        ({"active": "perhaps"}, "invalidValue"),
        ({"emails": "zoe@example.org"}, "invalidValue"),
        ({ENTERPRISE: {"manager": {"value": str(uuid4())}}}, "invalidValue"),
        ({ENTERPRISE: {"manager": {"value": "the boss"}}}, "invalidValue"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(directory, facts, scim_type):
    before = User.objects.count()
    refused(directory.ask("POST", "Users", directory.user(**facts)), 400, scim_type)
    assert User.objects.count() == before


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'{"schemas":1}', b"\xff\xfe", b"[" * 5000, b'{"a":' * 3000]
)
def test_broken_bodies_are_refused(directory, raw):
    answer = directory.ask("POST", "Users", raw=raw)
    assert answer.status_code == 400
    assert answer.json()["schemas"] == [ERROR]


def test_a_huge_body_is_refused(directory):
    answer = directory.ask("POST", "Users", directory.user(nickName="x" * 3_000_000))
    refused(answer, 413)


def test_put_replaces_and_deactivates_as_okta_does(directory):
    made = directory.add_user()
    body = {**directory.user(), "userName": made["userName"], "emails": made["emails"], "active": False}
    answer = directory.ask("PUT", f"Users/{made['id']}", body)
    assert answer.status_code == 200
    assert answer.json()["active"] is False
    user = User.objects.get(pk=made["id"])
    assert not user.is_active and user.left_at is not None
    again = directory.ask("PUT", f"Users/{made['id']}", {**body, "active": True}).json()
    assert again["active"] is True
    assert User.objects.get(pk=made["id"]).left_at is None


def test_if_match_refuses_what_somebody_else_changed(directory):
    made = directory.add_user()
    path, old = f"Users/{made['id']}", made["meta"]["version"]
    new = directory.patch(path, {"op": "replace", "path": "displayName", "value": "Zoe A."}, **{"If-Match": old})
    assert new.status_code == 200 and new["ETag"] != old
    late = directory.patch(path, {"op": "replace", "path": "displayName", "value": "No"}, **{"If-Match": old})
    refused(late, 412)
    refused(directory.ask("DELETE", path, **{"If-Match": old}), 412)
    refused(directory.ask("PUT", path, directory.user(), **{"If-Match": old}), 412)
    assert User.objects.get(pk=made["id"]).name == "Zoe A."


def test_deleted_is_deactivated_and_unknown_to_the_directory_until_it_comes_again(directory):
    made = directory.add_user()
    path = f"Users/{made['id']}"
    assert directory.ask("DELETE", path).status_code == 204
    user = User.objects.get(pk=made["id"])
    assert not user.is_active and user.left_at and user.removed_at
    for method in ("GET", "DELETE"):
        refused(directory.ask(method, path), 404)
    refused(directory.patch(path, {"op": "replace", "path": "active", "value": True}), 404)
    assert directory.get(f'Users?filter=externalId eq "{made["externalId"]}"').json()["totalResults"] == 0
    back = directory.add_user(userName=made["userName"], emails=made["emails"], externalId=made["externalId"])
    assert back["id"] == made["id"]
    user.refresh_from_db()
    assert user.is_active and user.left_at is None and user.removed_at is None


def test_a_manager_who_is_gone_keeps_nobody_from_being_changed(directory):
    boss = directory.add_user()
    made = directory.add_user(**{ENTERPRISE: {"manager": {"value": boss["id"]}}})
    assert directory.ask("DELETE", f"Users/{boss['id']}").status_code == 204
    answer = directory.patch(f"Users/{made['id']}", {"op": "replace", "path": "active", "value": False})
    assert answer.status_code == 200 and answer.json()["active"] is False
    own = directory.patch(
        f"Users/{made['id']}", {"op": "replace", "path": f"{ENTERPRISE}:manager", "value": {"value": made["id"]}}
    )
    refused(own, 400, "invalidValue")


# --- PATCH -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "replace", "path": "active", "value": False},
        {"op": "Add", "path": "active", "value": "false"},
        {"op": "Replace", "value": {"active": False}},
        {"op": "replace", "value": {"active": "False", f"{ENTERPRISE}:department": "Sales"}},
        {"op": "replace", "path": f"{CORE}:User:active", "value": False},
    ],
)
def test_a_leaver_as_entra_and_okta_say_it(directory, operation):
    made = directory.add_user()
    answer = directory.patch(f"Users/{made['id']}", operation)
    assert answer.status_code == 200, answer.content
    assert answer.json()["active"] is False
    assert not User.objects.get(pk=made["id"]).is_active


def test_quirks_of_entra(directory):
    boss, made = directory.add_user(), directory.add_user()
    path = f"Users/{made['id']}"
    answer = directory.patch(
        path,
        {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": boss["id"]},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "new@example.org"},
        {"op": "Replace", "value": {"name.givenName": "Zoë", "externalId": "entra-1", "jobTitle": "x"}},
        {"op": "Add", "path": 'phoneNumbers[type eq "work"].value', "value": "+49"},
    )
    assert answer.status_code == 200, answer.content
    user = User.objects.get(pk=made["id"])
    assert str(user.manager_id) == boss["id"]
    assert (user.email, user.given_name, user.external_id, user.name) == (
        "new@example.org", "Zoë", "entra-1", "Zoë Adler",
    )  # fmt: skip
    assert directory.patch(path, {"op": "Remove", "path": f"{ENTERPRISE}:manager"}).status_code == 200
    user.refresh_from_db()
    assert user.manager_id is None


@pytest.mark.parametrize(
    ("operation", "scim_type"),
    [
        ({"op": "remove", "path": "userName"}, "mutability"),
        ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
        ({"op": "replace", "path": "groups", "value": []}, "mutability"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "explode", "path": "active"}, "invalidValue"),
        ({"op": "replace", "path": "emails[type eq", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "active", "value": "perhaps"}, "invalidValue"),
        ({"op": "replace", "path": "userName", "value": ""}, "invalidValue"),
    ],
)
def test_patches_that_cannot_be_applied_change_nothing(directory, operation, scim_type):
    made = directory.add_user()
    path = f"Users/{made['id']}"
    first = {"op": "replace", "path": "displayName", "value": "Half done"}
    refused(directory.patch(path, first, operation), 400, scim_type)
    assert directory.get(path).json() == made


_values = some.sampled_from([True, False, "True", "False", "", "x", None, 0, [], {}, {"value": "x"}, "a@example.org"])
_paths = some.sampled_from(
    ["active", "userName", "displayName", "externalId", "name", "name.givenName", "emails", "emails.value", "title",
     'emails[type eq "work"].value', 'emails[type eq "home"]', f"{ENTERPRISE}:manager", f"{ENTERPRISE}:manager.value",
     "meta.version", "groups", "schemas", None]
)  # fmt: skip
_operations = some.lists(
    some.fixed_dictionaries(
        {"op": some.sampled_from(["add", "Replace", "remove"])}, optional={"path": _paths, "value": _values}
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=_operations)
def test_any_patch_is_applied_wholly_or_refused_in_scim_and_twice_is_once(directory, operations):
    made = directory.add_user()
    path = f"Users/{made['id']}"
    answer = directory.patch(path, *operations)
    after = directory.get(path).json()
    if answer.status_code != 200:
        assert answer.status_code in (400, 409), answer.content
        assert answer.json()["schemas"] == [ERROR]
        assert after == made
    else:
        assert answer.json() == after
        assert after["id"] == made["id"] and after["userName"]
        # What a directory may send again is not another change.
        events = Event.objects.count()
        if all(operation["op"] == "Replace" and "path" in operation for operation in operations):
            again = directory.patch(path, *operations)
            if again.status_code == 200 and len(operations) == 1:
                assert again.json() == after
                assert Event.objects.count() == events


# --- Lists and filters -----------------------------------------------------------------------------------


@pytest.fixture
def three(directory):
    """Three people, one of them in a group and inactive."""
    made = [directory.add_user(displayName=name) for name in ("Ann Ode", "Bob Ode", "Cyd Roe")]
    directory.patch(f"Users/{made[2]['id']}", {"op": "replace", "path": "active", "value": False})
    group = directory.ask("POST", "Groups", {"displayName": "Data", "members": [{"value": made[0]["id"]}]}).json()
    return made, group


def names(answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return sorted(each["displayName"] for each in answer.json()["Resources"])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ('userName eq "{0[userName]}"', ["Ann Ode"]),
        ('USERNAME Eq "{0[userName]}"', ["Ann Ode"]),
        ('externalId eq "{1[externalId]}"', ["Bob Ode"]),
        ('id eq "{2[id]}"', ["Cyd Roe"]),
        ('id eq "no id"', []),
        ('emails[type eq "work"].value eq "{1[userName]}"', ["Bob Ode"]),
        ('emails[type eq "work" and value eq "{1[userName]}"]', ["Bob Ode"]),
        ('emails[type eq "home" and value eq "{1[userName]}"]', []),
        ('emails.value sw "zoe" and displayName ew "ode"', ["Ann Ode", "Bob Ode"]),
        ('displayName co "ode" and not (displayName sw "ann")', ["Bob Ode"]),
        ('active eq false and displayName sw "Cyd"', ["Cyd Roe"]),
        ('active eq "False" and displayName sw "Cyd"', ["Cyd Roe"]),
        ('groups eq "{group}"', ["Ann Ode"]),
        ('groups.value eq "{group}" or displayName eq "bob ode"', ["Ann Ode", "Bob Ode"]),
        ('displayName eq "ann ode" and externalId pr', ["Ann Ode"]),
        ('displayName eq "ann ode" and meta.created gt "2001-01-01T00:00:00Z"', ["Ann Ode"]),
        ('displayName eq "x\\" or userName pr or displayName eq \\""', []),
        ('displayName ew "oe" and userName ne "nobody"', ["Cyd Roe"]),
    ],
)
def test_filters(directory, three, wanted, found):
    made, group = three
    asked = wanted.format(*made, group=group["id"])
    assert names(directory.client.get(
        "/scim/v2/Users", {"filter": asked}, headers={"Authorization": f"Bearer {directory.token}"}
    )) == found  # fmt: skip
    searched = directory.ask("POST", "Users/.search", {"filter": asked})
    assert names(searched) == found


@pytest.mark.parametrize(
    "wanted",
    ["userName", "userName zz 1", 'nonsense eq "x"', 'password eq "x"', "userName eq 1", "active gt true",
     'userName gt "a"', 'meta.created gt "yesterday"', "(" * 100 + "userName pr" + ")" * 100 + " and",
     "not (" * 40 + "userName pr" + ")" * 40, "userName pr or " * 60 + "userName pr", 'userName eq "a\\u0000"',
     "userName pr and " + 'userName eq "' + "x" * 3000 + '"']
)  # fmt: skip
def test_filters_that_are_not_understood_are_refused(directory, wanted):
    answer = directory.client.get(
        "/scim/v2/Users", {"filter": wanted}, headers={"Authorization": f"Bearer {directory.token}"}
    )
    refused(answer, 400, "invalidFilter")


def test_pages_start_at_one_and_hold_at_most_two_hundred(directory, three):
    total = User.objects.count()
    page = directory.get("Users?startIndex=2&count=2").json()
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (total, 2, 2)
    everybody = [each["id"] for each in directory.get("Users?count=500").json()["Resources"]]
    assert [each["id"] for each in page["Resources"]] == everybody[1:3]
    assert directory.get("Users?count=0").json()["totalResults"] == total
    assert directory.get("Users?count=0").json().get("Resources", []) == []
    assert directory.get("Users?startIndex=-3&count=1").json()["startIndex"] == 1
    beyond = directory.get("Users?startIndex=9000").json()
    assert beyond["itemsPerPage"] == 0 and beyond["totalResults"] == total
    assert directory.get("Users?count=many").status_code == 400


def test_attributes_are_chosen(directory, three):
    made, group = three
    one = directory.get(f"Users/{made[0]['id']}?attributes=userName").json()
    assert set(one) == {"schemas", "id", "userName"}
    without = directory.get(f"Groups/{group['id']}?excludedAttributes=members").json()
    assert "members" not in without and without["displayName"] == "Data"
    listed = directory.get("Groups?excludedAttributes=members").json()["Resources"]
    assert all("members" not in each for each in listed)


def test_five_thousand_people_are_read_in_a_few_queries(directory, django_assert_max_num_queries):
    User.objects.bulk_create(User(name=f"P {n}", email=f"p{n}@big.example") for n in range(5000))
    team = Team.objects.create(name="Everybody", slug="everybody")
    Membership.objects.bulk_create(Membership(team=team, user=user) for user in User.objects.all())
    with django_assert_max_num_queries(8):
        page = directory.get("Users?count=200").json()
    assert page["totalResults"] >= 5000 and page["itemsPerPage"] == 200
    assert page["Resources"][7]["groups"][0]["display"] == "Everybody"
    with django_assert_max_num_queries(8):
        assert directory.get('Users?filter=userName eq "p77@big.example"').json()["totalResults"] == 1
    with django_assert_max_num_queries(8):
        assert directory.get("Groups?excludedAttributes=members").json()["totalResults"] == 1


# --- Groups ----------------------------------------------------------------------------------------------


def test_a_group_is_a_team(directory):
    ann, bob = directory.add_user(), directory.add_user()
    body = {"schemas": [f"{CORE}:Group"], "displayName": "Data platform", "externalId": "g1"}
    made = directory.ask("POST", "Groups", {**body, "members": [{"value": ann["id"], "type": "User"}]})
    assert made.status_code == 201
    path = f"Groups/{made.json()['id']}"
    team = Team.objects.get(external_id="g1")
    assert (team.name, team.slug) == ("Data platform", "data-platform")
    assert directory.get(f"Users/{ann['id']}").json()["groups"][0]["display"] == "Data platform"

    directory.patch(path, {"op": "Add", "path": "members", "value": [{"value": bob["id"]}]})
    assert set(team.members.values_list("pk", flat=True)) == {User.objects.get(pk=each["id"]).pk for each in (ann, bob)}
    gone = directory.patch(path, {"op": "Remove", "path": f'members[value eq "{ann["id"]}"]'})
    assert [each["value"] for each in gone.json()["members"]] == [bob["id"]]
    # Entra ID without the flag for RFC conformance names the members in the value.
    directory.patch(path, {"op": "Add", "path": "members", "value": [{"value": ann["id"]}]})
    directory.patch(path, {"op": "Remove", "path": "members", "value": [{"value": bob["id"]}]})
    assert [str(pk) for pk in team.members.values_list("pk", flat=True)] == [ann["id"]]
    directory.patch(path, {"op": "Replace", "value": {"displayName": "Data", "id": made.json()["id"]}})
    put = directory.ask("PUT", path, {"displayName": "Data", "externalId": "g1", "members": []})
    assert put.status_code == 200 and not team.members.exists()
    team.refresh_from_db()
    assert (team.name, team.slug) == ("Data", "data-platform")


def test_members_are_people_who_are_here(directory):
    made = directory.ask("POST", "Groups", {"displayName": "Data"}).json()
    path = f"Groups/{made['id']}"
    for member in ({"value": str(uuid4())}, {"value": "x"}, {"value": made["id"], "type": "Group"}):
        refused(directory.patch(path, {"op": "add", "path": "members", "value": [member]}), 400, "invalidValue")
    refused(directory.ask("POST", "Groups", {"displayName": "DATA"}), 409, "uniqueness")
    refused(directory.ask("POST", "Groups", {"displayName": ""}), 400, "invalidValue")
    assert directory.ask("POST", "Groups", {"displayName": "数据"}).status_code == 201


def test_a_deleted_group_leaves_an_empty_team_behind_and_may_come_again(directory):
    ann = directory.add_user()
    made = directory.ask("POST", "Groups", {"displayName": "Data", "members": [{"value": ann["id"]}]}).json()
    assert directory.ask("DELETE", f"Groups/{made['id']}").status_code == 204
    team = Team.objects.get(pk=made["id"])
    assert team.removed_at and not team.members.exists()
    refused(directory.get(f"Groups/{made['id']}"), 404)
    again = directory.ask("POST", "Groups", {"displayName": "data", "members": [{"value": ann["id"]}]})
    assert again.json()["id"] == made["id"]


def test_groups_are_found(directory, three):
    made, group = three
    wanted = [f'members eq "{made[0]["id"]}"', f'members.value eq "{made[0]["id"]}"', 'displayName eq "data"']
    for each in wanted:
        found = directory.ask("POST", "Groups/.search", {"filter": each}).json()
        assert [row["id"] for row in found["Resources"]] == [group["id"]]


def test_groups_give_roles_by_the_mapping_and_take_only_those_again(directory):
    GroupRole.objects.create(provider="", group="Reviewers", role="reviewer")
    ann = directory.add_user()
    made = directory.ask("POST", "Groups", {"displayName": "Reviewers", "members": [{"value": ann["id"]}]}).json()
    assert set(User.objects.get(pk=ann["id"]).roles) == {"member", "reviewer"}
    directory.patch(f"Groups/{made['id']}", {"op": "remove", "path": "members"})
    assert User.objects.get(pk=ann["id"]).roles == ["member"]


def test_two_changes_at_once_lose_neither(directory, monkeypatch):
    """Between reading the group and writing it somebody else adds a member: the change is worked out anew."""
    ann, bob = directory.add_user(), directory.add_user()
    made = directory.ask("POST", "Groups", {"displayName": "Data"}).json()
    path, once = f"Groups/{made['id']}", []
    change = services.change_group

    def late(**given):
        if not once:
            once.append(True)
            directory.patch(path, {"op": "add", "path": "members", "value": [{"value": bob["id"]}]})
        return change(**given)

    monkeypatch.setattr(services, "change_group", late)
    answer = directory.patch(path, {"op": "add", "path": "members", "value": [{"value": ann["id"]}]})
    assert {each["value"] for each in answer.json()["members"]} == {ann["id"], bob["id"]}


# --- Who somebody is, over the years ---------------------------------------------------------------------


@pytest.fixture
def former(directory):
    """An auditor whom the directory deleted: their id here, and how the directory described them."""
    sent = directory.user(externalId="emp-1", userName="ana@example.org", emails=[{"value": "ana@example.org"}])
    made = directory.ask("POST", "Users", sent).json()["id"]
    User.objects.filter(pk=made).update(roles=["member", "auditor"])
    assert directory.ask("DELETE", f"Users/{made}").status_code == 204
    return made, sent


def test_an_address_that_is_given_to_somebody_else_makes_them_nobody_else(directory, former):
    gone, sent = former
    newcomer = directory.ask("POST", "Users", sent | {"externalId": "emp-2"})
    assert newcomer.status_code == 201 and newcomer.json()["id"] != gone
    new, old = User.objects.get(pk=newcomer.json()["id"]), User.objects.get(pk=gone)
    assert (new.email, new.roles, new.external_id) == ("ana@example.org", ["member"], "emp-2")
    assert (old.name, old.external_id, old.is_active) == ("Zoe Adler", "emp-1", False)
    assert old.email.endswith("@removed.invalid") and old.user_name == ""
    freed = Event.objects.get(act="user.address_freed")
    assert freed.subject_id == old.pk and freed.data["before"]["email"] == "ana@example.org"
    assert not Event.objects.filter(act="user.provisioned_again").exists()


def test_the_address_of_somebody_deleted_can_be_given_by_a_patch_too(directory, former):
    gone, _sent = former
    other = directory.add_user()
    path = f"Users/{other['id']}"
    changed = directory.patch(path, {"op": "replace", "path": "userName", "value": "ana@example.org"})
    assert changed.status_code == 200 and changed.json()["userName"] == "ana@example.org"
    assert User.objects.get(pk=gone).user_name == ""


@pytest.mark.parametrize("change", [{}, {"externalId": None}, {"userName": "other@example.org"}])
def test_the_same_person_comes_back_without_what_oversees_others(directory, former, change):
    gone, sent = former
    again = directory.ask("POST", "Users", {name: value for name, value in (sent | change).items() if value})
    assert again.status_code == 201 and again.json()["id"] == gone
    assert User.objects.get(pk=gone).roles == ["member"]
    told = Event.objects.filter(act="user.roles_set", subject_id=gone).latest("at").data
    assert told == {"before": ["member", "auditor"], "after": ["member"], "because": "returned"}


def test_an_address_of_somebody_brought_back_by_hand_is_taken(directory, admin, former):
    gone, sent = former
    services.set_active(actor=make.acting(admin), user=User.objects.get(pk=gone), active=True)
    refused(directory.ask("POST", "Users", sent | {"externalId": "emp-2"}), 409, "uniqueness")
    assert User.objects.get(pk=gone).email == "ana@example.org"


def test_reactivating_restores_no_role_that_oversees_others(directory):
    made = directory.add_user()
    User.objects.filter(pk=made["id"]).update(roles=["reviewer", "administrator", "security"])
    for active in (False, True):
        answer = directory.patch(f"Users/{made['id']}", {"op": "replace", "path": "active", "value": active})
        assert answer.status_code == 200
    assert User.objects.get(pk=made["id"]).roles == ["reviewer"]


def test_what_a_group_gives_by_two_peoples_word_comes_back_with_the_person(directory):
    GroupRole.objects.create(group="Guard", role="security", provider="scim")
    made = directory.add_user()
    group = {"schemas": [f"{CORE}:Group"], "displayName": "Guard", "members": [{"value": made["id"]}]}
    assert directory.ask("POST", "Groups", group).status_code == 201
    for active in (False, True):
        directory.patch(f"Users/{made['id']}", {"op": "replace", "path": "active", "value": active})
    assert "security" in User.objects.get(pk=made["id"]).roles


def test_whoever_is_deleted_is_in_no_group_when_they_come_back(directory):
    GroupRole.objects.create(group="Guard", role="security", provider="scim")
    sent = directory.user()
    made = directory.ask("POST", "Users", sent).json()["id"]
    group = {"schemas": [f"{CORE}:Group"], "displayName": "Guard", "members": [{"value": made}]}
    team = directory.ask("POST", "Groups", group).json()["id"]
    assert directory.ask("DELETE", f"Users/{made}").status_code == 204
    assert directory.ask("POST", "Users", sent).json()["id"] == made
    assert "security" not in User.objects.get(pk=made).roles
    assert not Membership.objects.filter(team=team).exists()


def test_an_emergency_role_ends_with_the_departure(directory, admin):
    made = directory.add_user()
    guard = User.objects.get(pk=made["id"])
    User.objects.filter(pk=guard.pk).update(roles=["security"])
    guard.refresh_from_db()
    services.take_role(actor=make.acting(guard), role="administrator", reason="The vendor leaks.")
    for active in (False, True):
        directory.patch(f"Users/{made['id']}", {"op": "replace", "path": "active", "value": active})
    guard.refresh_from_db()
    assert guard.elevation == "" and Event.objects.filter(act="user.emergency_role_ended").exists()


# --- Names are of one person -----------------------------------------------------------------------------


@pytest.fixture
def by_hand():
    return make.person(email="hand@example.org", name="Hanna Hand")


def test_a_name_is_of_one_person_also_when_it_is_an_address_typed_by_hand(directory, by_hand):
    other = directory.add_user()
    path = f"Users/{other['id']}"
    for name in ("hand@example.org", "HAND@example.org"):
        said = refused(directory.patch(path, {"op": "replace", "path": "userName", "value": name}), 409, "uniqueness")
        assert "userName" in said["detail"]
        body = directory.user(userName=name)
        refused(directory.ask("POST", "Users", body), 409, "uniqueness")
        refused(directory.ask("PUT", path, body | {"externalId": other["externalId"]}), 409, "uniqueness")
    found = directory.get('Users?filter=userName eq "hand@example.org"').json()
    assert [each["id"] for each in found["Resources"]] == [str(by_hand.pk)]


def test_nor_does_the_database_take_it(directory, by_hand):
    other = User.objects.get(pk=directory.add_user()["id"])
    other.user_name = "Hand@Example.org"
    with pytest.raises(IntegrityError), transaction.atomic():
        other.save()


def test_nobody_is_added_by_hand_under_a_name_of_the_directory(directory, admin):
    directory.add_user(userName="ana@corp.example")
    with pytest.raises(Conflict):
        services.create_user(actor=make.acting(admin), email="Ana@corp.example", name="Another Ana")


# --- What is said when something does not fit ------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({"path": "active", "value": ["False"]}, "active: must be true or false"),
        ({"path": "name", "value": 7}, "name: must be an object"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_in_our_words(directory, operation, said):
    made = directory.add_user()
    answer = directory.patch(f"Users/{made['id']}", {"op": "replace", **operation})
    assert refused(answer, 400, "invalidValue")["detail"] == said
    assert "pydantic" not in answer.content.decode()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"userName": "x" * 300, "emails": []}, "userName: at most 255 characters, and this has 300"),
        ({"userName": "a\0b", "emails": []}, "userName: a null character cannot be stored"),
        ({"userName": "zoe", "emails": []}, "emails: an e-mail address is needed"),
        ({"emails": [{"value": "zoe"}]}, "emails: the value is no e-mail address"),
        ({"active": "perhaps"}, "active: must be true or false"),
        ({"externalId": "x" * 300}, "externalId: "),
    ],
)
def test_a_refusal_names_the_attribute_and_the_reason(directory, facts, said):
    answer = directory.ask("POST", "Users", directory.user(**facts))
    assert refused(answer, 400, "invalidValue")["detail"].startswith(said)
