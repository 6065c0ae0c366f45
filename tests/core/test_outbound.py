"""Requests to addresses somebody else chose: where they may go, and how much and how long they are listened to."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from ipaddress import ip_address
from itertools import repeat

import pytest

from registry.core import outbound
from registry.core.addresses import AllowList, BadAddress, Target, judge, kind_of, literal_of, read_url
from registry.core.outbound import Limits
from tests.listeners import Told, certificate, http, raw
from tests.ports import free_port

LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture
def local(settings):
    settings.OUTBOUND_ALLOW = LOOPBACK


class Names(dict):
    """`names["host"] = ["127.0.0.1", …]`: what each successive question for that name is answered; `asked` so far."""

    def __init__(self, numeric) -> None:
        self.numeric = numeric
        self.asked: list[str] = []

    def getaddrinfo(self, host, port, *args, **options):
        if literal_of(host):
            return self.numeric(host, port, *args, **options)
        self.asked.append(host)
        if host not in self:
            raise socket.gaierror(-2, "Name or service not known")
        answer = self[host].pop(0) if len(self[host]) > 1 else self[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answer.split()]


@pytest.fixture
def names(monkeypatch):
    known = Names(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", known.getaddrinfo)
    return known


def hello(_asked):
    return Told(body=b"hello")


# --- Where ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255",  # noqa: S104
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "224.0.0.1", "255.255.255.255", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
        "2002:7f00:1::1", "2002:808:808::1", "2001::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_closed(address):
    assert kind_of(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_what_is_public_is_open(address):
    assert kind_of(ip_address(address)) == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://2130706433/", "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://0x7f000001/", "https://127.1/",
        "https://127.0.0.1.:8443\\@example.com/", "https://user:pass@example.com/", "https://example.com@127.0.0.1/",
        "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "https:///path", "https://exa mple.com/",
        "https://example.com:99999/", "https://[fe80::1%25eth0]/", "https://[::1", "//example.com/", "example.com",
        "https://example.com/\nHost: other", "https://%6c%6fcalhost/",
    ],
)  # fmt: skip
def test_odd_notations_are_refused(url):
    with pytest.raises(BadAddress) as caught:
        read_url(url)
    assert "pass" not in str(caught.value).split()
    with pytest.raises(outbound.Refused):
        outbound.fetch("GET", url)


def test_a_listener_on_this_machine_is_not_asked():
    with http(hello) as listener:
        for url in (
            listener.url(),
            listener.url(host="localhost"),
            listener.url(host="localhost."),
            listener.url(host="[::ffff:127.0.0.1]"),
            listener.url(host="0.0.0.0"),  # noqa: S104
            listener.url().replace("http://", "https://"),
        ):
            with pytest.raises(outbound.Refused, match="address, which is not asked"):
                outbound.fetch("GET", url)
        assert listener.connections == 0


def test_an_allowed_network_is_asked(local):
    with http(hello) as listener:
        answer = outbound.fetch("GET", listener.url())
    assert (answer.status, answer.content, answer.certificate_ends) == (200, b"hello", None)
    assert listener.asked[0].headers["User-Agent"] == "steward-registry"


def test_an_allowed_name_is_asked_wherever_it_leads_but_not_metadata(settings, names):
    settings.OUTBOUND_ALLOW = ["tools.example", "*.intranet.example"]
    names["tools.example"] = names["a.intranet.example"] = names["intranet.example"] = ["127.0.0.1"]
    names["metadata.intranet.example"] = ["169.254.169.254"]
    with http(hello) as listener:
        assert outbound.fetch("GET", listener.url(host="tools.example")).status == 200
        assert outbound.fetch("GET", listener.url(host="a.intranet.example")).status == 200
        for host in ("intranet.example", "metadata.intranet.example"):
            with pytest.raises(outbound.Refused):
                outbound.fetch("GET", listener.url(host=host))
        assert listener.connections == 2


def test_what_was_opened_for_ourselves_is_closed_to_what_others_supply(local, names):
    names["public.example"] = ["8.8.8.8"]
    with http(hello) as listener:
        with outbound.Door(inside=False) as door, pytest.raises(outbound.Refused):
            door.fetch("GET", listener.url())
        assert listener.connections == 0
        assert not outbound.is_public(listener.url())
        assert outbound.is_public("https://public.example/") and not outbound.is_public("http://public.example/")


def test_one_closed_address_spoils_the_name(names):
    names["mixed.example"] = ["8.8.8.8 127.0.0.1"]
    with pytest.raises(outbound.Refused, match="loopback"):
        outbound.fetch("GET", "https://mixed.example/")


def test_plain_http_and_odd_ports_are_for_what_is_allowed(names):
    names["public.example"] = ["8.8.8.8"]
    with pytest.raises(outbound.Refused, match="https only"):
        outbound.fetch("GET", "http://public.example/")
    for port in (22, 25, 6379):
        with pytest.raises(outbound.Refused, match="Port"):
            outbound.fetch("GET", f"https://public.example:{port}/")


def test_a_wrong_entry_of_the_allow_list_is_named():
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1/8'"):
        AllowList(["10.0.0.1/8"])
    with pytest.raises(ValueError, match=r"a\*b"):
        AllowList(["a*b.example"])


def test_a_name_that_changes_its_answer_gains_nothing(settings, names):
    """It is public when checked and loopback when connected to: the connection is judged by where it really goes."""
    names["rebind.example"] = ["8.8.8.8", "127.0.0.1"]
    with http(hello) as listener:
        url = listener.url(host="rebind.example").replace("http://", "https://")
        assert outbound.check(url) == [ip_address("8.8.8.8")]
        with pytest.raises(outbound.Refused, match="loopback"):
            outbound.fetch("GET", url)
        assert listener.connections == 0


def test_the_connection_goes_to_the_address_that_was_judged(settings, names):
    """One question per connection; the second answer, where something else listens, is never used."""
    settings.OUTBOUND_ALLOW = ["127.0.0.2/32"]
    names["rebind.example"] = ["127.0.0.2", "127.0.0.1"]
    with http(hello) as secret, http(hello, host="127.0.0.2", port=secret.port) as public:
        assert outbound.fetch("GET", public.url(host="rebind.example")).status == 200
        assert names.asked == ["rebind.example"]
        assert (public.connections, secret.connections) == (1, 0)
        assert public.asked[0].host == f"rebind.example:{public.port}"


def test_the_next_address_is_tried(settings, names):
    settings.OUTBOUND_ALLOW = LOOPBACK
    names["two.example"] = ["127.0.0.3 127.0.0.1"]
    with http(hello) as listener:
        assert outbound.fetch("GET", listener.url(host="two.example")).status == 200


def test_a_name_that_does_not_exist(names):
    with pytest.raises(outbound.Unreachable, match=r"no host named nowhere\.example"):
        outbound.fetch("GET", "https://nowhere.example/")


def test_a_resolver_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(outbound.TimedOut):
        outbound.fetch("GET", "https://slow.example/", limits=Limits(total=0.3))
    assert time.monotonic() - started < 20


# --- TLS ------------------------------------------------------------------------------------------------


def test_tls_verifies_the_name_although_the_address_is_pinned(settings, names, tmp_path):
    settings.OUTBOUND_ALLOW = LOOPBACK
    names["good.example"] = names["other.example"] = ["127.0.0.1"]
    server, client = certificate(tmp_path, "good.example", days=12.5)
    with http(hello, tls=server) as listener, outbound.Door(tls=client) as door:
        answer = door.fetch("GET", listener.url(host="good.example"))
        assert answer.content == b"hello"
        assert answer.certificate_ends is not None
        with pytest.raises(outbound.Unreachable, match=r"certificate of other\.example is not valid"):
            door.fetch("GET", listener.url(host="other.example"))
        with pytest.raises(outbound.Unreachable, match="certificate"):
            outbound.fetch("GET", listener.url(host="good.example"))


# --- Redirects ------------------------------------------------------------------------------------------


def test_redirects_stay_within_the_origin(local):
    def answer(asked):
        if asked.path == "/moved":
            return Told(302, headers={"Location": "/here"})
        if asked.path == "/away":
            return Told(302, headers={"Location": other.url("/here")})
        return hello(asked)

    with http(hello) as other, http(answer) as listener:
        assert outbound.fetch("GET", listener.url("/moved")).url.endswith("/here")
        with pytest.raises(outbound.LeavesOrigin) as caught:
            outbound.fetch("GET", listener.url("/away"))
        assert caught.value.location == other.url("/here")
        assert other.connections == 0
        followed = outbound.fetch("GET", listener.url("/away"), headers={"X-Vault-Token": "t"}, cross_origin=True)
        assert followed.status == 200
        assert other.asked[0].headers["X-Vault-Token"] is None


@pytest.mark.parametrize("cross_origin", [False, True])
def test_redirects_to_what_is_closed_are_refused(settings, cross_origin):
    settings.OUTBOUND_ALLOW = ["127.0.0.2/32"]
    with http(hello) as secret:

        def answer(_asked):
            return Told(307, headers={"Location": secret.url("/latest/meta-data")})

        with http(answer, host="127.0.0.2") as listener, pytest.raises(outbound.Refused):
            outbound.fetch("GET", listener.url(host="127.0.0.2"), cross_origin=cross_origin)
        assert secret.connections == 0


@pytest.mark.parametrize("location", ["https://user:pw@127.0.0.1/", "http://2130706433/"])
def test_redirects_to_odd_addresses_are_refused(local, location):
    told = Told(302, headers={"Location": location})
    with http(lambda _asked: told) as listener, pytest.raises(outbound.Refused):
        outbound.fetch("GET", listener.url(), cross_origin=True)


def test_redirects_to_what_is_no_web_address_have_their_own_words(local):
    told = Told(302, headers={"Location": "file:///etc/passwd"})
    with http(lambda _asked: told) as listener, pytest.raises(outbound.BadRedirect, match="no web address"):
        outbound.fetch("GET", listener.url(), cross_origin=True)


@pytest.mark.parametrize("address", ["::ffff:0:127.0.0.1", "::ffff:0:a9fe:a9fe"])
def test_ipv4_translated_addresses_are_what_they_hold(address):
    assert outbound.kind_of(ip_address(address)) in ("loopback", "cloud metadata")


@pytest.mark.parametrize(
    ("entry", "port", "opened"),
    [
        ("10.0.0.0/8", 443, True),
        ("10.0.0.0/8", 8080, False),
        ("10.0.0.0/8", 9999, True),  # vouched for
        ("10.0.0.0/8:8080", 8080, True),
        ("10.0.0.0/8:8080", 443, False),
        ("10.0.0.0/8:*", 22, True),
        ("mcp.intranet.example:8443", 8443, True),
        ("*.intranet.example:8443", 443, False),
        ("[fd00::]/8:8443", 8443, False),
    ],
)
def test_entries_open_ports_as_they_say(entry, port, opened):
    target = Target("http", "mcp.intranet.example", port)
    said = judge(target, [ip_address("10.1.2.3")], AllowList([entry]), frozenset({9999}))
    assert (said == "") is opened, said


@pytest.mark.parametrize("entry", ["10.0.0.0/8:70000", "mcp.example:0", "mcp.example:http", "[fd00::1]:1:2"])
def test_entries_without_a_port_that_is_one_are_refused(entry):
    with pytest.raises(ValueError, match=r"port|neither"):
        AllowList([entry])


def test_redirects_in_a_circle_end(local):
    with http(lambda asked: Told(302, headers={"Location": asked.path})) as listener:
        with pytest.raises(outbound.BadRedirect, match="again and again"):
            outbound.fetch("GET", listener.url("/round"))
        assert len(listener.asked) == 4


# --- How much, how long ---------------------------------------------------------------------------------


def test_an_endless_body_is_cut_off(local):
    endless = Told(body=repeat(b"x" * 65_536))
    with http(lambda _asked: endless) as listener, pytest.raises(outbound.TooLarge, match="1,000,000"):
        outbound.fetch("GET", listener.url(), limits=Limits(size=1_000_000))


def test_a_compressed_answer_is_read(local):
    for body, encoding in ((gzip.compress(b"hello" * 40_000), "gzip"), (zlib.compress(b"hello" * 40_000), "deflate")):
        with http(lambda _asked, b=body, e=encoding: Told(body=b, headers={"Content-Encoding": e})) as listener:
            assert outbound.fetch("GET", listener.url()).content == b"hello" * 40_000


def test_a_compression_bomb_is_never_blown_up(local):
    bomb = zlib.compressobj(wbits=31)
    body = b"".join([*(bomb.compress(b"\0" * 10_000_000) for _ in range(20)), bomb.flush()])
    assert len(body) < 250_000
    with (
        http(lambda _asked: Told(body=body, headers={"Content-Encoding": "gzip"})) as listener,
        outbound.Door() as door,
    ):
        seen = 0
        with (
            door.stream("GET", listener.url(), limits=Limits(size=1_000_000)) as stream,
            pytest.raises(outbound.TooLarge),
        ):
            for piece in stream:
                seen += len(piece)
                assert len(piece) <= 65_536
        assert seen <= 1_000_000


@pytest.mark.parametrize(("body", "encoding"), [(b"not gzip", "gzip"), (b"hello", "br")])
def test_what_cannot_be_unpacked_is_said(local, body, encoding):
    told = Told(body=body, headers={"Content-Encoding": encoding})
    with http(lambda _asked: told) as listener, pytest.raises(outbound.Unreadable):
        outbound.fetch("GET", listener.url())


def _drip_head(connection):
    connection.recv(4096)
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 1000:
        connection.send(bytes([byte]))
        time.sleep(0.05)


def _drip_body(connection):
    connection.recv(4096)
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(1000):
        connection.send(b"a")
        time.sleep(0.05)


def _say_nothing(connection):
    connection.recv(4096)
    time.sleep(60)


@pytest.mark.parametrize("talk", [_drip_head, _drip_body, _say_nothing])
def test_who_drips_or_says_nothing_is_left_in_time(local, talk):
    """Each read is within the limit of a read; the total is what ends it."""
    with raw(talk) as port:
        started = time.monotonic()
        with pytest.raises(outbound.TimedOut):
            outbound.fetch("GET", f"http://127.0.0.1:{port}/", limits=Limits(read=30, total=0.6))
        assert 0.4 < time.monotonic() - started < 20


def test_a_door_lasts_only_so_long(local):
    def answer(_asked):
        time.sleep(0.2)
        return Told()

    with http(answer) as listener, outbound.Door(lasting=0.5) as door, pytest.raises(outbound.TimedOut):
        for _ in range(5):
            door.fetch("GET", listener.url())


def test_what_is_not_http_is_said(local):
    def talk(connection):
        connection.recv(4096)
        connection.send(b"220 mail.example ESMTP\r\n")

    with raw(talk) as port, pytest.raises(outbound.Unreachable, match="web server"):
        outbound.fetch("GET", f"http://127.0.0.1:{port}/")


def test_nobody_listens(local):
    with pytest.raises(outbound.Unreachable, match="refuses the connection"):
        outbound.fetch("GET", f"http://127.0.0.1:{free_port()}/")


# --- Environment ----------------------------------------------------------------------------------------


def test_proxies_of_the_environment_are_not_used(local, monkeypatch):
    with http(hello) as listener, http(hello) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        outbound.fetch("GET", listener.url())
        assert (listener.connections, proxy.connections) == (1, 0)


def test_the_proxy_of_the_settings_is_used_and_closed_addresses_stay_closed(settings):
    settings.OUTBOUND_ALLOW = ["tools.example"]
    with http(lambda asked: Told(body=asked.path)) as proxy:
        settings.OUTBOUND_PROXY = proxy.url()
        assert outbound.fetch("GET", "http://tools.example/mcp").text == "http://tools.example/mcp"
        for url in ("https://127.0.0.1/", "https://localhost/", "http://public.example/", "https://10.0.0.1/"):
            with pytest.raises(outbound.Refused):
                outbound.fetch("GET", url)
        assert len(proxy.asked) == 1


def test_cookies_are_not_kept(local):
    with http(lambda _asked: Told(headers={"Set-Cookie": "a=b"})) as listener, outbound.Door() as door:
        door.fetch("GET", listener.url())
        door.fetch("GET", listener.url())
    assert [asked.headers["Cookie"] for asked in listener.asked] == [None, None]


def test_lines_come_as_they_are_sent(local):
    told = Told(body=iter([b"one\r\ntw", b"o\n", b"three"]))
    with http(lambda _asked: told) as listener, outbound.Door() as door, door.stream("GET", listener.url()) as stream:
        assert list(stream.lines()) == ["one", "two", "three"]
