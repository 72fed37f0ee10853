"""The first users' interface, to the letter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Optional

import pytest
from conftest import Daemon, wait_until

import apportion
from apportion.task_executer import NAMES, demand

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class Task:
    def __init__(self, value: Any = None, error: Optional[Exception] = None, seconds: float = 0.0) -> None:
        self.value, self.error, self.seconds = value, error, seconds

    def consumption(self) -> dict[str, float]:
        return {"cpu": 0.1, "ram": 64 * 1024 * 1024}

    def run(self) -> Any:
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture()
def executer(daemon: Daemon, request: Any) -> Iterator[apportion.TaskExecuter]:
    with apportion.TaskExecuter(daemon.url, queue="maps", name=request.node.name) as executer:
        yield executer


def pop_all(executer: apportion.TaskExecuter, n_tasks: int) -> list[tuple[Any, Any, Any]]:
    found: list[tuple[Any, Any, Any]] = []
    if n_tasks == 0:
        return found
    wait_until("all to finish", lambda: found.extend(executer.pop_finished(1.0)) or len(found) >= n_tasks)
    return found


def test_tasks_come_back_with_their_values(executer: apportion.TaskExecuter) -> None:
    assert executer.pop_finished() == []
    tasks = [Task(1), Task(None), Task(error=KeyError("gone"))]
    for task in tasks:
        executer.execute(task)
    found = {id(task): (value, error) for task, value, error in pop_all(executer, 3)}
    assert found[id(tasks[0])] == (1, None)
    assert found[id(tasks[1])] == (None, None)
    value, error = found[id(tasks[2])]
    assert value is None and isinstance(error, KeyError) and error.args == ("gone",)
    assert executer.pop_finished() == [], "each once"


def test_consumption_is_translated() -> None:
    assert demand({"cpu": 2, "ram": 1024 * 1024, "db_connections": 3}, NAMES) == {
        "cpus": "2.000",
        "mem": "1.000",
        "db_connections": "3.000",
    }
    assert demand([{"cpu": 0.1}, {"ram": 1}, {"cpu": 0.2}], NAMES) == {"cpus": "0.300", "mem": "0.001"}
    assert demand({"connections": 2}, {"connections": ("db_connections", 1)}) == {"db_connections": "2.000"}


def test_what_a_task_consumes_is_its_demand(daemon: Daemon, client: apportion.Client) -> None:
    class Hungry(Task):
        def consumption(self) -> Any:
            return [{"cores": 1.5}, {"ram": 1.5 * 1024**3}, {"db_connections": 2}]

    names = {**NAMES, "cores": ("cpus", 1)}
    with apportion.TaskExecuter(daemon.url, queue="maps", retries=3, name="hungry", names=names) as executer:
        executer.execute(Hungry(7))
        [(_, value, _)] = pop_all(executer, 1)
    assert value == 7
    shown = next(task for task in client.all_tasks(queue="maps") if task.inbox == "hungry")
    assert shown.demand == {"cpus": 1.5, "mem": 1536, "db_connections": 2}
    assert (shown.retries, shown.name) == (3, "test_what_a_task_consumes_is_its_demand.<locals>.Hungry")


def test_a_cancelled_task_may_be_executed_again_at_once(
    executer: apportion.TaskExecuter, client: apportion.Client
) -> None:
    task = Task("done", seconds=1000)
    executer.execute(task)
    wait_until("it to run", lambda: client.tasks("maps", "running").tasks)
    assert executer.cancel(task)
    task.seconds = 0
    executer.execute(task)
    assert pop_all(executer, 1) == [(task, "done", None)]
    assert not executer.cancel(task), "there is nothing left to cancel"
    wait_until("the first run to die", lambda: not client.tasks("maps", "running,cancelling").tasks)
    assert executer.pop_finished() == [], "a cancelled task is not a finished one"


def test_one_that_finished_before_it_was_cancelled_is_dropped_too(
    executer: apportion.TaskExecuter, client: apportion.Client
) -> None:
    task = Task("first")
    executer.execute(task)
    ended = [task.id for task in client.all_tasks("maps")][-1]
    client.wait(ended, 60)
    assert executer.cancel(task)
    task.value = "second"
    executer.execute(task)
    assert pop_all(executer, 1) == [(task, "second", None)]


def test_one_that_somebody_else_cancels_is_told(executer: apportion.TaskExecuter, client: apportion.Client) -> None:
    task = Task(seconds=1000)
    executer.execute(task)
    [live] = [task.id for task in client.all_tasks("maps", "queued,launching,running")]
    client.cancel(live, "not today")
    [(popped, value, error)] = pop_all(executer, 1)
    assert popped is task and value is None
    assert isinstance(error, apportion.TaskCancelled) and "not today" in str(error)


CRASHING = """
import os, sys, time
sys.path.insert(0, {tests!r})
from test_task_executer import Task
import apportion
executer = apportion.TaskExecuter({url!r}, queue="maps", name="crash")
for number in range(6):
    executer.execute(Task(number, error=ValueError("odd") if number % 2 else None))
