"""Runs pickled objects, one at a time, in a process that stays warm from one to the next.

The daemon's binary carries this file and starts it with the interpreter's ``-c``, so an agent needs
Python 3.9 or later and cloudpickle, and nothing of this package. The package imports it too, for the
format of what is pickled (`pack`, `unpack`).

Standard input is a socket. Each line that comes is an order, and each is answered by one line:

- order: ``attempt``; ``env``, added to the environment; ``cwd``; ``stdout`` and ``stderr``, the files that
  take the outputs; ``value``, where a large value goes; ``call`` (base64) or ``call_file``, what to run.
- answer: ``attempt``; ``value`` (base64) or ``value_bytes``, the size of the file; ``raised``, the last
  line of the traceback; ``not_started``, why nothing could run; ``cpu_micros`` and ``memory_peak_bytes``,
  what was used; ``last``, whether this process ends now.

What was pickled stands behind one line of JSON that says which versions made it::

    apportion {"python": [3, 11], "cloudpickle": "3.1.1", "kind": "call", "by_value": true}
    <pickle>

``kind`` is ``task`` (an object with ``run()``), ``call`` (function, arguments, keyword arguments),
``chunk`` (function, list of arguments; gives a list), ``value`` or ``raised``. A bare pickle without such
a line counts as a ``task``.
"""

from __future__ import annotations

import base64
import gc
import io
import json
import os
import pickle
import resource
import signal
import sys
import threading
import traceback
from typing import IO, Any, Callable

try:
    import cloudpickle
except ImportError:  # told in the answer to the first order
    cloudpickle = None

PYTHON_MIN = (3, 9)
MAGIC = b"apportion {"
# The header of a value has this length, since it is completed when the pickle behind it is written.
HEADER_BYTES = 160
# What is longer is kept as a file; the daemon knows the same bound.
INLINE_BYTES_MAX = 64 * 1024
MESSAGE_CHARS_MAX = 1000
PROTOCOL = 5


class VersionMismatch(Exception):
    """The pickle was made by versions of Python or cloudpickle that this process can't read."""


class _Writer:
    """A file for a pickler that takes note of whether code is pickled by value."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.by_value = False

    def write(self, data: Any) -> int:
        # Names come in frames of 64 KiB; what is much larger is somebody's data.
        if not self.by_value and len(data) < 1 << 20:
            self.by_value = b"cloudpickle" in bytes(data)
        return self.file.write(data)


def pack(thing: Any, kind: str, file: IO[bytes], **more: Any) -> None:
    """Writes `thing` with its header into a file that can be sought. Raises what pickling raises."""
    start = file.tell()
    file.write(b" " * HEADER_BYTES)
    writer = _Writer(file)
    cloudpickle.dump(thing, writer, protocol=PROTOCOL)
    end = file.tell()
    header = {
        "python": list(sys.version_info[:2]),
        "cloudpickle": cloudpickle.__version__,
        "kind": kind,
        "by_value": writer.by_value,
    }
    header.update(more)
    line = b"apportion " + json.dumps(header).encode()
    if len(line) >= HEADER_BYTES:
        raise ValueError("the header is too long")
    file.seek(start)
    file.write(line.ljust(HEADER_BYTES - 1) + b"\n")
    file.seek(end)


def split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header, empty where there is none, and the pickle."""
    if not data.startswith(MAGIC):
        return {}, memoryview(data)
    line, _, _ = data[: HEADER_BYTES * 4].partition(b"\n")
    return json.loads(line[len(MAGIC) - 1 :]), memoryview(data)[len(line) + 1 :]


def _versions(header: dict[str, Any]) -> str:
    python = ".".join(str(part) for part in header.get("python", ())) or "an unknown version"
    return f"Python {python} with cloudpickle {header.get('cloudpickle', 'of an unknown version')}"


def unpack(data: bytes) -> tuple[str, Any]:
    """The kind and the thing. Runs code that is in the pickle, as every unpickling does.

    Raises `VersionMismatch` where the versions that made it are the reason that it can't be read.
    """
    header, body = split(data)
    here = {"python": list(sys.version_info[:2]), "cloudpickle": getattr(cloudpickle, "__version__", "none")}
    differs = bool(header) and (
        header.get("python") != here["python"]
        or str(header.get("cloudpickle")).split(".")[0] != str(here["cloudpickle"]).split(".")[0]
    )
    told = f"pickled by {_versions(header)}, read by {_versions(here)}"
    # Code is not portable between versions: running it could end the process without a word.
    if header.get("by_value") and header.get("python") != here["python"]:
        raise VersionMismatch(
            f"{told}; code that is pickled by value needs the same Python on both sides: "
            "use the same version, or put the code into a module that both can import"
        )
    try:
        return header.get("kind", "task"), pickle.loads(body)
    except Exception as error:
        if differs:
            raise VersionMismatch(f"{told}: {type(error).__name__}: {error}") from error
        raise


