"""To an OpenID provider and back: signing in, proving again who one is, and asking quietly whether all still holds."""

import time
from typing import Any

from django.conf import settings
from django.contrib import auth, messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect, resolve_url
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django.views.generic import View
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from registry.accounts import browser, services
from registry.accounts.models import BrowserSession
from registry.accounts.openid.backend import FLOW, Attempt, callback_url
from registry.accounts.openid.errors import GrantEnded, ProviderFailed, SignInRefused, TokenRefused
from registry.accounts.openid.metadata import metadata_of, provider_named
from registry.accounts.openid.tokens import LEEWAY, authenticated_at, read_logout_token
from registry.accounts.sealing import unseal
from registry.core.errors import NotFound, RegistryError
from registry.core.views import safe_next

PURPOSES = ("sign-in", "confirm", "refresh")
ATTEMPT_SECONDS = 900
"""How long somebody may take at the provider."""


def begin_url(provider: str, *, wanted: str, purpose: str = "sign-in") -> str:
    query = urlencode({"next": wanted, **({} if purpose == "sign-in" else {"purpose": purpose})})
    return f"{reverse('accounts:oidc_begin', args=[provider])}?{query}"


@method_decorator(never_cache, name="dispatch")
class Begin(OIDCAuthenticationRequestView):
    """Sends the browser to the provider. State, nonce and PKCE are the library's; what we add is kept beside them."""

    def __init__(self, **kwargs: Any) -> None:
        View.__init__(self, **kwargs)  # the library's own reads one provider's endpoints from the settings

    def get_settings(self, attr: str, *default: Any) -> Any:
        return FLOW.get(attr, *default)

    def get(self, request: HttpRequest, provider: str) -> HttpResponse:
        self.provider = provider_named(provider)
        asked = request.GET.get("purpose", "")
        self.purpose = asked if asked in PURPOSES and request.user.is_authenticated else "sign-in"
        wanted = safe_next(request, resolve_url(settings.LOGIN_REDIRECT_URL))
        try:
            endpoint = metadata_of(self.provider).authorization_endpoint
        except ProviderFailed as error:
            return _refused(request, error, wanted=wanted, purpose=self.purpose)
        self.OIDC_OP_AUTH_ENDPOINT, self.OIDC_RP_CLIENT_ID = endpoint, self.provider.client_id
        answer: HttpResponse = super().get(request)
        states = request.session["oidc_states"]
        states[next(reversed(states))] |= {"provider": provider, "purpose": self.purpose, "next": wanted}
        del request.session["oidc_login_next"]  # one per attempt, not one per browser: two tabs may sign in at once
        # An endpoint may have a query of its own, which the library does not expect.
        query = answer["Location"].removeprefix(f"{endpoint}?")
        return HttpResponseRedirect(f"{endpoint}{'&' if '?' in endpoint else '?'}{query}")

    def get_extra_params(self, request: HttpRequest) -> dict[str, str]:
        # With `max_age` the provider has to say when it last asked for proof (OpenID Connect Core, 3.1.2.1).
        more = {
            "sign-in": {"max_age": str(settings.SESSION_ABSOLUTE_SECONDS)},
            "confirm": {"max_age": "0", "prompt": "login"},
            "refresh": {"max_age": str(settings.SESSION_ABSOLUTE_SECONDS), "prompt": "none"},
        }
        return {
            "scope": self.provider.scopes,
            "redirect_uri": callback_url(request, self.provider),
            **more[self.purpose],
        }


