"""One look at one endpoint, from the first greeting to the posture checks."""

import time
from contextlib import suppress
from dataclasses import replace

from django.utils.translation import gettext as _

from registry.core.outbound import (
    Door,
    LeavesOrigin,
    OutboundError,
    Refused,
    TimedOut,
    TooLarge,
    Unreachable,
    is_public,
)
from registry.discovery.models import Snapshot
from registry.discovery.probing import posture
from registry.discovery.probing.conversation import CLIENT_CAPABILITIES, Conversation
from registry.discovery.probing.eras import Ended, greet
from registry.discovery.probing.listing import read_listing
from registry.discovery.probing.steps import Say, ignore
from registry.discovery.seen import Seen

LASTING = 60.0
_OUTCOMES: tuple[tuple[type[OutboundError], Snapshot.Outcome], ...] = (
    (LeavesOrigin, Snapshot.Outcome.FAILED),
    (Refused, Snapshot.Outcome.REFUSED),
    (TimedOut, Snapshot.Outcome.TIMED_OUT),
    (TooLarge, Snapshot.Outcome.TOO_LARGE),
    (Unreachable, Snapshot.Outcome.UNREACHABLE),
    (OutboundError, Snapshot.Outcome.FAILED),
)


def probe(
    url: str, *, say: Say = ignore, lasting: float = LASTING, vouched: frozenset[int] | None = frozenset()
) -> Seen:
    """Look at the server behind `url`, as a client without a token sees it. Never raises for what the server does.

    Takes at most `lasting` seconds for the listing and half as long for the posture checks. `say` is told each step.
    `vouched`: ports somebody reviewed, see `core.outbound.Door`; None is for operators, who may ask any port.
    """
    started = time.monotonic()
    if "{" in url:
        refused = _("This address has variables in it; it is asked once they are filled in.")
        say(refused, "fail")
        return Seen(Snapshot.Outcome.REFUSED, refused)
    with Door(lasting=lasting, vouched=vouched) as door:
        conversation = Conversation(door, url)
        ended: Ended | OutboundError | None = None
        seen = Seen(Snapshot.Outcome.FAILED, capabilities=CLIENT_CAPABILITIES)
        try:
            say(_("Greeting it."), "doing")
            greeting = greet(conversation)
            said = _("It speaks MCP %(era)s.") % {"era": greeting.era}
            say(said, "pass")
            seen = replace(seen, era=greeting.era, transport="streamable-http", server_info=dict(greeting.server_info))
            say(_("Reading what it lists."), "doing")
            listing, pages = read_listing(conversation, greeting, say)
            seen = replace(seen, outcome=Snapshot.Outcome.LISTED, listing=listing, pages=pages)
        except Ended as error:
            ended = error
            seen = replace(
                seen,
                outcome=error.outcome,
                detail=error.detail,
                era=error.era or seen.era,
                transport=error.transport or seen.transport,
            )
        except OutboundError as error:
            ended = error
            outcome = next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
            seen = replace(seen, outcome=outcome, detail=error.message)
        finally:
            with suppress(OutboundError):
                conversation.end()
    if ended is not None:
        say(seen.detail, "pass" if seen.outcome == Snapshot.Outcome.PROTECTED else "fail")
    seen = replace(seen, size=conversation.size)
    if not isinstance(ended, OutboundError) or isinstance(ended, LeavesOrigin):
        # A public server names documents to read; it must not have us read what was opened for servers inside.
        say(_("Examining how it is guarded."), "doing")
        with Door(lasting=lasting / 2, inside=not _is_public(url), vouched=vouched) as door:
            conversation.door = door
            checks = posture.examine(door, url, conversation, seen, ended, say)
        seen = replace(seen, posture=checks)
    return replace(seen, milliseconds=round((time.monotonic() - started) * 1000))


def _is_public(url: str) -> bool:
    try:
        return is_public(url)
    except OutboundError:
        return True