def last_line(error: BaseException) -> str:
    """Type and message of an exception, as the last line of its traceback has them."""
    try:
        lines = traceback.format_exception_only(type(error), error)
        line = lines[-1].strip() if lines else type(error).__name__
    except Exception:
        line = type(error).__name__
    if isinstance(error, VersionMismatch):
        line = f"apportion.VersionMismatch: {error}"
    return line[:MESSAGE_CHARS_MAX]


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as plain data, with the exception itself where it can be pickled."""
    try:
        pickled = cloudpickle.dumps(error, protocol=PROTOCOL)
    except BaseException:
        pickled = None
    if isinstance(error, VersionMismatch):
        pickled = None
    # The frames of this file say nothing to whoever wrote the task.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        text = last_line(error)
    module = "apportion" if isinstance(error, VersionMismatch) else type(error).__module__
    name = type(error).__qualname__
    return {
        "type": name if module == "builtins" else f"{module}.{name}",
        "line": last_line(error),
        "traceback": text,
        "exception": pickled,
    }


class Spool:
    """Takes a value: in memory while it is small, otherwise in the file that will be its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: IO[bytes] = io.BytesIO()
        self.on_disk = False

    def write(self, data: Any) -> int:
        if not self.on_disk and self.file.tell() + len(data) > INLINE_BYTES_MAX:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            file = open(self.path + ".part", "w+b")  # noqa: SIM115
            file.write(self.file.getvalue())  # type: ignore[attr-defined]
            self.file, self.on_disk = file, True
        return self.file.write(data)

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, place: int) -> int:
        return self.file.seek(place)

    def keep(self) -> dict[str, Any]:
        """Makes the value durable if it is a file; gives what the answer says of it."""
        if not self.on_disk:
            value = self.file.getvalue()  # type: ignore[attr-defined]
            return {"value": base64.b64encode(value).decode()}
        self.file.seek(0, os.SEEK_END)
        size = self.file.tell()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.rename(self.path + ".part", self.path)
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return {"value_bytes": size}

    def drop(self) -> None:
        if self.on_disk:
            self.file.close()
            os.unlink(self.path + ".part")


def pack_value(kind: str, thing: Any, path: str) -> dict[str, Any]:
    """Packs a value or an exception; where it can't be pickled or kept, nothing is left of it."""
    spool = Spool(path)
    try:
        pack(thing, kind, spool)  # type: ignore[arg-type]
        return spool.keep()
    except BaseException:
        spool.drop()
        raise


class Surroundings:
    """What a task may change of the process, put back after it."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self.path = list(sys.path)
        self.recursion = sys.getrecursionlimit()
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGCHLD")
        self.signals = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
        self.hooks = (sys.excepthook, sys.displayhook)

    def enter(self, order: dict[str, Any]) -> None:
        os.environ.update(order["env"])
        os.chdir(order["cwd"])
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(order[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.dup2(file, number)
            os.close(file)
            raw = open(number, "wb", buffering=0, closefd=False)  # noqa: SIM115
            text = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
            setattr(sys, name, text)

    def leave(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        for number, name in ((1, "stdout"), (2, "stderr")):
            try:
                getattr(sys, name).flush()
            except Exception:  # the task closed or replaced it
                pass
            os.dup2(null, number)
        os.close(null)
        os.chdir("/")
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        sys.path[:] = self.path
        sys.setrecursionlimit(self.recursion)
        os.umask(self.umask)
        (sys.excepthook, sys.displayhook) = self.hooks
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self.signals.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


class Sources:
    """The modules that come from the caller's own folders, to be read again when their files change."""

    def __init__(self) -> None:
        folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        self.folders = tuple(os.path.abspath(folder) + os.sep for folder in folders if folder)
        self.seen: dict[str, tuple[str, tuple[int, int]]] = {}

    @staticmethod
    def _stamp(file: str) -> tuple[int, int]:
        try:
            found = os.stat(file)
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_size)

    def remember(self) -> None:
        if not self.folders:
            return
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name not in self.seen and isinstance(file, str) and file.startswith(self.folders):
                self.seen[name] = (file, self._stamp(file))

    def forget_changed(self) -> None:
        """One that changed takes all others along, for they may hold parts of it."""
        if any(self._stamp(file) != stamp for file, stamp in self.seen.values()):
            for name in self.seen:
                sys.modules.pop(name, None)
            self.seen.clear()
            sys.path_importer_cache.clear()


def _status(field: str) -> int:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


