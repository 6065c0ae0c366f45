"""What a server, and everything else that is declared, may become (DESIGN section 5)."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.core.states import Machine


class Lifecycle(models.TextChoices):
    DRAFT = "draft", _("Draft")
    SUBMITTED = "submitted", _("Submitted")
    ACTIVE = "active", _("Active")
    SUSPENDED = "suspended", _("Suspended")
    RETIRED = "retired", _("Retired")


SERVER = Machine(
    "server",
    {
        Lifecycle.DRAFT: (Lifecycle.SUBMITTED, Lifecycle.RETIRED),
        Lifecycle.SUBMITTED: (Lifecycle.DRAFT, Lifecycle.ACTIVE, Lifecycle.RETIRED),
        Lifecycle.ACTIVE: (Lifecycle.SUSPENDED, Lifecycle.RETIRED),
        Lifecycle.SUSPENDED: (Lifecycle.ACTIVE, Lifecycle.RETIRED),
    },
)


class Standing(models.TextChoices):
    """Of systems, agents and issuers."""

    ACTIVE = "active", _("Active")
    RETIRED = "retired", _("Retired")


STANDING = Machine("entry", {Standing.ACTIVE: (Standing.RETIRED,)})
