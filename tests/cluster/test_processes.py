import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.local.processes import (
    Process,
    Stat,
    lives,
    owned,
    parse_stat,
    read_stat,
    send,
    start,
    stop,
    wait_until,
)


@pytest.fixture
def cluster() -> str:
    return f"unit-{os.getpid()}"


def sleeper(cluster: str, tmp_path: Path) -> Process:
    return start(["sleep", "60"], cluster=cluster, role="sleeper", log=tmp_path / "sleeper.log")


def this_process() -> Process:
    stat = read_stat(os.getpid())
    assert stat is not None
    return Process(pid=os.getpid(), role="tests", started=stat.started)


def test_a_stat_is_read_past_a_name_with_spaces_and_brackets() -> None:
    line = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 777 1 2 3"

    assert parse_stat(line) == Stat(state="S", started=777)


def test_a_process_that_got_the_number_of_another_is_not_that_other() -> None:
    ours = this_process()

    assert lives(ours)
    assert not lives(replace(ours, started=ours.started - 1))


def test_a_process_that_got_the_number_of_another_is_not_signalled(cluster: str, tmp_path: Path) -> None:
    process = sleeper(cluster, tmp_path)

    stop([replace(process, started=process.started - 1)], grace_seconds=0)

    assert lives(process)
    stop([process], grace_seconds=0)


def test_a_process_is_found_by_its_mark_and_gone_after_stop(cluster: str, tmp_path: Path) -> None:
    process = sleeper(cluster, tmp_path)

    wait_until(lambda: owned(cluster) != [], what="the program to be loaded", timeout_seconds=5)
    assert owned(cluster) == [replace(process, log=None)]
    stop([process], grace_seconds=5)

    assert not lives(process)
    assert owned(cluster) == []


def test_children_of_a_process_carry_its_mark(cluster: str, tmp_path: Path) -> None:
    process = start(["sh", "-c", "sleep 60; :"], cluster=cluster, role="parent", log=tmp_path / "log")

    wait_until(lambda: len(owned(cluster)) == 2, what="the child", timeout_seconds=5)
    stop(owned(cluster), grace_seconds=0)

    assert not lives(process)


def test_a_process_that_ignores_being_asked_is_killed(cluster: str, tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    log = tmp_path / "deaf.log"
    process = start([sys.executable, "-c", code], cluster=cluster, role="deaf", log=log)
    wait_until(lambda: log.read_text() == "deaf\n", what="the handler", timeout_seconds=10, alive=[process])

    stop([process], grace_seconds=0.2)

    assert not lives(process)


def test_waiting_ends_when_the_awaited_process_ends_and_shows_its_last_words(cluster: str, tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo cannot bind; exit 1"]
    process = start(argv, cluster=cluster, role="server", log=tmp_path / "server.log")

    with pytest.raises(ClusterError, match=r"server ended while waiting for its port(?s:.*)cannot bind"):
        wait_until(lambda: False, what="its port", timeout_seconds=30, alive=[process])


def test_waiting_ends_after_its_time() -> None:
    with pytest.raises(ClusterError, match="waited 0 s in vain for the moon"):
        wait_until(lambda: False, what="the moon", timeout_seconds=0.1)


def test_a_program_that_is_not_there_is_an_error(cluster: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot start ghost: /no/such/program: No such file"):
        start(["/no/such/program"], cluster=cluster, role="ghost", log=tmp_path / "log")


def test_signalling_a_process_that_has_ended_does_nothing() -> None:
    with subprocess.Popen(["true"]) as child:
        pid = child.pid
    gone = Process(pid=pid, role="gone", started=1)

    send(gone, signal.SIGKILL)
    assert not lives(gone)
