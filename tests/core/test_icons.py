from importlib.resources import files
from xml.etree import ElementTree
from zipfile import ZipFile

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.management.commands.collectstatic import Command

from registry.core.icons import SPRITE, Icon, sprite
from registry.core.looks import STATES, TOOL_CLASSES, VERBS

SVG = "{http://www.w3.org/2000/svg}"


def test_every_icon_exists_in_lucide():
    with (files("lucide") / "lucide.zip").open("rb") as archive:
        known = {name.removesuffix(".svg") for name in ZipFile(archive).namelist()}
    assert not [icon for icon in Icon if icon not in known]


def test_the_sprite_holds_a_drawn_symbol_for_each():
    root = ElementTree.fromstring(sprite())  # noqa: S314 - our own
    symbols = {symbol.attrib["id"]: symbol for symbol in root.findall(f"{SVG}symbol")}
    assert set(symbols) == set(Icon)
    assert all(len(symbol) and symbol.attrib["viewBox"] == "0 0 24 24" for symbol in symbols.values())


def test_static_files_find_it():
    found = finders.find(SPRITE)
    with open(found, "rb") as file:
        assert file.read() == sprite()
    assert SPRITE in {path for finder in finders.get_finders() for path, _ in finder.list([])}


def test_collecting_gives_it_a_hash_and_rewrites_module_imports(tmp_path, settings):
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "registry.core.staticfiles.BuiltStorage"},
    }
    from django.contrib.staticfiles.storage import staticfiles_storage
    from django.core.files.storage import storages

    storage = storages.create_storage(settings.STORAGES["staticfiles"])
    command = Command()
    command.storage = storage
    command.set_options(
        interactive=False, verbosity=0, link=False, clear=False, dry_run=False, ignore_patterns=["drf_*", "rest_*"],
        use_default_ignore_patterns=True, post_process=True,
    )  # fmt: skip
    command.collect()
    assert storage.url(SPRITE) != f"/static/{SPRITE}"
    assert (tmp_path / storage.stored_name(SPRITE)).read_bytes() == sprite()
    assert '"./keys.js"' not in (tmp_path / storage.stored_name("js/app.js")).read_text()
    # A file nobody collected keeps its plain name instead of breaking the page that mentions it.
    assert storage.url("img/later.svg") == "/static/img/later.svg"
    assert staticfiles_storage is not None


def test_every_state_names_a_known_icon():
    for look in [*STATES.values(), *VERBS.values(), *TOOL_CLASSES.values()]:
        assert look.icon in Icon
        assert look.tone in ("", "ok", "warn", "danger", "plum", "info")
