"""What a command line starts, once everything it is wrapped in is taken off.

`origin_of("cmd", ["/c", "npx", "-y", "mcp-remote", "https://mcp.example.com/mcp"])` is the address. Each wrapper has a
function from its arguments to what is inside: another command line, an origin, or None for what only the machine
itself knows. Lines are read, never run.
"""

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from registry.core.secrets import name_certainty

MOST_WRAPPERS = 8
_MOST_WORDS = 500
_LONGEST = 8192


@dataclass(frozen=True, repr=False)
class Address:
    """A remote server; `url` as written, and so with whatever credentials stand in it."""

    url: str
    transport: str = ""


@dataclass(frozen=True, repr=False)
class Package:
    """`arguments` are those of the package, which may itself only start something else."""

    registry: str
    name: str
    version: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Local:
    """Something of this machine, in words that name no directory."""

    words: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Inside:
    """Another command line, whose first word is the program."""

    words: Sequence[str]


Origin = Address | Package | Local
Opener = Callable[[Sequence[str]], Origin | Inside | None]


def origin_of(command: str, arguments: Sequence[str]) -> tuple[Origin, tuple[str, ...]]:
    """What is started, and the wrappers around it, outermost first."""
    words = _words(command, arguments)
    via: list[str] = []
    while words and len(via) < MOST_WRAPPERS:
        program = program_name(words[0])
        opener = _OPENERS.get(program)
        found = opener(words[1:]) if opener else _in_node_modules(words[0], words[1:])
        if found is None:
            break
        via.append(program)
        if isinstance(found, Package) and (launcher := _LAUNCHERS.get(found.name.lower())):
            via.append(found.name.lower())
            if (started := launcher(found.arguments)) is None:
                return Local(_description([found.name, *found.arguments])), tuple(via)
            found = started
        if not isinstance(found, Inside):
            return found, tuple(via)
        words = list(found.words)
    return Local(_description(words)), tuple(via)


def program_name(word: str) -> str:
    """`npx` of `/usr/local/bin/npx`, `C:\\Program Files\\nodejs\\npx.cmd` and `NPX.EXE`."""
    return re.sub(r"\.(?:exe|cmd|ps1)$", "", _last(word).lower())


def _last(path: str) -> str:
    """The last part of a path of either kind."""
    return re.split(r"[\\/]", path.strip().rstrip("\\/"))[-1]


def _words(command: str, arguments: Sequence[str]) -> list[str]:
    """The command line as words; some write the whole of it into `command`."""
    first = command.split()[:1]
    if not arguments and len(command.split()) > 1 and program_name(first[0]) in _OPENERS:
        return _line(command[:_LONGEST])[:_MOST_WORDS]
    words = [command, *arguments[:_MOST_WORDS]] if command.strip() else arguments[:_MOST_WORDS]
    return [word[:_LONGEST] for word in words]


