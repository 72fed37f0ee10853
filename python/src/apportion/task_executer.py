"""`TaskExecuter`: executes task objects, and hands them back with what came of them."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import getpass
import hashlib
import hmac
import logging
import os
import secrets
import socket
import sys
import tempfile
import threading
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Iterable, Mapping, Optional, Protocol, Union

from . import _calls, _worker
from ._results import environment, pack, read_outcome, task_name
from .client import Client
from .errors import AlreadyEnded, InboxInUse, UnknownTask

_log = logging.getLogger("apportion")

Consumption = Union[Mapping[str, Any], Iterable[Mapping[str, Any]]]

NAMES: dict[str, tuple[str, int]] = {"cpu": ("cpus", 1), "ram": ("mem", 1024 * 1024)}
"""What a task's `consumption` calls resources: their names in the configuration, and how many of the task's
units are one there. A name that isn't here is used as it is, and its amount too."""

_BY_CALLER = "by the TaskExecuter that executed it"


class Task(Protocol):
    """What can be executed: anything with these two methods."""

    def consumption(self) -> Consumption:
        """What it consumes while it runs, by resource name: `cpu` in cores, `ram` in bytes, others in pieces."""

    def run(self) -> Any:
        """Does the work; returns a value or raises."""


class TaskExecuter:
    """Executes tasks on a queue of an Apportion daemon.

    A task is any object with ``consumption()`` and ``run()``, see `Task`. It is pickled when it is executed:
    what ``run()`` changes of it stays where it runs, and only the value comes back.

    Every finished task is handed over by `pop_finished`, also if this program crashes and is started again:
    what `pop_finished` gave counts as taken care of with the next call of it, or with `close`; after a crash
    in between it is given again. For this, a program that is started again must ask the same inbox; its name
    is made of user, host, script and queue unless `name` says otherwise.

    Args:
        server: the daemon's address; ``APPORTION_SERVER`` or ``http://127.0.0.1:7070`` where it isn't given.
        queue: the path of a leaf queue.
        retries: how many times a task that fails is started again, after a growing pause.
        name: the inbox; give it if several of the same script run at once.
        names: how the names of resources are translated, see `NAMES`.
        timeout_seconds: the longest that a task may run; None for as long as it likes.
        priority: higher goes first within the queue.
        env: variables for the tasks. Tasks share warm workers only where these are the same.
        python: the interpreter for the tasks, where it isn't that of the daemon's configuration.
        token: for a daemon that asks for one; ``APPORTION_TOKEN`` where it isn't given.
        ca_file, cert_file: for https, as of `Client`.

    Raises:
        InboxInUse: another process on this machine uses the same inbox.
    """

    def __init__(
        self,
        server: Optional[str] = None,
        queue: str = "default",
        retries: int = 0,
        *,
        name: Optional[str] = None,
        names: Optional[Mapping[str, tuple[str, int]]] = None,
        timeout_seconds: Optional[float] = None,
        priority: int = 0,
        env: Optional[Mapping[str, str]] = None,
        python: Optional[str] = None,
        token: Optional[str] = None,
        ca_file: Optional[str] = None,
        cert_file: Optional[str] = None,
    ) -> None:
        self.inbox = name or _inbox_name(queue)
        self._names = dict(NAMES if names is None else names)
        self._options: dict[str, Any] = {
            "queue": queue,
            "inbox": self.inbox,
            "retries": retries,
            "priority": priority,
            "timeout": timeout_seconds,
            "env": environment(env, python),
        }
        self._mutex = threading.Lock()
        self._live: dict[int, Any] = {}
        self._dropped: set[int] = set()
        self._ack: Optional[str] = None
        self._secret = _secret()
        self._lock = _lock_inbox(self.inbox)
        self._client = Client(
            server, token=token, ca_file=ca_file, cert_file=cert_file, patience_seconds=60.0
        )

    def execute(self, task: Task) -> None:
        """Executes a task. On return it is durable: it runs even if this program or the daemon ends.

        Raises what `Client.submit` raises, and what pickling the task raises.
        """
        packed = pack(task, "task")
        nonce = secrets.token_hex(8)
        described = _calls.task_object(
            _calls.run_python(packed),
            name=task_name(task),
            key=f"{nonce}.{self._sign(nonce, packed)}",
            demand=demand(task.consumption(), self._names),
            **self._options,
        )
        with self._mutex:
            accepted = self._client.submit([described])[0]
            self._live[accepted.id] = task

    def cancel(self, task: Task) -> bool:
        """Cancels a task that was executed; kills it if it runs. It may be executed again at once.

        It won't be among those that `pop_finished` gives. False where there is nothing to cancel: it was never
        executed, or it has been popped.
        """
        with self._mutex:
            ids = [task_id for task_id, known in self._live.items() if known is task]
            for task_id in ids:
                with contextlib.suppress(AlreadyEnded, UnknownTask):
                    self._client.cancel(task_id, _BY_CALLER)
                del self._live[task_id]
                self._dropped.add(task_id)
        return bool(ids)

    def pop_finished(self, wait_seconds: float = 0.0) -> list[tuple[Any, Any, Optional[BaseException]]]:
        """The tasks that have finished since the last call: `(task, return_value, exception)`.

        At most one of the last two is not None. The task is the very object that was executed; if an earlier
        process executed it, its copy. Exceptions that came from the task have the remote traceback as their
        ``__cause__``; a task that ended otherwise has `TaskFailed` or `TaskCancelled`.

        Waits at most `wait_seconds` for the first; without, it returns at once.
        """
        with self._mutex:
            while True:
                answer = self._client._send(_raw_pop(self.inbox, wait_seconds, self._ack))
                self._ack = answer["token"] or self._ack
                finished = [self._hand_over(task) for task in answer["tasks"]]
                given = [entry for entry in finished if entry is not None]
                if given or not answer["tasks"]:
                    return given

    def close(self) -> None:
        """Says that all that was popped is taken care of, and lets go of the inbox. Tasks go on."""
        with self._mutex:
            if self._lock is None:
                return
            try:
                if self._ack is not None:
                    self._client.pop(self.inbox, limit=1, ack=self._ack)
            finally:
                os.close(self._lock)
                self._lock = None
                self._client.close()

    def __enter__(self) -> TaskExecuter:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        # What was popped before an error may not be taken care of: it comes again.
        if kind is not None:
            self._ack = None
        self.close()

    def _hand_over(self, told: Mapping[str, Any]) -> Optional[tuple[Any, Any, Optional[BaseException]]]:
        task_id = told["id"]
        if task_id in self._dropped:
            self._dropped.discard(task_id)
            return None
        cause = (told.get("outcome") or {}).get("cause") or {}
        if told["state"] == "cancelled" and cause.get("message", "").endswith(_BY_CALLER):
            return None
        if task_id in self._live:
            task = self._live.pop(task_id)
        else:
            packed = self._submitted(told)
            if packed is None:
                _log.warning("task %s is in inbox %s, but was not submitted from here: skipped", task_id, self.inbox)
                return None
            task = _worker.unpack(packed)[1]
        value, error = read_outcome(told, self._client.result)
        return task, value, error

    def _submitted(self, told: Mapping[str, Any]) -> Optional[bytes]:
        """What an earlier process submitted; None where somebody else did, whose pickles are not to be read."""
        nonce, _, signature = (told.get("key") or "").partition(".")
        encoded = self._client.task(told["id"]).run.get("python")
        packed = base64.b64decode(encoded or "")
        return packed if encoded and hmac.compare_digest(signature, self._sign(nonce, packed)) else None

    def _sign(self, nonce: str, packed: bytes) -> str:
        signed = b"\0".join((self.inbox.encode(), nonce.encode(), packed))
        return hmac.new(self._secret, signed, hashlib.sha256).hexdigest()


