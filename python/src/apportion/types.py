"""What the daemon answers, as frozen dataclasses. Numbers carry their unit in the name.

What an answer has beyond these fields is ignored, so that a daemon may say more than this version knows.
Times are text: RFC 3339 in UTC with milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from dataclasses import dataclass, field
from typing import Any, Hashable, Mapping, Optional, TypeVar, Union, cast

T = TypeVar("T")
Amount = Union[int, float, str]
"""An amount: a number with at most three decimals, or a size such as ``"4GiB"``; `mem` and `disk` in MiB."""


@dataclass(frozen=True)
class Accepted:
    """One accepted task object: `count` tasks from `id` on; not `created` where its key was known."""

    id: int
    count: int = 1
    created: bool = True


@dataclass(frozen=True)
class End:
    """Why an attempt or a task ended: a lasting word, and the same for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """How a task ended, and what its last attempt really used."""

    kind: str
    cause: Optional[End] = None
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    value_truncated: bool = False
    value_bytes: Optional[int] = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_peak_bytes: int = 0


@dataclass(frozen=True)
class Attempt:
    """One launch of a task."""

    attempt: int
    agent: str
    launched_at: str
    started_at: Optional[str] = None
    ended_at: Optional[str] = None
    end: Optional[End] = None
    wall_seconds: Optional[float] = None
    cpu_seconds: Optional[float] = None
    memory_peak_bytes: Optional[int] = None


@dataclass(frozen=True)
class Dependency:
    """`count` tasks with consecutive ids, from `task` on."""

    task: int
    count: int = 1


@dataclass(frozen=True)
class Task:
    """A task. `run` is a dict with one of ``command``, ``argv``, ``python`` (base64, None in lists)."""

    id: int
    queue: str
    state: str
    name: str = ""
    key: Optional[str] = None
    inbox: Optional[str] = None
    demand: Mapping[str, float] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    retries: int = 0
    timeout_seconds: Optional[float] = None
    kill_grace_seconds: Optional[float] = None
    after: list[Dependency] = field(default_factory=list)
    constraints: Mapping[str, str] = field(default_factory=dict)
    array: Optional[str] = None
    array_index: Optional[int] = None
    submitted_at: str = ""
    n_attempts: int = 0
    not_before: Optional[str] = None
    ended_at: Optional[str] = None
    outcome: Optional[Outcome] = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def is_ended(self) -> bool:
        """Whether it succeeded, failed, or was cancelled."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class FinishedTask(Task):
    """A task from an inbox. `value` is base64; None where it is above 64 KiB and has to be fetched."""

    value: Optional[str] = None
    value_attempt: Optional[int] = None


@dataclass(frozen=True)
class Tasks:
    """A page of tasks in order of ids; `next_after` is None on the last one."""

    tasks: list[Task]
    next_after: Optional[int] = None


@dataclass(frozen=True)
class Popped:
    """Finished tasks, oldest first, and what acknowledges them; None where there is none."""

    tasks: list[FinishedTask]
    token: Optional[str] = None


@dataclass(frozen=True)
class Share:
    """A share, as an exact fraction (``"2/3"``) and as a decimal."""

    fraction: str
    decimal: float


@dataclass(frozen=True)
class Queue:
    """A queue as it is now; amounts by resource, `mem` and `disk` in MiB."""

    path: str
    is_leaf: bool
    weight: float
    policy: str
    max: Mapping[str, float]
    used: Mapping[str, float]
    share: Mapping[str, Share]
    dominant_share: Share
    dominant_resource: Optional[str]
    tasks: Mapping[str, int]
    n_unsatisfiable: int = 0


@dataclass(frozen=True)
class Agent:
    """An agent; its live attempts are written ``<task>.<attempt>``."""

    name: str
    total: Mapping[str, float]
    used: Mapping[str, float]
    offered: Mapping[str, float]
    attributes: Mapping[str, str]
    attempts: list[str]


@dataclass(frozen=True)
class Resource:
    """A resource; `scope` is ``host`` or ``cluster``, `outside` is what others use."""

    name: str
    scope: str
    capacity: float
    used: float
    outside: float
    free: float


@dataclass(frozen=True)
class Reason:
    """Why a task doesn't run now: a lasting word, the same for people, and its parts."""

    code: str
    message: str
    detail: Any = None


@dataclass(frozen=True)
class LiveAttempt:
    """An attempt that has not ended."""

    attempt: int
    agent: str


@dataclass(frozen=True)
class Explanation:
    """Where a task stands: how many of its queue go before it, and why it doesn't run now."""

    id: int
    state: str
    queue: str
    n_ahead: int
    ahead: list[int]
    reasons: list[Reason]
    attempts: list[LiveAttempt]


@dataclass(frozen=True)
class Event:
    """A task's state changed; `count` tasks from `task` on where an array changed as a whole."""

    task: int
    state: str
    at: str
    count: int = 1
    attempt: Optional[int] = None
    queue: Optional[str] = None


@dataclass(frozen=True)
class Lagged:
    """The reader of events was too slow and has missed some: read the tasks anew."""

    n_batches: int


@dataclass(frozen=True)
class Log:
    """A piece of an attempt's output; `total_bytes` is its length so far, `ended` says that nothing follows."""

    data: bytes
    attempt: int
    total_bytes: int
    ended: bool


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, vars(sys.modules[kind.__module__]))
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def build(kind: type[T], data: Mapping[str, Any]) -> T:
    """Makes a dataclass of this module from an answer."""
    known = _fields(cast(Hashable, kind))
    return kind(**{name: _convert(known[name], value) for name, value in data.items() if name in known})


def _convert(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if dataclasses.is_dataclass(kind):
        return build(kind, value)  # type: ignore[arg-type]
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is Union:
        return _convert(arguments[0], value)
    if origin is list:
        return [_convert(arguments[0], item) for item in value]
    if arguments and isinstance(value, dict):
        return {name: _convert(arguments[1], item) for name, item in value.items()}
    return value
