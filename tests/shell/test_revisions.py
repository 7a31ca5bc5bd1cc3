import asyncio
import json
import sys
from typing import Any

import msgspec

from gptoss_operator.api import names
from gptoss_operator.core.actions import Apply, Delete, Plan, digest_of
from gptoss_operator.core.objects import Child, Record
from gptoss_operator.core.observation import ChildKey, Manifest
from gptoss_operator.core.records import template_of
from gptoss_operator.shell.children import child_of
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.lost import find_lost
from gptoss_operator.shell.observe import observe
from gptoss_operator.shell.store import Key
from tests.shell.builders import OWNER, a_child, an_object, in_virtual_time
from tests.shell.fake_api import FakeApi, a_page
from tests.shell.recorder import CHAT, Recorder, do, hands_of


KIND = "ControllerRevision"
TEMPLATE: Manifest = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "server", "image": "x"}]}}


def a_raw_record(revision: str = "abc", **fields: Any) -> Manifest:  # noqa: ANN401  (the rest of a raw object)
    name = names.revision_record("chat", revision)
    raw: Manifest = {"data": {"template": TEMPLATE}, "revision": 3} | an_object(KIND, name, **fields)
    raw["metadata"]["labels"] |= {
        names.LABEL_COMPONENT: names.COMPONENT_REVISION,
        names.LABEL_REVISION: revision,
    }
    return raw


def a_record(revision: str = "abc", **fields: Any) -> Record:  # noqa: ANN401  (as above)
    record = child_of(KIND, a_raw_record(revision, **fields))
    assert isinstance(record, Record)
    return record


def test_a_record_holds_the_template_of_its_revision() -> None:
    record = a_record()

    assert record.revision == 3
    assert template_of(record) == TEMPLATE
    assert template_of(record) is not template_of(record)


def test_a_record_that_holds_no_template_is_none() -> None:
    data: Any
    for data in ({"spec": {"template": {}}}, {"template": "text"}, "text", None):
        assert template_of(a_record(data=data)) is None
    without = a_raw_record()
    del without["data"]
    assert template_of(msgspec.convert(without, Record)) is None


def test_a_record_does_not_keep_the_page_that_it_came_in() -> None:
    page = json.dumps([a_raw_record(), "the rest"]).encode()
    holders = sys.getrefcount(page)

    record = msgspec.json.decode(msgspec.json.decode(page, type=list[msgspec.Raw])[0], type=Record)

    assert sys.getrefcount(page) == holders
    assert template_of(record) == TEMPLATE


def test_records_are_reflected_and_those_of_other_controllers_are_not_asked_for() -> None:
    async def run() -> tuple[Cluster, FakeApi]:
        cluster, fake = Cluster(("demo",), lambda _: None), FakeApi(a_page(7, a_raw_record()))
        async with fake.serve() as kube:
            [reflector] = [one for one in cluster.reflectors(kube) if one.kind == KIND]
            await reflector._list()  # noqa: SLF001  (one list without the watch that follows)
        return cluster, fake

    cluster, fake = asyncio.run(run())

    [record] = cluster.children[KIND].part_of(CHAT)
    assert isinstance(record, Record)
    assert template_of(record) == TEMPLATE
    [(method, path, query, _)] = fake.asked
    assert (method, path) == ("GET", "/apis/apps/v1/namespaces/demo/controllerrevisions")
    assert f"{names.LABEL_COMPONENT}={names.COMPONENT_REVISION}" in query["labelSelector"].split(",")


def test_only_records_of_the_owner_are_its_revisions() -> None:
    cluster = Cluster((), lambda _: None)
    store = cluster.children[KIND]
    store.seen(None, a_record("one"))
    store.seen(None, a_record("two", version=2))
    store.seen(None, a_record("three", version=3, owner_uid="another"))
    store.seen(None, child_of(KIND, an_object(KIND, "other", version=4)))
    cluster.children["Service"].seen(None, a_child("chat-four", version=5))

    seen = observe(OWNER, cluster, Ledger())

    assert {name: template_of(record) for name, record in seen.revisions.items()} == {"one": TEMPLATE, "two": TEMPLATE}
    assert ChildKey(KIND, "chat-one") in seen.children


def test_a_record_whose_label_was_changed_keeps_its_revision() -> None:
    raw = a_raw_record("one")
    raw["metadata"]["labels"][names.LABEL_REVISION] = "two"
    cluster = Cluster((), lambda _: None)
    cluster.children[KIND].seen(None, child_of(KIND, raw))

    assert list(observe(OWNER, cluster, Ledger()).revisions) == ["one"]


def test_a_record_that_was_applied_is_a_revision_in_the_next_pass_and_settled() -> None:
    recorder, raw = Recorder(), a_raw_record()
    recorder.answers["apply chat-abc"] = raw
    hands = hands_of(recorder)
    apply = Apply(manifest=raw, digest=digest_of(raw), exists=False, reason="it is missing")

    do(Plan(applies=(apply,), status=None, reason="x"), hands)
    hands.cluster.children[KIND].seen(None, a_record(version=9))
    seen = observe(OWNER, hands.cluster, hands.ledger)

    assert recorder.calls == ["get chat-abc", "apply chat-abc"]
    assert template_of(seen.revisions["abc"]) == TEMPLATE
    assert seen.children[apply.key].applied_digest == apply.digest


def test_a_record_that_is_being_deleted_is_still_read() -> None:
    recorder, raw = Recorder(), a_raw_record(version=8)
    raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    uid = raw["metadata"]["uid"]
    recorder.answers[f"delete chat-abc {uid} 1"] = raw
    hands = hands_of(recorder)
    delete = Delete(key=ChildKey(KIND, "chat-abc"), uid=uid, resource_version="1", reason="too many")

    do(Plan(deletes=(delete,), status=None, reason="x"), hands)

    [record] = observe(OWNER, hands.cluster, hands.ledger).revisions.values()
    assert record.metadata.deletion_timestamp is not None
    assert template_of(record) == TEMPLATE


def test_a_record_that_lost_its_labels_is_found_again_with_its_template() -> None:
    ledger, key = Ledger(), ChildKey(KIND, "chat-abc")
    ledger.record(CHAT, key, a_record(), "digest", names.identity("chat"))
    raw = a_raw_record()
    raw["metadata"]["labels"] = {}
    cluster = Cluster((), lambda _: None)

    lost = in_virtual_time(find_lost(OWNER, cluster, ledger, Recorder({key: raw})))

    seen = observe(OWNER, cluster, ledger, lost)
    assert template_of(seen.revisions["abc"]) == TEMPLATE
    assert seen.children[key].applied_digest is None


def test_the_traffic_of_a_replica_is_read_and_its_change_by_others_is_drift() -> None:
    ledger, key = Ledger(), ChildKey("StatefulSet", "chat-r0")
    raw = an_object("StatefulSet", "chat-r0")
    raw["metadata"]["annotations"] = {names.ANNOTATION_TRAFFIC: "none", names.ANNOTATION_REPLACES: "2", "else": "x"}
    applied = child_of("StatefulSet", raw)
    ledger.record(Key("demo", "chat"), key, applied, "digest", {})
    assert (applied.metadata.annotations.traffic, applied.metadata.annotations.replaces) == ("none", "2")

    raw["metadata"]["annotations"]["else"] = "y"
    assert ledger.applied_digest(CHAT, key, child_of("StatefulSet", raw)) == "digest"
    del raw["metadata"]["annotations"][names.ANNOTATION_TRAFFIC]
    assert ledger.applied_digest(CHAT, key, msgspec.convert(raw, Child)) is None
