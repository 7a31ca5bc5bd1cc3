"""`kubectl gptoss rollout` with a kubectl that answers what the test has prepared."""

import json
from pathlib import Path

import pytest

from gptoss_operator.cli.kubectl_gptoss import main
from tests.cli.fake_kubectl import FakeKubectl
from tests.cli.rollouts import a_gate, an_object, complete, refused, rolling


RESOURCE = "gptossdeployments.gptoss.dev"
WATCH = ["get", RESOURCE, "--field-selector=metadata.name=chat", "--watch", "--output-watch-events", "-o", "json"]
PROGRESSING = (
    "chat: Progressing, from aaa to bbb, step 2 of 4, 1 of 4 replicas updated: "
    "1 of 2 replicas of revision bbb do not serve yet"
)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    fake = FakeKubectl(home=tmp_path)
    fake.install()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return fake


def rollout(*arguments: str) -> int:
    return main(["rollout", *arguments])


def test_reads_with_kubectl_and_its_own_options(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", an_object())
    assert rollout("status", "chat", "-n", "demo", "--context", "east", "--kubeconfig", "/tmp/k") == 0  # noqa: S108 - a path that nobody opens
    assert kubectl.calls() == [
        ["--namespace=demo", "--context=east", "--kubeconfig=/tmp/k", "get", RESOURCE, "chat", "-o", "json"]
    ]
    assert capsys.readouterr().out == (
        "chat: no rollout\n"
        "  Serving    revision aaa\n"
        "  Model      openai/gpt-oss-20b\n"
        "  Image      server:1\n"
        "  Replicas   4/4 ready\n"
    )


def test_shows_the_history(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", an_object(history=[{"revision": "aaa", "outcome": "Active", "at": "2026-11-20T10:00:00Z"}]))
    assert rollout("history", "chat") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["REVISION", "OUTCOME", "AGE"]
    assert row.split()[:2] == ["aaa", "Active"]


@pytest.mark.parametrize(("action", "paused"), [("pause", True), ("resume", False)])
def test_sets_the_pause_in_the_spec(
    kubectl: FakeKubectl,
    capsys: pytest.CaptureFixture[str],
    action: str,
    paused: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    kubectl.answers("get", rolling(spec={"rollout": {"paused": not paused}}))
    kubectl.answers("patch", rolling(spec={"rollout": {"paused": paused}}))
    assert rollout(action, "chat", "-n", "demo") == 0
    patch = json.dumps({"spec": {"rollout": {"paused": paused}}})
    assert kubectl.calls()[1:] == [
        ["--namespace=demo", "patch", RESOURCE, "chat", "--type=merge", "-p", patch, "-o", "json"]
    ]
    said = capsys.readouterr().out.splitlines()[0]
    assert said == (
        "chat is paused: no further replica is replaced (step 2 of 4, 1 of 4 replicas updated)."
        if paused
        else "chat goes on (step 2 of 4, 1 of 4 replicas updated)."
    )


@pytest.mark.parametrize(("action", "said"), [("pause", "chat is paused already."), ("resume", "chat is not paused.")])
def test_writes_nothing_when_it_is_so_already(
    kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str], action: str, said: str
) -> None:
    kubectl.answers("get", an_object(spec={"rollout": {"paused": action == "pause"}}))
    assert rollout(action, "chat") == 0
    assert [call[0] for call in kubectl.calls()] == ["get"]
    assert capsys.readouterr().out.splitlines()[0] == said


def test_follows_until_it_is_complete_and_says_each_change_once(
    kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.answers("get", an_object(generation=2, seen=1))
    first = rolling(gates=[a_gate("chat-r4", "Canary", "Pending", "1 s")])
    second = rolling(gates=[a_gate("chat-r4", "Canary", "Pending", "2 s")])
    third = rolling(gates=[a_gate("chat-r4", "Canary", "Passed", "no worse")])
    bodies = [an_object(generation=2, seen=1), first, second, third, complete()]
    kubectl.delivers([("ADDED", bodies[0]), *(("MODIFIED", body) for body in bodies[1:])])
    assert rollout("status", "chat", "--watch") == 0
    assert kubectl.calls()[1:] == [WATCH]
    assert capsys.readouterr().out.splitlines() == [
        "chat: the operator has not seen generation 2 of the spec yet, what it says is of generation 1",
        PROGRESSING,
        "  chat-r4 Canary Pending",
        "  chat-r4 Canary Passed: no worse",
        "chat: complete: revision bbb serves",
    ]


def test_goes_on_when_the_api_server_ends_the_watch(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", rolling())
    kubectl.delivers([("ADDED", rolling())], ends=True)
    kubectl.delivers([("ADDED", rolling()), ("MODIFIED", complete())])
    assert rollout("status", "chat", "-w") == 0
    assert kubectl.calls()[1:] == [WATCH, WATCH]
    assert capsys.readouterr().out.splitlines() == [PROGRESSING, "chat: complete: revision bbb serves"]


def test_shows_how_long_it_will_take(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", rolling())
    kubectl.delivers([("ADDED", rolling(etaSeconds=1)), ("MODIFIED", complete())])
    assert rollout("status", "chat", "-w") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{PROGRESSING} (overdue)"


def test_fails_when_it_is_rolled_back(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", rolling())
    back = refused()
    back["status"]["rollout"] = rolling(phase="RollingBack", reason="chat-r4 goes")["status"]["rollout"]
    kubectl.delivers([("ADDED", rolling()), ("MODIFIED", back), ("MODIFIED", refused())])
    assert rollout("status", "chat", "--watch") == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        PROGRESSING,
        "chat: RollingBack, back from bbb to aaa, step 2 of 4, 1 of 4 replicas updated: chat-r4 goes",
    ]
    assert printed.err == (
        "error: chat: rolled back: revision bbb: WrongAnswers: "
        "chat-r4: golden prompt capital: the answer lacks 'Paris'\n"
    )


def test_fails_when_it_does_not_end_in_time(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", rolling())
    kubectl.delivers([("ADDED", rolling())])
    assert rollout("status", "chat", "--watch", "--timeout", "3") == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [PROGRESSING]
    assert printed.err == f"error: not ended after 3 s: {PROGRESSING}\n"


def test_fails_when_the_object_is_deleted(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", rolling())
    kubectl.delivers([("ADDED", rolling()), ("DELETED", rolling())])
    assert rollout("status", "chat", "--watch") == 1
    assert capsys.readouterr().err == f"error: kubectl get {RESOURCE} chat --watch: it was deleted\n"


def test_fails_when_kubectl_loses_the_cluster(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", rolling())
    kubectl.delivers([("ADDED", rolling())], ends=True, stderr="E1122 discovery\nUnable to connect to the server\n")
    assert rollout("status", "chat", "--watch") == 1
    assert capsys.readouterr().err == f"error: kubectl get {RESOURCE} chat --watch: Unable to connect to the server\n"


def test_an_object_that_is_not_there_is_not_waited_for(
    kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.fails("get", f'Error from server (NotFound): {RESOURCE} "chat" not found\n')
    assert rollout("status", "chat", "--watch") == 1
    assert capsys.readouterr().err == (
        f'error: kubectl get {RESOURCE} chat: Error from server (NotFound): {RESOURCE} "chat" not found; '
        "name its namespace with -n, or look for it with `kubectl get gptoss -A`\n"
    )


def test_says_what_is_wrong_with_the_cluster_or_its_rights(
    kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.fails("get", 'error: the server doesn\'t have a resource type "gptossdeployments"\n')
    assert rollout("history", "chat") == 1
    assert "; the operator is not installed in this cluster" in capsys.readouterr().err


def test_says_that_kubectl_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rollout("status", "chat") == 1
    assert capsys.readouterr().err == (
        "error: kubectl cannot be started (No such file or directory): install it, or add its directory to PATH\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timeout", "5"], "--timeout is given without --watch: add --watch, or leave it out"),
        (["--watch", "--timeout", "0"], "--timeout is 0: give seconds above 0"),
        (["--watch", "--timeout", "nan"], "--timeout is nan: give seconds above 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert rollout("status", "chat", *arguments) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
