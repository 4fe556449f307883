"""Which certificates are accepted: those that Go's crypto/x509 accepts, on every Python. Real handshakes."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.authorities import LOCAL, Pair, authority, issue, showing
from support.fake_apiserver import kubeconfig

from registry.liveness.plan import ProbeTls
from registry.liveness.probes import ask_grpc
from registry.liveness.sample import Target
from registry.rpc.tls import ServerTls
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.tls import MAX_ANCHORS, MAX_BUNDLE, TlsError, client_context, client_contexts


@dataclass(frozen=True, slots=True)
class Case:
    """What a server shows, and the bundle that its client has."""

    leaf: Pair
    bundle: bytes
    chain: bytes = b""
    server_name: str = ""
    host: str = "127.0.0.1"


def plain(**options: Any) -> Case:
    """An authority without key identifiers, and a server's certificate of it."""
    ca = authority()
    return Case(issue("server", ca, **options), ca.pem)


def bundled(make: Callable[[bytes], bytes]) -> Case:
    case = plain()
    return Case(case.leaf, make(case.bundle))


def broken(pem: bytes) -> bytes:
    lines = pem.splitlines(keepends=True)
    return b"".join([*lines[:3], *lines[4:]])


def trusted(pem: bytes) -> bytes:
    return pem.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE")


def of_intermediate(*, sent: bool) -> Case:
    inner = authority("inner", authority())
    return Case(issue("server", inner), inner.pem, inner.pem if sent else b"")


def rotated(*, newest_first: bool, identified: bool = False) -> Case:
    old, new = authority(), authority()
    bundle = new.pem + old.pem if newest_first else old.pem + new.pem
    return Case(issue("server", new, identified=identified), bundle)


def made_anew(*, sent: bool = False) -> Case:
    """The authority has its old key, and another key identifier than the server's certificate names."""
    old = authority(identified=True)
    new = authority(key=old.key, identified=b"another way to name the key")
    return Case(issue("server", old, identified=True), new.pem, new.pem if sent else b"")


def pinned(*, ca: bool | None, by: Pair | None = None) -> Case:
    leaf = issue("server", by, ca=ca)
    return Case(leaf, leaf.pem)


OTHER = authority("other")
ACCEPTED: dict[str, Callable[[], Case]] = {
    "no key identifiers": plain,
    "key identifiers": lambda: plain(identified=True),
    "comment that is not ASCII": lambda: bundled(lambda pem: "# Zürich — 認証局\n".encode() + pem),
    "comment that is not UTF-8": lambda: bundled(lambda pem: b"# Z\xfcrich\n" + pem),
    "text between": lambda: bundled(lambda pem: OTHER.pem + b"subject=CN = x\n\n i:y\n" + pem + b"the end"),
    "CRLF": lambda: bundled(lambda pem: pem.replace(b"\n", b"\r\n")),
    "spaces at the ends of lines": lambda: bundled(lambda pem: pem.replace(b"\n", b" \t\n")),
    "no line end at the end": lambda: bundled(lambda pem: pem.rstrip()),
    "TRUSTED CERTIFICATE beside": lambda: bundled(lambda pem: trusted(OTHER.pem) + pem),
    "a key beside": lambda: bundled(lambda pem: OTHER.key_pem + pem),
    "the same twice": lambda: bundled(lambda pem: pem + OTHER.pem + pem),
    "a bad one before": lambda: bundled(lambda pem: broken(OTHER.pem) + pem),
    "a bad one behind": lambda: bundled(lambda pem: pem + broken(OTHER.pem)),
    "one that was cut off before": lambda: bundled(lambda pem: OTHER.pem[:200] + b"\n" + pem),
    "an intermediate, sent": lambda: of_intermediate(sent=True),
    "an intermediate, not sent": lambda: of_intermediate(sent=False),
    "the server's own": lambda: pinned(ca=None),
    "the server's own, no CA": lambda: pinned(ca=False),
    "the server's own, a CA": lambda: pinned(ca=True),
    "the server's own, of an unknown CA": lambda: pinned(ca=None, by=OTHER),
    "rotated, the new one first": lambda: rotated(newest_first=True),
    "rotated, the new one last": lambda: rotated(newest_first=False),
    "rotated, identified": lambda: rotated(newest_first=False, identified=True),
    "an authority made anew": made_anew,
    "an authority made anew, sent": lambda: made_anew(sent=True),
    "serial zero": lambda: plain(serial=0),
    "tls-server-name": lambda: plain_named("api.example.test", names=("api.example.test",)),
    "tls-server-name in capitals": lambda: plain_named("API.example.test", names=("api.example.test",)),
    "tls-server-name under a wildcard": lambda: plain_named("api.example.test", names=("*.example.test",)),
    "tls-server-name that is an address": lambda: plain_named("10.0.0.1", names=("10.0.0.1",)),
    "tls-server-name with a dot at its end": lambda: plain_named("api.example.test.", names=("api.example.test",)),
    "valid in the name of the host": lambda: hosted("localhost"),
}


