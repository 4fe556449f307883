"""Addresses that no member may name, in every form, from wherever its facts come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.facts import ECHO, A, a_service, a_slice, listing

from registry.index import Index
from registry.index.addresses import canonical_address, member_address, special_of
from registry.index.gateways import MAX_GATEWAYS, entrance
from registry.index.refusals import refusing_condition
from registry.model.events import Apply
from registry.model.facts import LOOPBACK_ALLOWED, LOOPBACK_ANNOTATION, NETWORK_LABEL, AddressType, ServicePort
from registry.model.gateways import Gateway
from registry.model.names import Locality
from registry.model.reasons import Reason
from registry.snapshot.format import ClusterFacts, decode, encode
from registry.writers.kept import kept

SPECIAL = {
    "loopback": ["127.0.0.1", "127.0.0.53", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "0000::0001"],
    "link-local": ["169.254.169.254", "169.254.0.1", "fe80::1", "FE80::A", "febf:ffff::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::", "0::0"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff01::1", "ff02::1", "ff0e::1"],
    "broadcast": ["255.255.255.255"],
    "an IPv4 address in IPv6 form": [
        *("::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:FFFF:169.254.169.254", "::ffff:10.0.0.1"),
        *("::127.0.0.1", "::a9fe:a9fe", "::10.0.0.1"),
    ],
    "link-local, as 169.254.169.254": [
        *("64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "::ffff:0:a9fe:a9fe"),
        *("2002:a9fe:a9fe::1", "2001:db8::5efe:a9fe:a9fe", "2001:db8::200:5efe:169.254.169.254"),
        "2001:0:4136:e378:8000:63bf:5601:5601",
    ],
    "loopback, as 127.0.0.1": ["64:ff9b::127.0.0.1", "2002:7f00:1::", "2001:db8::5efe:7f00:1"],
}
NO_ADDRESSES = [
    *(
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "127.000.000.001",
        "127.0.0.1.",
        "1.2.3",
    ),
    *("127.0.0.1:80", "[::1]", "[::1]:80", "::1/128", "127.0.0.1/8", " 127.0.0.1", "127.0.0.1\n", "127.0.0.1\0", ""),
    *(
        "fe80::1%eth0",
        "2001:db8::1%1",
        "2001:db8::1%",
        "::ffff:127.0.0.1%1",
        "\u0661\u0662\u0667.\u0660.\u0660.\u0661",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
    ),
    *("localhost", "metadata.google.internal", "unix:/run/x", "::ffff:127.1", "::1::", "1" * 5000),
]
ORDINARY = {
    **{
        each: each
        for each in ("10.0.0.1", "198.18.0.1", "192.0.2.1", "203.0.113.9", "100.64.0.1", "240.0.0.1", "1.1.1.1")
    },
    **{each: each for each in ("126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.1", "223.255.255.255")},
    **{
        each: each
        for each in ("255.255.255.254", "2001:db8::1", "fd00::1", "fec0::1", "64:ff9b::808:808", "2002:808:808::1")
    },
    "FD00:0:0::1": "fd00::1",
    "2001:db8:0:0:0:0:10.0.0.1": "2001:db8::a00:1",
}


@pytest.mark.parametrize(("word", "text"), [(word, text) for word, texts in SPECIAL.items() for text in texts])
def test_special_address_is_none_a_member_may_name(word: str, text: str) -> None:
    assert member_address(text) is None
    assert special_of(canonical_address(text) or "") == word


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_none(text: str) -> None:
    assert (canonical_address(text), member_address(text)) == (None, None)


@pytest.mark.parametrize(("text", "form"), ORDINARY.items())
def test_other_addresses_are_taken_in_their_one_form(text: str, form: str) -> None:
    assert member_address(text) == form


@given(st.ip_addresses(v=4))
def test_the_quick_look_at_ipv4_agrees_with_the_long_one(address: object) -> None:
    text = str(address)
    assert (member_address(text) == text) is (special_of(text) == "")


def test_loopback_that_is_meant_is_taken_and_nothing_else() -> None:
    assert [
        member_address(each, loopback=True) for each in ("127.0.0.1", "::1", "169.254.1.1", "::ffff:127.0.0.1")
    ] == [
        "127.0.0.1",
        "::1",
        None,
        None,
    ]


# Where a member's text becomes an address


def told(index: Index, address: str) -> None:
    index.add_cluster(A)
    for event in listing(a_service(), a_slice("10.0.0.1", address)):
        index.apply(A, event)


def restored(index: Index, address: str) -> None:
    """From an old file, or a peer: both give bytes of this format."""
    facts = [a_service(), a_slice("10.0.0.1", address)]
    written = encode("d", 0.0, [ClusterFacts(A, {each.ref.kind: [each] for each in facts})])
    index.add_cluster(A)
    (known,) = decode(b"".join(written), "d").clusters
    index.restore(A, [fact for facts in known.facts.values() for fact in facts])


def changed(index: Index, address: str) -> None:
    told(index, "10.0.0.2")
    index.commit()
    index.apply(A, Apply(a_slice("10.0.0.1", address)))


@pytest.mark.parametrize("brought", [told, restored, changed])
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_endpoint_at_a_special_address_is_left_out_and_said(
    brought: Callable[[Index, str], None], address: str
) -> None:
    index = Index()
    brought(index, address)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    assert [each.address for each in service.endpoints] == ["10.0.0.1"]
    rows = {each.address: each.steps[-1] for each in index.explain(ECHO).endpoints}
    assert rows[address].reason is Reason.SPECIAL_ADDRESS
    assert rows[address].detail == special_of(address)
    (refused,) = index.refused()
    assert (refused.key, refused.cluster, refused.reason) == (ECHO, A, "SpecialAddress")
    assert address in refused.message


@pytest.mark.parametrize(
    "address", ["::1", "fe80::1", "ff02::1", "::ffff:7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"]
)
def test_so_is_one_of_ipv6(address: str) -> None:
    index = Index()
    index.add_cluster(A)
    for event in listing(a_service(), replace(a_slice("fd00::1", address), address_type=AddressType.IPV6)):
        index.apply(A, event)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    assert [each.address for each in service.endpoints] == ["fd00::1"]
    assert [each.reason for each in index.refused()] == ["SpecialAddress"]


def test_the_condition_comes_and_goes_with_what_is_left_out() -> None:
    index = Index()
    told(index, "127.0.0.1")
    index.commit()
    (refusals,) = index.take_refusing().values()
    condition = refusing_condition(refusals)
    assert (condition.status, condition.reason) == (False, "SpecialAddress")
    assert "shop/echo: 1 endpoint is left out" in condition.message
    assert index.take_refusing() == {}
    index.apply(A, Apply(a_slice("10.0.0.1")))
    index.commit()
    (refusals,) = index.take_refusing().values()
    assert refusing_condition(refusals).status
    assert index.refused() == ()


def test_a_cluster_that_leaves_takes_what_was_left_out_along() -> None:
    index = Index()
    told(index, "127.0.0.1")
    index.commit()
    index.remove_cluster(A)
    index.commit()
    assert (index.refused(), index.take_refusing()) == ((), {})


@pytest.mark.parametrize(
    ("local", "annotation", "shown"),
    [(True, LOOPBACK_ALLOWED, True), (True, "no", False), (True, None, False), (False, LOOPBACK_ALLOWED, False)],
)
def test_loopback_is_for_folders_whose_service_says_so(local: bool, annotation: str | None, shown: bool) -> None:
    annotations = ((LOOPBACK_ANNOTATION, annotation),) if annotation is not None else ()
    index = Index()
    index.add_cluster(A)
    index.set_local(A, local=local)
    for event in listing(replace(a_service(), annotations=annotations), a_slice("127.10.1.1", "169.254.169.254")):
        index.apply(A, event)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    assert [each.address for each in service.endpoints] == (["127.10.1.1"] if shown else [])
    index.set_local(A, local=False)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    assert service.endpoints == ()
    index.set_local(A, local=local)
    index.apply(A, Apply(a_service()))
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    assert service.endpoints == ()


def test_gateway_at_a_special_address_is_none_and_said() -> None:
    external = ("127.0.0.1", "169.254.169.254", "203.0.113.1", "::ffff:127.0.0.1", "gateway.example")
    service = replace(a_service("gate", ServicePort(15443, "tls")), labels=((NETWORK_LABEL, "net"),), external=external)
    found = entrance(A, service)
    assert found is not None
    assert found.gateways == (Gateway("203.0.113.1", 15443, Locality("", "", A)),)
    assert [each.partition(" is ")[2].partition(",")[0] for each in found.problems] == [
        *("loopback", "link-local", "an IPv4 address in IPv6 form", "a host name"),
    ]


def test_a_service_is_so_many_gateways_at_most() -> None:
    external = tuple(f"203.0.113.{each}" for each in range(1, MAX_GATEWAYS + 2))
    service = replace(a_service("gate", ServicePort(15443, "tls")), labels=((NETWORK_LABEL, "net"),), external=external)
    found = entrance(A, service)
    assert found is not None
    assert len(found.gateways) == MAX_GATEWAYS
    assert f"it has {MAX_GATEWAYS + 1} addresses" in found.problems[-1]


def test_special_address_in_our_own_entry_does_not_stay() -> None:
    spec = {
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": each} for each in ("169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1", "localhost")],
    }
    assert [each.address for each in kept(spec, lambda _: True).endpoints] == ["10.0.0.1"]
