"""The whole HTTP API, for programs with asyncio: `Client` with ``await``."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, AsyncIterator, Iterable, Mapping, Optional, Sequence, TypeVar, Union

import httpx

from . import _calls, types
from ._calls import Answer, Call
from .client import _refusal
from .errors import ApiError, Busy, StoreFailed, Unreachable
from .types import Amount

T = TypeVar("T")


class AsyncClient:
    """Calls one daemon; the methods are those of `Client`. `close` it, or use it in ``async with``.

    Args:
        server: its address; ``APPORTION_SERVER`` or ``http://127.0.0.1:7070`` where it isn't given.
        token: sent as ``Authorization: Bearer``; ``APPORTION_TOKEN`` where it isn't given.
        ca_file: for https: a file in PEM with the certificates of the authorities to trust, instead of the system's;
            ``APPORTION_CA_FILE`` where it isn't given.
        cert_file: for https: a file in PEM with a certificate and its private key, where the daemon asks for one;
            ``APPORTION_CERT_FILE`` where it isn't given.
        timeout_seconds: how long an answer may take, beyond the time that the call itself asks to wait.
        patience_seconds: how long a call that may be repeated safely is tried again while the daemon can't
            be reached or is busy, as while it restarts.

    Every call raises `Unreachable` where there is no answer, and `ApiError` where the daemon refuses.
    """

    def __init__(
        self,
        server: Optional[str] = None,
        *,
        token: Optional[str] = None,
        ca_file: Optional[str] = None,
        cert_file: Optional[str] = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 10.0,
    ) -> None:
        self.server = _calls.server_url(server)
        self._timeout = timeout_seconds
        self._patience = patience_seconds
        self._http = httpx.AsyncClient(
            base_url=self.server,
            headers=_calls.headers(token),
            verify=_calls.trust(ca_file, cert_file),
            timeout=timeout_seconds,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        deadline = time.monotonic() + self._patience
        pause = 0.05
        while True:
            try:
                return await self._send_once(call)
            except (Unreachable, Busy) as error:
                never_sent = isinstance(error.__cause__, (httpx.ConnectError, httpx.ConnectTimeout))
                may_repeat = call.repeatable or never_sent
                if not may_repeat or time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _send_once(self, call: Call[T]) -> T:
        try:
            answer = await self._http.request(
                call.method,
                call.path,
                params=dict(call.query),
                json=call.body,
                timeout=self._timeout + call.wait_seconds,
            )
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.server}: {error or type(error).__name__}") from error
        if answer.is_error:
            raise _refusal(answer)
        return call.read(Answer(answer.headers, answer.content))

    async def submit(self, tasks: Iterable[Mapping[str, Any]]) -> list[types.Accepted]:
        """Submits task objects, up to 10,000, all or none; `task_object` makes them. They are durable on return.

        Raises `UnknownQueue`, `UnknownResource`, `NeverFits`, `KeyReused`, `TooManyTasks` and other kinds of
        `ApiError`. A task without a `key` may have been taken in although `Unreachable` is raised."""
        return await self._send(_calls.submit(tasks))

    async def task(self, task_id: int) -> types.Task:
        """One task with all its attempts. Raises `UnknownTask`."""
        return await self._send(_calls.task(task_id))

    async def tasks(
        self,
        queue: Optional[str] = None,
        states: Union[str, Sequence[str], None] = None,
        after: Optional[int] = None,
        limit: int = 100,
    ) -> types.Tasks:
        """A page of at most `limit` (1 to 1000) tasks with ids above `after`."""
        return await self._send(_calls.tasks(queue, states, after, limit))

    async def cancel(self, task_id: int, reason: Optional[str] = None) -> str:
        """Cancels a task, killing it if it runs; its state now. Raises `UnknownTask`, `AlreadyEnded`."""
        return await self._send(_calls.cancel(task_id, reason))

    async def retry(self, task_id: int) -> str:
        """Gives a failed or cancelled task a new attempt; its state now. Raises `UnknownTask`, `NotRetryable`."""
        return await self._send(_calls.retry(task_id))

    async def explain(self, task_id: int) -> types.Explanation:
        """Where a task stands and what it waits for. Raises `UnknownTask`."""
        return await self._send(_calls.explain(task_id))

    async def result(self, task_id: int, attempt: Optional[int] = None) -> bytes:
        """The bytes of an ended task's value, as they are. Raises `NotEnded`, `UnknownTask`."""
        return await self._send(_calls.result(task_id, attempt))

    async def log(
        self,
        task_id: int,
        stream: str = "stdout",
        offset: int = 0,
        attempt: Optional[int] = None,
        wait_seconds: float = 0.0,
    ) -> types.Log:
        """At most 1 MiB of an attempt's ``stdout`` or ``stderr`` from `offset` on; waits so long for more."""
        return await self._send(_calls.log(task_id, stream, offset, attempt, wait_seconds))

    async def pop(
        self, inbox: str, limit: int = 100, wait_seconds: float = 0.0, ack: Optional[str] = None
    ) -> types.Popped:
        """Finished tasks of an inbox, at most `limit` (1 to 1000). They come again until their token is acknowledged:
        pass it as `ack` of the next call. Waits at most `wait_seconds` (60 at most) for the first."""
        return await self._send(_calls.pop(inbox, limit, wait_seconds, ack))

    async def queues(self) -> list[types.Queue]:
        """All queues as they are now, parents before children."""
        return await self._send(_calls.queues())

    async def agents(self) -> list[types.Agent]:
        """All agents as they are now."""
        return await self._send(_calls.agents())

    async def resources(self) -> list[types.Resource]:
        """All resources as they are now."""
        return await self._send(_calls.resources())

    async def report_outside(self, resource: str, used: Amount) -> None:
        """Tells what others use of a cluster resource. Raises `UnknownResource`, `NotClusterScope`."""
        await self._send(_calls.report_outside(resource, used))

    async def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of the daemon."""
        return await self._send(_calls.openapi())

    async def metrics(self) -> str:
        """The metrics, in Prometheus' text format."""
        return await self._send(_calls.metrics())

    async def is_alive(self) -> bool:
        """Whether the daemon answers at all."""
        try:
            return await self._send_once(_calls.is_alive())
        except (Unreachable, ApiError):
            return False

    async def is_ready(self) -> bool:
        """Whether the daemon can take tasks in. Raises `Unreachable` where there is no answer."""
        try:
            return await self._send_once(_calls.is_ready())
        except (Busy, StoreFailed):
            return False

    async def all_tasks(
        self, queue: Optional[str] = None, states: Union[str, Sequence[str], None] = None
    ) -> AsyncIterator[types.Task]:
        """All tasks in order of ids, page by page."""
        after: Optional[int] = None
        while True:
            page = await self.tasks(queue, states, after, 1000)
            for task in page.tasks:
                yield task
            if page.next_after is None:
                return
            after = page.next_after

    async def wait(self, task_id: int, timeout_seconds: Optional[float] = None) -> types.Task:
        """Waits until a task has ended. Raises `TimeoutError`, `UnknownTask`."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = 0.02
        while True:
            task = await self.task(task_id)
            if task.is_ended:
                return task
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"task {task_id} is {task.state} after {timeout_seconds} seconds")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    async def follow(self, task_id: int, stream: str = "stdout") -> AsyncIterator[bytes]:
        """An output of a task's latest attempt, from its beginning to its end, as it is written."""
        offset = 0
        attempt: Optional[int] = None
        while True:
            piece = await self.log(task_id, stream, offset, attempt, wait_seconds=30.0)
            attempt = piece.attempt
            if piece.data:
                yield piece.data
                offset += len(piece.data)
            if piece.ended:
                return

    async def events(self) -> AsyncIterator[Union[types.Event, types.Lagged]]:
        """Every change of a task's state from now on, until the daemon stops. Raises `Unreachable`."""
        reader = _calls.EventReader()
        timeout = httpx.Timeout(self._timeout, read=None)
        try:
            async with self._http.stream("GET", "/v1/events", timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise _refusal(answer)
                async for line in answer.aiter_lines():
                    for event in reader.feed(line):
                        yield event
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.server}: {error or type(error).__name__}") from error
