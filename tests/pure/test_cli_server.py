"""What ``--server`` may say."""

from __future__ import annotations

import pytest

from registry.cli.server import Server, parse_server
from registry.config import Address

LOOPBACK = Address("127.0.0.1", 15014)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1:15014", Server(LOOPBACK)),
        (" 127.0.0.1:15014\n", Server(LOOPBACK)),
        ("127.0.0.1", Server(LOOPBACK)),
        ("http://127.0.0.1:15014", Server(LOOPBACK)),
        ("http://127.0.0.1:15014/", Server(LOOPBACK)),
        ("http://127.0.0.1/", Server(LOOPBACK)),
        ("HTTP://127.0.0.1", Server(LOOPBACK)),
        ("https://registry.example:443", Server(Address("registry.example", 443), tls=True)),
        ("https://registry.example", Server(Address("registry.example", 15014), tls=True)),
        ("registry.mesh-system.svc.cluster.local.:80", Server(Address("registry.mesh-system.svc.cluster.local.", 80))),
        ("my_host:1", Server(Address("my_host", 1))),
        ("bücher.example:1", Server(Address("bücher.example", 1))),
        ("[::1]:15014", Server(Address("::1", 15014))),
        ("[::1]", Server(Address("::1", 15014))),
        ("http://[::1]:8080/", Server(Address("::1", 8080))),
        ("http://[2001:db8::1]", Server(Address("2001:db8::1", 15014))),
    ],
)
def test_forms_of_a_server(text: str, server: Server) -> None:
    assert parse_server(text, 15014) == server


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "HOST:PORT"),
        (":15014", "HOST:PORT"),
        ("::1", "[::1]:15010"),
        ("::1:15014", "[::1]:15010"),
        ("[::1", "[::1]:15010"),
        ("[]:1", "HOST:PORT"),
        ("[name]:1", "HOST:PORT"),
        ("15014", "a port without its host"),
        ("http://15014/", "as in 127.0.0.1:15014"),
        ("host:", "a port from 0"),
        ("host:http", "a port from 0"),
        ("host:0", "port 0"),
        ("host:65536", "a port from 0"),
        ("host:-1", "a port from 0"),
        ("host:١٢", "a port from 0"),
        ("a b:1", "no host"),
        ("host/path:1", "no host"),
        ("http://", "HOST:PORT"),
        ("http:///", "HOST:PORT"),
        ("http://host:1/api", "the path /api"),
        ("http://host:1?x", "a query"),
        ("http://host:1/#x", "a fragment"),
        ("http://user:secret@host:1", "a user"),
        ("user@host:1", "no host"),
        ("ftp://host:1", "begins with ftp://"),
        ("xds:///host:1", "begins with xds://"),
        ("unix:/run/registry.sock", "a port from 0"),
    ],
)
def test_what_is_no_server_is_refused_with_the_mend(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - its text is what matters
        parse_server(text, 15014)
    assert said in str(error.value)


def test_a_port_can_be_required() -> None:
    assert parse_server("http://[::1]:1/", None) == Server(Address("::1", 1))
    for text in ("host", "[::1]", "http://host/"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_server(text, None)


def test_a_url_is_made_of_any_server() -> None:
    assert parse_server("[::1]", 15014).url("/readyz") == "http://[::1]:15014/readyz"
    assert parse_server("https://host:1/", 15014).url("/readyz") == "https://host:1/readyz"
