"""The HTTP API as plain data: what each call sends, and how its answer is read. No I/O, so that the client
with threads and the one with asyncio are the same."""

from __future__ import annotations

import base64
import json
import os
import ssl
from dataclasses import dataclass
from typing import Any, Callable, Generic, Iterable, Iterator, Mapping, Optional, Sequence, TypeVar, Union
from urllib.parse import quote

from . import types
from .types import Amount

T = TypeVar("T")
DEFAULT_SERVER = "http://127.0.0.1:7070"
TASKS_PER_CALL_MAX = 10_000
LIVE = "waiting,queued,launching,running,cancelling"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call: what to send, and what to make of the answer."""

    method: str
    path: str
    read: Callable[[Answer], T]
    query: Mapping[str, Any] = ()  # type: ignore[assignment]
    body: Any = None
    # How much longer than usual the answer may take, because it was asked to wait.
    wait_seconds: float = 0.0
    # Whether sending it twice is the same as sending it once.
    repeatable: bool = True


def server_url(server: Optional[str]) -> str:
    """The daemon's address: what is given, or ``APPORTION_SERVER``, or the default port of this machine."""
    return (server or os.environ.get("APPORTION_SERVER") or DEFAULT_SERVER).rstrip("/")


def headers(token: Optional[str]) -> dict[str, str]:
    """What each call carries: the token that is given, or ``APPORTION_TOKEN``."""
    token = token or os.environ.get("APPORTION_TOKEN")
    return {"authorization": f"Bearer {token}"} if token else {}


def trust(ca_file: Optional[str], cert_file: Optional[str]) -> Union[ssl.SSLContext, bool]:
    """Whom an https daemon's certificate must come from, and what is shown to it: the files that are given, or those of
    ``APPORTION_CA_FILE`` and ``APPORTION_CERT_FILE``. True for what is usual."""
    ca_file = ca_file or os.environ.get("APPORTION_CA_FILE")
    cert_file = cert_file or os.environ.get("APPORTION_CERT_FILE")
    if not (ca_file or cert_file):
        return True
    context = ssl.create_default_context(cafile=ca_file or None)
    if cert_file:
        context.load_cert_chain(cert_file)
    return context


def _one(kind: type[T]) -> Callable[[Answer], T]:
    return lambda answer: types.build(kind, answer.json())


def _many(kind: type[T], name: str) -> Callable[[Answer], list[T]]:
    return lambda answer: [types.build(kind, item) for item in answer.json()[name]]


