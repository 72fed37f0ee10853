"""Python tasks on the fair-share scheduler Apportion.

- `TaskExecuter` executes task objects and hands them back with what came of them, also after a crash.
- `Executor` is a `concurrent.futures.Executor`.
- `Client` and `AsyncClient` are the whole HTTP API.
"""

from . import errors, types
from ._calls import task_object
from .aio import AsyncClient
from .client import Client
from .errors import ApiError, ApportionError, RemoteError, TaskCancelled, TaskFailed, VersionMismatch
from .executor import Executor, Future
from .task_executer import NAMES, Task, TaskExecuter

__version__ = "0.1.0"

__all__ = [
    "NAMES",
    "ApiError",
    "ApportionError",
    "AsyncClient",
    "Client",
    "Executor",
    "Future",
    "RemoteError",
    "Task",
    "TaskCancelled",
    "TaskExecuter",
    "TaskFailed",
    "VersionMismatch",
    "errors",
    "task_object",
    "types",
]
