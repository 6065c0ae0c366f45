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


class VacancyState(models.TextChoices):
    """Of what is without an owner since its owner left."""

    OPEN = "open", _("Without an owner")
    FILLED = "filled", _("Taken over")
    CLOSED = "closed", _("No longer needed")


VACANCY = Machine("vacancy", {VacancyState.OPEN: (VacancyState.FILLED, VacancyState.CLOSED)})


class ProposalState(models.TextChoices):
    """Of the question whether somebody takes something over."""

    PROPOSED = "proposed", _("Waits for an answer")
    ACCEPTED = "accepted", _("Accepted")
    DECLINED = "declined", _("Declined")
    WITHDRAWN = "withdrawn", _("Withdrawn")


PROPOSAL = Machine(
    "proposal",
    {ProposalState.PROPOSED: (ProposalState.ACCEPTED, ProposalState.DECLINED, ProposalState.WITHDRAWN)},
)