def _line(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _operands(words: Sequence[str], valued: Collection[str] = ()) -> Iterator[int]:
    """Indexes of words that are neither flags nor their values. After `--` everything is an operand.

    A flag that is not known takes no value, unless its name says that a credential follows.
    """
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            yield from range(index + 1, len(words))
            return
        if word.startswith("-") and len(word) > 1:
            name = word.lstrip("-")
            takes_value = word in valued or bool(name_certainty(name))
            index += 2 if takes_value and "=" not in word else 1
            continue
        yield index
        index += 1


def _after_operand(words: Sequence[str], valued: Collection[str] = ()) -> Sequence[str]:
    """From the first operand on."""
    index = next(_operands(words, valued), len(words))
    return words[index:]


# --- Shells and other wrappers ---------------------------------------------------------------------------
_BEFORE = re.compile(
    r"source|\.|cd|@?echo|export|set|unset|true|nvm|conda|pushd|mkdir|sleep|umask|ulimit|chcp|setlocal", re.IGNORECASE
)


def _shell_line(line: str) -> Inside | None:
    """The one command a line is about, when there is just one besides going somewhere and setting things up."""
    if re.search(r"[`(){}\n]", re.sub(r"\$\{[^}]*\}", "", line)):
        return None
    try:
        tokens = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        tokens.whitespace_split, tokens.commenters = True, ""
        words = list(tokens)
    except ValueError:
        return None
    commands: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set(";&|"):
            commands.append([])
        elif commands[-1] or not (re.match(r"[A-Za-z_]\w*=", word) or word == "exec"):
            commands[-1].append(word)
    real = [each for each in commands if each and not _BEFORE.fullmatch(each[0])]
    return Inside(real[0]) if len(real) == 1 else None


def _posix_shell(words: Sequence[str]) -> Inside | None:
    for index, word in enumerate(words):
        if re.fullmatch(r"-[a-z]*c", word) and index + 1 < len(words):
            return _shell_line(words[index + 1])
        if not word.startswith("-"):
            break
    return None


def _cmd(words: Sequence[str]) -> Inside | None:
    for index, word in enumerate(words):
        if word.lower() in ("/c", "/k"):
            rest = words[index + 1 :]
            return _shell_line(rest[0]) if len(rest) == 1 and " " in rest[0] else Inside(rest)
    return None


def _powershell(words: Sequence[str]) -> Inside | None:
    for index, word in enumerate(words):
        if word.lower() in ("-command", "-c"):
            return _shell_line(" ".join(words[index + 1 :]).removeprefix("& "))
    return None


def _prefix(words: Sequence[str], *, valued: Collection[str] = ()) -> Inside | None:
    """`sudo -u mcp X`, `wsl.exe -d Ubuntu X`, `env A=b X`: the command line follows the flags."""
    rest = list(_after_operand(words, valued))
    while rest and re.match(r"[A-Za-z_]\w*=", rest[0]):
        rest.pop(0)
    return Inside(rest) if rest else None


def _behind_dashes(words: Sequence[str]) -> Inside | None:
    """`op run -- X`: everything up to the dashes is the wrapper's own."""
    return Inside(words[words.index("--") + 1 :]) if "--" in words[:-1] else None


# --- Package runners -------------------------------------------------------------------------------------
_NPX_VALUED = ("-p", "--package", "--registry", "-c", "--call", "--cache", "--userconfig", "--prefix", "-w",
               "--workspace", "--loglevel", "--node-options", "--shell", "--dir", "-C")  # fmt: skip
_UVX_VALUED = ("--from", "--with", "--with-editable", "--with-requirements", "--python", "-p", "--index",
               "--index-url", "-i", "--extra-index-url", "--default-index", "--find-links", "-f", "--env-file",
               "--directory", "--project", "--refresh-package", "-c", "--constraints", "--overrides", "--link-mode",
               "--cache-dir", "--config-file", "--spec", "--pip-args", "--color", "--python-preference")  # fmt: skip
_DOCKER_BOOLEAN = re.compile(
    r"--(?:rm|init|privileged|read-only|detach|interactive|tty|publish-all|no-healthcheck|quiet|oom-kill-disable|help)"
    r"|-[itdPq]+"
)
_GIT = re.compile(r"(?:git\+(?:https?|ssh)|git|ssh)://|github:|gitlab:|bitbucket:|git@")
_NPM_NAME = re.compile(r"(?P<name>(?:@[\w.~-]+/)?[\w.~-]+)(?:@(?P<version>[\w.+*^~<>=|-]{1,100}))?")
_PYPI_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?:(?:===?|@|[~<>!]=?)\s*(?P<version>[^\s;]{1,100}))?(?:\s*;.*)?"
)


def _npx(words: Sequence[str]) -> Origin | Inside | None:
    for flag in ("-c", "--call"):
        if flag in words[:-1]:
            return _shell_line(words[words.index(flag) + 1])
    rest = _after_operand(words, _NPX_VALUED)
    spec = _value_of(words, ("-p", "--package"), stop=len(words) - len(rest)) or (rest[0] if rest else "")
    return _npm_package(spec, rest[1:]) if spec else None


