"""What a grant or a connection may become (DESIGN section 5)."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.core.states import Machine


class Status(models.TextChoices):
    REQUESTED = "requested", _("Requested")
    ACTIVE = "active", _("Active")
    SUSPENDED = "suspended", _("Suspended")
    REDUCED = "reduced", _("Reduced: a narrower version took its place")
    REVOKED = "revoked", _("Revoked")
    REPLACED = "replaced", _("Replaced by a newer version")
    EXPIRED = "expired", _("Expired")
    REFUSED = "refused", _("Refused")
    WITHDRAWN = "withdrawn", _("Withdrawn")


RELATIONSHIP = Machine(
    "trust relationship",
    {
        Status.REQUESTED: (Status.ACTIVE, Status.REFUSED, Status.WITHDRAWN, Status.EXPIRED),
        Status.ACTIVE: (Status.SUSPENDED, Status.REDUCED, Status.REPLACED, Status.REVOKED, Status.EXPIRED),
        Status.SUSPENDED: (Status.ACTIVE, Status.REDUCED, Status.REVOKED, Status.EXPIRED),
    },
)
HELD = (Status.ACTIVE, Status.SUSPENDED)
"""Approved and not over: at most one version per pair of ends."""
OPEN = (Status.REQUESTED, *HELD)
"""Not over: besides the held version, at most one request (the first, or one that would replace it)."""
