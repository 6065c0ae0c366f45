"""`create_token` and `create_user`: scripts rely on what they print and on their exit code."""

import io

import pytest
from django.core.management import CommandError, call_command

from registry.accounts.models import ApiToken, User
from registry.audit.models import Event
from tests.factories import person

pytestmark = pytest.mark.django_db


def run(*arguments, **options):
    out = io.StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue()


def test_create_token_prints_only_the_token(web):
    user = person(email="ci@example.test")
    printed = run(
        "create_token", "--user", "CI@example.test", "--scopes", "catalog:read, accounts:read", "--days", "30"
    )
    assert printed.count("\n") == 1 and printed.startswith("stw_")
    token = ApiToken.objects.get()
    assert (token.user, token.scopes) == (user, ["accounts:read", "catalog:read"])
    answer = web().get("/api/v1/users", headers={"Authorization": f"Bearer {printed.strip()}"})
    assert answer.status_code == 200
    assert Event.objects.get(act="token.created").actor_kind == "system"


@pytest.mark.parametrize(
    ("user", "scopes", "days", "said"),
    [
        ("nobody@example.test", "read", "1", "Nobody has the address nobody@example.test"),
        ("ci@example.test", "root", "1", "'root' is not a scope"),
        ("ci@example.test", "", "1", "at least one scope"),
        ("ci@example.test", "read", "400", "--days: A token lives 1 to 365 days."),
    ],
)
def test_create_token_says_what_is_wrong(user, scopes, days, said):
    person(email="ci@example.test")
    with pytest.raises(CommandError, match=said):
        run("create_token", "--user", user, "--scopes", scopes, "--days", days)
    assert not ApiToken.objects.exists()


def test_create_user_adds_the_first_administrator(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda: "a long enough word")
    printed = run(
        "create_user", email="root@example.test", name="Root", roles="member,administrator", password_stdin=True
    )
    user = User.objects.get(pk=printed.strip())
    assert user.roles == ["member", "administrator"] and user.check_password("a long enough word")


def test_create_user_without_a_password():
    run("create_user", email="sso@example.test", name="Sso", no_password=True)
    assert not User.objects.get(email="sso@example.test").has_usable_password()


def test_create_user_refuses_an_unknown_role():
    with pytest.raises(CommandError, match="Not a role: king"):
        run("create_user", email="x@example.test", name="X", roles="king", no_password=True)


def test_map_group_makes_the_first_administrator_possible():
    assert run("map_group", "registry-admins", "administrator") == (
        "Whoever is in registry-admins has the role administrator.\n"
    )
    assert Event.objects.get(act="group_role.created").actor_kind == "system"
    with pytest.raises(CommandError, match="already"):
        run("map_group", "registry-admins", "administrator")
    with pytest.raises(CommandError, match="emperor"):
        run("map_group", "registry-admins", "emperor")
