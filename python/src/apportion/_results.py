"""What tasks are packed into, and how what comes of them is read."""

from __future__ import annotations

import base64
import io
import os
import pickle
import site
import sys
import sysconfig
from typing import Any, Callable, Mapping, Optional

from . import _worker
from ._worker import VersionMismatch
from .errors import RemoteError, RemoteTraceback, TaskCancelled, TaskFailed

Fetch = Callable[[int, Optional[int]], bytes]
"""Gives the bytes of a value that did not come along, by task and attempt."""

NAME_BYTES_MAX = 256


def pack(thing: Any, kind: str) -> bytes:
    """Pickles what a task runs. Raises what pickling raises."""
    file = io.BytesIO()
    _worker.pack(thing, kind, file)
    return file.getvalue()


def task_name(thing: Any) -> str:
    """What a task is called where nobody says: the name of its function or class."""
    function = getattr(thing, "func", thing)  # functools.partial
    name = getattr(function, "__qualname__", None) or type(thing).__qualname__
    name = "".join(character for character in str(name) if character.isprintable())
    return name.encode()[:NAME_BYTES_MAX].decode(errors="ignore")


def environment(env: Optional[Mapping[str, str]], python: Optional[str]) -> dict[str, str]:
    """The variables of a task: those that are given, the interpreter, and where this program's own modules are.

    `PYTHONPATH` names the folders from which this process imports besides the interpreter's own, so that
    a module beside the caller's script is found where tasks run and the same folder is there.
    """
    found = dict(env or {})
    if python:
        found.setdefault("APPORTION_PYTHON", python)
    if "PYTHONPATH" not in found:
        folders = os.pathsep.join(own_folders())
        if folders:
            found["PYTHONPATH"] = folders
    return found


def own_folders() -> list[str]:
    """The folders on this process's path that are not the interpreter's own."""
    paths = sysconfig.get_paths()
    installed = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed.update(site.getsitepackages() if hasattr(site, "getsitepackages") else [])
    installed.add(site.getusersitepackages() if hasattr(site, "getusersitepackages") else "")
    prefixes = tuple(os.path.join(path, "") for path in installed if path)
    folders: list[str] = []
    for entry in sys.path:
        folder = os.path.abspath(entry or os.curdir)
        if os.path.isdir(folder) and folder not in folders and not os.path.join(folder, "").startswith(prefixes):
            folders.append(folder)
    return folders


def read_outcome(task: Mapping[str, Any], fetch: Fetch) -> tuple[Any, Optional[BaseException]]:
    """The value of a finished task, or its exception. Unpickles: call it only for own tasks.

    `task` is an entry of an inbox as it came.
    """
    if task["state"] == "succeeded":
        try:
            return _worker.unpack(_value(task, fetch))[1], None
        except Exception as error:
            return None, error
    outcome = task.get("outcome") or {}
    cause = outcome.get("cause") or {}
    code, message = str(cause.get("code", "unknown")), str(cause.get("message", "ended without a reason"))
    if task["state"] == "cancelled":
        return None, TaskCancelled(code, message, task["id"])
    if code == "raised":
        data = _value(task, fetch)
        if data:
            return None, _read_exception(data)
    return None, TaskFailed(code, message, task["id"])


def _value(task: Mapping[str, Any], fetch: Fetch) -> bytes:
    value = task.get("value")
    if value is None:
        return fetch(task["id"], task.get("value_attempt"))
    return base64.b64decode(value)


def _read_exception(data: bytes) -> BaseException:
    try:
        _, told = _worker.unpack(data)
    except VersionMismatch as mismatch:
        return mismatch
    error: BaseException
    if told["type"] == "apportion.VersionMismatch":
        error = VersionMismatch(told["line"].partition(": ")[2])
    else:
        error = RemoteError(told["type"], told["line"], told["traceback"])
        if told["exception"] is not None:
            try:
                loaded = pickle.loads(told["exception"])
            except Exception:  # its class is missing here, or wants other arguments
                loaded = None
            if isinstance(loaded, BaseException):
                error = loaded
    error.__cause__ = RemoteTraceback(told["traceback"])
    return error
