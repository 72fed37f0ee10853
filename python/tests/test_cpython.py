"""The standard library's own tests of executors, as far as they suit, where the interpreter brings them.

Left out is what tests the insides of a thread or process pool: how many threads it starts, what it does
when a worker breaks, initializers, `max_workers`.
"""

from __future__ import annotations

import importlib
import os
import unittest
from typing import Any

import pytest

import apportion

# A package since Python 3.13, a module before.
NAMES = {
    "test.test_concurrent_futures": ["ExecutorTest", "WaitTests", "AsCompletedTests", "ExecutorShutdownTest"],
    "test.test_concurrent_futures.executor": ["ExecutorTest"],
    "test.test_concurrent_futures.test_wait": ["WaitTests"],
    "test.test_concurrent_futures.test_as_completed": ["AsCompletedTests"],
    "test.test_concurrent_futures.test_shutdown": ["ExecutorShutdownTest"],
}

UNSUITED = {
    "test_max_workers_negative": "the queue bounds how much runs at once",
    "test_hang_issue12364": "tests that a pool's own threads end",
    "test_interpreter_shutdown": "starts a script that names the type of a standard pool",
    "test_submit_after_interpreter_shutdown": "starts a script that names the type of a standard pool",
    "test_hang_gh83386": "starts a script that names the type of a standard pool",
    "test_cancel_futures": "expects that some of the calls run at once; see test_shutdown_cancels_what_waits",
    "test_hang_gh94440": "tests a process pool with max_workers",
    "test_swallows_falsey_exceptions": "its exception holds class state that is pickled by value",
    "test_shutdown_race_issue12456": "tests a race of a pool's own queue",
}


def _mixins() -> list[type]:
    found: dict[str, type] = {}
    for module_name, names in NAMES.items():
        try:
            module = importlib.import_module(module_name)
        except (ImportError, unittest.SkipTest):
            continue
        for name in names:
            if hasattr(module, name):
                found[name] = getattr(module, name)
    return list(found.values())


MIXINS = _mixins()
if not MIXINS:
    pytest.skip("NOT TESTED: this interpreter brings no test.test_concurrent_futures", allow_module_level=True)


class Base(unittest.TestCase):
    worker_count = 4
    executor_type = apportion.Executor

    def setUp(self) -> None:
        if self._testMethodName in UNSUITED:
            self.skipTest(UNSUITED[self._testMethodName])
        super().setUp()
        self.executor = apportion.Executor(os.environ["APPORTION_SERVER"], cpus=0.5)

    def tearDown(self) -> None:
        self.executor.shutdown(wait=True)
        super().tearDown()

    def _prime_executor(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _daemon(daemon: Any) -> None:
    """The tests find it by its variable."""


for _mixin in MIXINS:
    _name = f"Test{_mixin.__name__}"
    globals()[_name] = type(_name, (Base, _mixin), {"__module__": __name__})
del _mixin, _name, Base
