"""Tokens: every client shows the one that it is given, and says why where that one does not do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import Daemon

import apportion
from apportion.errors import Forbidden, Unauthorized


class Seven(apportion.Task):
    def consumption(self) -> list[dict[str, Any]]:
        return [{"cpus": 0.1}]

    def run(self) -> int:
        return 7


def token(daemon: Daemon, name: str, queues: str, rights: str) -> str:
    arguments = ("--data-dir", f"{daemon.folder}/data", "--name", name, "--queues", queues, "--rights", rights)
    made = daemon.cli("token", "new", *arguments)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def test_every_client_shows_its_token(own_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = token(own_daemon, "maps", "maps", "read,submit,cancel")
    monkeypatch.delenv("APPORTION_TOKEN", raising=False)
    with apportion.Client(own_daemon.url) as client, pytest.raises(Unauthorized) as missing:
        client.queues()
    assert missing.value.code == "token_missing"
    with apportion.Client(own_daemon.url, token=maps) as client:
        assert [queue.path for queue in client.queues()] == ["maps"]
        with pytest.raises(Forbidden):
            client.submit([apportion.task_object({"command": "true"}, queue="default")])

    async def look() -> int:
        async with apportion.AsyncClient(own_daemon.url, token=maps) as client:
            return len(await client.queues())

    assert asyncio.run(look()) == 1
    with apportion.Executor(own_daemon.url, token=maps, queue="maps") as pool:
        assert pool.submit(pow, 2, 5).result(timeout=120) == 32
    monkeypatch.setenv("APPORTION_TOKEN", maps)
    executer = apportion.TaskExecuter(own_daemon.url, queue="maps", name="access-test")
    executer.execute(Seven())
    finished: list[Any] = []
    while not finished:
        finished = executer.pop_finished(wait_seconds=30)
    assert finished[0][1] == 7
    executer.close()
