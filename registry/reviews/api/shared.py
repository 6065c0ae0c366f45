"""What several resources of reviews share."""

from drf_spectacular.utils import (
    OpenApiParameter,
)
from rest_framework.request import Request

from registry.core.api import IF_MATCH as IF_MATCH
from registry.core.api import expected_version
from registry.core.errors import VersionRequired
from registry.reviews.models import Decision

AUTH_METHOD = "token"
ANSWERS = [choice for choice in Decision.Value.choices if choice[0] != Decision.Value.RETURN]
"""What a reviewer may answer in a campaign; a registration is returned by its own act."""
IF_MATCH_REQUIRED = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="ETag of the item as you saw it; 428 without, 412 when it or your answer changed since.",
)


def required_version(request: Request) -> str:
    """The ETag a decision is based on, not `*`: whoever decides has seen something. Raises `VersionRequired`."""
    version = expected_version(request)
    if not version or version.strip() == "*":
        raise VersionRequired("Send If-Match with the ETag of the item you decided on.")
    return version
