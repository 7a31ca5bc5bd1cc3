"""What the fetching of weights decides, part by part."""

import errno
import fcntl
import hashlib
import json
import os
from pathlib import Path

import pytest
from huggingface_hub import close_session
from hypothesis import example, given
from hypothesis import strategies as st

from gptoss_runtime.orders import WeightsOrder
from gptoss_runtime.weights.check import Checker
from gptoss_runtime.weights.choice import INDEX, needed_files
from gptoss_runtime.weights.errors import FetchError, TransientError
from gptoss_runtime.weights.fetch import decide_work, fetch
from gptoss_runtime.weights.listing import Digest, DigestKind, RemoteFile
from gptoss_runtime.weights.lock import acquired, locked
from gptoss_runtime.weights.marker import MarkedFile, Marker, read_marker, write_marker
from gptoss_runtime.weights.patience import Patience, Stopped
from gptoss_runtime.weights.progress import progress_line
from gptoss_runtime.weights.room import explained, require_room
from gptoss_runtime.weights.sources import open_source
from gptoss_runtime.weights.store import parse_sums


GPT_OSS_20B = {
    ".gitattributes", "LICENSE", "README.md", "USAGE_POLICY", "chat_template.jinja", "config.json",
    "generation_config.json", "model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json", "original/config.json", "original/dtypes.json", "original/model.safetensors",
    "metal/model.bin",
}  # fmt: skip
SHARDS = [f"model-0000{n}-of-00002.safetensors" for n in range(3)]


def an_index(*names: str) -> str:
    return json.dumps({"metadata": {}, "weight_map": {f"tensor.{n}": name for n, name in enumerate(names)}})


def test_of_gpt_oss_come_the_shards_and_what_describes_them() -> None:
    at_root = {name for name in GPT_OSS_20B if "/" not in name}
    assert needed_files(at_root, an_index(*SHARDS)) == (
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        *SHARDS,
    )


def test_the_index_decides_among_several_sets_of_weights() -> None:
    names = {"config.json", INDEX, "a.safetensors", "consolidated.safetensors"}
    assert needed_files(names, an_index("a.safetensors")) == ("config.json", INDEX, "a.safetensors")


def test_adapters_and_drafts_need_no_more_than_they_have() -> None:
    adapter = {"adapter_config.json", "adapter_model.safetensors", "README.md", "training_args.bin"}
    assert needed_files(adapter, None) == ("adapter_config.json", "adapter_model.safetensors")
    assert needed_files({"config.json", "model.safetensors"}, None) == ("config.json", "model.safetensors")


def test_sharded_state_comes_whole_also_with_an_index_of_what_it_was_made_from() -> None:
    names = {"config.json", INDEX, "model-rank-0-part-0.safetensors", "model-rank-1-part-0.safetensors"}
    assert set(needed_files(names, an_index(*SHARDS))) == names


@pytest.mark.parametrize(
    ("names", "index", "reason"),
    [
        ({"README.md"}, None, "no config.json"),
        ({"config.json", "pytorch_model.bin"}, None, "but pytorch_model.bin: convert the weights to safetensors"),
        ({"config.json", INDEX, SHARDS[0]}, an_index(*SHARDS), f"names files that are not in it: {SHARDS[1]}"),
        ({"config.json", INDEX}, "{", "is no index"),
        ({"config.json", INDEX}, an_index("../../etc/passwd"), "names something else"),
    ],
)
def test_a_repository_that_is_no_model_is_told(names: set[str], index: str | None, reason: str) -> None:
    with pytest.raises(FetchError, match=reason):
        needed_files(names, index)


@given(st.sets(st.text(alphabet="abc./~-\\\0\n\ud800", max_size=12).map(lambda stem: stem + ".safetensors")))
@example({"../x.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "\0.safetensors"})
def test_no_name_of_a_listing_leads_out_of_the_directory(names: set[str]) -> None:
    listing = {"config.json", "model.safetensors", *names}
    chosen = set(needed_files(listing, None))
    assert {"config.json", "model.safetensors"} <= chosen <= listing
    for name in chosen:
        assert os.path.normpath(f"/weights/{name}") == f"/weights/{name}"
        assert b"\0" not in os.fsencode(name)


def a_file(name: str = "model.safetensors", size: int = 10, tag: str = "a") -> RemoteFile:
    return RemoteFile(name=name, size=size, tag=tag, digest=Digest(kind=DigestKind.SHA256, value=tag))


def marked(file: RemoteFile) -> MarkedFile:
    return MarkedFile(name=file.name, size=file.size, sha256="0" * 64, identity=file.identity)


def a_marker(*files: RemoteFile, revision: str = "", commit: str = "c1") -> Marker:
    return Marker(
        source="hf://acme/tiny",
        revision=revision,
        endpoint="",
        commit=commit,
        files=tuple(map(marked, files)),
        tool="test",
        finished_at="2026-11-23T06:00:00+00:00",
    )


def test_each_file_is_kept_checked_moved_or_fetched() -> None:
    kept, changed, staged, gone = (a_file(name) for name in ("kept", "changed", "staged", "gone"))
    sizes = {"kept": 10, "changed": 9, "staged": 10}
    work = decide_work([kept, changed, staged, gone], a_marker(kept, changed), sizes, {staged.identity: marked(staged)})
    assert work.kept == (marked(kept),)
    assert work.staged == (marked(staged),)
    assert work.missing == (changed, gone)
    adopted = decide_work([kept, gone], None, sizes, {})
    assert (adopted.unknown, adopted.missing) == ((kept,), (gone,))


def test_identity_changes_with_name_size_and_content() -> None:
    files = [a_file(), a_file(name="other"), a_file(size=11), a_file(tag="b")]
    assert len({file.identity for file in files}) == 4


def test_a_marker_fits_its_order_and_the_name_of_its_commit(tmp_path: Path) -> None:
    marker = a_marker(a_file(), revision="main")
    write_marker(tmp_path, marker)
    assert read_marker(tmp_path) == marker
    order = WeightsOrder(source="hf://acme/tiny", revision="main", directory=str(tmp_path))
    assert marker.misfit(order) is None
    assert (
        marker.misfit(WeightsOrder(source="hf://acme/tiny", revision="c1", directory="/x", endpoint="http://m")) is None
    )
    assert "revision" in (marker.misfit(WeightsOrder(source="hf://acme/tiny", directory="/x")) or "")
    assert "not hf://acme/big" in (marker.misfit(WeightsOrder(source="hf://acme/big", directory="/x")) or "")
    bucket = a_marker(commit="")
    other = WeightsOrder(source="hf://acme/tiny", directory="/x", endpoint="http://other")
    assert "not from 'http://other'" in (bucket.misfit(other) or "")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 9}', '{"version": 1, "files": [{}]}'])
def test_what_is_no_marker_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".gptoss-weights.json").write_text(text)
    assert read_marker(tmp_path) is None


