"""Which proxy a request takes, as Go's httpproxy decides it."""

from __future__ import annotations

import pytest

from registry.sources.kubernetes.urls import Address, UrlError, environment_proxy, proxy_address, shown

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("server", "environment", "url"),
    [
        ("https://api.test:6443", {}, None),
        ("https://api.test:6443", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.test:6443", {"https_proxy": PROXY}, PROXY),
        ("https://api.test:6443", {"HTTPS_PROXY": PROXY, "https_proxy": "http://other.test:1"}, PROXY),
        ("https://api.test:6443", {"HTTPS_PROXY": "", "https_proxy": PROXY}, PROXY),
        ("https://api.test:6443", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
        ("http://api.test", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://api.test", {"HTTPS_PROXY": PROXY}, None),
        ("https://api.test", {"HTTPS_PROXY": "proxy.test:3128"}, PROXY),
        ("https://api.test", {"HTTPS_PROXY": "proxy.test"}, "http://proxy.test:80"),
        ("https://api.test", {"HTTPS_PROXY": "https://proxy.test"}, "https://proxy.test:443"),
        ("https://api.test", {"HTTPS_PROXY": "socks5://proxy.test"}, "socks5://proxy.test:1080"),
        ("https://api.test", {"HTTPS_PROXY": "socks5h://proxy.test"}, "socks5h://proxy.test:1080"),
        ("https://api.test", {"HTTPS_PROXY": "http://[fd00::1]:3128/"}, "http://[fd00::1]:3128"),
    ],
)
def test_variable_that_counts(server: str, environment: dict[str, str], url: str | None) -> None:
    found = environment_proxy(server, environment)
    assert (found and found.url) == url


@pytest.mark.parametrize(
    ("server", "exceptions", "proxied"),
    [
        ("https://localhost:6443", "", False),
        ("https://127.0.0.1:6443", "", False),
        ("https://127.8.9.1", "", False),
        ("https://[::1]:6443", "", False),
        ("https://10.0.0.1", "", True),
        ("https://10.0.0.1", "*", False),
        ("https://10.0.0.1", "other.test,*", False),
        ("https://10.0.0.1:6443", "10.0.0.1", False),
        ("https://10.0.0.1:6443", "10.0.0.1:6443", False),
        ("https://10.0.0.1:6443", "10.0.0.1:443", True),
        ("https://10.0.0.1", "10.0.0.1:443", False),
        ("https://10.0.0.1", "10.0.0.0/8", False),
        ("https://10.0.0.1", "10.9.9.9/8", False),
        ("https://11.0.0.1", "10.0.0.0/8", True),
        ("https://10.0.0.1", "10.0.0.0/99", True),
        ("https://10.0.0.1", "10.0.0", True),
        ("https://[fd00::1]:6443", "fd00::/8", False),
        ("https://[fd00::1]:6443", "fd00::1", False),
        ("https://[fd00::1]:6443", "[fd00::1]:6443", False),
        ("https://[fd00::1]:6443", "[fd00::1]:443", True),
        ("https://[fd00::1]:6443", "10.0.0.0/8", True),
        ("https://example.test", "example.test", False),
        ("https://api.example.test", "example.test", False),
        ("https://API.Example.test", " EXAMPLE.test ,", False),
        ("https://notexample.test", "example.test", True),
        ("https://example.test", ".example.test", True),
        ("https://api.example.test", ".example.test", False),
        ("https://example.test", "*.example.test", True),
        ("https://api.example.test", "*.example.test", False),
        ("https://api.example.test:6443", "example.test:6443", False),
        ("https://api.example.test:6443", "example.test:443", True),
        ("https://10.0.0.1.example.test", "10.0.0.1", True),
        ("https://10.0.0.1", ".0.0.1", True),
        ("https://api.test", ":443", True),
        ("https://api.bücher.test", "bücher.test", False),
    ],
)
def test_exceptions(server: str, exceptions: str, proxied: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert (environment_proxy(server, {"HTTPS_PROXY": PROXY, name: exceptions}) is not None) is proxied
    other = {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions, "no_proxy": "*"}
    assert (environment_proxy(server, other) is not None) is (proxied and bool(exceptions))


def test_credentials_are_taken_out_and_not_shown() -> None:
    found = proxy_address("http://me:p%40ss%3A@proxy.test:3128/path?x")
    assert found == Address(PROXY, "me", "p@ss:")
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize("value", ["ftp://me:hidden@p", "http://me:hidden@p:port", "http://me:hid/den@p"])
def test_variable_that_names_no_proxy_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(UrlError, match="HTTPS_PROXY: expected a URL") as failed:
        environment_proxy("https://api.test", {"HTTPS_PROXY": value})
    assert "hid" not in str(failed.value)


def test_text_of_a_url_is_shown_without_its_credentials() -> None:
    assert shown("https://me:a@b/c@x/y") == "https://...@x/y"
    assert shown("me:a@x") == "...@x"
    assert shown("https://x/y") == "https://x/y"
