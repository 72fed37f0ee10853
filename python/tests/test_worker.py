"""What a task may do to its worker, each with its right answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from conftest import Daemon, wait_until

import apportion
from apportion import RemoteError, TaskFailed, _results, _worker
from apportion.errors import RemoteTraceback


def test_values_come_back(pool: apportion.Executor) -> None:
    values = [None, 0, "ü", b"\0\xff", [1, {"a": (2, 3)}], {4.5}, lambda x: x + 1]
    found = list(pool.map(lambda value: value, values))
    assert found[:-1] == values[:-1]
    assert found[-1](1) == 2


def test_an_exception_has_the_remote_traceback_as_its_cause(pool: apportion.Executor) -> None:
    def fail() -> None:
        raise ValueError("no such tile")

    error = pool.submit(fail).exception()
    assert type(error) is ValueError and error.args == ("no such tile",)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in str(error.__cause__) and "ValueError: no such tile" in str(error.__cause__)
    assert "_worker" not in str(error.__cause__), "frames of the worker are left out"


def test_the_command_line_shows_the_exception(daemon: Daemon, pool: apportion.Executor) -> None:
    future = pool.submit(lambda: [][1])
    assert isinstance(future.exception(), IndexError)
    shown = daemon.cli("task", str(future.task_id)).stdout
    assert "IndexError: list index out of range" in shown
    assert "a pickled Python object" in shown
    logged = daemon.cli("logs", "--stderr", str(future.task_id)).stdout
    assert logged.startswith("Traceback (most recent call last):")


def test_an_exception_that_cannot_be_pickled(pool: apportion.Executor) -> None:
    def fail() -> None:
        error = ValueError("holds a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    error = pool.submit(fail).exception()
    assert isinstance(error, RemoteError)
    assert (error.type, error.line) == ("ValueError", "ValueError: holds a lock")
    assert "in fail" in error.traceback


def test_an_exception_that_cannot_be_made_again(pool: apportion.Executor) -> None:
    class Picky(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    def fail() -> None:
        raise Picky(1, 2)

    error = pool.submit(fail).exception()
    assert isinstance(error, RemoteError) and error.line.endswith("Picky: 1 and 2")


def test_an_exception_whose_class_the_caller_lacks(pool: apportion.Executor) -> None:
    def fail() -> None:
        import sys
        import types

        module = types.ModuleType("only_there")
        module.Odd = type("Odd", (Exception,), {"__module__": "only_there"})  # type: ignore[attr-defined]
        sys.modules["only_there"] = module
        raise module.Odd("from afar")  # type: ignore[attr-defined]

    error = pool.submit(fail).exception()
    assert isinstance(error, RemoteError)
    assert (error.type, error.line) == ("only_there.Odd", "only_there.Odd: from afar")


def test_system_exit_is_an_exception(pool: apportion.Executor) -> None:
    error = pool.submit(sys.exit, 3).exception()
    assert isinstance(error, SystemExit) and error.code == 3


@pytest.mark.parametrize(("code", "word"), [(0, "raised"), (7, "exited")])
def test_os_exit_ends_the_task_without_a_value(pool: apportion.Executor, code: int, word: str) -> None:
    error = pool.submit(os._exit, code).exception()
    assert isinstance(error, TaskFailed) and error.code == word
    assert f"exit code {code}" in str(error) or f"with code {code}" in str(error)


def test_a_segmentation_fault(pool: apportion.Executor) -> None:
    def crash() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    error = pool.submit(crash).exception()
    assert isinstance(error, TaskFailed) and error.code == "signalled" and "SIGSEGV" in str(error)
    assert pool.submit(abs, -1).result() == 1, "others go on"


def test_what_is_printed_is_not_the_value(client: apportion.Client, pool: apportion.Executor) -> None:
    def loud() -> int:
        print("to stdout: ü")
        print("to stderr", file=sys.stderr)
        os.write(1, b"raw\n")
        subprocess.run(["echo", "child"], check=True)
        sys.stdout = None  # type: ignore[assignment]
        return 42

    future = pool.submit(loud)
    assert future.result() == 42
    assert future.task_id is not None
    assert client.log(future.task_id).data.decode() == "to stdout: ü\nraw\nchild\n"
    assert client.log(future.task_id, "stderr").data == b"to stderr\n"
    quiet = pool.submit(lambda: print("again"))
    assert quiet.result() is None and quiet.task_id is not None
    assert client.log(quiet.task_id).data == b"again\n", "a later task prints to its own file"


def test_a_value_of_100_mb(daemon: Daemon, pool: apportion.Executor) -> None:
    size = 100 * 1000 * 1000
    future = pool.submit(bytes, size)
    assert len(future.result()) == size
    assert future.task_id is not None
    files = [path for path in (daemon.folder / "data/values").rglob("*") if path.is_file()]
    assert f"{future.task_id}.1" in [file.name for file in files]


def test_a_large_call_is_brought_as_a_file(daemon: Daemon, pool: apportion.Executor) -> None:
    assert pool.submit(len, b"x" * 5_000_000).result() == 5_000_000
    assert not list((daemon.folder / "data/tasks").rglob("*.call")), "and taken away"


def test_a_call_beyond_the_limit_says_which(pool: apportion.Executor) -> None:
    error = pool.submit(len, b"x" * 20_000_000).exception()
    assert isinstance(error, apportion.errors.BodyTooLarge) and "server.body_max" in str(error)


def test_deep_recursion(pool: apportion.Executor) -> None:
    def down(depth: int) -> int:
        return 0 if depth == 0 else 1 + down(depth - 1)

    assert isinstance(pool.submit(down, 100_000).exception(), RecursionError)

    def nested() -> list[Any]:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        return value

    error = pool.submit(nested).exception()
    assert isinstance(error, TypeError) and "can't be pickled" in str(error) and "deep recursion" in str(error)


def test_a_value_that_cannot_be_pickled(pool: apportion.Executor) -> None:
    error = pool.submit(threading.Lock).exception()
    assert isinstance(error, TypeError) and "the return value can't be pickled" in str(error)


def test_a_task_that_forks_gives_one_value(pool: apportion.Executor) -> None:
    def fork() -> tuple[str, int]:
        child = os.fork()
        # Both come back from here, and only one of them is the task.
        return ("parent", child) if child else ("child", 0)

    role, child = pool.submit(fork).result()
    assert role == "parent"
    wait_until("the fork to end", lambda: not os.path.exists(f"/proc/{child}/cmdline"))


def test_what_a_task_leaves_behind_ends_with_it(pool: apportion.Executor) -> None:
    def leave() -> tuple[int, int]:
        child = subprocess.Popen(["sleep", "1000"])
        return os.getpid(), child.pid

    for left in pool.submit(leave).result():
        wait_until("what was left to end", lambda left=left: not os.path.exists(f"/proc/{left}"))

    def daemonise() -> int:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            os._exit(0)
        os.waitpid(pid, 0)
        return os.getpid()

    worker = pool.submit(daemonise).result()
    assert worker != pool.submit(os.getpid).result(), "a worker that left something is not used again"


def test_threads_end_with_their_task(pool: apportion.Executor) -> None:
    def thread() -> int:
        threading.Thread(target=time.sleep, args=(1000,)).start()
        return os.getpid()

    worker = pool.submit(thread).result()
    wait_until("the worker to end", lambda: not os.path.exists(f"/proc/{worker}"))
    assert pool.submit(os.getpid).result() != worker


def test_workers_stay_warm_and_clean(pool: apportion.Executor) -> None:
    def spoil() -> int:
        os.environ["SPOILT"] = "yes"
        os.chdir("/")
        os.umask(0)
        sys.path.append("/nowhere")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.setrecursionlimit(50_000)
        sys.modules["kept"] = sys
        return os.getpid()

    def look() -> tuple[Any, ...]:
        mask = os.umask(0o22)
        os.umask(mask)
        handler = signal.getsignal(signal.SIGTERM)
        return (
            os.getpid(),
            os.environ.get("SPOILT"),
            os.path.basename(os.getcwd()) == "{APPORTION_TASK_ID}.{APPORTION_ATTEMPT}".format(**os.environ),
            mask,
            "/nowhere" in sys.path,
            handler == signal.SIG_DFL,
            sys.getrecursionlimit(),
            "kept" in sys.modules,
        )

    one = pool.options(cpus=4)  # nobody else's worker is like this one
    worker = one.submit(spoil).result()
    found = one.submit(look).result()
    assert found == (worker, None, True, 0o22, False, True, 1000, True), "modules stay, the rest is put back"


def test_workers_are_shared_only_among_their_like(daemon: Daemon) -> None:
    pids = []
    for queue, env in (("default", {}), ("maps", {}), ("default", {"STAGE": "prod"})):
        with apportion.Executor(daemon.url, queue=queue, env=env, cpus=3) as pool:
            pids.append(pool.submit(os.getpid).result())
            if env:
                assert pool.submit(os.getenv, "STAGE").result() == "prod"
    assert len(set(pids)) == 3


def test_a_changed_module_is_read_again(daemon: Daemon, tmp_path: Any) -> None:
    source = tmp_path / "changing.py"

    def read() -> tuple[int, int]:
        import changing  # type: ignore[import-not-found]

        return os.getpid(), changing.VALUE

    with apportion.Executor(daemon.url, env={"PYTHONPATH": str(tmp_path)}) as pool:
        source.write_text("VALUE = 1\n")
        first = pool.submit(read).result()
        source.write_text("VALUE = 1 + 1\n")
        second = pool.submit(read).result()
    assert (first[1], second[1]) == (1, 2)
    assert first[0] == second[0], "by the same worker"


def test_workers_are_recycled() -> None:
    daemon = Daemon('tasks_max = 3\nmemory_growth = "32MiB"\n')
    try:
        with apportion.Executor(daemon.url) as pool:
            pids = [pool.submit(os.getpid).result() for _ in range(7)]
            assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]

            def grow() -> int:
                sys.modules["grown"] = bytearray(os.urandom(1) * (64 << 20))  # type: ignore[assignment]
                return os.getpid()

            grown = pool.submit(grow).result()
            assert pool.submit(os.getpid).result() != grown
    finally:
        daemon.stop()


def test_a_cancelled_task_is_killed_with_all_its_processes(pool: apportion.Executor, tmp_path: Any) -> None:
    def stay(file: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "1000"])
        with open(file + ".new", "w") as out:
            out.write(f"{os.getpid()} {child.pid}")
        os.rename(file + ".new", file)
        time.sleep(1000)

    file = tmp_path / "pids"
    future = pool.submit(stay, str(file))
    wait_until("the task to run", file.exists)
    assert future.running()
    assert future.cancel() and future.cancelled()
    for pid in file.read_text().split():
        wait_until("it to die", lambda pid=pid: not os.path.exists(f"/proc/{pid}"))


def test_a_timeout(pool: apportion.Executor) -> None:
    error = pool.options(timeout_seconds=0.5).submit(time.sleep, 1000).exception()
    assert isinstance(error, TaskFailed) and error.code == "timed_out"


def test_too_much_memory(pool: apportion.Executor) -> None:
    error = pool.options(mem="64MiB").submit(lambda: len(bytearray(b"x") * (1 << 30))).exception()
    assert isinstance(error, TaskFailed) and error.code == "out_of_memory"


def test_a_failed_task_is_tried_again(pool: apportion.Executor, tmp_path: Any) -> None:
    def third_time(folder: str) -> str:
        open(f"{folder}/{os.environ['APPORTION_ATTEMPT']}", "w").close()
        if len(os.listdir(folder)) < 3:
            raise OSError("not yet")
        return "at last"

    assert pool.options(retries=2).submit(third_time, str(tmp_path)).result() == "at last"


def test_usage_is_the_task_s_own(client: apportion.Client, pool: apportion.Executor) -> None:
    def burn(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    busy, idle = pool.submit(burn, 0.5), pool.submit(burn, 0.0)
    assert busy.result() is None and idle.result() is None
    used = [client.task(future.task_id or 0).outcome for future in (busy, idle)]
    assert used[0] and used[1]
    assert 0.5 <= used[0].cpu_seconds < 2.0 and used[1].cpu_seconds < 0.3
    assert used[0].memory_peak_bytes > 1 << 20


def test_versions_that_do_not_match_are_said(client: apportion.Client) -> None:
    packed = _results.pack(lambda: 1, "call").replace(b'"python": [3, ', b'"python": [2, ', 1)
    accepted = client.submit([apportion.task_object({"python": _encode(packed)})])[0]
    task = client.wait(accepted.id, 60)
    assert task.outcome and task.outcome.cause
    assert "VersionMismatch: pickled by Python 2." in task.outcome.cause.message
    assert f"read by Python {sys.version_info[0]}.{sys.version_info[1]}" in task.outcome.cause.message
    # What is pickled by name is the same for all.
    packed = _results.pack((abs, (-1,), {}), "call").replace(b'"python": [3, ', b'"python": [2, ', 1)
    accepted = client.submit([apportion.task_object({"python": _encode(packed)})])[0]
    assert client.wait(accepted.id, 60).state == "succeeded"
    with pytest.raises(apportion.VersionMismatch, match="cloudpickle 9"):
        header = b'apportion {"python": [3, 11], "cloudpickle": "9.0", "kind": "value", "by_value": false}\n'
        _worker.unpack(header + b"\x80\x05cno_such_module\nname\n.")


def test_an_interpreter_without_cloudpickle_says_so(client: apportion.Client) -> None:
    bare = ["-I", "-S"]
    script = f'#!/bin/sh\nexec {sys.executable} {" ".join(bare)} "$@"\n'
    with apportion.Executor(client.server) as pool:
        path = f"/tmp/apportion-bare-python-{os.getpid()}"
        with open(path, "w") as file:
            file.write(script)
        os.chmod(path, 0o755)
    try:
        with apportion.Executor(client.server, python=path) as pool:
            error = pool.submit(abs, 1).exception()
        assert isinstance(error, TaskFailed) and error.code == "not_started"
        assert "has no cloudpickle" in str(error) and "pip install cloudpickle" in str(error)
    finally:
        os.unlink(path)
    with apportion.Executor(client.server, python="no-such-python") as pool:
        error = pool.submit(abs, 1).exception()
    assert isinstance(error, TaskFailed) and "cannot start 'no-such-python'" in str(error)


def test_a_bare_pickle_is_an_object_with_run(client: apportion.Client) -> None:
    import cloudpickle

    class Plain:
        def run(self) -> str:
            return "plain"

    accepted = client.submit([{"run": {"python": _encode(cloudpickle.dumps(Plain()))}}])[0]
    assert client.wait(accepted.id, 60).state == "succeeded"
    assert _worker.unpack(client.result(accepted.id)) == ("value", "plain")


def _encode(packed: bytes) -> str:
    from apportion._calls import run_python

    return run_python(packed)["python"]
