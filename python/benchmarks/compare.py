"""No-op Python tasks end to end, beside Dask distributed and Ray: two workers each, one after the other.

Each system is started before its clock and warmed up with one task for each worker. The clock runs from the
first submission to the last result, and a run counts only if all values came back. What each guarantees
when all values are there:

- apportion: each submission and each result was on disk (synced) before it was told; SIGKILL of the daemon
  loses nothing.
- Dask: everything is in the memory of scheduler and workers; a lost worker's tasks run again, a lost
  scheduler loses all.
- Ray: everything is in the memory of its processes; a lost worker's tasks run again (up to 3 times), a lost
  head loses all.

    pip install -e python -r python/benchmarks/requirements.txt && cargo build --release
    python python/benchmarks/compare.py 10000
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(os.environ.get("APPORTION_PROGRAM", Path(__file__).resolve().parents[2] / "target/release/apportion"))
WORKERS = 2


def nothing(number: int) -> int:
    """The no-op: gives what it got, so that a lost or mixed-up value is seen."""
    return number


@contextmanager
def apportion_system() -> Iterator[Callable[[int], list[int]]]:
    """A daemon on this machine with two cpus."""
    import apportion

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "apportion.toml")
        config.write_text(
            f'[server]\nlisten = "127.0.0.1:0"\ndata_dir = "{folder}/data"\n'
            f'[backend]\nresources = {{ cpus = {WORKERS} }}\n[python]\ninterpreter = "{sys.executable}"\n'
            "tasks_max = 1000000\n"
        )
        daemon = subprocess.Popen([PROGRAM, "serve", "--config", config], stderr=subprocess.PIPE, text=True)
        assert daemon.stderr is not None
        address = next(found[1] for line in daemon.stderr if (found := re.search(r"listening on (\S+)", line)))
        with apportion.Executor(address, cpus=1) as pool:
            yield lambda n: [future.result() for future in [pool.submit(nothing, number) for number in range(n)]]
        daemon.terminate()
        daemon.wait()


@contextmanager
def dask_system() -> Iterator[Callable[[int], list[int]]]:
    """A scheduler and two worker processes with one thread each."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield lambda n: client.gather([client.submit(nothing, number, pure=False) for number in range(n)])


@contextmanager
def ray_system() -> Iterator[Callable[[int], list[int]]]:
    """A head on this machine with two cpus."""
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    remote = ray.remote(nothing)
    yield lambda n: ray.get([remote.remote(number) for number in range(n)])
    ray.shutdown()


SYSTEMS = {"apportion": apportion_system, "dask": dask_system, "ray": ray_system}


def main() -> None:
    """Measures the systems named on the command line, or all."""
    n_tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{n_tasks} no-op tasks, {WORKERS} workers each, Python {sys.version.split()[0]}")
    for name in sys.argv[2:] or SYSTEMS:
        with SYSTEMS[name]() as run:
            run(WORKERS * 2)
            start = time.perf_counter()
            values = run(n_tasks)
            seconds = time.perf_counter() - start
            assert values == list(range(n_tasks)), name
            print(f"{name:10} {seconds:8.2f} s {n_tasks / seconds:10.0f} tasks/s", flush=True)


if __name__ == "__main__":
    main()
