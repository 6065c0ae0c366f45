"""The guided registration: one page per step, each saved by one call, in any order, without JavaScript."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views import View
from django.views.decorators.http import require_safe

from registry.catalog.models import Server, Transport
from registry.catalog.queries import always_confidential, completeness, duplicates, seen_by_others, withdrawn_among
from registry.catalog.services import (
    assign_people,
    set_purpose,
    set_revocation_path,
    set_tools,
    submit_server,
)
from registry.catalog.states import Lifecycle
from registry.core.actors import Actor
from registry.core.errors import (
    Changed,
    Conflict,
    Invalid,
    Malformed,
    NotFound,
    NotSignedIn,
    RegistryError,
    SecretRefused,
)
from registry.core.forms import hide_secrets, run
from registry.core.http import Request
from registry.core.inert import visible
from registry.core.permissions import allows, require
from registry.discovery.queries import read_entry, remote_endpoints
from registry.discovery.seen import Seen
from registry.discovery.services import look_at_address
from registry.portal import guidance
from registry.portal.forms import (
    PACKAGE_REGISTRIES,
    SECRET_NAMES,
    AddressForm,
    ConnectionForm,
    EndpointFormSet,
    IdentityForm,
    PasteForm,
    PeopleForm,
    PurposeForm,
    RevocationFormSet,
    SecretFormSet,
    ToolFormSet,
    default_end,
    place_errors,
    place_row_errors,
    secret_initial,
    tool_initial,
    typed,
)
from registry.portal.queries import open_connections, secret_hints, short_answers, steps_done, tier_as_of_now
from registry.portal.services import (
    connect_system,
    register_from_entry,
    save_identity,
    save_secret_sources,
)
from registry.trust.services import withdraw_relationship

SHOWN = (Invalid, Conflict, Changed)
"""Errors a form can show beside what was typed; everything else is a page of its own."""


NOTES_SHOWN = 5
TOOLS_SHOWN = 15


class StartView(View):
    """Register a server: from a server.json, or by hand."""

    def get(self, request: Request) -> HttpResponse:
        require(request.actor, "catalog.register_server")
        return self._page(request, PasteForm())

    def post(self, request: Request) -> HttpResponse:
        require(request.actor, "catalog.register_server")
        if "address" in request.POST:
            return self._look(request, AddressForm(request.POST))
        form = PasteForm(request.POST, request.FILES)
        entry, existing = None, None
        if form.is_valid():
            try:
                entry = read_entry(form.cleaned_data["text"])
                server = register_from_entry(actor=request.actor, entry=entry)
            except (Malformed, *SHOWN) as error:
                _explain(form, error)
                if entry is not None and "name" in error.fields:
                    existing = _named(request.actor, entry.name)
            else:
                messages.success(request, _("Draft saved. Check what was found, then go on."))
                for note in entry.notes[:NOTES_SHOWN]:
                    messages.info(request, note)
                return redirect("portal:registration", server.pk, "identity")
        return self._page(request, form, 422, existing)

    def _look(self, request: Request, form: AddressForm) -> HttpResponse:
        """Ask the address what it is, and go on by hand with what was found filled in."""
        seen = run(form, partial(look_at_address, actor=request.actor))
        if seen is None:
            return self._page(request, PasteForm(), 422, address=form)
        say, sentences = _told(seen)
        for sentence in sentences:
            say(request, sentence)
        found = {
            "url": form.cleaned_data["address"],
            "transport": Transport.SSE if seen.outcome == "sse_only" else Transport.STREAMABLE_HTTP,
            "title": seen.server_info.get("title") or seen.server_info.get("name") or "",
            "website_url": seen.server_info.get("websiteUrl") or "",
            "release": seen.server_info.get("version") or "",
        }
        return redirect(f"{reverse('portal:register_by_hand')}?{urlencode(found)}")

    def _page(
        self,
        request: Request,
        form: PasteForm,
        status: int = 200,
        existing: Server | None = None,
        address: AddressForm | None = None,
    ) -> HttpResponse:
        context = {
            "nav": "servers",
            "form": form,
            "address_form": address or AddressForm(),
            "steps": guidance.STEPS,
            "existing": existing,
        }
        return render(request, "portal/registration_start.html", context, status=status)


def _told(seen: Seen) -> tuple[Any, list[str]]:
    """How to say what was found, and the sentences."""
    if seen.listing is None:
        say = messages.info if seen.outcome == "protected" else messages.warning
        return say, [seen.detail, _("The address is filled in; type the rest.")]
    names = [visible(str(tool["name"]))[:60] for tool in seen.listing.tools]
    listed = ngettext("It lists %(n)d tool: %(names)s", "It lists %(n)d tools: %(names)s", len(names)) % {
        "n": len(names),
        "names": ", ".join(names[:TOOLS_SHOWN]) + ("…" if len(names) > TOOLS_SHOWN else ""),
    }
    return messages.success, [listed, _("Save the draft, then have it probed on the step Tools to take them over.")]


def _named(actor: Actor, name: str) -> Server | None:
    """The server that has this name already, as far as `actor` may see it."""
    found: Server | None = Server.objects.visible_to(actor).filter(name=name).first()
    return found


def _explain(form: PasteForm, error: RegistryError) -> None:
    """The pasted text is one field, so every complaint lands there, with the path it is about."""
    for path, said in error.fields.items():
        for message in said:
            form.add_error("text", f"{path}: {message}" if path else message)
    if not error.fields:
        form.add_error("text", error.message)
    hide_secrets(form, "text", entirely=isinstance(error, SecretRefused))


def editable_server(actor: Actor, pk: UUID) -> Server:
    """The server whose registration `actor` may work on. Raises `NotFound` for what they may not even see."""
    if actor.kind == "anonymous":
        raise NotSignedIn
    found: Server | None = (
        Server.objects.visible_to(actor)
        .select_related("owner", "deputy", "operator", "team", "created_by")
        .filter(pk=pk)
        .first()
    )
    if found is None:
        raise NotFound
    require(actor, "catalog.edit_server", found)
    return found


class StepView(View, ABC):
    """A step of the form. Subclasses say what it shows (`build`) and which one call saves it (`save`)."""

    step: ClassVar[str]
    prefix: ClassVar[str] = ""
    """How the service names this step's rows in its errors."""
    field_names: ClassVar[dict[str, str]] = {}

    request: Request
    server: Server | None
    form: Any = None
    rows: Any = None
    """The step's form and its formset; each step has one of them or both."""

    @property
    def actor(self) -> Actor:
        return self.request.actor

    @property
    def known(self) -> Server:
        """The server of every step but the very first."""
        assert self.server is not None
        return self.server

    @abstractmethod
    def build(self, data: Any = None) -> None: ...

    @abstractmethod
    def save(self, version: str) -> Server: ...

    def extra_context(self) -> dict[str, Any]:
        return {}

    # --- The cycle ---------------------------------------------------------------------------------------

    def dispatch(self, request: Request, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        pk = kwargs.pop("pk", None)
        if pk is None:
            require(request.actor, "catalog.register_server")
            self.server = None
        else:
            self.server = editable_server(request.actor, pk)
            if refusal := self._standing_still(self.server):
                messages.info(request, refusal)
                return redirect("catalog:server", self.server.pk)
        return super().dispatch(request, *args, **kwargs)

    @staticmethod
    def _standing_still(server: Server) -> str:
        if server.lifecycle == Lifecycle.SUBMITTED:
            return _("This server is in front of a reviewer. Withdraw it to change something.")
        if server.lifecycle == Lifecycle.RETIRED:
            return _("This server is retired; nothing about it changes any more.")
        return ""

    def get(self, request: Request) -> HttpResponse:
        self.build()
        return self.page()

    def post(self, request: Request) -> HttpResponse:
        self.build(request.POST)
        if "add" in request.POST and self.rows is not None:
            self.rows = self.rows.grown()
            if self.form is not None:
                self.form = self._unchecked(self.form)
            return self.page()
        going_back = "back" in request.POST
        if going_back and self._untouched():
            return redirect(self._neighbour(-1))
        if not self._valid():
            return self.page(422)
        try:
            self.server = self.save(request.POST.get("version", ""))
        except SHOWN as error:
            self.show(error)
            if isinstance(error, Changed) and self.server is not None:
                self.server.refresh_from_db()
            return self.page(error.status)
        if "close" in request.POST:
            messages.success(request, _("Saved."))
            return redirect("catalog:server", self.server.pk)
        return redirect(self._neighbour(-1 if going_back else 1))

    def _valid(self) -> bool:
        # Both are checked, so that every complaint shows at once.
        checks = [part.is_valid() for part in (self.form, self.rows) if part is not None]
        return all(checks)

    def _untouched(self) -> bool:
        return not any(part.has_changed() for part in (self.form, self.rows) if part is not None)

    def _unchecked(self, form: forms.BaseForm) -> forms.BaseForm:
        """The form as typed, without complaints: whoever asks for another row is not done yet."""
        return type(form)(initial={name: typed(form, name) for name in form.fields})

    def tell_who_sees(self, saved: Server) -> None:
        """A rule may make a server confidential, or open it, that just changed its team or environment."""
        if told := seen_by_others(self.server.confidential if self.server else False, saved):
            messages.info(self.request, told)

    def show(self, error: RegistryError) -> None:
        """Bring the service's complaints to rows and fields; the rest goes on top of the page."""
        left: RegistryError | None = error
        if self.rows is not None:
            left = place_row_errors(self.rows, error, self.prefix, self.field_names)
        if self.form is not None and left is not None:
            left = place_errors(self.form, left, self.field_names)
        if left is not None:
            self.complaints = [message for said in left.fields.values() for message in said] or [left.message]

    complaints: Sequence[str] = ()

    def _neighbour(self, offset: int) -> str:
        index = guidance.STEP_NAMES.index(self.step) + offset
        if self.server is None:
            return reverse("portal:register")
        if index < 0:
            return reverse("catalog:server", args=[self.server.pk])
        return reverse("portal:registration", args=[self.server.pk, guidance.STEP_NAMES[index]])

    def page(self, status: int = 200) -> HttpResponse:
        done = steps_done(self.server) if self.server else set()
        index = guidance.STEP_NAMES.index(self.step)
        parts = [*([self.form] if self.form is not None else []), *(self.rows.forms if self.rows is not None else [])]
        context = {
            "nav": "servers",
            "server": self.server,
            "version": self.server.etag if self.server else "",
            "step": guidance.STEPS[index],
            "number": index + 1,
            "steps": [
                {
                    "step": step,
                    "done": step.name in done,
                    "current": step.name == self.step,
                    "url": reverse("portal:registration", args=[self.server.pk, step.name]) if self.server else "",
                }
                for step in guidance.STEPS
            ],
            "form": self.form,
            "rows": self.rows,
            "complaints": self.complaints,
            "bound_parts": [part for part in parts if part.is_bound and part.errors] if status >= 400 else [],
            "body": f"portal/registration/_{self.step}.html",
            "lookups": sorted({kind for part in parts for kind in getattr(part, "lookups", ())}),
            **self.extra_context(),
        }
        return render(self.request, "portal/registration.html", context, status=status)


_FILLED_IN = ("transport", "url", "package_registry", "package_identifier", "package_version")


def _filled_in(asked: QueryDict) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What an address such as a shadow server's "Register it" starts the form with: what it is called, one endpoint."""
    endpoint = {name: asked[name][:500] for name in _FILLED_IN if asked.get(name)}
    lengths = {"title": 100, "description": 2000, "website_url": 500, "release": 255}
    initial = {name: asked[name][:length] for name, length in lengths.items() if asked.get(name)}
    return initial, [endpoint] if endpoint else []


class IdentityStep(StepView):
    step = "identity"
    prefix = "endpoints"
    names = (
        "name", "title", "description", "environment", "release", "repository_url", "website_url", "confidential",
    )  # fmt: skip

    def build(self, data: Any = None) -> None:
        initial: dict[str, Any] = {}
        endpoints: list[dict[str, Any]] = []
        if self.server is not None:
            initial = {name: getattr(self.server, name) for name in self.names}
            endpoints = [
                {
                    name: getattr(endpoint, name)
                    for name in (
                        "transport", "url", "package_registry", "package_identifier", "package_version",
                        "package_sha256",
                    )
                }
                for endpoint in self.server.endpoints.filter(retired_at=None)
            ]  # fmt: skip
        else:
            initial, endpoints = _filled_in(self.request.GET)
        self.form = IdentityForm(data, initial=initial)
        self.form.explain_visibility(self.server)
        self.rows = EndpointFormSet(data, prefix="endpoints", initial=endpoints)
        if self.server is not None and self.server.lifecycle != Lifecycle.DRAFT:
            self.form.fields["name"].disabled = True
        if endpoints:
            self.rows.extra = 0

    def _unchecked(self, form: forms.BaseForm) -> forms.BaseForm:
        fresh: IdentityForm = super()._unchecked(form)  # type: ignore[assignment]
        fresh.explain_visibility(self.server)
        return fresh

    def extra_context(self) -> dict[str, Any]:
        context: dict[str, Any] = {"package_registries": PACKAGE_REGISTRIES}
        if self.form.is_bound and "name" in self.form.errors:
            other = _named(self.actor, str(typed(self.form, "name") or "").strip())
            context["existing"] = other if other != self.server else None
        return context

    def save(self, version: str) -> Server:
        server = save_identity(
            actor=self.actor,
            server=self.server,
            facts=self.form.cleaned_data,
            endpoints=self.rows.rows(),
            expected_version=version or None,
        )
        self.tell_who_sees(server)
        return server


class PeopleStep(StepView):
    step = "people"

    def build(self, data: Any = None) -> None:
        user = self.actor.user
        initial = {
            "owner": self.known.owner or user,
            "deputy": self.known.deputy,
            "operator": self.known.operator,
            "team": self.known.team or (user.teams.first() if user is not None else None),
        }
        self.form = PeopleForm(data, initial=initial, actor=self.actor)
        team = self.form.fields["team"]
        team.help_text = " ".join(filter(None, (str(team.help_text), always_confidential())))

    def save(self, version: str) -> Server:
        data = self.form.cleaned_data
        server = assign_people(actor=self.actor, server=self.known, expected_version=version or None, **data)
        self.tell_who_sees(server)
        if server.owner_accepted_at is None and server.owner is not None:
            messages.info(
                self.request,
                _("%(owner)s sees this under “My work” and has to accept before you can submit.")
                % {"owner": server.owner},
            )
        return server


class PurposeStep(StepView):
    step = "purpose"

    def build(self, data: Any = None) -> None:
        purpose = self.known.purpose
        names = ("statement", "in_scope", "out_of_scope", "data_classes", "ends_on")
        initial: dict[str, Any] = (
            {name: getattr(purpose, name) for name in names} if purpose else {"ends_on": default_end()}
        )
        self.form = PurposeForm(data, initial=initial)
        self.purpose = purpose

    def save(self, version: str) -> Server:
        data = self.form.cleaned_data
        set_purpose(actor=self.actor, server=self.known, expected_version=version or None, **data)
        if hints := guidance.vagueness(data["statement"], data["in_scope"], data["out_of_scope"]):
            messages.warning(
                self.request, _("Saved. A reviewer may ask: %(hints)s") % {"hints": " ".join(str(h) for h in hints)}
            )
        return self.known

    def extra_context(self) -> dict[str, Any]:
        hints = (
            guidance.vagueness(self.purpose.statement, self.purpose.in_scope, self.purpose.out_of_scope)
            if self.purpose
            else []
        )
        return {"hints": hints, "purpose": self.purpose}


class ToolsStep(StepView):
    step = "tools"
    prefix = "tools"

    def build(self, data: Any = None) -> None:
        rows, described = tool_initial(self.known)
        self.rows = ToolFormSet(data, prefix="tools", initial=rows, form_kwargs={"described": described})
        self.rows.extra = 1 if rows else 3

    def extra_context(self) -> dict[str, Any]:
        server = self.known
        may = allows(self.actor, "discovery.probe_server", server) and remote_endpoints().filter(server=server).exists()
        return {"probe_url": reverse("discovery:probe_now", args=[server.pk]) if may else ""}

    def save(self, version: str) -> Server:
        return set_tools(
            actor=self.actor,
            server=self.known,
            tools=self.rows.rows(),
            expected_version=version or None,
        )


class SystemsStep(StepView):
    """Adds one system per save: each connection is its own request that somebody independent approves."""

    step = "systems"

    def build(self, data: Any = None) -> None:
        purpose = self.known.purpose
        until = default_end(180)
        if purpose is not None:
            until = min(until, purpose.ends_on)
        self.form = ConnectionForm(data, initial={"valid_until": until, "access": "read"}, actor=self.actor)

    def _untouched(self) -> bool:
        telling = {"system", "new_name", "new_kind", "new_data_class", "scopes", "reason"}
        return not telling & set(self.form.changed_data)

    def post(self, request: Request) -> HttpResponse:
        if drop := request.POST.get("drop"):
            return self._drop(drop)
        self.build(request.POST)
        if "connect" not in request.POST and self._untouched():
            if "close" in request.POST:
                return redirect("catalog:server", self.known.pk)
            return redirect(self._neighbour(-1 if "back" in request.POST else 1))
        return super().post(request)

    def save(self, version: str) -> Server:
        data = self.form.cleaned_data
        connection = connect_system(
            actor=self.actor,
            server=self.known,
            system=data["system"],
            new_system=self.form.new_system(),
            access=data["access"],
            scopes=data["scopes"],
            valid_until=data["valid_until"],
            reason=data["reason"],
        )
        messages.success(self.request, _("%(connection)s is requested.") % {"connection": connection})
        return self.known

    def _neighbour(self, offset: int) -> str:
        if "connect" in self.request.POST and offset == 1:
            return reverse("portal:registration", args=[self.known.pk, self.step])
        return super()._neighbour(offset)

    def _drop(self, pk: str) -> HttpResponse:
        chosen = [each for each in open_connections(self.actor, self.known) if str(each.pk) == pk]
        if not chosen:
            raise NotFound
        withdraw_relationship(actor=self.actor, relationship=chosen[0])
        messages.success(self.request, _("%(connection)s is withdrawn.") % {"connection": chosen[0]})
        return redirect("portal:registration", self.known.pk, self.step)

    def extra_context(self) -> dict[str, Any]:
        return {"connections": open_connections(self.actor, self.known)}


class SecretsStep(StepView):
    step = "secrets"
    prefix = "sources"
    field_names = SECRET_NAMES

    def build(self, data: Any = None) -> None:
        connections = list(open_connections(self.actor, self.known))
        sources = list(self.known.secret_sources.filter(retired_at=None))
        initial = [secret_initial(source, connections) for source in sources] or secret_hints(self.known)
        self.rows = SecretFormSet(
            data,
            prefix="sources",
            initial=initial,
            form_kwargs={"connections": [(str(each.pk), str(each.system)) for each in connections]},
        )
        self.rows.extra = 0 if initial else 1
        self.hinted = bool(initial) and not sources

    def save(self, version: str) -> Server:
        return save_secret_sources(
            actor=self.actor,
            server=self.known,
            sources=[form.facts() for form in self.rows.filled],
            used_for=[form.cleaned_data.get("connections", []) for form in self.rows.filled],
            expected_version=version or None,
        )

    def extra_context(self) -> dict[str, Any]:
        return {"kinds": guidance.SECRET_KINDS, "hinted": self.hinted}


class RevocationStep(StepView):
    step = "revocation"
    prefix = "steps"

    def build(self, data: Any = None) -> None:
        steps = list(self.known.revocation_steps.filter(retired_at=None))
        kinds = list(self.known.secret_sources.filter(retired_at=None).values_list("kind", flat=True))
        self.suggested = not steps
        proposed: list[Any] = steps or guidance.suggested_steps(kinds)
        initial = [
            {
                "position": position,
                "instruction": str(step.instruction),
                "executor": step.executor,
                "responsible": str(step.responsible),
                "expected_minutes": step.expected_minutes,
            }
            for position, step in enumerate(proposed, 1)
        ]
        self.rows = RevocationFormSet(data, prefix="steps", initial=initial)
        self.rows.extra = 0

    def _untouched(self) -> bool:
        return self.suggested and super()._untouched()

    def save(self, version: str) -> Server:
        return set_revocation_path(
            actor=self.actor,
            server=self.known,
            steps=self.rows.rows(),
            expected_version=version or None,
        )

    def extra_context(self) -> dict[str, Any]:
        return {"suggested": self.suggested}


class CheckStep(StepView):
    """What is missing, what it adds up to, who has the same; then submit."""

    step = "check"

    def build(self, data: Any = None) -> None:
        self.form = None

    def save(self, version: str) -> Server:
        return submit_server(actor=self.actor, server=self.known, expected_version=version or None)

    def post(self, request: Request) -> HttpResponse:
        if "back" in request.POST:
            return redirect(self._neighbour(-1))
        try:
            self.save(request.POST.get("version", ""))
        except SHOWN as error:
            self.complaints = [error.message]
            self.known.refresh_from_db()
            return self.page(error.status)
        messages.success(request, _("Submitted. An independent reviewer will look at it."))
        return redirect("catalog:server", self.known.pk)

    def extra_context(self) -> dict[str, Any]:
        report = completeness(self.known)
        tier, factors = tier_as_of_now(self.known)
        answers = short_answers(self.known)
        return {
            "tier": tier,
            "factors": factors,
            "report": report,
            "withdrawn": self.known.pk in withdrawn_among([self.known.pk]),
            "questions": [
                {
                    "question": question,
                    "step": self._step_of(question.key, question.missing),
                    "answer": answers.get(question.key, ""),
                }
                for question in report.questions
            ],
            "duplicates": duplicates(self.known, self.actor)[:5],
            "connections": open_connections(self.actor, self.known),
            "may_accept": allows(self.actor, "catalog.accept_ownership", self.known)
            and self.known.owner_accepted_at is None,
        }

    @staticmethod
    def _step_of(key: str, missing: tuple[str, ...]) -> str:
        # What callers reach lacks an endpoint, which is told on the first page, or a class, told with the tools.
        if key == "reach":
            return "identity" if missing else "tools"
        return guidance.QUESTION_STEP[key]


STEP_VIEWS: dict[str, type[StepView]] = {
    view.step: view
    for view in (
        IdentityStep, PeopleStep, PurposeStep, ToolsStep, SystemsStep, SecretsStep, RevocationStep, CheckStep,
    )
}  # fmt: skip


OPTIONAL = {"systems"}
"""Steps that may stay empty: a server can act on nothing but itself."""


@require_safe
def resume(request: Request, pk: UUID) -> HttpResponse:
    """Go on with a draft: at the first step that lacks something, else at the check."""
    server = editable_server(request.actor, pk)
    done = steps_done(server) | OPTIONAL
    step = next((name for name in guidance.STEP_NAMES if name not in done), guidance.STEP_NAMES[-1])
    return redirect("portal:registration", server.pk, step)


def registration(request: Request, pk: UUID, step: str) -> Any:
    if step not in STEP_VIEWS:
        raise NotFound
    return STEP_VIEWS[step].as_view()(request, pk=pk)
