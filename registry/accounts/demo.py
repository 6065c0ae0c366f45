"""The accounts of the demo data. They exist only where `manage.py demo` made them, in the embedded profile."""

from typing import NamedTuple

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Role, User

DEMO_PASSWORD = "steward-demo-only"  # noqa: S105 - published on purpose: it guards data that anybody may see


class DemoAccount(NamedTuple):
    email: str
    title: "str | Promise"
    roles: tuple[Role, ...]


DEMO_ACCOUNTS = (
    DemoAccount("owner@example.org", _("Server owner"), (Role.MEMBER,)),
    DemoAccount("reviewer@example.org", _("Reviewer"), (Role.MEMBER, Role.REVIEWER)),
    DemoAccount("manager@example.org", _("Campaign manager"), (Role.MEMBER, Role.CAMPAIGN_MANAGER)),
    DemoAccount("security@example.org", _("Security"), (Role.MEMBER, Role.SECURITY)),
    DemoAccount("auditor@example.org", _("Auditor"), (Role.AUDITOR,)),
    DemoAccount("admin@example.org", _("Administrator"), (Role.MEMBER, Role.ADMINISTRATOR)),
)


def demo_sign_ins() -> list[tuple[DemoAccount, User]]:
    """The demo accounts one can sign in with here; none outside the embedded profile."""
    if not settings.EMBEDDED:
        return []
    emails = [account.email for account in DEMO_ACCOUNTS]
    users = {user.email: user for user in User.objects.filter(email__in=emails, is_active=True)}
    return [(account, users[account.email]) for account in DEMO_ACCOUNTS if account.email in users]
