"""AWS Secrets Manager, by DescribeSecret alone.

Credentials come from where every AWS client takes them (environment, profile, role of the machine or pod). Before a
request leaves, its operation is looked at: a client that would read a value does not leave this process, whatever its
credentials allow. Amazon's library takes 25 MB, so it is loaded by the first who asks.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _

from registry.discovery.stores.looked import Looked, Outcome, cannot, instant, plain

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ALLOWED = "DescribeSecret"
REGION = re.compile(r"[a-z]{2,4}(-[a-z]{2,12}){1,3}-\d{1,2}")
THROTTLED = ("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded")
NOT_ALLOWED = ("AccessDeniedException", "AccessDenied", "UnauthorizedOperation")
BAD_CREDENTIALS = (
    "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
    "ExpiredTokenException", "ExpiredToken", "InvalidAccessKeyId", "AuthFailure", "IncompleteSignature",
)  # fmt: skip


def missing() -> str:
    if settings.AWS_REGION:
        return ""
    return _("This registry has no access to AWS Secrets Manager; set AWS_REGION and give it credentials.")


def check(reference: str) -> Looked:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    place = _place(reference)
    if place is None:
        return cannot(_("This is the ARN of something else, not of a secret."))
    region, secret = place
    if not REGION.fullmatch(region):
        return cannot(_("There is no AWS region of this name."))
    try:
        client = _client(region, settings.AWS_ENDPOINT_URL_SECRETS_MANAGER, settings.OUTBOUND_PROXY)
        said = client.describe_secret(SecretId=secret)
    except (NoCredentialsError, PartialCredentialsError):
        _client.cache_clear()  # A client made without credentials never looks for them again.
        return cannot(_("This registry has no AWS credentials. Give it a role, or AWS_ACCESS_KEY_ID and its secret."))
    except ClientError as error:
        return _refused(error, region)
    except BotoCoreError:
        return cannot(_("AWS Secrets Manager in %(region)s could not be reached.") % {"region": region})
    return _read(said, region)


def _place(reference: str) -> tuple[str, str] | None:
    """Region and id of the secret. An ARN may go on with a key and stages, as container definitions write it."""
    if not reference.startswith("arn:"):
        return settings.AWS_REGION, reference
    parts = reference.split(":")
    if len(parts) < 7 or parts[2] != "secretsmanager" or parts[5] != "secret":
        return None
    return parts[3], ":".join(parts[:7])


@lru_cache(maxsize=16)
def _client(region: str, endpoint: str, proxy: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=3,
        read_timeout=5,
        retries={"total_max_attempts": 2, "mode": "standard"},
        # Empty, so that it does not look for another one in the environment.
        proxies={"http": proxy, "https": proxy} if proxy else {},
    )
    client = boto3.session.Session().client(
        "secretsmanager", region_name=region, endpoint_url=endpoint or None, config=config
    )
    client.meta.events.register("before-call.secrets-manager", _only_metadata)
    return client


def _only_metadata(model: Any, **_rest: Any) -> None:
    if model.name != ALLOWED:
        raise PermissionError(f"{model.name} is not asked by this registry")


def _refused(error: "ClientError", region: str) -> Looked:
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ResourceNotFoundException":
        said = _("AWS Secrets Manager in %(region)s knows no secret of this name.") % {"region": region}
        return Looked(Outcome.NOT_FOUND, said)
    if code in NOT_ALLOWED:
        return cannot(_("AWS does not let this registry describe this secret; the policy needs DescribeSecret on it."))
    if code in THROTTLED:
        return cannot(_("AWS asks for fewer requests; it is tried again later."))
    if code in BAD_CREDENTIALS:
        _client.cache_clear()
        return cannot(_("AWS does not accept this registry's credentials."))
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403:
        return cannot(_("AWS, or the endpoint in front of it, does not let this registry ask."))
    return cannot(_("AWS refused: %(code)s.") % {"code": re.sub(r"\W", "", code)[:80]})


def _read(said: dict[str, Any], region: str) -> Looked:
    deleted = said.get("DeletedDate")
    names = ("CreatedDate", "LastRotatedDate", "LastChangedDate", "LastAccessedDate", "NextRotationDate", "DeletedDate")
    facts = plain({name: said.get(name) for name in names})
    facts |= plain({"AutomaticallyAfterDays": said.get("RotationRules", {}).get("AutomaticallyAfterDays")})
    facts |= {"Versions": len(said.get("VersionIdsToStages") or ()), "Tags": len(said.get("Tags") or ())}
    return Looked(
        Outcome.DELETED if deleted else Outcome.VERIFIED,
        _("It is marked for deletion in AWS (%(region)s).") % {"region": region} if deleted else "",
        rotation_enabled=bool(said.get("RotationEnabled", False)),
        last_rotated_at=instant(said.get("LastRotatedDate")),
        last_changed_at=instant(said.get("LastChangedDate")),
        last_accessed_at=instant(said.get("LastAccessedDate")),
        facts={**facts, "Region": region},
    )