class Meter:
    """What a task uses."""

    def __init__(self) -> None:
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # the peak counts from here
        except OSError:
            pass
        self.cpu, self.child_kib = self._used()

    @staticmethod
    def _used() -> tuple[float, int]:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
        return cpu, children.ru_maxrss

    def read(self) -> dict[str, Any]:
        cpu, child_kib = self._used()
        # The kernel tells of the largest child ever; if there was none larger, its own peak is the best there is.
        child_bytes = child_kib * 1024 if child_kib > self.child_kib else 0
        return {
            "cpu_micros": int((cpu - self.cpu) * 1e6),
            "memory_peak_bytes": max(_status("VmHWM:"), child_bytes),
        }


def _has_company() -> bool:
    """Whether the task left threads or living processes behind."""
    if threading.active_count() > 1:
        return True
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        except OSError:
            return True
        if pid == 0:
            return True


def _run(order: dict[str, Any]) -> Any:
    if "call_file" in order:
        with open(order["call_file"], "rb") as file:
            data = file.read()
        try:
            os.unlink(order["call_file"])
        except OSError:
            pass  # Of another user than the daemon's: then the keeper takes it away.
    else:
        data = base64.b64decode(order["call"])
    kind, thing = unpack(data)
    del data
    if kind == "call":
        function, arguments, keywords = thing
        del thing
        return function(*arguments, **keywords)
    if kind == "chunk":
        function, chunk = thing
        return [function(*arguments) for arguments in chunk]
    return thing.run()


def answer(order: dict[str, Any], surroundings: Surroundings) -> dict[str, Any]:
    """Carries an order out."""
    told: dict[str, Any] = {"attempt": order["attempt"]}
    own = os.getpid()
    meter = Meter()
    surroundings.enter(order)
    try:
        value = _run(order)
        if os.getpid() != own:  # a fork of the task came back too
            os._exit(0)
        try:
            told.update(pack_value("value", value, order["value"]))
        except Exception as error:
            raise TypeError(f"the return value can't be pickled or kept: {last_line(error)}") from error
        finally:
            del value
    except BaseException as error:
        if os.getpid() != own:
            code = error.code if isinstance(error, SystemExit) else 1
            os._exit(code if isinstance(code, int) else 1)
        told["raised"] = last_line(error)
        described = describe(error)
        try:
            sys.stderr.write(described["traceback"])
        except Exception:
            pass
        try:
            told.update(pack_value("raised", described, order["value"]))
        except Exception:
            described["exception"] = None
            told.update(pack_value("raised", described, order["value"]))
        error.__traceback__ = None
    finally:
        if os.getpid() == own:
            surroundings.leave()
    told.update(meter.read())
    return told


def serve(orders: IO[bytes], send: Callable[[bytes], Any], tasks_max: int, growth_max: int) -> None:
    """Carries orders out until there are no more, or this process has served its time."""
    surroundings = Surroundings()
    sources = Sources()
    baseline = 0
    for number, line in enumerate(orders, 1):
        order = json.loads(line)
        sources.forget_changed()
        told = answer(order, surroundings)
        sources.remember()
        held = _status("VmRSS:")
        if number == 1:
            baseline = held
        elif held > baseline + growth_max:
            gc.collect()
            held = _status("VmRSS:")
        told["last"] = number >= tasks_max or held > baseline + growth_max or _has_company()
        send(json.dumps(told).encode() + b"\n")
        if told["last"]:
            os._exit(0)


def refuse(orders: IO[bytes], send: Callable[[bytes], Any], reason: str) -> None:
    """Says of the first order why this interpreter can't carry it out."""
    order = json.loads(orders.readline())
    send(json.dumps({"attempt": order["attempt"], "not_started": reason, "last": True}).encode() + b"\n")


def main() -> None:
    """The process of a worker; its arguments are `tasks_max` and `growth_max` in bytes."""
    control = os.dup(0)  # not inherited by programs that a task starts
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if "" in sys.path:
        sys.path.remove("")
    orders = open(control, "rb", closefd=False)  # noqa: SIM115

    def send(data: bytes) -> None:
        while data:
            data = data[os.write(control, data) :]

    if sys.version_info < PYTHON_MIN:
        refuse(orders, send, f"{sys.executable} is Python {sys.version.split()[0]}; tasks need 3.9 or later")
    elif cloudpickle is None:
        refuse(orders, send, f"{sys.executable} has no cloudpickle; install it there: pip install cloudpickle")
    else:
        tasks_max, growth_max = int(sys.argv[1]), int(sys.argv[2])
        sys.argv = [""]
        serve(orders, send, tasks_max, growth_max)
    os._exit(0)


if __name__ == "__main__":
    main()
