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
    EXPIRED = "expired", _("Expired")
    REFUSED = "refused", _("Refused")


RELATIONSHIP = Machine(
    "trust relationship",
    {
        Status.REQUESTED: (Status.ACTIVE, Status.REFUSED, Status.EXPIRED),
        Status.ACTIVE: (Status.SUSPENDED, Status.REDUCED, Status.REVOKED, Status.EXPIRED),
        Status.SUSPENDED: (Status.ACTIVE, Status.REVOKED, Status.EXPIRED),
    },
)
OPEN = (Status.REQUESTED, Status.ACTIVE, Status.SUSPENDED)
