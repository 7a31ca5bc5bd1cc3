import datetime as dt
import http.client
import json
import ssl
from contextlib import closing

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from e2e.gateway.local import LocalGateway, local_gateway, write_secret
from e2e.gateway.replicas import simulated_replicas
from tests.gateway.asking import PATIENCE_SECONDS, chat, read, until


REPLICA = "127.0.1.94"


def certificate(name: str) -> dict[str, str]:
    """Return the entries of a TLS Secret: a certificate that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"tls.crt": made.public_bytes(serialization.Encoding.PEM).decode(), "tls.key": private.decode()}


def open_to(gateway: LocalGateway) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(gateway.address, gateway.port, timeout=PATIENCE_SECONDS, context=context)


def shown_name(gateway: LocalGateway) -> str:
    """Return whose certificate a new connection is shown."""
    shown = x509.load_pem_x509_certificate(ssl.get_server_certificate((gateway.address, gateway.port)).encode())
    name = shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(name)


def status(client: http.client.HTTPSConnection) -> int:
    client.request("POST", "/v1/chat/completions", json.dumps(chat()), {"content-type": "application/json"})
    return read(client.getresponse()).status


def test_a_renewed_certificate_is_shown_without_a_restart() -> None:
    with (
        simulated_replicas([REPLICA]),
        local_gateway(
            [REPLICA],
            address="127.0.1.95",
            certificate=certificate("first"),
            routing={"tls": {"secretName": "tls"}},
        ) as gateway,
        closing(open_to(gateway)) as client,
    ):
        assert status(client) == 200
        assert shown_name(gateway) == "first"

        write_secret(gateway.directory / "tls", certificate("second"))

        until(lambda: shown_name(gateway) == "second", "the new certificate is shown")
        assert status(client) == 200
        assert gateway.parts["haproxy"].process.poll() is None
