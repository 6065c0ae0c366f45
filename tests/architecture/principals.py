"""Who knocks at every door: the people and tokens of the permission matrix."""

from functools import cache
from typing import Any

from django.contrib.messages import ERROR, get_messages
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils.http import urlencode

from registry.accounts.browser import PROVEN
from registry.accounts.models import Role, User
from registry.catalog.models import Server
from registry.core import scopes
from registry.reviews.models import Campaign, WorkItem
from tests import factories as make
from tests.architecture.world import in_the_same_hands

PRINCIPALS = (
    "anonymous", "outsider", "member", "owner", "deputy", "reviewer", "manager", "security", "auditor",
    "administrator", "token", "narrow",
)  # fmt: skip
"""`outsider` is signed in without a role, `member` has nothing to do with the things addressed, `owner` and `deputy`
answer for them, `reviewer` has them to review, `manager` runs their campaign. Both tokens act for a person of every
role: `token` has nothing but the scopes of the resource addressed, `narrow` every scope except the one needed."""

TOKENS = ("token", "narrow")
IF_MATCH = "If-Match"
"""Stands in a body of `bodies.py` where a decision has to name what was seen, and is sent as the header."""
LATE, FULL = "late ", "full "
"""Before a name: who proved long ago who they are, and who has every role besides what is theirs. They are asked only
about questions that nobody else can tell (see removals.py)."""
BY_ROLE_ALONE = ("owner", "deputy")
"""They have the member's roles, hence the member's answers wherever an address names no thing to have a stake in."""

REST = ("/api/", "/scim/")


def people(known: dict[str, dict[str, Any]]) -> dict[str, User]:
    """The people of the matrix; everything addressed gets the same owner and deputy."""
    server = Server.objects.get(pk=known["catalog"]["pk"])
    in_the_same_hands(server)
    campaign = Campaign.objects.get(pk=known["reviews"]["pk"])
    work = WorkItem.objects.filter(item_id=known["api:item"]["pk"]).order_by("pk")[0]
    found = {
        "outsider": make.outsider(),
        "member": make.person(),
        "owner": server.owner,
        "deputy": server.deputy,
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
        self._people = people(known)
        for name, user in self._people.items():
            # Signing out is one of the doors, too: whoever went through it comes back.
            self._cookies[name], _ = _signed_in(user)
            self._cookies[LATE + name], session = _signed_in(user)
            session[PROVEN] = 0
            session.save()
        self._asks = {"sign-in": reverse("accounts:sign_in"), "confirm": reverse("accounts:confirm")}
        self._everybody = make.person(*Role.values)
        self._bearers: dict[frozenset[str], dict[str, str]] = {}

    def forget_tokens(self) -> None:
        """They are made when they are first needed, and go with the transaction of that test."""
        self._bearers.clear()

    def _bearer(self, held: frozenset[str]) -> dict[str, str]:
        if held not in self._bearers:
            self._bearers[held] = make.bearer(self._everybody, *sorted(held))
        return self._bearers[held]

    def ask(self, principal: str, method: str, path: str, body: Any, pattern: URLPattern) -> str:
        """The status code of the answer, or what a redirect means (see `_meaning`)."""
        headers: dict[str, Any] = {}
        if principal in TOKENS:
            enough, missing = needed(method, pattern)
            headers |= self._bearer(enough if principal == "token" else every_scope() - missing)
        if path.startswith(REST) and method != "GET":
            seen = body.get(IF_MATCH, "*") if isinstance(body, dict) else "*"
            headers |= {"content_type": "application/json", "HTTP_IF_MATCH": seen}
            body = {name: value for name, value in body.items() if name != IF_MATCH} if seen != "*" else body
        elif method != "GET":
            headers |= {"content_type": "application/x-www-form-urlencoded"}
            body = urlencode(body, doseq=True)
        self._client.cookies.clear()
        self._client.cookies.load(self._cookies["anonymous" if principal in TOKENS else principal.removeprefix(FULL)])
        with transaction.atomic():
            if principal.startswith(FULL):
                person = self._people[principal.removeprefix(FULL)]
                User.objects.filter(pk=person.pk).update(roles=Role.values)
            answer = getattr(self._client, method.lower())(path, body, **headers)
            if answer.streaming:
                answer.getvalue()  # a file read from one state of the data holds a savepoint until its end
            transaction.set_rollback(True)
        return self._meaning(answer) if answer.status_code == 302 else str(answer.status_code)

    def _meaning(self, answer: Any) -> str:
        """Where it asks who it is: sign-in or confirm. Where the next page says an error: 302! instead of 302."""
        for word, page in self._asks.items():
            if answer["Location"].startswith(f"{page}?"):
                return word
        told = getattr(get_messages(answer.wsgi_request), "_queued_messages", [])
        return "302!" if any(each.level >= ERROR for each in told) else "302"


def _signed_in(user: User) -> tuple[str, SessionBase]:
    """The cookies of a new session of theirs, and the session."""
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client.cookies.output(header=""), client.session