def _some(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def task_object(
    run: Mapping[str, Any],
    *,
    queue: Optional[str] = None,
    name: Optional[str] = None,
    key: Optional[str] = None,
    inbox: Optional[str] = None,
    demand: Optional[Mapping[str, Amount]] = None,
    env: Optional[Mapping[str, str]] = None,
    priority: Optional[int] = None,
    retries: Optional[int] = None,
    timeout: Union[str, float, None] = None,
    kill_grace: Union[str, float, None] = None,
    after: Optional[Sequence[Union[int, str]]] = None,
    constraints: Optional[Mapping[str, str]] = None,
    array: Optional[str] = None,
) -> dict[str, Any]:
    """A task object of the HTTP API; what is None is left out."""
    return _some(
        run=dict(run),
        queue=queue,
        name=name,
        key=key,
        inbox=inbox,
        demand=dict(demand) if demand is not None else None,
        env=dict(env) if env is not None else None,
        priority=priority,
        retries=retries,
        timeout=timeout,
        kill_grace=kill_grace,
        after=list(after) if after is not None else None,
        constraints=dict(constraints) if constraints is not None else None,
        array=array,
    )


def run_python(packed: bytes) -> dict[str, str]:
    return {"python": base64.b64encode(packed).decode()}


def submit(tasks: Iterable[Mapping[str, Any]]) -> Call[list[types.Accepted]]:
    tasks = [dict(task) for task in tasks]
    return Call(
        "POST",
        "/v1/tasks",
        _many(types.Accepted, "tasks"),
        body={"tasks": tasks},
        # A key makes it safe to send a task again whose answer was lost.
        repeatable=all(task.get("key") for task in tasks),
    )


def task(task_id: int) -> Call[types.Task]:
    return Call("GET", f"/v1/tasks/{task_id}", _one(types.Task))


def tasks(
    queue: Optional[str], states: Union[str, Sequence[str], None], after: Optional[int], limit: int
) -> Call[types.Tasks]:
    if states is not None and not isinstance(states, str):
        states = ",".join(states)
    query = _some(queue=queue, state=states, after=after, limit=limit)
    return Call("GET", "/v1/tasks", _one(types.Tasks), query)


def cancel(task_id: int, reason: Optional[str]) -> Call[str]:
    body = {"reason": reason} if reason else {}
    return Call("POST", f"/v1/tasks/{task_id}/cancel", lambda answer: str(answer.json()["state"]), body=body)


def retry(task_id: int) -> Call[str]:
    read: Callable[[Answer], str] = lambda answer: str(answer.json()["state"])  # noqa: E731
    return Call("POST", f"/v1/tasks/{task_id}/retry", read, repeatable=False)


def explain(task_id: int) -> Call[types.Explanation]:
    return Call("GET", f"/v1/tasks/{task_id}/explain", _one(types.Explanation))


def result(task_id: int, attempt: Optional[int]) -> Call[bytes]:
    return Call("GET", f"/v1/tasks/{task_id}/result", lambda answer: answer.content, _some(attempt=attempt))


def _read_log(answer: Answer) -> types.Log:
    return types.Log(
        data=answer.content,
        attempt=int(answer.headers["apportion-attempt"]),
        total_bytes=int(answer.headers["apportion-log-total"]),
        ended=answer.headers["apportion-log-ended"] == "true",
    )


def log(task_id: int, stream: str, offset: int, attempt: Optional[int], wait_seconds: float) -> Call[types.Log]:
    if stream not in ("stdout", "stderr"):
        raise ValueError(f"stream is 'stdout' or 'stderr', not {stream!r}")
    query = _some(offset=offset, attempt=attempt, wait_seconds=wait_seconds or None)
    return Call("GET", f"/v1/tasks/{task_id}/logs/{stream}", _read_log, query, wait_seconds=wait_seconds)


def pop(inbox: str, limit: int, wait_seconds: float, ack: Optional[str]) -> Call[types.Popped]:
    body = _some(max=limit, wait_seconds=wait_seconds, ack=ack)
    path = f"/v1/inboxes/{quote(inbox, safe='')}/pop"
    return Call("POST", path, _one(types.Popped), body=body, wait_seconds=wait_seconds)


def queues() -> Call[list[types.Queue]]:
    return Call("GET", "/v1/queues", _many(types.Queue, "queues"))


def agents() -> Call[list[types.Agent]]:
    return Call("GET", "/v1/agents", _many(types.Agent, "agents"))


def resources() -> Call[list[types.Resource]]:
    return Call("GET", "/v1/resources", _many(types.Resource, "resources"))


def report_outside(resource: str, used: Amount) -> Call[None]:
    path = f"/v1/resources/{quote(resource, safe='')}/outside"
    return Call("POST", path, lambda _: None, body={"used": used})


def openapi() -> Call[dict[str, Any]]:
    return Call("GET", "/openapi.json", lambda answer: dict(answer.json()))


def metrics() -> Call[str]:
    return Call("GET", "/metrics", lambda answer: answer.content.decode())


def is_alive() -> Call[bool]:
    return Call("GET", "/healthz", lambda _: True)


def is_ready() -> Call[bool]:
    return Call("GET", "/readyz", lambda _: True)


class EventReader:
    """Makes events of the lines of a stream of server-sent events."""

    def __init__(self) -> None:
        self.name, self.data = "", ""

    def feed(self, line: str) -> Iterator[Union[types.Event, types.Lagged]]:
        """The event that this line completes, if it does."""
        if line:
            field, _, value = line.partition(":")
            if field == "event":
                self.name = value.strip()
            elif field == "data":
                self.data += value.strip()
            return
        name, data, self.name, self.data = self.name, self.data, "", ""
        if name == "task":
            yield types.build(types.Event, json.loads(data))
        elif name == "lagged":
            yield types.build(types.Lagged, json.loads(data))
