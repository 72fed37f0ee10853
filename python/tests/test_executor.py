"""`Executor` as the standard library's users know it."""

from __future__ import annotations

import concurrent.futures
import operator
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from conftest import Daemon, wait_until

import apportion


def test_submit_and_as_completed(pool: apportion.Executor) -> None:
    futures = [pool.submit(pow, 2, number) for number in range(20)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(futures)) == [2**n for n in range(20)]
    assert pool.submit(dict, a=1).result() == {"a": 1}


def test_map_keeps_the_order(pool: apportion.Executor) -> None:
    assert list(pool.map(operator.mul, range(7), range(7), chunksize=3)) == [n * n for n in range(7)]
    with pytest.raises(ZeroDivisionError):
        list(pool.map(divmod, [1, 1], [1, 0]))
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(abs, [1], chunksize=0)
    with pytest.raises(concurrent.futures.TimeoutError):
        list(pool.map(time.sleep, [0, 1000], timeout=2))


def test_result_waits_only_so_long(pool: apportion.Executor) -> None:
    future = pool.submit(time.sleep, 1000)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.2)
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


def test_demands_of_the_pool_and_of_a_call(daemon: Daemon, client: apportion.Client) -> None:
    with apportion.Executor(daemon.url, queue="maps", db_connections=3) as pool:
        plain = pool.submit(os.getenv, "APPORTION_RESOURCE_DB_CONNECTIONS")
        big = pool.options(mem="1GiB", db_connections=1, name="big").submit(os.getenv, "APPORTION_MEM_MIB")
        assert (plain.result(), big.result()) == ("3", "1024")
        task = client.task(big.task_id or 0)
        assert (task.name, task.queue, task.demand["db_connections"]) == ("big", "maps", 1)


def test_a_limit_that_the_scheduler_sees(daemon: Daemon, client: apportion.Client) -> None:
    with apportion.Executor(daemon.url, queue="maps", cpus=0.1, db_connections=3) as pool:
        futures = [pool.submit(time.sleep, 0.3) for _ in range(4)]
        most = 0.0
        while not all(future.done() for future in futures):
            [used] = [resource.used for resource in client.resources() if resource.name == "db_connections"]
            most = max(most, used)
        assert most == 3, "of 5, never two at once"


def test_what_the_daemon_refuses_is_told_by_its_future(pool: apportion.Executor) -> None:
    good = [pool.submit(abs, -number) for number in range(3)]
    bad = pool.options(db_connections=6).submit(abs, 1)
    more = [pool.submit(abs, -number) for number in range(3)]
    assert isinstance(bad.exception(), apportion.errors.NeverFits)
    assert [future.result() for future in good + more] == [0, 1, 2, 0, 1, 2]
    assert isinstance(pool.options(queue="none").submit(abs, 1).exception(), apportion.errors.UnknownQueue)


def test_what_cannot_be_pickled_is_told_by_its_future(pool: apportion.Executor) -> None:
    assert isinstance(pool.submit(abs, sys._getframe()).exception(), TypeError)


def test_shutdown_cancels_what_waits(daemon: Daemon) -> None:
    pool = apportion.Executor(daemon.url, cpus=4)
    running = pool.submit(time.sleep, 2)
    wait_until("it to run", running.running)
    waiting = [pool.submit(time.sleep, 1000) for _ in range(5)]
    pool.shutdown(wait=True, cancel_futures=True)
    assert running.result() is None and all(future.cancelled() for future in waiting)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)


def test_a_program_that_ends_waits_for_its_calls(daemon: Daemon, tmp_path: Any) -> None:
    file = tmp_path / "written"
    script = f"import apportion, pathlib; apportion.Executor({daemon.url!r}).submit(pathlib.Path({str(file)!r}).touch)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert file.exists()


def test_the_daemon_may_be_killed_meanwhile(own_daemon: Daemon) -> None:
    with apportion.Executor(own_daemon.url, cpus=0.5) as pool:
        futures = [pool.submit(lambda n: (time.sleep(0.1), n)[1], number) for number in range(30)]
        futures[3].result()
        own_daemon.kill()
        own_daemon.start()
        assert [future.result() for future in futures] == list(range(30))


def test_many_small_calls(pool: apportion.Executor) -> None:
    small = pool.options(cpus=0.5)
    futures = [small.submit(abs, -number) for number in range(1500)]
    assert [future.result() for future in futures] == list(range(1500))


def test_joblib_takes_it(daemon: Daemon) -> None:
    joblib = pytest.importorskip("joblib")
    from joblib._parallel_backends import ParallelBackendBase  # type: ignore[import-untyped,unused-ignore]

    class Backend(ParallelBackendBase):  # type: ignore[misc,unused-ignore]
        """A backend of joblib on any `concurrent.futures.Executor`, as its documentation describes."""

        supports_retrieve_callback = True

        def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
            self.parallel, self.pool = parallel, apportion.Executor(daemon.url, cpus=0.5)
            return n_jobs

        def effective_n_jobs(self, n_jobs: int) -> int:
            return n_jobs

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = self.pool.submit(func)
            future.add_done_callback(callback)
            return future

        apply_async = submit

        def retrieve_result_callback(self, out: Any) -> Any:
            return out.result()

        def terminate(self) -> None:
            self.pool.shutdown()

    joblib.register_parallel_backend("apportion", Backend)
    with joblib.parallel_config("apportion", n_jobs=4):
        found = joblib.Parallel(batch_size=2)(joblib.delayed(pow)(number, 2) for number in range(10))
    assert found == [number**2 for number in range(10)]


def test_dask_takes_it(pool: apportion.Executor) -> None:
    dask = pytest.importorskip("dask")
    add = dask.delayed(operator.add)
    total = add(add(1, 2), add(3, dask.delayed(len)("four")))
    assert total.compute(scheduler=pool) == 10


def test_more_executors_take_it(daemon: Daemon) -> None:
    more_executors = pytest.importorskip("more_executors")
    base = apportion.Executor(daemon.url)
    with more_executors.MapExecutor(base, lambda value: value + 1) as pool:
        assert pool.submit(abs, -4).result() == 5
