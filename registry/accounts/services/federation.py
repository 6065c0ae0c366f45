"""People who sign in through an OpenID provider: who they are here, and what their groups give them."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from registry.accounts.models import ExternalIdentity, GroupGrant, GroupRole, Role, User
from registry.accounts.openid.configuration import Provider
from registry.accounts.openid.errors import SignInRefused
from registry.accounts.openid.metadata import provider_named
from registry.accounts.openid.tokens import Claims
from registry.accounts.services.vouching import vouch
from registry.audit.services import record
from registry.core.actors import Actor

MOST_GROUPS = 500


def by_provider(name: str) -> Actor:
    """Nobody here did it: the provider said so."""
    return Actor.system(f"sign-in through {name}")


# --- Signing in ------------------------------------------------------------------------------------------


class _Refused(SignInRefused):
    """A refusal that somebody's story should hold."""

    def __init__(self, message: str, user: User, why: str) -> None:
        super().__init__(message)
        self.user, self.why = user, why


def sign_in_person(*, provider: Provider, claims: Claims) -> ExternalIdentity:
    """The identity behind verified claims; somebody new is added at once. Raises `SignInRefused`, with the reason.

    Issuer and subject say who it is. An address alone never does: whoever administers another provider, or may choose
    an address there, could otherwise become anybody. The one exception, `link_verified_email`, is the operator's word
    that this provider is the authority for addresses; even then the address must be verified, and must belong to
    somebody who was added by hand or by the directory and has never had a way in (no password, no other identity).
    """
    try:
        try:
            return _sign_in(provider, claims)
        except IntegrityError:  # the same person in two tabs at once; by now they exist
            return _sign_in(provider, claims)
    except _Refused as refusal:
        with transaction.atomic():
            record(
                actor=by_provider(provider.name),
                act="user.sign_in_refused",
                subject=refusal.user,
                data={"provider": provider.name, "subject": claims["sub"], "why": refusal.why},
            )
        raise


@transaction.atomic
def _sign_in(provider: Provider, claims: Claims) -> ExternalIdentity:
    identity = (
        ExternalIdentity.objects.select_for_update(of=("self",))
        .select_related("user")
        .filter(issuer=provider.issuer, subject=claims["sub"])
        .first()
    )
    if identity is None:
        identity = _new_identity(provider, claims)
    note_claims(identity=identity, claims=claims, complete=True)
    ExternalIdentity.objects.filter(pk=identity.pk).update(last_seen_at=timezone.now())
    return identity


def _new_identity(provider: Provider, claims: Claims) -> ExternalIdentity:
    email = _email(claims)
    if not email:
        raise SignInRefused(
            _("%(provider)s does not say which e-mail address you have, and one is needed here.")
            % {"provider": provider.title}
        )
    if claims.get("email_verified") is False:
        raise SignInRefused(
            _("%(provider)s says that your e-mail address is not verified. Verify it there, then sign in again.")
            % {"provider": provider.title}
        )
    user = User.objects.with_address(email).select_for_update().first()
    if user is not None:
        _check_may_link(provider, claims, user, email)
    else:
        user = User(email=email, name=_name(claims) or email)
        user.set_unusable_password()
        user.save()
        record(
            actor=by_provider(provider.name),
            act="user.created",
            subject=user,
            data={"email": email, "roles": [], "provider": provider.name},
        )
    identity = ExternalIdentity.objects.create(
        user=user, provider=provider.name, issuer=provider.issuer, subject=claims["sub"], email=email
    )
    record(
        actor=by_provider(provider.name),
        act="user.identity_linked",
        subject=user,
        data={"provider": provider.name, "issuer": provider.issuer, "subject": identity.subject},
    )
    return identity


def _check_may_link(provider: Provider, claims: Claims, user: User, email: str) -> None:
    why = ""
    if user.email.lower() != email:
        why = "the address is what the directory calls somebody with another address"
    elif not provider.link_verified_email:
        why = "linking by address is not configured"
    elif claims.get("email_verified") is not True:
        why = "the provider does not say that the address is verified"
    elif user.has_usable_password():
        why = "the person here signs in with a password"
    elif user.identities.exists():
        why = "the person here signs in through another identity"
    if why:
        raise _Refused(
            _(
                "Somebody here has your e-mail address already, and %(provider)s is not known to be theirs. "
                "Nothing was joined. Ask an administrator."
            )
            % {"provider": provider.title},
            user,
            why,
        )


def _email(claims: Mapping[str, Any]) -> str:
    said = claims.get("email")
    email = said.strip().lower() if isinstance(said, str) else ""
    return email if "@" in email and len(email) <= 254 and email.isprintable() else ""


