"""Fetching from simulated object stores over real HTTP, with the real program and the tiny model's real files."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_runtime.orders import WeightsOrder
from gptoss_runtime.weights.check import Checker
from gptoss_runtime.weights.choice import INDEX
from gptoss_runtime.weights.fetch import fetch as bring
from gptoss_runtime.weights.fetch import is_complete
from gptoss_runtime.weights.listing import RemoteFile
from gptoss_runtime.weights.marker import MARKER, MarkedFile
from gptoss_runtime.weights.patience import Patience
from gptoss_runtime.weights.sources import open_source
from gptoss_runtime.weights.stage import Stage
from tests.weights.program import JUNK, end_of, fetch, running, sums_in, tiny_model, tiny_sums
from tests.weights.store import BUCKET, KEY_ID, Store, a_bucket, a_web_server


RANGE_BYTES = 8 * 2**20
KEYS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(name="store")
def store_fixture() -> Iterator[Store]:
    with a_bucket({f"llm/tiny/{name}": content for name, content in (tiny_model() | JUNK).items()}) as store:
        yield store


def an_order(store: Store, directory: Path) -> WeightsOrder:
    return WeightsOrder(source=f"s3://{BUCKET}/llm/tiny", directory=str(directory), endpoint=store.address)


def test_brings_a_directory_of_an_s3_compatible_store(store: Store, tmp_path: Path) -> None:
    ended = fetch(an_order(store, tmp_path / "tiny"), **KEYS)
    assert ended.status == 0, ended.lines
    assert sums_in(tmp_path / "tiny") == tiny_sums()
    assert store.behaviour.sent_bytes == sum(map(len, tiny_model().values()))
    store.behaviour.asked.clear()
    assert fetch(an_order(store, tmp_path / "tiny")).status == 0, "needs no credentials any more"
    assert store.behaviour.asked == []


def test_goes_on_where_it_was_killed(store: Store, tmp_path: Path) -> None:
    order = an_order(store, tmp_path / "tiny")
    store.behaviour.hold_after = 2 * RANGE_BYTES
    with running(order, **KEYS) as process:
        assert store.behaviour.held.wait(30)
        process.kill()
        end_of(process)
    had = sum(path.stat().st_size for path in (tmp_path / "tiny" / ".partial").iterdir())
    assert had > 0
    store.behaviour.hold_after = None
    store.behaviour.go.set()
    ended = fetch(order, **KEYS)
    assert ended.status == 0, ended.lines
    assert sums_in(tmp_path / "tiny") == tiny_sums()
    # Requests of the killed run may be noted late: those after the second listing count.
    asked = store.behaviour.asked
    listings = [number for number, request in enumerate(asked) if "list-type" in request.path]
    ranges = [request.range.removeprefix("bytes=").split("-") for request in asked[listings[1] + 1 :]]
    asked_bytes = sum(int(last) + 1 - int(first) for first, last in ranges)
    assert asked_bytes == sum(map(len, tiny_model().values())) - had


def test_lost_connections_and_busy_servers_are_borne(store: Store, tmp_path: Path) -> None:
    store.behaviour.statuses += [503, 500]
    store.behaviour.break_after += [0, 2**20, 3 * 2**20]
    ended = fetch(an_order(store, tmp_path / "tiny"), **KEYS)
    assert ended.status == 0, ended.lines
    assert sums_in(tmp_path / "tiny") == tiny_sums()


def test_a_damaged_file_is_noticed_by_its_etag(store: Store, tmp_path: Path) -> None:
    store.behaviour.damage.append("model.safetensors")
    ended = fetch(an_order(store, tmp_path / "tiny"), **KEYS)
    assert ended.status == 0, ended.lines
    assert any("model.safetensors is not what its source says" in line for line in ended.lines)
    assert sums_in(tmp_path / "tiny") == tiny_sums()


def test_etags_that_are_no_checksums_cost_one_small_file(store: Store, tmp_path: Path) -> None:
    store.strange_etags = True
    ended = fetch(an_order(store, tmp_path / "tiny"), **KEYS)
    assert ended.status == 0, ended.lines
    assert any("ETags are no MD5 sums" in line for line in ended.lines)
    assert sums_in(tmp_path / "tiny") == tiny_sums()
    assert store.behaviour.sent_bytes < sum(map(len, tiny_model().values())) + RANGE_BYTES


def test_sums_beside_the_weights_are_checked(store: Store, tmp_path: Path) -> None:
    store.strange_etags = True
    sums = tiny_sums() | {"config.json": "0" * 64}
    text = "".join(f"{value}  {name}\n" for name, value in sums.items())
    store.files["llm/tiny/SHA256SUMS"] = text.encode()
    ended = fetch(an_order(store, tmp_path / "tiny"), **KEYS)
    assert ended.status == 1
    assert "config.json came from" in ended.reason
    assert "wrong checksum" in ended.reason
    store.files["llm/tiny/SHA256SUMS"] = text.replace("0" * 64, tiny_sums()["config.json"]).encode()
    assert fetch(an_order(store, tmp_path / "tiny"), **KEYS).status == 0


def test_an_object_that_changes_meanwhile_is_told(store: Store, tmp_path: Path) -> None:
    store.behaviour.hold_after = 0
    with running(an_order(store, tmp_path / "tiny"), **KEYS) as process:
        assert store.behaviour.held.wait(30), "a small file, which comes before the weights"
        store.files["llm/tiny/model.safetensors"] = b"new" + tiny_model()["model.safetensors"]
        store.behaviour.go.set()
        ended = end_of(process)
    assert ended.status == 1
    assert "was changed while it was fetched" in ended.reason


def test_refusals_name_the_field_to_set(store: Store, tmp_path: Path) -> None:
    ended = fetch(an_order(store, tmp_path / "tiny"), **KEYS | {"AWS_ACCESS_KEY_ID": "other"})
    assert ended.status == 1
    assert "InvalidAccessKeyId" in ended.reason
    assert "spec.model.source.objectStore" in ended.reason
    empty = WeightsOrder(source=f"s3://{BUCKET}/none", directory=str(tmp_path / "tiny"), endpoint=store.address)
    ended = fetch(empty, **KEYS)
    assert (ended.status, "there is no config.json" in ended.reason) == (1, True)
    nobody = WeightsOrder(source="az://container/model", directory=str(tmp_path / "tiny"))
    ended = fetch(nobody)
    assert (ended.status, "Account must be specified" in ended.reason) == (64, True)
    wrong = WeightsOrder(source="gs://bucket/model", directory=str(tmp_path / "tiny"), endpoint=store.address)
    assert fetch(wrong, **KEYS).status == 64


def test_brings_a_directory_of_a_web_server(tmp_path: Path) -> None:
    # Two files named by an index, as large models have them.
    model = tiny_model()
    whole = model["model.safetensors"]
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.dumps({"weight_map": {"a": names[0], "b": names[1]}}).encode()
    files = {name: content for name, content in model.items() if name != "model.safetensors"}
    files |= {names[0]: whole[: 10**7], names[1]: whole[10**7 :], INDEX: index}
    with a_web_server({f"tiny/{name}": content for name, content in (files | JUNK).items()}) as server:
        ended = fetch(WeightsOrder(source=f"{server.address}/tiny/", directory=str(tmp_path / "tiny")))
        assert ended.status == 0, ended.lines
        assert {path.name for path in (tmp_path / "tiny").iterdir()} == {*files, MARKER}
        assert all((tmp_path / "tiny" / name).read_bytes() == content for name, content in files.items())


def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_files_of_two_states_of_a_store_are_never_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_proxies(monkeypatch)
    old, new = ({"config.json": b'{"v": %d}' % v, "model.safetensors": b"%d" % v} for v in (1, 2))
    directory = tmp_path / "tiny"

    def run(order: WeightsOrder) -> None:
        bring(order, open_source(order, {}), Patience())

    with a_web_server({f"tiny/{name}": text for name, text in old.items()}) as server:
        order = WeightsOrder(source=f"{server.address}/tiny", directory=str(directory))
        run(order)
        (directory / "config.json").unlink()
        server.files.update({f"tiny/{name}": text for name, text in new.items()})
        move_out = Stage.move_out

        def stopped(stage: Stage, file: MarkedFile, place: Path) -> None:
            move_out(stage, file, place)
            raise OSError(f"stopped behind {file.name}")

        with monkeypatch.context() as patch:
            patch.setattr(Stage, "move_out", stopped)
            with pytest.raises(OSError, match="stopped behind config"):
                run(order)
        assert sorted(path.name for path in directory.glob("[!.]*")) == ["config.json", "model.safetensors"]
        assert not is_complete(directory, order)
        run(order)
    assert {name: (directory / name).read_bytes() for name in new} == new


def test_reading_back_for_long_is_no_silence_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_proxies(monkeypatch)
    now = [0.0]
    check = Checker.sha256

    def slow(checker: Checker, file: RemoteFile, path: Path) -> str | None:
        now[0] += 3600
        return check(checker, file, path)

    monkeypatch.setattr(Checker, "sha256", slow)
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    sums = "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in files.items())
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "config.json").write_bytes(files["config.json"])
    with a_web_server({f"tiny/{name}": text for name, text in (files | {"SHA256SUMS": sums.encode()}).items()}) as web:
        web.behaviour.break_after += [2**20, 0]  # the sums whole, the weights not
        order = WeightsOrder(source=f"{web.address}/tiny", directory=str(directory))
        bring(order, open_source(order, {}), Patience(clock=lambda: now[0]))
        assert web.behaviour.break_after == []
    assert is_complete(directory, order)


def test_an_empty_file_comes_as_others(store: Store, tmp_path: Path) -> None:
    store.files["llm/tiny/merges.txt"] = b""
    store.files["llm/tiny/SHA256SUMS"] = b""
    ended = fetch(an_order(store, tmp_path / "tiny"), **KEYS)
    assert ended.status == 0, ended.lines
    assert (tmp_path / "tiny" / "merges.txt").read_bytes() == b""


def test_a_web_server_without_ranges_is_told(tmp_path: Path) -> None:
    with a_web_server({f"tiny/{name}": content for name, content in tiny_model().items()}) as server:
        server.behaviour.no_ranges = True
        ended = fetch(WeightsOrder(source=f"{server.address}/tiny", directory=str(tmp_path / "tiny")))
    assert ended.status == 1
    assert "does not answer ranged requests" in ended.reason