taken_care_of, popped = [], []
while len(taken_care_of) + len(popped) < 3:
    taken_care_of.extend(popped)
    popped = executer.pop_finished(1.0)
if sys.argv[1:] == ["taken-care-of"]:
    taken_care_of.extend(popped)
    executer.pop_finished()
print(*(task.value for task, _, _ in taken_care_of), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("taken_care_of", [False, True])
def test_a_caller_that_crashed_gets_every_finished_task(daemon: Daemon, taken_care_of: bool) -> None:
    script = CRASHING.format(tests=str(Path(__file__).parent), url=daemon.url)
    arguments = ["taken-care-of"] if taken_care_of else []
    crashed = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert crashed.returncode == -9, crashed.stderr
    first = [int(word) for word in crashed.stdout.split()]
    with apportion.TaskExecuter(daemon.url, queue="maps", name="crash") as executer:
        found = pop_all(executer, 6 - len(first))
        values = sorted(task.value for task, _, _ in found)
        assert values == sorted(set(range(6)) - set(first))
        for task, value, error in found:
            assert type(task).__name__ == "Task"
            expected = (None, "odd") if task.value % 2 else (task.value, None)
            assert (value, error and str(error)) == expected
        assert executer.pop_finished() == []


def test_a_pickle_that_somebody_else_submitted_is_not_read(
    daemon: Daemon, client: apportion.Client, tmp_path: Path
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "pwned"), "w"))

    import base64
    import pickle

    run = {"python": base64.b64encode(pickle.dumps(Evil())).decode()}
    with apportion.TaskExecuter(daemon.url, queue="maps", name="victim") as executer:
        accepted = client.submit([apportion.task_object(run, queue="maps", inbox="victim")])[0]
        client.wait(accepted.id, 60)
        (tmp_path / "pwned").unlink(missing_ok=True)  # the worker ran it, as it runs what is submitted
        assert executer.pop_finished() == []
        assert not (tmp_path / "pwned").exists()


def test_two_processes_do_not_share_an_inbox(daemon: Daemon) -> None:
    first = apportion.TaskExecuter(daemon.url, name="shared")
    with pytest.raises(apportion.errors.InboxInUse, match="`name`"):
        apportion.TaskExecuter(daemon.url, name="shared")
    first.close()
    apportion.TaskExecuter(daemon.url, name="shared").close()


def test_the_daemon_may_be_killed_meanwhile(own_daemon: Daemon) -> None:
    with apportion.TaskExecuter(own_daemon.url, queue="maps", name="killed") as executer:
        tasks = [Task(number, seconds=0.2) for number in range(8)]
        for task in tasks:
            executer.execute(task)
        wait_until("some to finish", lambda: any(own_daemon.cli("tasks", "--state", "succeeded").stdout.split()))
        own_daemon.kill()
        own_daemon.start()
        found = pop_all(executer, 8)
    assert [error for _, _, error in found] == [None] * 8
    assert sorted(value for _, value, _ in found) == list(range(8))


def test_the_example_builds_a_map(daemon: Daemon) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "map_build.py"), daemon.url], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ".#.#\n#.#.\n.#.#\n#.#.\n"