def plain_named(server_name: str, **options: Any) -> Case:
    case = plain(**options)
    return Case(case.leaf, case.bundle, server_name=server_name)


def hosted(host: str) -> Case:
    case = plain(names=("localhost",))
    return Case(case.leaf, case.bundle, host=host)


def sibling() -> Case:
    """An intermediate is trusted, and its sibling signed."""
    root = authority("root")
    inner = authority("inner", root)
    return Case(issue("server", inner), authority("sibling", root).pem, inner.pem + root.pem)


def of_no_authority() -> Case:
    leaf = issue("leaf", None, ca=False)
    return Case(issue("server", leaf), leaf.pem)


REFUSED: dict[str, tuple[Callable[[], Case], str]] = {
    "a common name alone": (lambda: plain_called("127.0.0.1", names=()), "mismatch"),
    "a common name beside other names": (lambda: plain_called("localhost", names=("other.test",)), "mismatch"),
    "an address that it lacks": (lambda: plain_named("10.0.0.1"), "mismatch"),
    "another authority": (lambda: bundled(lambda _: OTHER.pem), "unable to get local issuer"),
    "a sibling of the intermediate": (sibling, "unable to get|self-signed certificate in certificate chain"),
    "signed by what is no authority": (of_no_authority, "invalid CA|issuer|purpose"),
    "expired": (lambda: plain(days=(-2, -1)), "expired"),
    "not valid yet": (lambda: plain(days=(1, 2)), "not yet valid"),
    "tls-server-name that it lacks": (lambda: plain_named("other.test"), "mismatch"),
    "only TRUSTED CERTIFICATE": (lambda: bundled(trusted), "certificate-authority has no certificate in PEM"),
    "only a bad one": (lambda: bundled(broken), "certificate-authority has no certificate in PEM"),
    "only a key": (lambda: bundled(lambda _: OTHER.key_pem), "certificate-authority has no certificate in PEM"),
    "DER": (lambda: bundled(ssl_der), "certificate-authority has no certificate in PEM"),
}


def ssl_der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def plain_called(name: str, **options: Any) -> Case:
    ca = authority()
    return Case(issue(name, ca, **options), ca.pem, server_name="localhost" if name == "localhost" else "")


async def ask(case: Case, folder: Path, **cluster: Any) -> list[str | None]:
    """One request; the server names of the handshakes (SNI)."""
    if case.bundle and "insecure_skip_tls_verify" not in cluster:
        cluster["certificate_authority_data"] = b64encode(case.bundle).decode()
    if case.server_name:
        cluster["tls_server_name"] = case.server_name
    async with showing(folder, case.leaf, case.chain) as shown:
        path = folder / "kubeconfig"
        path.write_text(kubeconfig(shown.url.replace("127.0.0.1", case.host), **cluster))
        client = await KubernetesClient.from_kubeconfig(path)
        try:
            for _ in range(2):
                assert (await client.request("GET", "/readyz")).body == b"ok"
        finally:
            await client.close()
        return shown.names


@pytest.mark.parametrize("name", ACCEPTED)
async def test_certificate_that_go_accepts_is_accepted(name: str, tmp_path: Path) -> None:
    await ask(ACCEPTED[name](), tmp_path)


@pytest.mark.parametrize("name", REFUSED)
async def test_certificate_that_go_refuses_is_refused(name: str, tmp_path: Path) -> None:
    make, said = REFUSED[name]
    with pytest.raises(TransportError, match=said):
        await ask(make(), tmp_path)


async def test_nothing_is_checked_where_the_kubeconfig_says_so(tmp_path: Path) -> None:
    await ask(plain_called("nobody", names=()), tmp_path, insecure_skip_tls_verify=True)
    await ask(plain(days=(-2, -1)), tmp_path, insecure_skip_tls_verify=True)


async def test_server_name_is_sent_but_for_an_address(tmp_path: Path) -> None:
    assert await ask(plain(), tmp_path) == [None]
    assert await ask(hosted("localhost"), tmp_path) == ["localhost"]
    named = plain_named("api.example.test", names=("api.example.test",))
    assert await ask(named, tmp_path) == ["api.example.test"]
    assert await ask(named, tmp_path, insecure_skip_tls_verify=True) == ["api.example.test"]
    assert await ask(plain_named("10.0.0.1", names=("10.0.0.1",)), tmp_path) == [None]


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> str:
    """What is wrong with a handshake in memory; empty: nothing."""
    pipes = [ssl.MemoryBIO() for _ in range(4)]
    ends = client.wrap_bio(pipes[0], pipes[1], server_hostname=name), server.wrap_bio(*pipes[2:], server_side=True)
    for _ in range(4):
        for end, out, into in ((ends[0], pipes[1], pipes[2]), (ends[1], pipes[3], pipes[0])):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                return str(error)
            into.write(out.read())
    return ""


