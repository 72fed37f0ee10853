"""`Executor`: a `concurrent.futures.Executor` whose calls are tasks of an Apportion daemon."""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import logging
import re
import threading
import time
import uuid
import weakref
from collections import deque
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, TypeVar

from . import _calls
from ._results import environment, pack, read_outcome, task_name
from .client import Client
from .errors import AlreadyEnded, ApiError, Busy, TooManyTasks, UnknownTask, Unreachable
from .task_executer import _raw_pop
from .types import Amount

_log = logging.getLogger("apportion")
T = TypeVar("T")

# A submission has at most so many tasks and about so many bytes: well below what the daemon takes.
BATCH_TASKS_MAX = 1000
BATCH_BYTES_MAX = 4 * 1024 * 1024
POP_WAIT_SECONDS = 10.0
# While so many calls are pending, results are let gather for a moment, so that one answer brings several: each costs
# the daemon a commit.
GATHER_FROM = 32
GATHER_SECONDS = 0.02

_executors: weakref.WeakSet[Executor] = weakref.WeakSet()


class Future(concurrent.futures.Future):  # type: ignore[type-arg]
    """A call that was submitted. As the standard one, but for two things: `cancel` also ends a call that
    runs, and `running` asks the daemon."""

    def __init__(self, executor: Executor, key: str) -> None:
        super().__init__()
        self._executor = executor
        self._key = key
        self._sent = threading.Event()
        self._task_id: Optional[int] = None

    @property
    def task_id(self) -> Optional[int]:
        """The daemon's id of the task, once it was submitted; waits for that. None if it could not be."""
        if not self.done():
            self._sent.wait()
        return self._task_id

    def cancel(self) -> bool:
        """Cancels the call, and kills it if it runs. False if it has ended."""
        if self.done():
            return self.cancelled()
        if not self._executor._cancel(self):
            return False
        if not super().cancel():
            return False
        self.set_running_or_notify_cancel()
        return True

    def running(self) -> bool:
        """Whether it runs now; asks the daemon."""
        if self.done() or not self._sent.is_set() or self._task_id is None:
            return False
        return self._executor._client.task(self._task_id).state in ("launching", "running", "cancelling")