def _value_of(words: Sequence[str], flags: Sequence[str], *, stop: int) -> str:
    for index, word in enumerate(words[:stop]):
        name, sign, value = word.partition("=")
        if name in flags:
            return value if sign else next(iter(words[index + 1 : index + 2]), "")
    return ""


def _npm_package(spec: str, arguments: Sequence[str]) -> Package | None:
    if _GIT.match(spec) or (spec.startswith(("http://", "https://")) and spec.partition("#")[0].endswith(".git")):
        return _git(spec, arguments)
    if spec.startswith(("http://", "https://")):
        return Package("npm", _without_user(spec), "", tuple(arguments))
    found = _NPM_NAME.fullmatch(spec.removeprefix("npm:"))
    if found is None or spec in (".", "..") or _is_file(spec):
        return None
    return Package("npm", found["name"], found["version"] or "", tuple(arguments))


def _uvx(words: Sequence[str]) -> Origin | None:
    rest = _after_operand(words, _UVX_VALUED)
    spec = _value_of(words, ("--from", "--spec"), stop=len(words) - len(rest)) or (rest[0] if rest else "")
    if _GIT.match(spec):
        return _git(spec, rest[1:])
    found = _PYPI_NAME.fullmatch(spec)
    if found is None or spec in (".", "..") or _is_file(spec):
        return None
    return Package("pypi", found["name"], found["version"] or "", tuple(rest[1:]))


def _is_file(spec: str) -> bool:
    return bool(
        re.match(r"\.{1,2}[\\/]|[\\/~]|file:|[A-Za-z]:[\\/]", spec) or re.search(r"\.(?:py|[cm]?[jt]s|tgz|whl)$", spec)
    )


