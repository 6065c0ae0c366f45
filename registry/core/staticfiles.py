"""Static files with a hash in their name, so that browsers keep them for ever and never show an old one."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class BuiltStorage(CompressedManifestStaticFilesStorage):
    """Also hashes what JavaScript modules import; a file that was not collected keeps its plain name."""

    support_js_module_import_aggregation = True

    def stored_name(self, name: str) -> str:
        collected = self.hash_key(self.clean_name(name)) in self.hashed_files
        return super().stored_name(name) if collected else name