def test_failures_are_borne_until_nothing_came_for_too_long() -> None:
    now = [0.0]
    patience = Patience(first_seconds=10, later_seconds=100, clock=lambda: now[0])
    patience.bear(TransientError("busy"), 0)
    now[0] = 9.0
    patience.progressed()
    now[0] = 100.0
    patience.bear(TransientError("busy"), 0)
    now[0] = 110.0
    with pytest.raises(FetchError, match="busy: nothing came for 101 s"):
        patience.bear(TransientError("busy"), 0)


def test_the_first_reason_is_the_one_that_counts() -> None:
    patience = Patience()
    patience.give_up(FetchError("first"))
    patience.give_up(FetchError("second"))
    with pytest.raises(Stopped):
        patience.progressed()
    with pytest.raises(Stopped):
        patience.bear(TransientError("busy"), 8)
    assert str(patience.reason) == "first"


def test_progress_says_how_much_how_fast_and_how_long() -> None:
    line = progress_line(12_300_000_000, 65_200_000_000, since=(0.0, 8_200_000_000), now=10.0)
    assert line == "12.3 of 65.2 GB, 410 MB/s, about 2 min left"
    assert progress_line(10**9, 2 * 10**9, since=(0.0, 10**9), now=10.0) == "1.0 of 2.0 GB, 0 MB/s"


def test_a_fetch_that_stands_still_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("process 7 on node-1")
        other.flush()
        with (
            pytest.raises(FetchError, match=r"another fetch \(process 7 on node-1\) holds .* has added nothing"),
            locked(lock, stage=tmp_path / "stage", still_seconds=0.1),
        ):
            pass
    with locked(lock, stage=tmp_path / "stage"):
        assert f"process {os.getpid()} on " in lock.read_text()


def test_a_file_system_without_locks_will_do(tmp_path: Path) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, f"No locks available for {descriptor} {operation}")

    with (tmp_path / "lock").open("w") as file:
        assert acquired(file, refuse)


def test_a_disk_without_room_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        FetchError, match=r"needs 1073741824.0 GiB more and has .* GiB free .*: give spec.cache more room"
    ):
        require_room(tmp_path, 2**60)
    full = explained(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert "is full: give spec.cache more room" in str(full)


def test_a_refusal_of_the_file_system_names_user_and_owner(tmp_path: Path) -> None:
    denied = explained(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x")), tmp_path / "x")
    assert str(denied).startswith(f"user {os.geteuid()} ")
    assert f"may not write to {tmp_path}/x: {tmp_path} belongs to user {os.geteuid()}" in str(denied)


def test_the_owner_told_is_that_of_what_was_refused(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(b"of another user")
    denied = explained(PermissionError(errno.EACCES, "Permission denied", str(part)), tmp_path)
    assert f"may not write to {part}: {part} belongs to user {os.geteuid()}" in str(denied)


def test_a_file_of_another_size_is_wrong_also_where_its_source_gives_no_digest(tmp_path: Path) -> None:
    file = RemoteFile(name="model.safetensors", size=4)
    (tmp_path / "part").write_bytes(b"four")
    assert Checker().sha256(file, tmp_path / "part") == hashlib.sha256(b"four").hexdigest()
    (tmp_path / "part").write_bytes(b"four and more")
    assert Checker().sha256(file, tmp_path / "part") is None


def test_a_name_that_does_not_resolve_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    order = WeightsOrder(source="hf://acme/tiny", directory=str(tmp_path / "x"), endpoint="http://no-such-hub.invalid")
    close_session()
    with pytest.raises(FetchError, match=r"the name no-such-hub\.invalid cannot be resolved"):
        fetch(order, open_source(order, {}), Patience(first_seconds=0.1))
    close_session()


def test_sums_are_read_as_sha256sum_writes_them() -> None:
    text = f"{'a' * 64}  config.json\n{'B' * 64} *model.safetensors\n{'c' * 64}  ./x y\nnonsense\n"
    assert parse_sums(text) == {"config.json": "a" * 64, "model.safetensors": "b" * 64, "x y": "c" * 64}
