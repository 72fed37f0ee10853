"""What goes wrong, one class for each code of the daemon, so that a caller can name what it handles."""

from __future__ import annotations

from typing import Any

from ._worker import VersionMismatch

__all__ = [
    "AlreadyEnded",
    "ApiError",
    "ApportionError",
    "BodyTooLarge",
    "Busy",
    "DependencyCycle",
    "InboxInUse",
    "InvalidRequest",
    "KeyReused",
    "NeverFits",
    "NoDemand",
    "NotALeaf",
    "NotClusterScope",
    "NotEnded",
    "NotFound",
    "NotRetryable",
    "RemoteError",
    "RemoteTraceback",
    "StoreFailed",
    "StoreFull",
    "TaskCancelled",
    "TaskFailed",
    "TooManyInCall",
    "TooManyTasks",
    "UnknownDependency",
    "UnknownQueue",
    "UnknownResource",
    "UnknownTask",
    "Unreachable",
    "VersionMismatch",
]


class ApportionError(Exception):
    """Anything that this package raises of its own accord."""


class Unreachable(ApportionError):
    """The daemon can't be reached, or the connection broke before its answer."""


class InboxInUse(ApportionError):
    """Another process on this machine pops the same inbox; give one of them another `name`."""


class ApiError(ApportionError):
    """The daemon refused.

    Attributes:
        code: one lasting word, such as ``unknown_queue``.
        message: what is wrong and what to do, for people.
        detail: the parts of the message as data, or None.
        status: the HTTP status.
    """

    def __init__(self, code: str, message: str, detail: Any = None, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code, self.message, self.detail, self.status))


class InvalidRequest(ApiError):
    """Something in the call itself is wrong; `detail["path"]` names the field where there is one."""


class NotFound(ApiError):
    """There is no such thing, or not any more."""


class Unauthorized(ApiError):
    """The daemon asks for a token, and none was given or it counts no more; `code` says which."""


class Forbidden(ApiError):
    """The token lacks a right; `detail` says which, and in which queue."""


class UnknownTask(NotFound):
    """No task has this id, or it was forgotten after the daemon's `server.retention`."""


class UnknownQueue(ApiError):
    """No queue has this path."""


class NotALeaf(UnknownQueue):
    """The queue has queues below it and takes no tasks itself."""


class UnknownResource(ApiError):
    """The daemon's configuration declares no resource of this name."""


class NotClusterScope(UnknownResource):
    """What others use can be told of cluster resources only."""


class NeverFits(ApiError):
    """The task demands more than there ever is."""


class NoDemand(NeverFits):
    """The task demands nothing, so nothing would bound how many of them run at once."""


class KeyReused(ApiError):
    """The key belongs to another task."""


class UnknownDependency(InvalidRequest):
    """`after` names a task that isn't known, or not any more."""


class DependencyCycle(InvalidRequest):
    """`after` goes in a circle."""


class TooManyInCall(InvalidRequest):
    """More tasks in one call than the daemon takes."""


class BodyTooLarge(InvalidRequest):
    """The call is longer than the daemon's `server.body_max` (16 MiB unless configured): a large pickle, mostly."""


class AlreadyEnded(ApiError):
    """The task has ended; there is nothing to cancel."""


class NotEnded(ApiError):
    """The task has no result yet."""


class NotRetryable(ApiError):
    """Only what failed or was cancelled can be tried again."""


class TooManyTasks(ApiError):
    """The daemon holds as many live tasks as it may; try again when some have ended."""


class StoreFailed(ApiError):
    """The daemon can't write or read its database; what was asked is not acknowledged."""


class StoreFull(StoreFailed):
    """No space is left for the daemon's database."""


class Busy(ApiError):
    """The daemon starts, stops, or has too much to do; try again in a moment."""


_BY_CODE: dict[str, type[ApiError]] = {
    "token_missing": Unauthorized,
    "token_malformed": Unauthorized,
    "token_unknown": Unauthorized,
    "token_expired": Unauthorized,
    "token_revoked": Unauthorized,
    "forbidden": Forbidden,
    "wrong_token": Forbidden,
    "too_many_connections": Busy,
    "unknown_task": UnknownTask,
    "no_output": NotFound,
    "not_found": NotFound,
    "unknown_queue": UnknownQueue,
    "not_a_leaf": NotALeaf,
    "unknown_resource": UnknownResource,
    "not_cluster_scope": NotClusterScope,
    "unknown_dependency": UnknownDependency,
    "dependency_cycle": DependencyCycle,
    "too_many_in_call": TooManyInCall,
    "body_too_large": BodyTooLarge,
    "never_fits": NeverFits,
    "no_demand": NoDemand,
    "key_reused": KeyReused,
    "already_ended": AlreadyEnded,
    "not_ended": NotEnded,
    "not_retryable": NotRetryable,
    "too_many_tasks": TooManyTasks,
    "store_full": StoreFull,
    "store_failed": StoreFailed,
    "starting": Busy,
    "stopping": Busy,
    "busy": Busy,
}


def from_answer(status: int, body: Any) -> ApiError:
    """The exception for an answer with an error status."""
    error = body.get("error", {}) if isinstance(body, dict) else {}
    code = str(error.get("code", "unknown"))
    message = str(error.get("message", f"the daemon answered with status {status}"))
    kind = _BY_CODE.get(code)
    if kind is None:
        kind = InvalidRequest if 400 <= status < 500 else ApiError
    return kind(code, message, error.get("detail"), status)


class TaskFailed(ApportionError):
    """A task ended without an exception of its own: a signal, out of memory, a timeout, lost too often.

    Attributes:
        code: one lasting word, such as ``timed_out``; see the field `cause.code` of the HTTP API.
        task_id: which task.
    """

    def __init__(self, code: str, message: str, task_id: int) -> None:
        super().__init__(f"task {task_id}: {message}")
        self.code = code
        self.message = message
        self.task_id = task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code, self.message, self.task_id))


class TaskCancelled(TaskFailed):
    """Somebody else cancelled the task: a person, or a task that it waited for did not succeed."""


class RemoteTraceback(Exception):
    """The traceback of the process that ran the task; the cause of the exception that came from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(ApportionError):
    """The task raised an exception that can't be brought here: its class is missing, or it can't be pickled.

    Attributes:
        type: the exception's type, with its module.
        line: type and message, the last line of the traceback.
        traceback: all of it, as text.
    """

    def __init__(self, type: str, line: str, traceback: str) -> None:
        super().__init__(line)
        self.type = type
        self.line = line
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemoteError, (self.type, self.line, self.traceback))