def _without_user(url: str) -> str:
    """A package's address without user, query and fragment: none of them names the package."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"


def _git(spec: str, arguments: Sequence[str]) -> Package | None:
    """A repository, whichever way it is written; a folder in it is another package."""
    base, _hash, fragment = spec.partition("#")
    folder = re.search(r"(?:^|&)subdirectory=([\w./-]{1,200})", fragment)
    base = re.sub(r"^git\+", "", base)
    if short := re.match(r"(github|gitlab|bitbucket):(.+)", base):
        host = {"github": "github.com", "gitlab": "gitlab.com", "bitbucket": "bitbucket.org"}[short[1]]
        base = f"https://{host}/{short[2]}"
    base = re.sub(r"^(?:ssh://)?git@([\w.-]+)[:/]", r"https://\1/", base)
    url = _without_user(re.sub(r"^(?:ssh|git)://", "https://", base))
    path, _at, version = url.rpartition("@") if "@" in _last(url) else (url, "", "")
    name = path.removesuffix(".git") + (f"#subdirectory={folder[1]}" if folder else "")
    return Package("git", name, version, tuple(arguments)) if path else None


def _docker(words: Sequence[str]) -> Origin | None:
    rest = _after_operand(words, ("--context", "-H", "--host", "--config", "-c", "--log-level", "-l"))
    if list(rest[:2]) == ["container", "run"]:
        rest = rest[1:]
    if list(rest[:2]) == ["mcp", "gateway"]:
        return Local(("docker", "mcp", "gateway"))
    if not rest or rest[0] != "run":
        return None
    index = 1
    while index < len(rest) and rest[index].startswith("-"):
        word = rest[index]
        index += (
            1 if ("=" in word and word.startswith("--")) or _DOCKER_BOOLEAN.fullmatch(word.partition("=")[0]) else 2
        )
    if index >= len(rest) or not re.fullmatch(r"[\w./:@-]+", rest[index]):
        return None
    image = rest[index]
    tag = image.partition("@")[2] or _last(image).partition(":")[2]
    return Package("oci", image, tag, tuple(rest[index + 1 :]))


def _sub(commands: dict[str, Opener], words: Sequence[str]) -> Origin | Inside | None:
    """`pnpm dlx X`, `uv tool run X`: the subcommand decides."""
    for length in (2, 1):
        operands = [index for index, _n in zip(_operands(words, _UVX_VALUED), range(length), strict=False)]
        name = " ".join(words[index] for index in operands)
        if len(operands) == length and name in commands:
            return commands[name](words[operands[-1] + 1 :])
    return None


def _dnx(words: Sequence[str]) -> Package | None:
    rest = _after_operand(words, ("--version", "--source", "--configfile", "--add-source"))
    name, _at, version = rest[0].partition("@") if rest else ("", "", "")
    return Package("nuget", name, version) if re.fullmatch(r"[\w.-]+", name) else None


def _go_run(words: Sequence[str]) -> Package | None:
    rest = _after_operand(words, ("-C", "-mod", "-tags", "-ldflags"))
    name, _at, version = rest[0].partition("@") if rest else ("", "", "")
    return Package("go", name, version) if re.match(r"[\w-]+\.[\w.-]+/", name) else None


def _deno(words: Sequence[str]) -> Package | None:
    rest = _after_operand(words, ("--config", "-c", "--import-map", "--env-file"))
    if rest and rest[0] == "run":
        rest = _after_operand(rest[1:], ("--config", "-c", "--import-map", "--env-file"))
    if not rest:
        return None
    kind, _colon, spec = rest[0].partition(":")
    found = _NPM_NAME.fullmatch(spec.lstrip("/"))
    if kind in ("npm", "jsr") and found:
        return Package(kind, found["name"], found["version"] or "", tuple(rest[1:]))
    return None


# --- Scripts ---------------------------------------------------------------------------------------------
_NODE_VALUED = ("--import", "-r", "--require", "--loader", "--experimental-loader", "--env-file", "--conditions", "-C",
                "--cwd", "--tsconfig", "--project", "-P")  # fmt: skip
_PACKAGE_FOLDER = re.compile(r"node_modules[\\/]+(?P<name>(?:@[\w.~-]+[\\/]+)?(?!\.)[\w.~-]+)[\\/]")


def _in_node_modules(script: str, arguments: Sequence[str]) -> Package | None:
    """The package a script was installed with; the innermost of nested ones."""
    found = list(_PACKAGE_FOLDER.finditer(script))
    return Package("npm", re.sub(r"[\\/]+", "/", found[-1]["name"]), "", tuple(arguments)) if found else None


def _script(words: Sequence[str]) -> Package | None:
    rest = _after_operand(words, _NODE_VALUED)
    return _in_node_modules(rest[0], rest[1:]) if rest else None


# --- Packages that only start something else -------------------------------------------------------------
_BRIDGE_VALUED = ("--header", "-H", "--headers", "--transport", "--host", "--port", "--allow-http-host",
                  "--auth-timeout", "--static-oauth-metadata", "--static-oauth-client-info", "--resource",
                  "--ignore-tool")  # fmt: skip


def _bridge(words: Sequence[str]) -> Origin | Inside | None:
    """`mcp-remote URL`, `supergateway --sse URL`, `mcp-proxy -- X`: a remote server, or a command line behind it."""
    transport = ""
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        if word.startswith(("http://", "https://")) and before not in _BRIDGE_VALUED:
            if before == "--sse" or _value_of(words, ("--transport",), stop=len(words)).startswith("sse"):
                transport = "sse"
            return Address(word, transport)
        if before == "--stdio":
            return _shell_line(word)
    if (behind := _behind_dashes(words)) is not None:
        return behind
    rest = _after_operand(words, _BRIDGE_VALUED)
    if rest and "${" in rest[0]:
        return Address(rest[0])
    return Inside(rest) if rest and program_name(rest[0]) in _OPENERS else None


def _smithery(words: Sequence[str]) -> Package | None:
    """Smithery's runner takes names of Smithery's own registry; they are not npm's, though some look alike."""
    operands = [words[index] for index in _operands(words, ("--client", "--config", "--profile"))]
    if len(operands) < 2 or operands[0] not in ("run", "install", "inspect"):
        return None
    found = _NPM_NAME.fullmatch(operands[1])
    return Package("smithery", found["name"], found["version"] or "") if found else None


