"""What the registration form says beside its fields: the reviewer's questions, examples, and suggested steps.

Data only, so that wording changes touch no code. Nothing here refuses anything; services do that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import RevocationStep, SecretSource

Text = str | Promise
Kind = SecretSource.Kind
Executor = RevocationStep.Executor


@dataclass(frozen=True)
class Step:
    """A page of the form. `answers` names the questions of `catalog.queries.completeness` it answers."""

    name: str
    title: Text
    intro: Text
    asked: Sequence[Text]
    """What the reviewer will ask."""


STEPS: tuple[Step, ...] = (
    Step(
        "identity",
        _("Identity and endpoint"),
        _("What is it called, where does it come from, and how is it reached?"),
        (
            _("Is this name the one its publisher uses, so that logs and gateways can be matched?"),
            _("Is every way to reach it listed? What is not listed here is not covered by a certificate."),
            _("Is a package version pinned, or could it change under us?"),
        ),
    ),
    Step(
        "people",
        _("Accountable people"),
        _("One person answers for it, a second one stands in, a team stays when both have left."),
        (
            _("Does the owner know that they answer for it? They must accept before it can be submitted."),
            _("Is the deputy somebody who could act tonight?"),
            _("Whoever owns, deputises or registers cannot approve."),
        ),
    ),
    Step(
        "purpose",
        _("Bounded purpose"),
        _("What is it for, what is it not for, and when does that end?"),
        (
            _("Could an outsider decide from this text whether a call is in scope?"),
            _("What would be a misuse? Say it under “out of scope”."),
            _("Why this end date? Every purpose ends; it can be renewed."),
        ),
    ),
    Step(
        "tools",
        _("Tools"),
        _("What can it do? The class a tool claims is a hint; the class you confirm counts."),
        (
            _("Which tools change, delete or execute something?"),
            _("Does a tool that claims to read really only read?"),
            _("A tool without a confirmed class is treated as destructive."),
        ),
    ),
    Step(
        "systems",
        _("Downstream systems"),
        _("What does it act on, with which access, until when?"),
        (
            _("Is read enough? Write access to confidential data raises the tier."),
            _("Are the scopes the smallest that work?"),
            _("Does the owner of the system know?"),
        ),
    ),
    Step(
        "secrets",
        _("Secret sources"),
        _("Where do its credentials come from? Give the reference, never the value."),
        (
            _("Who can revoke the credential, and where?"),
            _("How old may it get? When was it rotated last?"),
            _("Does another server use the same one? Then cutting one cuts both."),
        ),
    ),
    Step(
        "revocation",
        _("Revocation path"),
        _("If it must stop now: what is done, in which order, by whom, in how many minutes?"),
        (
            _("Would these steps work at three in the morning?"),
            _("After the last step: does the credential still work anywhere?"),
            _("Who is called when the named person cannot be reached?"),
        ),
    ),
    Step(
        "check",
        _("Check and submit"),
        _("The six questions, as the reviewer will see them."),
        (
            _("An independent reviewer activates the server or returns it with reasons."),
            _("While it is submitted you can withdraw it to make changes."),
        ),
    ),
)
STEP_NAMES = tuple(step.name for step in STEPS)

QUESTION_STEP = {
    "accountable": "people",
    "purpose": "purpose",
    "credentials": "secrets",
    "activity": "tools",
    "revocation": "revocation",
}
"""Where each question of `catalog.queries.completeness` is answered; what is reached, on two pages."""


@dataclass(frozen=True)
class SecretKind:
    """How one kind of secret source is described, and which further fields it has."""

    kind: Kind
    reference: Text
    example: str
    fields: frozenset[str]


_KEPT = frozenset({"reference", "name", "credential_type", "rotation", "lifetime", "revocable_by"})
SECRET_KINDS: tuple[SecretKind, ...] = (
    SecretKind(Kind.VAULT, _("The path in the vault, without the value."), "kv/data/warehouse-sql", _KEPT),
    SecretKind(
        Kind.AWS_SECRETS_MANAGER,
        _("The ARN or name of the secret."),
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:warehouse-sql",
        _KEPT,
    ),
    SecretKind(
        Kind.AZURE_KEY_VAULT, _("The identifier of the secret."), "https://halden.vault.azure.net/secrets/wh-sql", _KEPT
    ),
    SecretKind(
        Kind.GCP_SECRET_MANAGER, _("The resource name of the secret."), "projects/halden/secrets/warehouse-sql", _KEPT
    ),
    SecretKind(Kind.KUBERNETES, _("Namespace, name and key."), "data-platform/warehouse-sql#password", _KEPT),
    SecretKind(
        Kind.WORKLOAD_IDENTITY,
        _("The identity it runs as: a SPIFFE id, a role or a service account."),
        "spiffe://halden.example/servers/warehouse-sql",
        frozenset({"reference", "name", "lifetime", "revocable_by"}),
    ),
    SecretKind(
        Kind.OAUTH_CLIENT,
        _("Issuer and client id; the client secret stays where it is."),
        "warehouse-sql at https://login.halden.example",
        _KEPT,
    ),
    SecretKind(
        Kind.PROMPTED,
        _("What the client asks the user for."),
        "SEARCH_API_KEY",
        frozenset({"reference", "name", "credential_type", "revocable_by"}),
    ),
    SecretKind(Kind.ENVIRONMENT, _("Host and variable name, not its value."), "wh-prod-3: DB_PASSWORD", _KEPT),
    SecretKind(Kind.FILE, _("Host and path of the file."), "wh-prod-3:/etc/warehouse-sql/credentials", _KEPT),
    SecretKind(Kind.NONE, _("Say why none is needed."), "", frozenset({"reason"})),
)


@dataclass(frozen=True)
class SuggestedStep:
    instruction: Text
    executor: Executor = Executor.MANUAL
    responsible: Text = ""
    expected_minutes: int = 10


_CUT_CALLS = SuggestedStep(
    _("Suspend the server in this registry, so that gateways deny its calls"), Executor.REGISTRY, _("Registry"), 1
)
_CREDENTIAL_STEP: dict[str, SuggestedStep] = {
    Kind.VAULT: SuggestedStep(_("Revoke the leases under the vault path and delete the policy"), expected_minutes=5),
    Kind.AWS_SECRETS_MANAGER: SuggestedStep(_("Disable the credential at its issuer, then rotate the secret in AWS")),
    Kind.AZURE_KEY_VAULT: SuggestedStep(_("Disable the secret version in the key vault and rotate it at its issuer")),
    Kind.GCP_SECRET_MANAGER: SuggestedStep(_("Disable the secret version and rotate the credential at its issuer")),
    Kind.KUBERNETES: SuggestedStep(_("Delete the Kubernetes secret, restart the pods, rotate at the issuer")),
    Kind.WORKLOAD_IDENTITY: SuggestedStep(
        _("Delete the identity's registration entry or role binding"), expected_minutes=5
    ),
    Kind.OAUTH_CLIENT: SuggestedStep(
        _("Disable the client at the issuer and revoke its refresh tokens"), expected_minutes=5
    ),
    Kind.PROMPTED: SuggestedStep(
        _("Ask the users to revoke the tokens they entered; list who that is"), expected_minutes=60
    ),
    Kind.ENVIRONMENT: SuggestedStep(
        _("Rotate the credential at its issuer and remove the variable from the host"), expected_minutes=30
    ),
    Kind.FILE: SuggestedStep(
        _("Rotate the credential at its issuer and delete the file from the host"), expected_minutes=30
    ),
}
_PROVE = SuggestedStep(_("Prove the cut: try the old credential and watch the log for calls"), expected_minutes=10)


def suggested_steps(kinds: Sequence[str]) -> list[SuggestedStep]:
    """A revocation path to start from, for a server with secret sources of these kinds."""
    credentials = [_CREDENTIAL_STEP[kind] for kind in dict.fromkeys(kinds) if kind in _CREDENTIAL_STEP]
    return [_CUT_CALLS, *credentials, _PROVE]


_VAGUE = re.compile(
    r"\b(various|general(ly)?|etc|anything|everything|all kinds|multiple purposes|as needed|misc\w*|and so on|"
    r"whatever|general[- ]purpose|different tasks|helps? with)\b",
    re.IGNORECASE,
)


def vagueness(statement: str, in_scope: Sequence[str], out_of_scope: Sequence[str]) -> list[Text]:
    """Why a reviewer may find this purpose too vague; empty when nothing stands out. A hint, not a refusal."""
    hints: list[Text] = []
    if len(statement.split()) < 8:
        hints.append(_("This is short. Who uses it, to do what, with which data?"))
    if found := _VAGUE.search(statement):
        hints.append(_("“%(word)s” leaves the end open. Name what is meant.") % {"word": found.group(0)})
    if not in_scope:
        hints.append(_("List what is in scope, one thing per line."))
    if not out_of_scope:
        hints.append(_("Say what it must not be used for; a purpose has an outside."))
    return hints
