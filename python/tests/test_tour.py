"""The README's tour, as it stands there."""

from __future__ import annotations

import doctest
import os
from pathlib import Path

from conftest import Daemon


def test_the_tour_of_the_readme(daemon: Daemon) -> None:
    os.environ["APPORTION_SERVER"] = daemon.url
    readme = Path(__file__).resolve().parents[1] / "README.md"
    failed, tried = doctest.testfile(str(readme), module_relative=False)
    assert tried > 15
    assert failed == 0