class Executor(concurrent.futures.Executor):
    """Runs calls on a queue of an Apportion daemon.

    ::

        with apportion.Executor(queue="maps", db_connections=3) as pool:
            futures = [pool.submit(render, tile) for tile in tiles]
            big = pool.options(mem="8GiB").submit(merge, "all")

    Functions, arguments and values are pickled by cloudpickle. Exceptions come back with the remote
    traceback as their ``__cause__``; a call that ended otherwise raises `TaskFailed`, one that somebody else
    cancelled `TaskCancelled`. A restart of the daemon is waited for. What was not waited for when this
    program crashes runs all the same, but nobody gets its value; see `TaskExecuter` for that.

    Args:
        server: the daemon's address; ``APPORTION_SERVER`` or ``http://127.0.0.1:7070`` where it isn't given.
        queue: the path of a leaf queue.
        retries: how many times a call that fails is started again, after a growing pause.
        timeout_seconds: the longest that a call may run; None for as long as it likes.
        priority: higher goes first within the queue.
        env: variables for the calls. Calls share warm workers only where these are the same.
        python: the interpreter for the calls, where it isn't that of the daemon's configuration.
        token: for a daemon that asks for one; ``APPORTION_TOKEN`` where it isn't given.
        ca_file, cert_file: for https, as of `Client`.
        patience_seconds: how long submitting is tried again while the daemon can't be reached.
        demand: what each call consumes, by resource: ``cpus=2, mem="4GiB", db_connections=3``. `mem` and `disk`
            are sizes or MiB. What is not named is as the daemon's configuration says.
    """

    def __init__(
        self,
        server: Optional[str] = None,
        *,
        queue: str = "default",
        retries: int = 0,
        timeout_seconds: Optional[float] = None,
        priority: int = 0,
        env: Optional[Mapping[str, str]] = None,
        python: Optional[str] = None,
        token: Optional[str] = None,
        ca_file: Optional[str] = None,
        cert_file: Optional[str] = None,
        patience_seconds: float = 60.0,
        **demand: Amount,
    ) -> None:
        self._client = Client(
            server, token=token, ca_file=ca_file, cert_file=cert_file, patience_seconds=patience_seconds
        )
        self._inbox = f"executor-{uuid.uuid4().hex}"
        self._options = Options(
            self,
            {
                "queue": queue,
                "retries": retries,
                "timeout": timeout_seconds,
                "priority": priority,
                "env": environment(env, python),
            },
            demand,
        )
        self._numbers = itertools.count()
        self._state = threading.Condition()
        # Not yet submitted, with their keys; submitted or on their way, by key.
        self._waiting: deque[tuple[dict[str, Any], int, Future]] = deque()
        self._pending: dict[str, Future] = {}
        self._shut_down = False
        self._threads: list[threading.Thread] = []
        _executors.add(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future:
        """Schedules ``fn(*args, **kwargs)``. What can't be pickled, or is refused by the daemon, is told by the
        future. Raises `RuntimeError` after `shutdown`."""
        return self._options.submit(fn, *args, **kwargs)

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: Optional[float] = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As that of the standard library; `chunksize` calls at a time are one task."""
        return self._options.map(fn, *iterables, timeout=timeout, chunksize=chunksize)

    def options(
        self,
        *,
        queue: Optional[str] = None,
        retries: Optional[int] = None,
        timeout_seconds: Optional[float] = None,
        priority: Optional[int] = None,
        name: Optional[str] = None,
        **demand: Amount,
    ) -> Options:
        """The same pool with other options and demands for some calls: it has `submit` and `map` too."""
        return self._options.options(
            queue=queue, retries=retries, timeout_seconds=timeout_seconds, priority=priority, name=name, **demand
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls. With `cancel_futures`, those that don't run yet are cancelled; with `wait`,
        returns when all others have ended."""
        with self._state:
            self._shut_down = True
            self._state.notify_all()
        if cancel_futures:
            self._cancel_waiting()
        if wait:
            for thread in list(self._threads):
                if thread is not threading.current_thread():
                    thread.join()
            self._client.close()

    def _schedule(self, described: dict[str, Any], packed: Optional[bytes], error: Optional[BaseException]) -> Future:
        key = f"{self._inbox}.{next(self._numbers)}"
        future = Future(self, key)
        with self._state:
            if self._shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if packed is None:
                future._sent.set()
                future.set_exception(error)
                return future
            described["run"] = _calls.run_python(packed)
            described.update(key=key, inbox=self._inbox)
            self._waiting.append((described, len(packed) * 4 // 3, future))
            self._pending[key] = future
            if not self._threads:
                for body in (_submit_all, _collect_all):
                    thread = threading.Thread(target=body, args=(self,), name="apportion-executor", daemon=True)
                    self._threads.append(thread)
                    thread.start()
            self._state.notify_all()
        return future

    def _cancel(self, future: Future) -> bool:
        with self._state:
            for entry in self._waiting:
                if entry[2] is future:
                    self._waiting.remove(entry)
                    self._pending.pop(future._key, None)
                    future._sent.set()
                    self._state.notify_all()
                    return True
        future._sent.wait()
        if future._task_id is None:
            return False
        try:
            self._client.cancel(future._task_id, "by the Executor that submitted it")
        except (AlreadyEnded, UnknownTask):
            return False
        return True

    def _cancel_waiting(self) -> None:
        """Cancels what does not run yet."""
        with self._state:
            entries, futures = list(self._waiting), list(self._pending.values())
        for _, _, future in entries:
            future.cancel()
        sent = {future.task_id: future for future in futures if not future.done()}
        ids = [task_id for task_id in sent if task_id is not None]
        if not ids:
            return
        after: Optional[int] = min(ids) - 1
        while after is not None:
            page = self._client.tasks(states="waiting,queued", after=after, limit=1000)
            for task in page.tasks:
                if task.id in sent:
                    sent[task.id].cancel()
            after = page.next_after

    # The rest runs in the two threads.

    def _next_batch(self) -> Optional[list[tuple[dict[str, Any], int, Future]]]:
        """What to submit next; waits for it. None when nothing will come any more."""
        with self._state:
            self._state.wait_for(lambda: self._waiting or self._shut_down)
            batch: list[tuple[dict[str, Any], int, Future]] = []
            n_bytes = 0
            while self._waiting and len(batch) < BATCH_TASKS_MAX:
                n_bytes += self._waiting[0][1]
                if batch and n_bytes > BATCH_BYTES_MAX:
                    break
                batch.append(self._waiting.popleft())
            return batch or None

    def _submit(self, batch: list[tuple[dict[str, Any], int, Future]]) -> None:
        while batch:
            try:
                accepted = self._client.submit(described for described, _, _ in batch)
            except TooManyTasks:
                time.sleep(1.0)
                continue
            except (ApiError, Unreachable) as error:
                place = _place(error, len(batch))
                if place is None:
                    for entry in batch:
                        self._fail(entry[2], error)
                    return
                self._fail(batch.pop(place)[2], error)
                continue
            for (_, _, future), one in zip(batch, accepted):
                future._task_id = one.id
                future._sent.set()
            return

    def _fail(self, future: Future, error: BaseException) -> None:
        with self._state:
            self._pending.pop(future._key, None)
            self._state.notify_all()
        future._sent.set()
        _resolve(future, None, error)

    def _collect(self, ack: Optional[str]) -> Optional[str]:
        answer = self._client._send(_raw_pop(self._inbox, POP_WAIT_SECONDS, ack))
        for told in answer["tasks"]:
            with self._state:
                future = self._pending.pop(told.get("key") or "", None)
                self._state.notify_all()
            if future is None or future.done():
                continue
            future._task_id = told["id"]
            future._sent.set()
            _resolve(future, *read_outcome(told, self._client.result))
            del future
        return answer["token"] or ack


def _submit_all(executor: Executor) -> None:
    while True:
        batch = executor._next_batch()
        if batch is None:
            return
        executor._submit(batch)
        del batch


def _collect_all(executor: Executor) -> None:
    ack: Optional[str] = None
    while True:
        with executor._state:
            executor._state.wait_for(lambda: executor._pending or executor._shut_down)
            n_pending = len(executor._pending)
        if not n_pending:
            break
        if n_pending >= GATHER_FROM:
            time.sleep(GATHER_SECONDS)
        try:
            ack = executor._collect(ack)
        except (ApiError, Unreachable) as error:
            _log.warning("results can't be fetched for now: %s", error)
            time.sleep(1.0)
    if ack is not None:
        try:
            executor._client._send_once(_raw_pop(executor._inbox, 0.0, ack))
        except (ApiError, Unreachable, RuntimeError):
            pass  # nobody asks this inbox any more; the daemon forgets it in time


def _place(error: Exception, n_tasks: int) -> Optional[int]:
    """Which of the tasks is refused; None where it is all of them."""
    if isinstance(error, (Busy, Unreachable)) or not isinstance(error, ApiError):
        return None
    path = error.detail.get("path") if isinstance(error.detail, dict) else None
    found = re.match(r"tasks\[(\d+)\]", path or "")
    return int(found[1]) if found and int(found[1]) < n_tasks else None


def _resolve(future: Future, value: Any, error: Optional[BaseException]) -> None:
    try:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
    except concurrent.futures.InvalidStateError:
        pass  # it was cancelled meanwhile


class Options:
    """A pool with some options set; `submit` and `map` are those of `Executor`."""

    def __init__(self, executor: Executor, options: Mapping[str, Any], demand: Mapping[str, Amount]) -> None:
        self._executor = executor
        self._settings = dict(options)
        self._demand = dict(demand)

    def options(
        self,
        *,
        queue: Optional[str] = None,
        retries: Optional[int] = None,
        timeout_seconds: Optional[float] = None,
        priority: Optional[int] = None,
        name: Optional[str] = None,
        **demand: Amount,
    ) -> Options:
        """These options, and others in place of some."""
        changed = {"queue": queue, "retries": retries, "timeout": timeout_seconds, "priority": priority, "name": name}
        changed = {key: value for key, value in changed.items() if value is not None}
        return Options(self._executor, {**self._settings, **changed}, {**self._demand, **demand})

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future:
        """Schedules ``fn(*args, **kwargs)``."""
        return self._schedule(fn, "call", (fn, args, kwargs))

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: Optional[float] = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As that of the standard library; `chunksize` calls at a time are one task."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        deadline = None if timeout is None else time.monotonic() + timeout
        calls = zip(*iterables)
        futures: list[Future] = []
        if chunksize == 1:
            futures.extend(self._schedule(fn, "call", (fn, args, {})) for args in calls)
        else:
            while chunk := list(itertools.islice(calls, chunksize)):
                futures.append(self._schedule(fn, "chunk", (fn, chunk)))
        return _results(futures, deadline, chunksize > 1)

    def _schedule(self, fn: Any, kind: str, thing: Any) -> Future:
        packed: Optional[bytes] = None
        error: Optional[BaseException] = None
        try:
            packed = pack(thing, kind)
        except Exception as failure:
            error = failure
        settings = {"name": task_name(fn), **self._settings}
        described = _calls.task_object({}, demand=self._demand or None, **settings)
        return self._executor._schedule(described, packed, error)


def _results(futures: list[Future], deadline: Optional[float], chunked: bool) -> Iterator[Any]:
    """The values in order; cancels what is left if the reader stops."""
    futures.reverse()

    def read() -> Iterator[Any]:
        try:
            while futures:
                # No name for the value: who reads it alone decides how long it lives.
                if chunked:
                    yield from _take(futures, deadline)
                else:
                    yield _take(futures, deadline)
        finally:
            for future in futures:
                future.cancel()

    return read()


def _take(futures: list[Future], deadline: Optional[float]) -> Any:
    value = futures[-1].result(None if deadline is None else deadline - time.monotonic())
    futures.pop()
    return value


@atexit.register
def _finish_all() -> None:
    """As the standard executors do, a program that ends waits for what it submitted."""
    for executor in list(_executors):
        executor.shutdown(wait=True)
