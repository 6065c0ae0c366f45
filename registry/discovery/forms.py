"""What a person hands in: files, or text."""

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext_lazy as _

from registry.catalog.forms import ActorForm, ServerField
from registry.core.errors import RegistryError, SecretRefused
from registry.core.forms import apply_error
from registry.core.secrets import refuse_secrets
from registry.discovery.formats import MAX_BYTES, read_document
from registry.discovery.formats.clients import CLIENTS
from registry.discovery.models import RegistrySource
from registry.discovery.plan import File
from registry.discovery.services.registries import LONGEST, SHORTEST

MAX_FILES = 20


class ManyFiles(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Zero or more uploads; cleans to a list."""

    widget = ManyFiles

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        uploads = data if isinstance(data, list | tuple) else [data] if data else []
        return [super(FilesField, self).clean(upload, initial) for upload in uploads]


class NewImportForm(forms.Form):
    uploads = FilesField(
        label=_("Files"),
        required=False,
        widget=ManyFiles(attrs={"accept": ".json,.jsonc,.toml,.yaml,.yml", "multiple": True}),
        help_text=_(
            "server.json of any generation, a list of them, a registry's answer, Docker's catalogue, or a client's "
            "configuration. 10 MB each."
        ),
    )
    text = forms.CharField(
        label=_("Or paste it"),
        required=False,
        max_length=MAX_BYTES,
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "input code"}),
        help_text=_("Secret values are left out and told of; an entry that cannot do without one is refused."),
    )

    client = forms.ChoiceField(
        label=_("Whose configuration it is"),
        required=False,
        choices=[("", _("As its name and shape say")), *CLIENTS.items()],
        help_text=_("Only for configurations of clients."),
    )
    place = forms.CharField(
        label=_("Where it is used"),
        required=False,
        max_length=300,
        help_text=_("Only for configurations of clients: whose machine, which project or host. Else the file's name."),
    )

    def clean(self) -> dict[str, Any]:
        """Reads everything, so that `files` holds what `request_import` takes; a document that is none is an error."""
        data = super().clean() or {}
        uploads, text = data.pop("uploads", []), data.pop("text", "")
        self.whose = {"client": data.pop("client", ""), "place": data.pop("place", "").strip()}
        try:
            refuse_secrets({"place": self.whose["place"]})
        except SecretRefused as error:
            apply_error(self, error)
            return {"files": []}
        files: list[File] = []
        if len(uploads) > MAX_FILES:
            self.add_error("uploads", _("At most %(n)d files at a time.") % {"n": MAX_FILES})
            uploads = []
        for upload in uploads:
            self._read("uploads", str(upload.name), _text_of(upload), files)
        if text.strip():
            self._read("text", str(_("pasted text")), text, files)
        if not files and not self.errors:
            self.add_error("text", _("Choose a file or paste what its publisher wrote."))
        return {"files": files}

    def _read(self, field: str, name: str, text: str | None, files: list[File]) -> None:
        prefix = f"{name}: " if field == "uploads" else ""
        if text is None:
            self.add_error(field, f"{prefix}{_('This is not UTF-8 text, or larger than 10 MB.')}")
            return
        try:
            files.append(File(name, read_document(text, file=name, **self.whose)))
        except RegistryError as error:
            self.add_error(field, f"{prefix}{error.message}")


def _text_of(upload: UploadedFile) -> str | None:
    if upload.size is None or upload.size > MAX_BYTES:
        return None
    try:
        return upload.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


class RegistryForm(forms.Form):
    """A registry to follow. Names are those of `services.follow_registry`."""

    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("As people here call it."))
    base_url = forms.CharField(
        label=_("Address"),
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://registry.example.org", "spellcheck": "false"}),
        help_text=_("Without /v0.1/servers. Inside your network it also needs OUTBOUND_ALLOW."),
    )
    interval_minutes = forms.IntegerField(
        label=_("Minutes between two readings"),
        initial=60,
        min_value=SHORTEST,
        max_value=LONGEST,
        help_text=_("Public registries ask for about an hour."),
    )
    makes_drafts = forms.BooleanField(
        label=_("What is new or changed there becomes a draft here"),
        required=False,
        initial=True,
        help_text=_("By an ordinary import. Without it, entries are only listed on the page of this registry."),
    )

    @classmethod
    def about(cls, source: RegistrySource) -> "RegistryForm":
        return cls(initial={name: getattr(source, name) for name in cls.base_fields})


class LinkShadowForm(ActorForm):
    """Which server a shadow is."""

    server = ServerField(label=_("Server"), help_text=_("By its full name. The server itself is not changed."))


class IgnoreShadowForm(forms.Form):
    reason = forms.CharField(
        label=_("Why it may be left alone"), max_length=2000, widget=forms.Textarea(attrs={"rows": 3})
    )
    until = forms.DateField(
        label=_("Until"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=_("Then it is open again. At most a year."),
    )


class ReopenShadowForm(forms.Form):
    reason = forms.CharField(label=_("Why"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class AttestForm(forms.Form):
    """Names are those of `services.attest_secret_source`."""

    statement = forms.CharField(
        label=_("What you looked at, and what you saw"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Never the value itself."),
    )
    last_rotated_on = forms.DateField(
        label=_("Last rotated on"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    until = forms.DateField(
        label=_("Your word holds until"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=_("At most a year from now."),
    )