def test_strict_default_of_newer_pythons_is_not_ours(tmp_path: Path) -> None:
    """Since Python 3.13 ``create_default_context`` sets the flag; here it is set by hand, for any Python."""
    case = plain()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*case.leaf.write(tmp_path, "server"))
    strict = ssl.create_default_context(cadata=case.bundle.decode())
    strict.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    assert "Key Identifier" in handshake(strict, server)
    ours = client_context(case.bundle)
    assert not ours.verify_flags & ssl.VerifyFlags.VERIFY_X509_STRICT
    assert not client_context().verify_flags & ssl.VerifyFlags.VERIFY_X509_STRICT
    assert handshake(ours, server) == ""


def test_context_of_the_system_has_authorities_and_checks() -> None:
    context = client_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not context.hostname_checks_common_name


def test_many_authorities_of_one_name_are_tried_a_few_times() -> None:
    assert len(client_contexts(b"".join(authority().pem for _ in range(20)))) == 9
    assert len(client_contexts(OTHER.pem + authority().pem)) == 1


@pytest.mark.parametrize(
    "name", ["no key identifiers", "comment that is not UTF-8", "a bad one before", "an authority made anew"]
)
async def test_clients_of_our_servers_are_checked_alike(name: str, tmp_path: Path) -> None:
    """What a server's certificate may be, a client's may be; here the client is the case."""
    case, own = ACCEPTED[name](), issue("server", OTHER)
    (tmp_path / "clients.crt").write_bytes(case.bundle)
    server = ServerTls(*own.write(tmp_path, "server"), tmp_path / "clients.crt")()
    mine = client_contexts(OTHER.pem, case.leaf.pem, case.leaf.key_pem)[0]
    assert handshake(mine, server) == ""
    stranger = issue("stranger", OTHER)
    assert "certificate" in handshake(client_contexts(OTHER.pem, stranger.pem, stranger.key_pem)[0], server)


def test_intermediate_is_enough_to_let_clients_in(tmp_path: Path) -> None:
    case, own = of_intermediate(sent=False), issue("server", OTHER)
    (tmp_path / "clients.crt").write_bytes(case.bundle)
    server = ServerTls(*own.write(tmp_path, "server"), tmp_path / "clients.crt")()
    assert handshake(client_contexts(OTHER.pem, case.leaf.pem, case.leaf.key_pem)[0], server) == ""


async def test_encrypted_key_of_a_kubeconfig_asks_nobody(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pair = issue("client", OTHER)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    key = pair.key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret"))
    user = {"client-certificate-data": b64encode(pair.pem).decode(), "client-key-data": b64encode(key).decode()}
    (tmp_path / "kubeconfig").write_text(kubeconfig("https://127.0.0.1:1", user=user))
    with pytest.raises(TransportError, match="without a passphrase"):
        await KubernetesClient.from_kubeconfig(tmp_path / "kubeconfig")


@pytest.mark.parametrize("name", ["no key identifiers", "comment that is not UTF-8", "a bad one before", "CRLF"])
async def test_probe_accepts_what_the_client_accepts(name: str, tmp_path: Path) -> None:
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    case = ACCEPTED[name]()
    (tmp_path / "ca.crt").write_bytes(case.bundle)
    service = health.aio.HealthServicer()
    await service.set("", health_pb2.HealthCheckResponse.SERVING)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    shown = grpc.ssl_server_credentials([(case.leaf.key_pem, case.leaf.pem)])
    port = server.add_secure_port("127.0.0.1:0", shown)
    await server.start()
    try:
        tls = ProbeTls(str(tmp_path / "ca.crt"), LOCAL[1])
        async with asyncio.timeout(10):
            assert await ask_grpc(Target("127.0.0.1", port), 5, tls) == ""
    finally:
        await server.stop(None)


def many(pem: bytes, count: int) -> bytes:
    """So many certificates that differ in a byte of their key identifiers or keys; nobody checks their signatures."""
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    at = len(der) - 8
    made = (der[:at] + number.to_bytes(4) + der[at + 4 :] for number in range(count))
    return "".join(map(ssl.DER_cert_to_PEM_cert, made)).encode()


def test_bundle_of_very_many_authorities_is_refused() -> None:
    pem = authority().pem
    assert len(client_contexts(many(pem, 20))[0].get_ca_certs()) == 20
    with pytest.raises(TlsError, match=f"more than {MAX_ANCHORS} certificates"):
        client_contexts(many(pem, MAX_ANCHORS + 1))
    with pytest.raises(TlsError, match=f"more than {MAX_BUNDLE}"):
        client_contexts(pem + b"\n" * MAX_BUNDLE)
