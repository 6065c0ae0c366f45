"""Who knocks at every door: the people and tokens of the permission matrix."""

from functools import cache
from typing import Any

from django.db import transaction
from django.test import Client
from django.urls import URLPattern

from registry.accounts.models import Role, User
from registry.catalog.models import Agent, Server, System
from registry.core import scopes
from registry.reviews.models import Campaign, WorkItem
from tests import factories as make

PRINCIPALS = (
    "anonymous", "outsider", "member", "owner", "deputy", "reviewer", "manager", "security", "auditor",
    "administrator", "token", "narrow",
)  # fmt: skip
"""`outsider` is signed in without a role, `member` has nothing to do with the things addressed, `owner` and `deputy`
answer for them, `reviewer` has them to review, `manager` runs their campaign. Both tokens act for a person of every
role: `token` has nothing but the scopes of the resource addressed, `narrow` every scope except the one needed."""

TOKENS = ("token", "narrow")
BY_ROLE_ALONE = ("owner", "deputy")
"""They have the member's roles, hence the member's answers wherever an address names no thing to have a stake in."""

STALE = dict.fromkeys(("item-decide-intake", "decision-list", "decision-detail", "drift-approve"), '"stale.1"')
"""Where a decision has to name what was seen, it names something old: that is told only to whoever may decide."""
REST = ("/api/", "/scim/")


def people(known: dict[str, dict[str, Any]]) -> dict[str, User]:
    """The people of the matrix; everything addressed gets the same owner and deputy."""
    server = Server.objects.get(pk=known["catalog"]["pk"])
    owner, deputy = server.owner, server.deputy or make.person()
    Server.objects.update(owner=owner, deputy=deputy)
    for model in (System, Agent):
        model.objects.update(owner=owner)
    campaign = Campaign.objects.get(pk=known["reviews"]["pk"])
    work = WorkItem.objects.filter(item_id=known["api:item"]["pk"]).order_by("pk")[0]
    found = {
        "outsider": make.outsider(),
        "member": make.person(),
        "owner": owner,
        "deputy": deputy,
        "reviewer": work.reviewer,
        "manager": campaign.owner,
        **{name: make.person(name) for name in ("security", "auditor", "administrator")},
    }
    assert all(found[each].roles == found["member"].roles for each in BY_ROLE_ALONE)
    return found


@cache
def every_scope() -> frozenset[str]:
    """Those of each resource, without the shorthands that contain them."""
    return frozenset(scopes.known()) - set(scopes.shorthands())


def needed(method: str, pattern: URLPattern) -> tuple[frozenset[str], frozenset[str]]:
    """What a REST address asks of a token: (enough, without which nothing goes)."""
    view: Any = getattr(pattern.callback, "cls", None) or getattr(pattern.callback, "view_class", None)
    room = getattr(view, "room", "")
    resource = scopes.resource_of(room, pattern.name or "") if room else ""
    if not room:  # /scim/v2/
        return frozenset({"accounts:provision"}), frozenset({"accounts:provision"})
    inside = {each for each in every_scope() if each.startswith(f"{resource}:" if resource else f"{room}.")}
    if method != "GET":
        inside |= {each for each in every_scope() if each.startswith(f"{room}.") and each.endswith(":read")}
    missing = {each for each in inside if each.endswith(":read" if method == "GET" else ":write")}
    return frozenset(inside), frozenset(missing or inside)


class Doors:
    """One session per person and one token per set of scopes. What a request changes is rolled back."""

    def __init__(self, known: dict[str, dict[str, Any]]) -> None:
        self._client = Client(raise_request_exception=False)
        self._cookies = {"anonymous": ""}
        for name, user in people(known).items():
            client = Client()
            client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
            # Signing out is one of the doors, too: whoever went through it comes back.
            self._cookies[name] = client.cookies.output(header="")
        self._everybody = make.person(*Role.values)
        self._bearers: dict[frozenset[str], dict[str, str]] = {}

    def _bearer(self, held: frozenset[str]) -> dict[str, str]:
        if held not in self._bearers:
            self._bearers[held] = make.bearer(self._everybody, *sorted(held))
        return self._bearers[held]

    def ask(self, principal: str, method: str, path: str, body: Any, pattern: URLPattern) -> int:
        """The status code of the answer."""
        headers: dict[str, Any] = {}
        if principal in TOKENS:
            enough, missing = needed(method, pattern)
            headers |= self._bearer(enough if principal == "token" else every_scope() - missing)
        if path.startswith(REST) and method != "GET":
            headers |= {"content_type": "application/json", "HTTP_IF_MATCH": STALE.get(pattern.name or "", "*")}
        self._client.cookies.clear()
        self._client.cookies.load(self._cookies["anonymous" if principal in TOKENS else principal])
        with transaction.atomic():
            answer = getattr(self._client, method.lower())(path, {} if method == "GET" else body, **headers)
            transaction.set_rollback(True)
        return int(answer.status_code)
