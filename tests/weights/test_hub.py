"""Fetching from a simulated hub over real HTTP, with the real program and the tiny model's real files."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_runtime.orders import WeightsOrder
from gptoss_runtime.weights.hub import same_origin
from gptoss_runtime.weights.marker import MARKER, read_marker
from tests.weights.hub import REPOSITORY, Hub, a_hub
from tests.weights.program import JUNK, end_of, fetch, running, sums_in, tiny_model, tiny_sums


MODEL_BYTES = len(tiny_model()["model.safetensors"])
RANGE_BYTES = 8 * 2**20


@pytest.fixture(name="hub")
def hub_fixture() -> Iterator[Hub]:
    with a_hub(tiny_model() | JUNK) as hub:
        yield hub


def an_order(hub: Hub, directory: Path, revision: str = "") -> WeightsOrder:
    return WeightsOrder(source=f"hf://{REPOSITORY}", revision=revision, directory=str(directory), endpoint=hub.address)


def test_brings_what_vllm_needs_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    directory = tmp_path / "weights" / "tiny"
    ended = fetch(an_order(hub, directory), HF_HUB_OFFLINE="1")
    assert ended.status == 0, ended.lines
    assert sums_in(directory) == tiny_sums()
    assert sorted(path.name for path in directory.iterdir() if path.name.startswith(".")) == [MARKER]
    marker = read_marker(directory)
    assert marker is not None
    assert {file.name: file.sha256 for file in marker.files} == tiny_sums()
    assert marker.commit == hub.branches["main"]
    assert (directory / "model.safetensors").stat().st_mode & 0o444 == 0o444
    total = sum(map(len, tiny_model().values()))
    assert hub.behaviour.sent_bytes + hub.storage.sent_bytes == total
    assert not any(name in path for path in hub.behaviour.paths("GET") for name in ("original", "README", "gguf"))


def test_a_complete_directory_is_told_without_asking_anybody(hub: Hub, tmp_path: Path) -> None:
    order = an_order(hub, tmp_path / "tiny")
    assert fetch(order).status == 0
    hub.behaviour.asked.clear()
    ended = fetch(order)
    assert ended.status == 0
    assert "already here" in ended.reason
    assert hub.behaviour.asked == []
    commit = an_order(hub, tmp_path / "tiny", revision=hub.branches["main"])
    assert fetch(commit).status == 0, "the commit's own name fits too"


@pytest.mark.parametrize("hold_after", [0, 3 * RANGE_BYTES, MODEL_BYTES - 1000])
def test_goes_on_where_it_was_killed(hub: Hub, tmp_path: Path, hold_after: int) -> None:
    order = an_order(hub, tmp_path / "tiny")
    hub.storage.hold_after = hold_after
    with running(order) as process:
        assert hub.storage.held.wait(30)
        whole_ranges = hold_after // RANGE_BYTES * RANGE_BYTES
        deadline = time.monotonic() + 30
        while _largest_part(tmp_path / "tiny") < whole_ranges:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        end_of(process)
    assert not (tmp_path / "tiny" / "config.json").exists(), "nobody may take it for complete"
    hub.storage.hold_after = None
    hub.storage.go.set()
    signatures = hub.signatures
    assert fetch(order).status == 0
    assert sums_in(tmp_path / "tiny") == tiny_sums()
    assert _asked_bytes(hub, after=signatures) <= MODEL_BYTES - whole_ranges


def _largest_part(directory: Path) -> int:
    return max((path.stat().st_size for path in directory.glob(".partial/*.part")), default=0)


def _asked_bytes(hub: Hub, *, after: int) -> int:
    """Return how much of the weights was asked for at addresses given out later; the other files come whole."""
    asked = [request for request in hub.storage.asked if int(request.path.rpartition("=")[2]) > after]
    ranges = [request.range.removeprefix("bytes=").split("-") for request in asked if request.range]
    return sum(int(last) + 1 - int(first) for first, last in ranges)


def test_a_stop_in_the_middle_ends_it_at_once_and_is_harmless(hub: Hub, tmp_path: Path) -> None:
    order = an_order(hub, tmp_path / "tiny")
    hub.storage.hold_after = RANGE_BYTES
    with running(order) as process:
        assert hub.storage.held.wait(30)
        process.send_signal(signal.SIGTERM)
        ended = end_of(process)
    assert ended.status == 128 + signal.SIGTERM
    assert "goes on where this one stopped" in ended.reason
    hub.storage.hold_after = None
    hub.storage.go.set()
    assert fetch(order).status == 0
    assert sums_in(tmp_path / "tiny") == tiny_sums()


def test_lost_connections_and_busy_servers_are_borne(hub: Hub, tmp_path: Path) -> None:
    hub.behaviour.statuses += [503, 429]
    hub.storage.statuses += [500, 403]
    hub.storage.break_after += [2**20, 0, 3 * 2**20]
    ended = fetch(an_order(hub, tmp_path / "tiny"))
    assert ended.status == 0, ended.lines
    assert sums_in(tmp_path / "tiny") == tiny_sums()


def test_addresses_that_have_run_out_are_asked_for_again_by_each_connection(tmp_path: Path) -> None:
    files = {name: tiny_model()[name] for name in ("config.json", "model.safetensors")}
    with a_hub(files) as hub:
        hub.expired = -(-MODEL_BYTES // RANGE_BYTES)
        ended = fetch(an_order(hub, tmp_path / "tiny"))
    assert ended.status == 0, ended.lines
    assert sums_in(tmp_path / "tiny") == {name: tiny_sums()[name] for name in files}


def test_a_damaged_file_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.behaviour.damage.append("config.json")
    hub.storage.damage.append("/")
    ended = fetch(an_order(hub, tmp_path / "tiny"))
    assert ended.status == 0, ended.lines
    assert sum("is not what its source says" in line for line in ended.lines) == 2
    assert sums_in(tmp_path / "tiny") == tiny_sums()


def test_a_file_that_is_always_damaged_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.behaviour.damage += ["tokenizer_config.json"] * 2
    ended = fetch(an_order(hub, tmp_path / "tiny"))
    assert ended.status == 1
    assert "tokenizer_config.json came from" in ended.reason
    assert "wrong checksum" in ended.reason


def test_everything_comes_from_the_commit_of_the_start(hub: Hub, tmp_path: Path) -> None:
    first = hub.branches["main"]
    hub.storage.hold_after = RANGE_BYTES
    with running(an_order(hub, tmp_path / "tiny")) as process:
        assert hub.storage.held.wait(30)
        hub.push(tiny_model() | {"config.json": b'{"moved": true}'})
        hub.storage.go.set()
        assert end_of(process).status == 0
    marker = read_marker(tmp_path / "tiny")
    assert marker is not None
    assert marker.commit == first
    assert sums_in(tmp_path / "tiny") == tiny_sums()


def test_a_revision_that_moves_between_two_runs_is_not_mixed(hub: Hub, tmp_path: Path) -> None:
    order = an_order(hub, tmp_path / "tiny")
    hub.storage.hold_after = RANGE_BYTES
    with running(order) as process:
        assert hub.storage.held.wait(30)
        process.kill()
        end_of(process)
    weights = bytearray(tiny_model()["model.safetensors"])
    weights[-1] ^= 1
    commit = hub.push(tiny_model() | {"model.safetensors": bytes(weights), "config.json": b'{"moved": true}'})
    hub.storage.hold_after = None
    hub.storage.go.set()
    assert fetch(order).status == 0
    marker = read_marker(tmp_path / "tiny")
    assert marker is not None
    assert marker.commit == commit
    assert (tmp_path / "tiny" / "config.json").read_bytes() == b'{"moved": true}'
    assert (tmp_path / "tiny" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_directory_is_made_whole_from_its_own_commit(hub: Hub, tmp_path: Path, damage: str) -> None:
    order = an_order(hub, tmp_path / "tiny")
    assert fetch(order).status == 0
    hub.push(tiny_model() | {"config.json": b'{"moved": true}'})
    file = tmp_path / "tiny" / "model.safetensors"
    if damage == "truncated":
        os.truncate(file, 1000)
    else:
        file.unlink()
    hub.behaviour.sent_bytes = 0
    ended = fetch(order)
    assert ended.status == 0, ended.lines
    assert sums_in(tmp_path / "tiny") == tiny_sums()
    assert hub.behaviour.sent_bytes == 0, "the small files were there"


def test_two_fetchers_bring_it_once(hub: Hub, tmp_path: Path) -> None:
    order = an_order(hub, tmp_path / "tiny")
    hub.storage.hold_after = RANGE_BYTES
    with running(order) as first:
        assert hub.storage.held.wait(30)
        with running(order) as second:
            hub.storage.hold_after = None
            hub.storage.go.set()
            ends = [end_of(first), end_of(second)]
    assert [ended.status for ended in ends] == [0, 0]
    assert sums_in(tmp_path / "tiny") == tiny_sums()
    assert hub.behaviour.sent_bytes + hub.storage.sent_bytes == sum(map(len, tiny_model().values()))


def test_a_revision_with_a_slash_and_an_empty_file_come_as_others(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "merges.txt": b"", "model.safetensors": b"w"}
    with a_hub({"config.json": b"of main"}) as hub:
        commit = hub.push(files, branch="refs/pr/1")
        ended = fetch(an_order(hub, tmp_path / "tiny", revision="refs/pr/1"))
    assert ended.status == 0, ended.lines
    assert {name: (tmp_path / "tiny" / name).read_bytes() for name in files} == files
    marker = read_marker(tmp_path / "tiny")
    assert marker is not None
    assert (marker.revision, marker.commit) == ("refs/pr/1", commit)


def test_the_token_goes_to_the_hub_and_not_to_the_storage(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    ended = fetch(an_order(hub, tmp_path / "tiny"), HF_TOKEN="hf_secret")
    assert ended.status == 0, ended.lines
    assert not any("authorization" in asked.headers for asked in hub.storage.asked)
    assert not any("hf_secret" in line for line in ended.lines)


def test_a_token_for_https_never_goes_out_in_the_clear() -> None:
    assert same_origin("https://hub.acme/a/b", "https://hub.acme")
    assert not same_origin("http://hub.acme/a/b", "https://hub.acme")
    assert not same_origin("https://hub.acme:8443/a/b", "https://hub.acme")
    assert not same_origin("https://hub.acme.evil/a/b", "https://hub.acme")


def test_refusals_name_the_field_to_set(hub: Hub, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    hub.token = "hf_secret"
    ended = fetch(an_order(hub, directory))
    assert (ended.status, "set spec.model.source.huggingFace.tokenSecretRef" in ended.reason) == (1, True)
    ended = fetch(an_order(hub, directory), HF_TOKEN="wrong")
    assert (ended.status, "tokenSecretRef may not read it" in ended.reason) == (1, True)
    hub.token = ""
    ended = fetch(an_order(hub, directory, revision="v9"))
    assert ended.reason == (
        f"acme/tiny has no revision 'v9' on {hub.address.removeprefix('http://')}: "
        "set spec.model.source.huggingFace.revision"
    )
    hub.gated = True
    ended = fetch(an_order(hub, directory))
    assert (ended.status, "is gated: accept its terms" in ended.reason) == (1, True)


def test_a_mirror_that_lists_names_alone_will_do(hub: Hub, tmp_path: Path) -> None:
    hub.bare_listing = True
    ended = fetch(an_order(hub, tmp_path / "tiny"))
    assert ended.status == 0, ended.lines
    assert sums_in(tmp_path / "tiny") == tiny_sums()


def test_a_mirror_without_ranges_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.storage.no_ranges = True
    ended = fetch(an_order(hub, tmp_path / "tiny"))
    assert ended.status == 1
    assert "does not answer ranged requests" in ended.reason


def test_another_model_in_the_directory_is_refused(hub: Hub, tmp_path: Path) -> None:
    assert fetch(an_order(hub, tmp_path / "tiny")).status == 0
    ended = fetch(an_order(hub, tmp_path / "tiny", revision="other"))
    assert ended.status == 64
    assert "give each its own directory" in ended.reason


def test_weights_of_somebody_else_are_refused_and_the_right_ones_adopted(hub: Hub, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    directory.mkdir()
    for name, content in tiny_model().items():
        (directory / name).write_bytes(content)
    (directory / "stranger.safetensors").write_bytes(b"s")
    ended = fetch(an_order(hub, directory))
    assert ended.status == 1
    assert "holds stranger.safetensors" in ended.reason
    (directory / "stranger.safetensors").unlink()
    assert fetch(an_order(hub, directory)).status == 0
    assert hub.storage.sent_bytes == 0
    assert read_marker(directory) is not None


def test_a_fetch_that_ended_while_it_put_files_in_place_goes_on(hub: Hub, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    assert fetch(an_order(hub, directory)).status == 0
    marker = read_marker(directory)
    assert marker is not None
    (directory / MARKER).unlink()
    (directory / ".partial").mkdir()
    for file in marker.files[::2]:
        (directory / file.name).rename(directory / ".partial" / f"{file.identity}-{file.sha256}")
    (directory / "model-00009-of-00009.safetensors").write_bytes(b"of another commit")
    hub.behaviour.sent_bytes = hub.storage.sent_bytes = 0
    ended = fetch(an_order(hub, directory))
    assert ended.status == 0, ended.lines
    assert sums_in(directory) == tiny_sums()
    assert hub.behaviour.sent_bytes + hub.storage.sent_bytes == 0


def test_a_model_that_is_too_large_for_the_disk_is_not_begun(hub: Hub, tmp_path: Path) -> None:
    hub.claimed_bytes = 2**60
    ended = fetch(an_order(hub, tmp_path / "tiny"))
    assert ended.status == 1
    assert "GiB free of" in ended.reason
    assert hub.storage.asked == []


def test_the_reason_is_left_where_kubernetes_reads_it(tmp_path: Path) -> None:
    order = WeightsOrder(source="ftp://there", directory=str(tmp_path / "tiny"))
    ended = fetch(order, GPTOSS_TERMINATION_LOG=str(tmp_path / "log"))
    assert ended.status == 64
    assert (tmp_path / "log").read_text() == f"{ended.reason}\n"
    assert fetch(None).status == 64
    assert fetch(None, GPTOSS_WEIGHTS=json.dumps({"version": 99})).status == 64
