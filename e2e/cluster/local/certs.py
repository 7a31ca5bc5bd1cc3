"""Certificates and kubeconfigs of a cluster: one authority, one certificate for each part."""

import base64
import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.cluster.local.netns import NODE_ADDRESS


VALID_DAYS = 30
"""A cluster of tests is gone long before."""
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
SERVER_ADDRESSES = ("127.0.0.1", NODE_ADDRESS, "10.96.0.1")
FRONT_PROXY = "front-proxy-client"
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The cluster's certificate authority, and the directory that its certificates go to."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(self, file_name: str, *, user: str, group: str = "", names: tuple[str, ...] = ()) -> None:
        """Write `FILE_NAME.crt` and `.key` for a user of the API, who may also serve under `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = name(user, group)
        builder = template(subject, self.certificate.subject, key.public_key(), self.key.public_key()).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([host(each) for each in names]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.directory / f"{file_name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        write_key(self.directory / f"{file_name}.key", key)

    def kubeconfig(self, file_name: str, server: str) -> str:
        """Return a kubeconfig for the certificate that was issued under `file_name`."""
        return render_kubeconfig(
            server=server,
            authority=(self.directory / "ca.crt").read_bytes(),
            certificate=(self.directory / f"{file_name}.crt").read_bytes(),
            key=(self.directory / f"{file_name}.key").read_bytes(),
        )


def make_certificates(directory: Path, node: str) -> Authority:
    """Write everything that the parts of a cluster need to know each other by, and return the authority."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = name("gptoss-cluster")
    certificate = (
        template(subject, subject, key.public_key(), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_key(directory / "ca.key", key)
    write_service_account_keys(directory)
    authority = Authority(directory=directory, key=key, certificate=certificate)
    authority.issue("apiserver", user="kube-apiserver", names=(*SERVER_NAMES, *SERVER_ADDRESSES))
    authority.issue("kubelet-client", user="kube-apiserver-kubelet-client", group="system:masters")
    authority.issue("front-proxy", user=FRONT_PROXY)
    authority.issue("admin", user="kubernetes-admin", group="system:masters")
    authority.issue("controller-manager", user="system:kube-controller-manager")
    authority.issue("scheduler", user="system:kube-scheduler")
    authority.issue("kubelet", user=f"system:node:{node}", group="system:nodes", names=(node, NODE_ADDRESS))
    authority.issue("kube-proxy", user="system:kube-proxy")
    authority.issue("coredns", user="system:coredns")
    return authority


def write_service_account_keys(directory: Path) -> None:
    """Write the pair that signs and checks the tokens of service accounts."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_key(directory / "sa.key", key)
    (directory / "sa.pub").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key that only its owner can read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def template(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    """Return a certificate to be signed, valid from an hour ago, since clocks of guests jump.

    It names its own key and its signer's: Python 3.13 refuses certificates that do not.
    """
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def name(user: str, group: str = "") -> x509.Name:
    """Return a subject; Kubernetes reads the user from CN and the group from O."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def host(text: str) -> x509.GeneralName:
    """Return an address or a host's name as a certificate has it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def render_kubeconfig(*, server: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """Return a kubeconfig with everything in it, so that it can be copied elsewhere."""

    def encode(data: bytes) -> str:
        return base64.b64encode(data).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": encode(authority)}}],
        "users": [
            {"name": "u", "user": {"client-certificate-data": encode(certificate), "client-key-data": encode(key)}}
        ],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    return yaml.safe_dump(document, sort_keys=False)
