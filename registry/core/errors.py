"""What could not be done, as exceptions. Rendered once as problem+json (RFC 9457), once as a page or message.

`fields` maps a field's path (`purpose.ends_on`, `tools.0.name`) to the messages shown beside it.
"""

from collections.abc import Mapping, Sequence


class RegistryError(Exception):
    code = "error"
    status = 400
    title = "The request could not be carried out"

    def __init__(self, message: str = "", *, fields: Mapping[str, Sequence[str]] | None = None) -> None:
        self.message = message or self.title
        self.fields = {name: list(messages) for name, messages in (fields or {}).items()}
        super().__init__(self.message)


class Malformed(RegistryError):
    code, status, title = "malformed", 400, "The request could not be read"


class NotSignedIn(RegistryError):
    code, status, title = "not-signed-in", 401, "Sign in or send a token"


class NotAllowed(RegistryError):
    code, status, title = "not-allowed", 403, "You may not do this"


class NotIndependent(NotAllowed):
    """The actor owns, deputises, created, requested or operates the subject (DESIGN, invariant 3)."""

    code, title = "not-independent", "An independent person must decide this"


class StepUpRequired(NotAllowed):
    """Signed in, but too long ago for this act (RFC 9470). `doing` completes "… needs you to confirm who you are"."""

    code, title = "step-up-required", "Confirm that it is you"

    def __init__(self, message: str = "", *, doing: str = "", max_age: int = 0) -> None:
        super().__init__(message)
        self.doing, self.max_age = doing, max_age


class NotFound(RegistryError):
    code, status, title = "not-found", 404, "There is nothing here that you may see"


class Conflict(RegistryError):
    code, status, title = "conflict", 409, "This conflicts with what is there"


class IllegalTransition(Conflict):
    code, title = "illegal-transition", "This state does not allow that"


class StartAgain(RegistryError):
    """What a cursor stood for cannot be continued; only a fresh start is right."""

    code, status, title = "start-again", 410, "Start again from the beginning"


class Changed(RegistryError):
    code, status, title = "changed", 412, "Somebody changed this in the meantime"


class Invalid(RegistryError):
    code, status, title = "invalid", 422, "Some fields need attention"


class SecretRefused(Invalid):
    code, title = "secret-refused", "This looks like a secret value; only references are stored"


class VersionRequired(RegistryError):
    code, status, title = "version-required", 428, "Send If-Match with the ETag you decided on"


class TooLong(RegistryError):
    code, status, title = "too-long", 414, "The address is too long"


class TooBig(RegistryError):
    code, status, title = "too-big", 413, "The request is too big"


class Broken(RegistryError):
    """A fault of ours. What it was stands in the log alone."""

    code, status, title = "broken", 500, "Something is broken here"


class TookTooLong(RegistryError):
    """The database was told to stop: one question must not keep everybody waiting."""

    code, status, title = "took-too-long", 503, "This took too long and was stopped"
    wait = 30

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "Nothing was changed. Ask for less at once, or try again later.")
