from gptoss_operator.core.objects import Child
from gptoss_operator.shell.store import Key, Store, is_newer
from tests.shell.builders import a_child


CHAT = Key("demo", "chat")


class Changes(list[tuple[str | None, str | None]]):
    """The versions before and after each change."""

    def __call__(self, before: Child | None, after: Child | None) -> None:
        self.append((version_of(before), version_of(after)))


def version_of(obj: Child | None) -> str | None:
    return obj.metadata.resource_version if obj is not None else None


def a_store(changes: Changes | None = None) -> Store[Child]:
    return Store(changes if changes is not None else Changes())


def versions(store: Store[Child]) -> dict[str, str]:
    return {obj.metadata.name: obj.metadata.resource_version for obj in store}


def test_versions_are_compared_as_numbers_where_they_are_numbers() -> None:
    assert is_newer("10", "9")
    assert not is_newer("9", "10")
    assert not is_newer("9", "9")
    assert is_newer("b", "a")
    assert is_newer("a", "b")


def test_an_older_version_never_replaces_a_newer_one() -> None:
    changes = Changes()
    store = a_store(changes)
    store.remember(None, a_child("a", version=5))

    store.seen(None, a_child("a", version=4))

    assert versions(store) == {"a": "5"}
    assert changes == [(None, "5")]


def test_the_end_of_an_earlier_object_does_not_remove_its_successor() -> None:
    store = a_store()
    store.remember(None, a_child("a", version=7, uid="second"))

    store.seen_gone(None, a_child("a", version=6, uid="first"))

    assert versions(store) == {"a": "7"}


def test_an_answer_that_the_watch_has_passed_does_not_bring_an_object_back() -> None:
    store = a_store()
    store.seen(None, a_child("a", version=3))
    store.seen_gone(None, a_child("a", version=9))

    store.remember(None, a_child("a", version=8))

    assert versions(store) == {}


def test_a_list_removes_what_it_lacks_but_not_what_was_written_since() -> None:
    changes = Changes()
    store = a_store(changes)
    store.seen(None, a_child("old", version=1))
    store.seen(None, a_child("kept", version=2))
    store.remember(None, a_child("written", version=12))

    store.replace(None, [a_child("kept", version=2), a_child("new", version=8)], "10")

    assert versions(store) == {"kept": "2", "new": "8", "written": "12"}
    assert ("1", None) in changes
    assert ("2", "2") not in changes


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    store = a_store()
    store.seen("a", a_child("one", version=1, namespace="a"))
    store.seen("b", a_child("two", version=2, namespace="b"))

    store.replace("a", [], "10")

    assert versions(store) == {"two": "2"}


def test_objects_are_found_by_deployment_also_after_their_label_changes() -> None:
    store = a_store()
    store.seen(None, a_child("a", version=1))
    store.seen(None, a_child("b", version=2))
    store.seen(None, a_child("b", version=3, deployment="other"))

    assert [obj.metadata.name for obj in store.part_of(CHAT)] == ["a"]
    assert [obj.metadata.name for obj in store.part_of(Key("demo", "other"))] == ["b"]
    store.seen_gone(None, a_child("a", version=4))
    assert store.part_of(CHAT) == []


def test_a_deletion_of_ours_counts_only_for_the_object_that_was_meant() -> None:
    store = a_store()
    store.seen(None, a_child("a", version=1))

    store.remember_gone(Key("demo", "a"), "another-uid")
    assert versions(store) == {"a": "1"}
    store.remember_gone(Key("demo", "a"), "a-uid")
    assert versions(store) == {}
