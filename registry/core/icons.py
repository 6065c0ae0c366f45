"""One icon sprite, `img/icons.svg`, made from the lucide package: a `<symbol>` for each name in `Icon`.

Templates draw an icon with `{% icon "server" %}`; a name that is not listed here is an error, so the sprite
holds what the pages use and nothing else.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree
from zipfile import ZipFile

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage

SPRITE = "img/icons.svg"
_SVG = "http://www.w3.org/2000/svg"


class Icon(StrEnum):
    """Every icon a page may draw, by its lucide name."""

    ACTIVITY = "activity"
    ARCHIVE = "archive"
    ARROW_DOWN = "arrow-down"
    ARROW_LEFT = "arrow-left"
    ARROW_RIGHT = "arrow-right"
    ARROW_UP = "arrow-up"
    BADGE_CHECK = "badge-check"
    BAN = "ban"
    BELL = "bell"
    BOOK_OPEN = "book-open"
    BOOK_TEXT = "book-text"
    BOT = "bot"
    BRACES = "braces"
    BUILDING = "building-2"
    CALENDAR = "calendar"
    CALENDAR_CLOCK = "calendar-clock"
    CHECK = "check"
    CHEVRON_DOWN = "chevron-down"
    CHEVRON_LEFT = "chevron-left"
    CHEVRON_RIGHT = "chevron-right"
    CIRCLE = "circle"
    CIRCLE_ALERT = "circle-alert"
    CIRCLE_CHECK = "circle-check"
    CIRCLE_DASHED = "circle-dashed"
    CIRCLE_DOT = "circle-dot"
    CIRCLE_MINUS = "circle-minus"
    CIRCLE_PAUSE = "circle-pause"
    CIRCLE_PLAY = "circle-play"
    CIRCLE_QUESTION_MARK = "circle-question-mark"
    CIRCLE_USER = "circle-user"
    CIRCLE_X = "circle-x"
    CLIPBOARD_CHECK = "clipboard-check"
    CLIPBOARD_LIST = "clipboard-list"
    CLOCK = "clock"
    CLOUD = "cloud"
    CODE = "code"
    COLUMNS = "columns-3"
    COPY = "copy"
    CPU = "cpu"
    DATABASE = "database"
    DOWNLOAD = "download"
    ELLIPSIS = "ellipsis"
    EXTERNAL_LINK = "external-link"
    EYE = "eye"
    EYE_OFF = "eye-off"
    FILE_CHECK = "file-check"
    FILE_CODE = "file-code"
    FILE_INPUT = "file-input"
    FILE_QUESTION_MARK = "file-question-mark"
    FILE_TEXT = "file-text"
    FILE_UP = "file-up"
    FINGERPRINT = "fingerprint-pattern"
    FLAG = "flag"
    FLASK = "flask-conical"
    FOLDER_GIT = "folder-git-2"
    GAUGE = "gauge"
    GAVEL = "gavel"
    GIT_COMPARE = "git-compare"
    GLOBE = "globe"
    HANDSHAKE = "handshake"
    HARD_DRIVE = "hard-drive"
    HASH = "hash"
    HISTORY = "history"
    HOURGLASS = "hourglass"
    HOUSE = "house"
    ID_CARD = "id-card"
    IMPORT = "import"
    INBOX = "inbox"
    INFO = "info"
    KEY = "key"
    KEY_ROUND = "key-round"
    KEYBOARD = "keyboard"
    LANDMARK = "landmark"
    LAYERS = "layers"
    LIFE_BUOY = "life-buoy"
    LIGHTBULB = "lightbulb"
    LINK = "link"
    LIST = "list"
    LIST_CHECKS = "list-checks"
    LIST_FILTER = "list-filter"
    LOADER = "loader"
    LOCK = "lock"
    LOG_IN = "log-in"
    LOG_OUT = "log-out"
    MAIL = "mail"
    MAXIMIZE = "maximize"
    MENU = "menu"
    MESSAGE_SQUARE = "message-square"
    MESSAGES_SQUARE = "messages-square"
    MINUS = "minus"
    MONITOR = "monitor"
    MOON = "moon"
    NETWORK = "network"
    PACKAGE = "package"
    PAPERCLIP = "paperclip"
    PAUSE = "pause"
    PENCIL = "pencil"
    PLAY = "play"
    PLUG = "plug"
    PLUS = "plus"
    POWER = "power"
    PRINTER = "printer"
    REFRESH = "refresh-cw"
    ROCKET = "rocket"
    ROTATE = "rotate-ccw"
    ROUTE = "route"
    SAVE = "save"
    SCALE = "scale"
    SCROLL = "scroll-text"
    SEARCH = "search"
    SEND = "send"
    SERVER = "server"
    SERVER_OFF = "server-off"
    SETTINGS = "settings"
    SHARE = "share-2"
    SHIELD = "shield"
    SHIELD_ALERT = "shield-alert"
    SHIELD_CHECK = "shield-check"
    SHIELD_OFF = "shield-off"
    SHIELD_QUESTION_MARK = "shield-question-mark"
    SHIELD_USER = "shield-user"
    SHIELD_X = "shield-x"
    SHUFFLE = "shuffle"
    SIGNATURE = "signature"
    SKIP_FORWARD = "skip-forward"
    SLIDERS = "sliders-horizontal"
    SQUARE_PEN = "square-pen"
    STAR = "star"
    SUN = "sun"
    SUN_MOON = "sun-moon"
    TABLE = "table-2"
    TAG = "tag"
    TARGET = "target"
    TERMINAL = "terminal"
    TEXT_SEARCH = "text-search"
    TICKET = "ticket"
    TIMER = "timer"
    TRASH = "trash-2"
    TRIANGLE_ALERT = "triangle-alert"
    UNDO = "undo-2"
    UNLINK = "unlink"
    UPLOAD = "upload"
    USER = "user"
    USER_CHECK = "user-check"
    USER_COG = "user-cog"
    USER_PLUS = "user-plus"
    USER_SEARCH = "user-search"
    USER_X = "user-x"
    USERS = "users"
    VAULT = "vault"
    WAYPOINTS = "waypoints"
    WEBHOOK = "webhook"
    WORKFLOW = "workflow"
    WRENCH = "wrench"
    X = "x"
    ZAP = "zap"


def symbol(name: str, icons: ZipFile) -> ElementTree.Element:
    """The icon as a `<symbol>`; colour and stroke come from CSS. Raises `KeyError` when lucide has no such icon."""
    source = ElementTree.fromstring(icons.read(f"{name}.svg"))  # noqa: S314 - a file of an installed package
    element = ElementTree.Element(f"{{{_SVG}}}symbol", {"id": name, "viewBox": source.attrib["viewBox"]})
    element.extend(source)
    return element


@cache
def sprite() -> bytes:
    """The sprite as a standalone SVG document."""
    root = ElementTree.Element(f"{{{_SVG}}}svg")
    with (files("lucide") / "lucide.zip").open("rb") as archive, ZipFile(archive) as icons:
        root.extend(symbol(name, icons) for name in Icon)
    ElementTree.register_namespace("", _SVG)
    document: bytes = ElementTree.tostring(root, encoding="utf-8")
    return document


def embedded(names: Iterable[str]) -> str:
    """The symbols of these icons as markup, for a picture that leaves the site as a file of its own."""
    ElementTree.register_namespace("", _SVG)
    with (files("lucide") / "lucide.zip").open("rb") as archive, ZipFile(archive) as icons:
        return "".join(ElementTree.tostring(symbol(name, icons), encoding="unicode") for name in names)


@cache
def _written() -> FileSystemStorage:
    """The folder that holds the sprite: finders answer with paths, so it has to be a file."""
    folder = settings.VAR_DIR / "sprite"
    path = folder / SPRITE
    if not path.exists() or path.read_bytes() != sprite():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several processes start at once: each writes its own file, the last rename wins with the same bytes.
        draft = path.with_suffix(f".{id(path)}.svg")
        draft.write_bytes(sprite())
        draft.replace(path)
    return FileSystemStorage(location=folder)


class SpriteFinder(BaseFinder):
    """Lets `collectstatic` and the development server find the sprite as if it lay in a static folder."""

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        if path != SPRITE:
            return []
        found = _written().path(SPRITE)
        return [found] if find_all else found

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        yield SPRITE, _written()