def _raw_pop(inbox: str, wait_seconds: float, ack: Optional[str]) -> _calls.Call[Any]:
    call = _calls.pop(inbox, 1000, wait_seconds, ack)
    return _calls.Call(call.method, call.path, lambda answer: answer.json(), body=call.body, wait_seconds=wait_seconds)


def demand(consumption: Consumption, names: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """The demand that the daemon understands: names translated, a list summed up, thousandths rounded up."""
    parts = [consumption] if isinstance(consumption, Mapping) else consumption
    total: dict[str, Decimal] = {}
    for part in parts:
        for name, amount in part.items():
            own_name, unit = names.get(name, (name, 1))
            total[own_name] = total.get(own_name, Decimal(0)) + Decimal(str(amount)) / unit
    return {name: str(amount.quantize(Decimal("0.001"), rounding=ROUND_CEILING)) for name, amount in total.items()}


def _inbox_name(queue: str) -> str:
    script = os.path.abspath(sys.argv[0]) if sys.argv and sys.argv[0] else os.getcwd()
    host, user = socket.gethostname(), getpass.getuser()
    digest = hashlib.sha256("\0".join((user, host, script, queue)).encode()).hexdigest()[:12]
    readable = f"{user}@{host}:{os.path.basename(script)}:{queue}".replace("/", ".")
    return f"{readable[:200]}:{digest}"


def _state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    folder = Path(base) / "apportion"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _secret() -> bytes:
    """This user's own secret, by which tasks are known again as submitted from here."""
    try:
        file = _state_folder() / "secret"
        with contextlib.suppress(FileExistsError):
            made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "wb") as new:
                new.write(secrets.token_bytes(32))
        found = file.read_bytes()
        if len(found) == 32:
            return found
        raise OSError(f"{file} has {len(found)} bytes instead of 32; remove it")
    except OSError as error:
        _log.warning("tasks can't be known again after a restart of this program: %s", error)
        return secrets.token_bytes(32)


def _lock_inbox(inbox: str) -> Optional[int]:
    """Holds the inbox against other processes on this machine, as long as this process lives."""
    folder = Path(tempfile.gettempdir()) / f"apportion-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = os.open(folder / hashlib.sha256(inbox.encode()).hexdigest(), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise InboxInUse(f"another process pops the inbox {inbox!r}; give one of them another `name`") from None
    return file
