"""Mirrors and stores with a certificate of an authority that only their owner knows; and proxies."""

import ssl
from pathlib import Path

import pytest

from e2e.cluster.local.certs import make_certificates
from gptoss_runtime.orders import WeightsOrder
from tests.weights.hub import LFS_BYTES, REPOSITORY, a_hub
from tests.weights.program import fetch
from tests.weights.serving import Behaviour, Handler, serving
from tests.weights.store import a_web_server


FILES = {"config.json": b"{}", "model.safetensors": b"w" * LFS_BYTES}


@pytest.fixture(name="tls")
def tls_fixture(tmp_path: Path) -> ssl.SSLContext:
    authority = make_certificates(tmp_path / "tls", "node")
    authority.issue("server", user="server", names=("127.0.0.41", "127.0.0.42", "127.0.0.44"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls" / "server.crt", tmp_path / "tls" / "server.key")
    return context


def test_a_private_authority_is_told_and_then_trusted(tls: ssl.SSLContext, tmp_path: Path) -> None:
    authority = str(tmp_path / "tls" / "ca.crt")
    with a_hub(FILES, tls) as hub, a_web_server({f"w/{name}": text for name, text in FILES.items()}, tls) as web:
        orders = [
            WeightsOrder(source=f"hf://{REPOSITORY}", directory=str(tmp_path / "hub"), endpoint=hub.address),
            WeightsOrder(source=f"{web.address}/w", directory=str(tmp_path / "web")),
        ]
        for order in orders:
            ended = fetch(order)
            assert ended.status == 1
            assert "is not trusted: name its authority in SSL_CERT_FILE" in ended.reason
            ended = fetch(order, SSL_CERT_FILE=authority)
            assert ended.status == 0, ended.lines


@pytest.mark.parametrize("source", ["hf://acme/tiny", "s3://models/tiny"])
def test_the_way_out_is_the_proxy_of_the_environment(source: str, tmp_path: Path) -> None:
    def refuse(handler: Handler) -> None:
        handler.answer(404)

    seen = Behaviour()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    with serving("127.0.0.47", refuse, seen) as proxy:
        order = WeightsOrder(source=source, directory=str(tmp_path / "x"), endpoint="http://weights.invalid")
        assert fetch(order, HTTP_PROXY=proxy.address, **keys).status == 1
    assert seen.asked[0].path.startswith("http://weights.invalid/")
