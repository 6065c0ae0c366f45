"""Why somebody is not signed in by a provider. Each is a sentence for the sign-in page; none repeats a token."""

from registry.core.errors import NotAllowed, RegistryError


class SignInRefused(NotAllowed):
    """The provider, its tokens or this registry's own rules speak against it."""

    code, title = "sign-in-refused", "You are not signed in"


class TokenRefused(SignInRefused):
    """A token that does not hold what it must. The sentence names the check, for whoever reads the log."""


class ProviderFailed(RegistryError):
    """The provider could not be asked, or what it says makes no sense. Not the person's doing; try again later."""

    code, status, title = "provider-failed", 502, "The identity provider does not answer"


class GrantEnded(SignInRefused):
    """`invalid_grant`: the provider no longer vouches for this session."""

    code, title = "grant-ended", "Your session has ended"