_LAUNCHERS: dict[str, Opener] = {
    "mcp-remote": _bridge,
    "mcp-proxy": _bridge,
    "supergateway": _bridge,
    "@smithery/cli": _smithery,
    "cross-env": _prefix,
    "dotenv-cli": _behind_dashes,
    **dict.fromkeys(("tsx", "ts-node", "ts-node-esm", "nodemon", "esno", "vite-node", "babel-node"), _script),
}
_OPENERS: dict[str, Opener] = {
    "cmd": _cmd,
    **dict.fromkeys(("bash", "sh", "zsh", "dash", "ksh", "fish"), _posix_shell),
    **dict.fromkeys(("powershell", "pwsh"), _powershell),
    "wsl": partial(_prefix, valued=("-d", "--distribution", "-u", "--user", "--cd", "--shell-type")),
    "env": partial(_prefix, valued=("-u", "--unset", "-C", "--chdir")),
    "sudo": partial(_prefix, valued=("-u", "--user", "-g", "--group")),
    "nice": partial(_prefix, valued=("-n",)),
    **dict.fromkeys(("nohup", "time", "stdbuf", "caffeinate", "cross-env"), _prefix),
    **dict.fromkeys(("op", "doppler", "dotenv", "infisical", "chamber", "aws-vault", "mise", "direnv"), _behind_dashes),
    **dict.fromkeys(("npx", "pnpx", "bunx"), _npx),
    "npm": partial(_sub, {"exec": _npx, "x": _npx}),
    "pnpm": partial(_sub, {"dlx": _npx, "exec": _npx}),
    "yarn": partial(_sub, {"dlx": _npx}),
    "bun": lambda words: _sub({"x": _npx}, words) or _script(words),
    "uvx": _uvx,
    "uv": partial(_sub, {"tool run": _uvx, "x": _uvx}),
    "pipx": partial(_sub, {"run": _uvx}),
    **dict.fromkeys(("docker", "podman", "nerdctl"), _docker),
    "dnx": _dnx,
    "dotnet": partial(_sub, {"dnx": _dnx, "tool exec": _dnx}),
    "go": partial(_sub, {"run": _go_run}),
    "deno": _deno,
    **dict.fromkeys(("node", "nodejs", "tsx", "ts-node", "nodemon"), _script),
    **dict.fromkeys(("mcp-remote", "mcp-proxy", "supergateway"), _bridge),
}

# --- What cannot be identified ---------------------------------------------------------------------------
_RUNS_SCRIPTS = re.compile(
    r"(?:node|nodejs|tsx|ts-node|nodemon|bun|deno|java|ruby|perl|php|bash|sh|zsh|pythonw?[\d.]*|py)"
)
_HAS_COMMANDS = re.compile(r"npm|pnpm|yarn|uv|poetry|docker|podman|dotnet|cargo|go|make|just|task")


def _description(words: Sequence[str]) -> tuple[str, ...]:
    """The program and the script or command it is told to run; no other argument, and no directory."""
    if not words:
        return ()
    program, rest = program_name(words[0]), list(words[1:])
    shown = _last(words[0])
    if _RUNS_SCRIPTS.fullmatch(program):
        if "-m" in rest[:-1] and program.startswith("py"):
            module = rest[rest.index("-m") + 1]
            return (program, "-m", module) if re.fullmatch(r"[\w.]{1,100}", module) else (program,)
        operands = [rest[index] for index in _operands(rest, (*_NODE_VALUED, "-c", "-jar", "-cp"))]
        # A folder's last part may be somebody's name; a script has an ending, or stands alone.
        scripts = [word for word in operands if re.search(r"\.\w{1,5}$", word) or not re.search(r"[\\/]", word)]
        script = _last(scripts[0]) if scripts else ""
        return (program, script) if re.fullmatch(r"[\w.@ -]{1,100}", script) else (program,)
    if _HAS_COMMANDS.fullmatch(program):
        commands = [rest[index] for index in _operands(rest, _UVX_VALUED)]
        return (program, *(word for word in commands[:2] if re.fullmatch(r"[\w:.-]{1,60}", word)))
    return (shown,)
