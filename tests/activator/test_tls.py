"""A renewed certificate through a whole gateway."""

import datetime as dt
import http.client
import ssl
import time
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from e2e.gateway.local import LocalGateway, local_gateway, write_secret
from e2e.gateway.replicas import simulated_replicas


REPLICA = "127.0.54.11"
PATIENCE_SECONDS = 20.0


def a_certificate(name: str) -> dict[str, str]:
    """Return the entries of a Secret of type kubernetes.io/tls."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "tls.crt": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "tls.key": private.decode(),
    }


def connect(gateway: LocalGateway) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(gateway.address, gateway.port, context=context, timeout=PATIENCE_SECONDS)
    connection.connect()
    return connection


def shown(connection: http.client.HTTPSConnection) -> str:
    """Return the name in the certificate that the gateway showed."""
    assert isinstance(connection.sock, ssl.SSLSocket)
    der = connection.sock.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


def ask(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/v1/models")
    answer = connection.getresponse()
    answer.read()
    return answer.status


def now_shown(gateway: LocalGateway) -> str:
    connection = connect(gateway)
    try:
        return shown(connection)
    finally:
        connection.close()


def until(gateway: LocalGateway, *, name: str = "", said: str = "") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while now_shown(gateway) != name if name else said not in gateway.said("activator"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    first, routing = a_certificate("first"), {"tls": {"secretName": "tls"}}
    with simulated_replicas([REPLICA]), local_gateway([REPLICA], certificate=first, routing=routing) as started:
        yield started


def test_a_renewed_certificate_is_shown_and_open_connections_go_on(gateway: LocalGateway) -> None:
    open_before = connect(gateway)
    assert (shown(open_before), ask(open_before)) == ("CN=first", 200)
    local = open_before.sock.getsockname()

    write_secret(gateway.directory / "tls", a_certificate("second"))
    until(gateway, name="CN=second")
    assert ask(open_before) == 200
    assert open_before.sock.getsockname() == local
    open_before.close()
    assert gateway.parts["haproxy"].process.poll() is None
    assert "keeps its old certificate" not in gateway.said("activator")


def test_a_certificate_that_is_no_good_is_refused_with_the_remedy(gateway: LocalGateway) -> None:
    # Its key is another's.
    mixed = {**a_certificate("second"), "tls.key": a_certificate("third")["tls.key"]}
    write_secret(gateway.directory / "tls", mixed)
    until(gateway, said="HAProxy keeps its old certificate")
    assert now_shown(gateway) == "CN=first"
    write_secret(gateway.directory / "tls", {"tls.crt": "x"})
    until(gateway, said="the Secret lacks tls.crt or tls.key")
    write_secret(gateway.directory / "tls", a_certificate("fourth"))
    until(gateway, name="CN=fourth")