def _name(claims: Mapping[str, Any]) -> str:
    parts = [claims.get("given_name"), claims.get("family_name")]
    joined = " ".join(part for part in parts if isinstance(part, str))
    for said in (claims.get("name"), joined, claims.get("preferred_username")):
        if isinstance(said, str) and (name := " ".join(said.split())) and name.isprintable():
            return name[:120]
    return ""


@transaction.atomic
def note_claims(*, identity: ExternalIdentity, claims: Claims, complete: bool) -> User:
    """Take over what the provider says now: name, address, groups. Raises `SignInRefused` for somebody deactivated.

    `complete`: these are all claims there are. Else (a refresh without a new ID token) groups that are not mentioned
    are left as they were.
    """
    provider = identity.provider
    user = User.objects.select_for_update().get(pk=identity.user_id)
    if not user.is_active:
        raise _Refused(_("Your account here is deactivated. Ask an administrator."), user, "the account is deactivated")
    vouch(user=user, actor=by_provider(provider))
    _note_name_and_email(identity, user, claims)
    groups = _groups(provider, claims)
    if groups is not None or complete:
        user = grant_group_roles(user=user, provider=provider, groups=groups or ())
    return user


def _groups(provider: str, claims: Mapping[str, Any]) -> list[str] | None:
    said = claims.get(provider_named(provider).groups_claim)
    if said is None:
        return None
    listed = said if isinstance(said, list) else [said]
    return [each for each in listed if isinstance(each, str) and 0 < len(each) <= 255][:MOST_GROUPS]


def _note_name_and_email(identity: ExternalIdentity, user: User, claims: Claims) -> None:
    changes = {}
    name, email = _name(claims), _email(claims)
    if name and name != user.name:
        changes["name"] = (user.name, name)
    # Mail goes to this address, and others know the person by it: only one the provider vouches for replaces it.
    if email and email != user.email and claims.get("email_verified") is True:
        if User.objects.with_address(email).exclude(pk=user.pk).exists():
            if identity.email != email:
                told = {"provider": identity.provider, "kept": user.email, "why": "somebody else has the new address"}
                record(actor=by_provider(identity.provider), act="user.email_kept", subject=user, data=told)
        else:
            changes["email"] = (user.email, email)
    if email and identity.email != email:
        identity.email = email
        identity.save(update_fields=["email"])
    if changes:
        for field, (_before, after) in changes.items():
            setattr(user, field, after)
        user.save(update_fields=list(changes))
        record(
            actor=by_provider(identity.provider),
            act="user.renamed",
            subject=user,
            data={field: {"before": before, "after": after} for field, (before, after) in changes.items()},
        )


# --- Groups and roles ------------------------------------------------------------------------------------


def roles_of_groups(provider: str, groups: Iterable[str], *, besides: GroupRole | None = None) -> set[str]:
    """What the mappings in force give for these groups, all of them or all but one."""
    found = GroupRole.objects.filter(provider__in=("", provider), group__in=list(groups))
    found = found.exclude(state=GroupRole.State.PROPOSED)
    if besides is not None:
        found = found.exclude(pk=besides.pk)
    return set(found.values_list("role", flat=True))


def in_order(roles: Iterable[str]) -> list[str]:
    wanted = set(roles)
    return [role for role in Role.values if role in wanted]


def given_by_groups(user: User) -> set[str]:
    """The roles somebody has only because of their groups, wherever those are."""
    return {role for roles in user.group_grants.values_list("roles", flat=True) for role in roles}


@transaction.atomic
def grant_group_roles(*, user: User, provider: str, groups: Iterable[str], actor: Actor | None = None) -> User:
    """Give the roles that `groups` have at `provider`, and take those that former groups gave and these do not.

    A role that was given by hand stays: the mapping takes away only what it gave. One row of evidence per change.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    grant, _made = GroupGrant.objects.get_or_create(user=user, provider=provider)
    others = user.group_grants.exclude(pk=grant.pk).values_list("roles", flat=True)
    elsewhere = {role for roles in others for role in roles}
    by_hand = set(user.roles) - set(grant.roles) - elsewhere
    wanted = roles_of_groups(provider, groups) - by_hand
    before, after = in_order(user.roles), in_order(by_hand | elsewhere | wanted)
    if (listed := sorted(set(groups))) != grant.groups or in_order(wanted) != grant.roles:
        grant.groups, grant.roles = listed, in_order(wanted)
        grant.save()
    if before != after:
        user.roles = after
        user.save(update_fields=["roles"])
        record(
            actor=actor or by_provider(provider),
            act="user.roles_set",
            subject=user,
            data={"before": before, "after": after, "provider": provider, "because": "groups"},
        )
    return user


def known_sources() -> list[str]:
    """Whatever can say which groups somebody is in: the configured providers, and the directory over SCIM."""
    return [*settings.OIDC_PROVIDERS, "scim"]
