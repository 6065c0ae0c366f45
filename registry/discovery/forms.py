"""What a person hands in: files, or text."""

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext_lazy as _

from registry.core.errors import RegistryError
from registry.discovery.formats import MAX_BYTES, read_document
from registry.discovery.plan import File

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
        widget=ManyFiles(attrs={"accept": ".json,.yaml,.yml", "multiple": True}),
        help_text=_(
            "server.json of any generation, a list of them, a registry's answer, or Docker's catalogue. 10 MB each."
        ),
    )
    text = forms.CharField(
        label=_("Or paste it"),
        required=False,
        max_length=MAX_BYTES,
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "input code"}),
        help_text=_("Secret values are left out and told of; an entry that cannot do without one is refused."),
    )

    def clean(self) -> dict[str, Any]:
        """Reads everything, so that `files` holds what `request_import` takes; a document that is none is an error."""
        data = super().clean() or {}
        uploads, text = data.pop("uploads", []), data.pop("text", "")
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
            files.append(File(name, read_document(text)))
        except RegistryError as error:
            self.add_error(field, f"{prefix}{error.message}")


def _text_of(upload: UploadedFile) -> str | None:
    if upload.size is None or upload.size > MAX_BYTES:
        return None
    try:
        return upload.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
