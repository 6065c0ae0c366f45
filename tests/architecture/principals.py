"""Who knocks at every door: the people and tokens of the permission matrix."""

from typing import Any

from django.test import Client

from registry.accounts.models import Role, User
from registry.catalog.models import Agent, Server, System
from registry.reviews.models import Campaign, WorkItem
from tests import factories as make

PRINCIPALS = (
    "anonymous", "outsider", "member", "owner", "deputy", "reviewer", "manager", "security", "auditor",
    "administrator", "token", "narrow",
)  # fmt: skip
"""`outsider` is signed in without a role, `member` has nothing to do with the things addressed, `owner` and `deputy`
answer for them, `reviewer` has them to review. `token` is the owner's with every scope, `narrow` one of a person of
every role whose only scope belongs to another room."""

TOKENS = ("token", "narrow")


def people(known: dict[str, dict[str, Any]]) -> dict[str, User]:
    """The people of the matrix; everything addressed gets the same owner and deputy."""
    server = Server.objects.get(pk=known["catalog"]["pk"])
    owner, deputy = server.owner, server.deputy or make.person()
    Server.objects.update(owner=owner, deputy=deputy)
    for model in (System, Agent):
        model.objects.update(owner=owner)
    campaign = Campaign.objects.get(pk=known["reviews"]["pk"])
    work = WorkItem.objects.filter(item_id=known["api:item"]["pk"]).order_by("pk")[0]
    return {
        "outsider": make.outsider(),
        "member": make.person(),
        "owner": owner,
        "deputy": deputy,
        "reviewer": work.reviewer,
        "manager": campaign.owner,
        **{name: make.person(name) for name in ("security", "auditor", "administrator")},
    }


class Doors:
    """One test client per principal; what a request changes is rolled back by whoever asks."""

    def __init__(self, known: dict[str, dict[str, Any]]) -> None:
        self._clients = {"anonymous": Client(raise_request_exception=False)}
        who = people(known)
        for name, user in who.items():
            self._clients[name] = Client(raise_request_exception=False)
            self._clients[name].force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        everything = make.person(*Role.values)
        # Signing out is one of the doors, too: whoever went through it comes back.
        self._cookies = {name: client.cookies.output(header="") for name, client in self._clients.items()}
        self._tokens = {
            "token": dict.fromkeys((True, False), make.bearer(who["owner"])),
            "narrow": {True: make.bearer(everything, "audit:read"), False: make.bearer(everything, "accounts:read")},
        }

    def ask(self, principal: str, method: str, path: str, body: Any, *, of_accounts: bool) -> int:
        """The status code of the answer. `of_accounts`: the address belongs to that room."""
        token = principal in TOKENS
        headers = self._tokens[principal][of_accounts] if token else {}
        name = "anonymous" if token else principal
        client = self._clients[name]
        client.cookies.clear()
        client.cookies.load(self._cookies[name])
        ask = getattr(client, method.lower())
        if method == "GET":
            return int(ask(path, **headers).status_code)
        if path.startswith("/api/"):
            headers = headers | {"content_type": "application/json"}
        return int(ask(path, body, **headers).status_code)