@method_decorator(never_cache, name="dispatch")
class Callback(OIDCAuthenticationCallbackView):
    """Back from the provider. Whatever is wrong becomes a sentence on the page the person came from."""

    request: Any
    user: Any

    def get_settings(self, attr: str, *default: Any) -> Any:
        return FLOW.get(attr, *default)

    def get(self, request: Any, provider: str) -> HttpResponse:
        provider_named(provider)
        purpose, wanted = "sign-in", ""
        try:
            self.attempt = request.oidc = self._attempt(request, provider)
            purpose, wanted = self.attempt.purpose, self.attempt.wanted
            self._check_answer(request)
            answer: HttpResponse = super().get(request)
            return answer
        except NotFound:
            raise
        except RegistryError as error:
            return _refused(request, error, purpose=purpose, wanted=wanted)

    def _attempt(self, request: HttpRequest, provider: str) -> Attempt:
        """What this browser set out for. Only the state that was made for this provider, in this browser, lately."""
        states = request.session.get("oidc_states", {})
        entry = states.get(request.GET.get("state", ""))
        if entry is None or entry.get("provider") != provider or time.time() - entry["added_on"] > ATTEMPT_SECONDS:
            raise SignInRefused(
                _("This answer belongs to no attempt of this browser, or to one that took too long. Sign in again.")
            )
        return Attempt(
            provider=provider_named(provider),
            purpose=entry["purpose"],
            wanted=entry["next"],
            begun_at=entry["added_on"],
        )

    def _check_answer(self, request: HttpRequest) -> None:
        """The issuer of the answer (RFC 9207), and an error instead of a code. Either way the attempt is used up."""
        provider = self.attempt.provider
        issuer = request.GET.get("iss")
        error = request.GET.get("error")
        mixed_up = issuer != provider.issuer if issuer is not None else metadata_of(provider).sends_issuer
        if not mixed_up and not error and request.GET.get("code"):
            return
        del request.session["oidc_states"][request.GET["state"]]
        request.session.modified = True
        if mixed_up:
            raise TokenRefused(_("The answer does not come from the provider that was asked."))
        quietly = self.attempt.purpose == "refresh" and error not in ("temporarily_unavailable", "server_error")
        raise (GrantEnded if quietly else SignInRefused)(_what_it_said(provider.title, error or ""))

    def login_failure(self) -> HttpResponse:
        raise SignInRefused(_("%(provider)s did not sign you in.") % {"provider": self.attempt.provider.title})

    def login_success(self) -> HttpResponse:
        request, attempt = self.request, self.attempt
        identity = attempt.identity
        if identity is None:
            return self.login_failure()
        before = request.user.pk if request.user.is_authenticated else None
        if attempt.purpose == "sign-in":
            browser.sign_in(request, self.user)
            browser.vouched_for(request, identity, attempt.tokens, attempt.claims)
            return HttpResponseRedirect(attempt.wanted)
        if before != self.user.pk:
            raise SignInRefused(_("You are signed in at the provider as somebody else. Sign in again."))
        proven = authenticated_at(attempt.claims)
        if attempt.purpose == "confirm":
            if proven < attempt.begun_at - LEEWAY:
                raise SignInRefused(
                    _("%(provider)s did not ask you to prove who you are, or does not say so.")
                    % {"provider": attempt.provider.title}
                )
            services.record_presence(
                user=self.user,
                act="user.confirmed",
                request_id="",
                data={"address": request.META.get("REMOTE_ADDR", ""), "provider": attempt.provider.name},
            )
        former = request.session.get(browser.PROVEN, 0)
        browser.vouched_for(request, identity, attempt.tokens, attempt.claims)
        request.session[browser.PROVEN] = max(former, proven)
        if attempt.purpose == "confirm":
            browser.rotate(request)
        return HttpResponseRedirect(attempt.wanted)


def _what_it_said(provider: str, error: str) -> str:
    """A sentence of ours for each code of the standard; nothing the provider, or whoever made the link, wrote."""
    if error == "access_denied":
        return _("%(provider)s did not let you in, or you cancelled.") % {"provider": provider}
    if error in ("login_required", "interaction_required", "consent_required", "account_selection_required"):
        return _("%(provider)s no longer knows you are signed in. Sign in again.") % {"provider": provider}
    if error == "temporarily_unavailable":
        return _("%(provider)s is not available at the moment. Try again in a while.") % {"provider": provider}
    return _("%(provider)s refused the sign-in.") % {"provider": provider}


def _refused(request: Any, error: RegistryError, *, purpose: str, wanted: str) -> HttpResponse:
    if purpose == "refresh" and not isinstance(error, ProviderFailed):
        if isinstance(error, GrantEnded) and request.user.is_authenticated:
            services.note_refusal(user=request.user, provider=browser.provider_of(request))
        request.session_ended = error.message
        auth.logout(request)
    messages.error(request, error.message)
    if purpose == "confirm":
        return redirect(wanted)
    query = f"?{urlencode({'next': wanted})}" if wanted else ""
    return redirect(f"{reverse('accounts:sign_in')}{query}")


def sign_out_url(request: HttpRequest) -> str:
    """Where to end the session at the provider too (RP-Initiated Logout 1.0); "" when there is nothing to end there."""
    here = browser.row_of(request)
    row = BrowserSession.objects.filter(pk=here).first() if here else None
    if row is None or not row.provider:
        return ""
    try:
        provider = provider_named(row.provider)
        endpoint = metadata_of(provider).end_session_endpoint
    except (NotFound, ProviderFailed):
        return ""
    if not endpoint:
        return ""
    query = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": request.build_absolute_uri(reverse("accounts:sign_in")),
    }
    if id_token := unseal(row.id_token):
        query["id_token_hint"] = id_token
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


@csrf_exempt
@sensitive_post_parameters("logout_token")
@never_cache
@require_POST
def back_channel_logout(request: HttpRequest, provider: str) -> HttpResponseBase:
    """The provider itself says that somebody signed out there. Its signature is the proof; there is no browser."""
    known = provider_named(provider)
    try:
        claims = read_logout_token(known, request.POST.get("logout_token", ""))
    except RegistryError as error:
        return HttpResponse(error.message, status=400, content_type="text/plain; charset=utf-8")
    services.end_provider_sessions(
        provider=provider, issuer=known.issuer, subject=claims.get("sub") or "", sid=claims.get("sid") or ""
    )
    return HttpResponse(status=200)
