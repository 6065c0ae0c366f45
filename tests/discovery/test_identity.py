"""What a command line or an address is, behind whatever it is wrapped in."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.secrets import find_secrets
from registry.discovery.command_lines import origin_of
from registry.discovery.identity import Identity, identify_command, identify_url, package_uri


def uri(line: str) -> str:
    """Of a command line as one would type it; arguments in quotes stay together."""
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)]
    return identify_command(words[0], words[1:], name="x").uri


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("npx -y @scope/pkg@1.2.3 --port 1", "npm:@scope/pkg"),
        ("npx pkg", "npm:pkg"),
        ("npx --yes --package @scope/pkg bin-name", "npm:@scope/pkg"),
        ("npx --package=@scope/pkg bin-name", "npm:@scope/pkg"),
        ("npx -c 'pkg-bin --flag'", "local"),
        ("pnpx pkg@latest", "npm:pkg"),
        ("bunx pkg", "npm:pkg"),
        ("pnpm dlx pkg", "npm:pkg"),
        ("yarn dlx pkg", "npm:pkg"),
        ("npm exec -- pkg run", "npm:pkg"),
        ("npm exec -y @scope/pkg", "npm:@scope/pkg"),
        ("npm run start", "local"),
        ("npx -y https://host.example/pkg?x=1", "npm:https://host.example/pkg"),
        ("npx -y github:owner/repo#v1", "git:https://github.com/owner/repo"),
        ("npx ./local-folder", "local"),
        ("npx tsx src/index.ts", "local"),
        ("uvx mcp_server.fetch", "pypi:mcp-server-fetch"),
        ("uvx 'mcp-server-fetch[extra]==1.2'", "pypi:mcp-server-fetch"),
        ("uvx --from pkg-name bin-name", "pypi:pkg-name"),
        ("uvx --python 3.12 --with other pkg@latest", "pypi:pkg"),
        ("uvx --from git+https://github.com/o/r@main#subdirectory=src/a tool",
         "git:https://github.com/o/r#subdirectory=src/a"),
        ("uv tool run pkg", "pypi:pkg"),
        ("uv run server.py", "local"),
        ("uv --directory /srv/x run thing", "local"),
        ("pipx run pkg", "pypi:pkg"),
        ("docker run -i --rm -e A=b --name x -v /a:/b ghcr.io/o/i:1.2 --flag", "oci:ghcr.io/o/i"),
        ("docker run --rm=true --env-file=.env docker.io/mcp/time", "oci:mcp/time"),
        ("docker run -i mcp/time@sha256:0123456789abcdef", "oci:mcp/time"),
        ("podman run -it localhost:5000/o/i:2", "oci:localhost:5000/o/i"),
        ("docker exec -i container server", "local"),
        ("docker mcp gateway run", "local"),
        ("node /home/me/node_modules/@scope/pkg/dist/index.js", "npm:@scope/pkg"),
        ("node --import tsx C:\\x\\node_modules\\pkg\\index.js", "npm:pkg"),
        ("node /srv/node_modules/.bin/tool", "local"),
        ("deno run -A npm:pkg@1", "npm:pkg"),
        ("deno run --allow-net jsr:@scope/pkg", "jsr:@scope/pkg"),
        ("dnx Some.Package@1.0.0 --yes", "nuget:Some.Package"),
        ("go run example.com/a/b@latest", "go:example.com/a/b"),
        ("cmd /c npx -y pkg", "npm:pkg"),
        ("cmd.exe /C 'npx -y pkg'", "npm:pkg"),
        ("wsl.exe -d Ubuntu --cd /mnt/c bash -c 'npx -y pkg'", "npm:pkg"),
        ("bash -lc 'cd /x && source .env && exec npx -y pkg'", "npm:pkg"),
        ("bash -c 'A=b uvx pkg'", "pypi:pkg"),
        ("bash -c 'npx a; npx b'", "local"),
        ("bash -c 'npx a | tee log'", "local"),
        ("bash -c 'npx $(cat name)'", "local"),
        ("powershell -NoProfile -Command npx -y pkg", "npm:pkg"),
        ("env A=b npx pkg", "npm:pkg"),
        ("sudo -u mcp npx pkg", "npm:pkg"),
        ("op run --env-file .env -- npx -y pkg", "npm:pkg"),
        ("C:\\nodejs\\npx.CMD pkg", "npm:pkg"),
        ("npx mcp-remote https://Mcp.Example.com/mcp/ --header Authorization:x", "https://mcp.example.com/mcp"),
        ("npx mcp-remote@0.1.2 https://mcp.example.com/sse 9696", "https://mcp.example.com/sse"),
        ("npx -y supergateway --sse https://mcp.example.com/x", "https://mcp.example.com/x"),
        ("npx -y supergateway --stdio 'uvx pkg'", "pypi:pkg"),
        ("uvx mcp-proxy https://mcp.example.com/mcp", "https://mcp.example.com/mcp"),
        ("mcp-proxy -- npx -y pkg", "npm:pkg"),
        ("npx mcp-remote ${URL}", "local"),
        ("npx -y @smithery/cli@latest run @scope/thing --key 1b4e28ba-2fa1-41d2-883f-0016d3cca427",
         "smithery:@scope/thing"),
        ("npx --api-key 1b4e28ba-2fa1-41d2-883f-0016d3cca427 pkg", "npm:pkg"),
        ("python -m some_module", "local"),
        ("some-binary", "local"),
        ("", "local"),
    ],
)  # fmt: skip
def test_what_a_command_line_starts(line: str, expected: str) -> None:
    found = uri(line or "''")
    assert found == expected or (expected == "local" and found.startswith("local:"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Mcp.Example.COM/Mcp/?Tools=a,b#top", "https://mcp.example.com/Mcp?Tools=a,b"),
        ("https://user:pa55word@a.example/mcp", "https://a.example/mcp"),
        ("https://a.example:8443/mcp", "https://a.example:8443/mcp"),
        ("https://a.example/mcp?api_key=YOUR_KEY&team=7", "https://a.example/mcp?team=7"),
        ("https://a.example/mcp?api_key=${KEY}&team=7", "https://a.example/mcp?team=7"),
        ("https://a.example/mcp?token=k3yQ9zX1vB7mN2cT8rW4&team=7", "https://a.example/mcp?team=7"),
        ("https://a.example/${TENANT}/mcp", "https://a.example/{TENANT}/mcp"),
        ("https://a.example/${input:api_key}/mcp", "https://a.example/{key}/mcp"),
        ("https://a.example/s/k3yQ9zX1vB7mN2cT8rW4/mcp", "https://a.example/s/{key}/mcp"),
        ("https://${HOST}/mcp", "local"),
        ("${input:URL}", "local"),
        ("unix:///run/mcp.sock", "local"),
        ("http://localhost:8080/mcp", "local"),
        ("http://127.0.0.1/mcp", "local"),
        ("http://[::1]:9/mcp", "local"),
        ("http://host.docker.internal:1/mcp", "local"),
        ("https://[bad/mcp", "local"),
        ("https://a.example/" + "x" * 800, "local"),
    ],
)
def test_what_an_address_is(url: str, expected: str) -> None:
    found = identify_url(url, name="x")
    assert found.uri == expected or (expected == "local" and found.uri.startswith("local:"))
    assert found.identified is (expected != "local")


def test_a_key_in_the_path_may_be_catalogued_without_it() -> None:
    assert identify_url("https://a.example/mcp/k3yQ9zX1vB7mN2cT8rW4").also == ("https://a.example/mcp",)
    assert identify_url("https://a.example/mcp").also == ()


def test_the_wrappers_are_named_from_the_outside() -> None:
    _origin, via = origin_of("cmd", ["/c", "npx", "-y", "mcp-remote", "https://a.example"])
    assert via == ("cmd", "npx", "mcp-remote")


def test_local_things_are_the_same_on_every_machine_and_differ_from_each_other() -> None:
    def local(name: str, *words: str) -> str:
        return identify_command(words[0], words[1:], name=name).uri

    mine = local("notes", "/Users/ada/.venv/bin/python", "/Users/ada/notes/server.py", "--data", "/Users/ada")
    assert mine == local("notes", "C:\\Users\\bob\\python.exe", "D:\\x\\server.py")
    assert mine != local("other", "python", "server.py")
    assert mine != local("notes", "python", "another.py")


def test_the_release_is_no_part_of_the_identity() -> None:
    one, other = (identify_command("npx", ["-y", f"@a/b@{version}"]) for version in ("1.0.0", "2.0.0"))
    assert one.uri == other.uri == package_uri("npm", "@a/b")
    assert (one.version, other.version) == ("1.0.0", "2.0.0")


# --- Properties ------------------------------------------------------------------------------------------
names = st.from_regex(r"(?:@[a-z]{2,8}/)?[a-z]{2,10}(?:-[a-z]{2,8})?", fullmatch=True)
WRAPPINGS = [
    lambda words: ["cmd", "/c", *words],
    lambda words: ["wsl.exe", "-d", "Ubuntu", *words],
    lambda words: ["bash", "-c", " ".join(words)],
    lambda words: ["bash", "-lc", "cd /srv && " + " ".join(words)],
    lambda words: ["env", "A=b", *words],
    lambda words: ["sudo", "-u", "mcp", *words],
    lambda words: ["op", "run", "--", *words],
]


@settings(max_examples=200, deadline=None)
@given(name=names, wrappings=st.lists(st.sampled_from(WRAPPINGS), max_size=3), version=st.sampled_from(["", "@1.2.3"]))
def test_any_wrapping_leaves_the_package(name: str, wrappings: list, version: str) -> None:  # type: ignore[type-arg]
    words = ["npx", "-y", name + version]
    shells = 0
    for wrap in wrappings:
        wrapped = wrap(words)
        shells += wrapped[0] == "bash"
        if shells > 1:
            break  # A line in a line would have to be quoted.
        words = wrapped
    found = identify_command(words[0], words[1:])
    assert (found.uri, found.identified) == (f"npm:{name}", True)
    assert found.via[-1] == "npx"


@settings(max_examples=300, deadline=None)
@given(command=st.text(max_size=30), arguments=st.lists(st.text(max_size=40), max_size=8), name=st.text(max_size=20))
def test_nothing_breaks_it_and_everything_can_be_stored(command: str, arguments: list[str], name: str) -> None:
    found = identify_command(command, arguments, name=name)
    _is_storable(found)
    assert found == identify_command(command, arguments, name=name)


@settings(max_examples=300, deadline=None)
@given(
    url=st.one_of(st.text(max_size=60), st.from_regex(r"https?://[a-z0-9.@:\[\]{}$%-]{1,20}/.{0,30}", fullmatch=True))
)
def test_any_address_can_be_stored_and_resolves_to_itself(url: str) -> None:
    found = identify_url(url, name="x")
    _is_storable(found)
    if found.identified:
        assert identify_url(found.uri).uri == found.uri
        assert "@" not in found.uri.split("/")[2]


def _is_storable(found: Identity) -> None:
    assert 0 < len(found.uri) <= 700 and len(found.label) <= 200 and len(found.version) <= 255
    assert "\x00" not in found.uri + found.label
    (found.uri + found.label + "".join(found.via)).encode()
    assert not find_secrets(found.uri)
    assert found.uri.startswith("local:") is not found.identified


@settings(max_examples=100, deadline=None)
@given(
    folder=st.from_regex(r"/(?:home|Users)/[a-z]{8,12}(?:/[a-z]{8,12}){1,3}", fullmatch=True),
    program=st.sampled_from(["python", "node", "bun", "./bin", "uv", "docker", "npx"]),
)
def test_no_folder_of_a_machine_is_told(folder: str, program: str) -> None:
    found = identify_command(f"{folder}/{program}", ["--data", folder, f"{folder}/server.py", folder])
    for part in folder.strip("/").split("/"):
        assert part not in ("home", "Users") or part not in found.label
        assert part in ("home", "Users") or part not in found.uri + found.label + found.version
