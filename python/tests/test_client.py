"""The HTTP API through both clients."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from typing import Any

import httpx
import pytest
from conftest import Daemon, wait_until

import apportion
from apportion import errors, task_object, types

TRUE = {"command": "true"}


def test_a_task_from_submission_to_result(client: apportion.Client) -> None:
    described = task_object(
        {"command": "echo tile $APPORTION_ARRAY_INDEX; echo oops >&2"},
        queue="maps",
        name="tile",
        demand={"cpus": 0.5, "mem": "64MiB"},
        array="3-4",
        timeout="1h",
        env={"STAGE": "test"},
    )
    [accepted] = client.submit([described])
    assert (accepted.count, accepted.created) == (2, True)
    task = client.wait(accepted.id + 1, 60)
    assert (task.state, task.array_index, task.timeout_seconds) == ("succeeded", 4, 3600.0)
    assert task.demand == {"cpus": 0.5, "mem": 64.0}
    assert task.outcome and task.outcome.exit_code == 0 and task.outcome.wall_seconds > 0
    assert task.attempts[0].agent == "local"
    assert client.result(task.id) == b"tile 4\n"
    assert b"".join(client.follow(task.id, "stderr")) == b"oops\n"
    assert client.explain(task.id).reasons == []


def test_lists_come_page_by_page(client: apportion.Client) -> None:
    [accepted] = client.submit([task_object(TRUE, queue="maps", demand={"cpus": 0.1}, array="0-9")])
    page = client.tasks(queue="maps", after=accepted.id - 1, limit=4)
    assert [task.id for task in page.tasks] == list(range(accepted.id, accepted.id + 4))
    assert page.next_after == accepted.id + 3
    ids = [task.id for task in client.all_tasks("maps")]
    assert ids == sorted(ids) and ids[-1] >= accepted.id + 9


def test_keys_inboxes_cancel_and_retry(client: apportion.Client) -> None:
    stay = task_object({"command": "sleep 1000"}, key="stay", inbox="a/../b".replace("/", "."))
    [first], [second] = client.submit([stay]), client.submit([stay])
    assert (first.id, first.created, second.id, second.created) == (first.id, True, first.id, False)
    with pytest.raises(errors.NotEnded):
        client.result(first.id)
    assert client.cancel(first.id, "enough") in ("cancelled", "cancelling")
    assert client.wait(first.id, 60).state == "cancelled"
    assert client.cancel(first.id) == "cancelled", "twice is no error"
    [done] = client.submit([task_object(TRUE)])
    client.wait(done.id, 60)
    with pytest.raises(errors.AlreadyEnded) as caught:
        client.cancel(done.id)
    assert (caught.value.code, caught.value.status) == ("already_ended", 409)
    popped = client.pop("a....b", wait_seconds=60)
    assert [task.id for task in popped.tasks] == [first.id] and popped.tasks[0].value == ""
    assert client.pop("a....b", ack=popped.token).tasks == []
    assert client.retry(first.id) in ("queued", "launching")
    client.cancel(first.id)


def test_the_cluster(client: apportion.Client) -> None:
    queues = {queue.path: queue for queue in client.queues()}
    assert queues["maps"].is_leaf and queues["maps"].weight == 1
    assert queues["maps"].dominant_share.decimal >= 0
    assert [agent.total["cpus"] for agent in client.agents()] == [4]
    client.report_outside("db_connections", 2)
    [resource] = [resource for resource in client.resources() if resource.scope == "cluster"]
    assert (resource.capacity, resource.outside, resource.free) == (5, 2, 3)
    client.report_outside("db_connections", 0)
    assert client.is_alive() and client.is_ready()
    assert "apportion_" in client.metrics()


def test_each_refusal_is_an_exception_of_its_own(client: apportion.Client) -> None:
    refused = [
        (errors.UnknownTask, lambda: client.task(10**9)),
        (errors.UnknownQueue, lambda: client.submit([task_object(TRUE, queue="none")])),
        (errors.UnknownResource, lambda: client.submit([task_object(TRUE, demand={"none": 1})])),
        (errors.NeverFits, lambda: client.submit([task_object(TRUE, demand={"db_connections": 6})])),
        (errors.NoDemand, lambda: client.submit([task_object(TRUE, demand={"cpus": 0})])),
        (errors.UnknownDependency, lambda: client.submit([task_object(TRUE, after=["none"])])),
        (errors.TooManyInCall, lambda: client.submit([task_object(TRUE)] * 10_001)),
        (errors.InvalidRequest, lambda: client.submit([task_object({"command": ""})])),
        (errors.NotClusterScope, lambda: client.report_outside("cpus", 1)),
        (errors.NotFound, lambda: client.result(1, attempt=999)),
    ]
    for kind, call in refused:
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind and caught.value.message and caught.value.code
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9"):
        apportion.Client("http://127.0.0.1:9", patience_seconds=0).queues()
    assert not apportion.Client("http://127.0.0.1:9").is_alive()


def test_events_are_followed(client: apportion.Client) -> None:
    seen: list[Any] = []
    ready = threading.Event()

    def follow() -> None:
        with apportion.Client(client.server) as own:
            for event in own.events():
                ready.set()
                seen.append(event)
                if isinstance(event, types.Event) and event.state == "failed":
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()

    def prod() -> bool:
        client.submit([task_object(TRUE)])
        return ready.wait(0.2)

    wait_until("the stream to open", prod)
    [accepted] = client.submit([task_object({"command": "exit 3"})])
    thread.join(60)
    assert not thread.is_alive()
    states = [event.state for event in seen if event.task == accepted.id]
    assert states == ["queued", "launching", "running", "failed"]


def test_asyncio(daemon: Daemon) -> None:
    async def use() -> None:
        async with apportion.AsyncClient(daemon.url) as client:
            events = client.events()
            first = asyncio.ensure_future(events.__anext__())

            async def prod() -> None:
                while not first.done():
                    await client.submit([task_object(TRUE)])
                    await asyncio.wait([first], timeout=0.2)

            await asyncio.wait_for(prod(), 60)
            assert isinstance(await first, types.Event)
            many = await asyncio.gather(*(client.submit([task_object({"command": "echo hi"})]) for _ in range(5)))
            task = await client.wait(many[0][0].id, 60)
            assert task.state == "succeeded" and await client.result(task.id) == b"hi\n"
            assert [piece async for piece in client.follow(task.id)] == [b"hi\n"]
            assert 1 in [item.id async for item in client.all_tasks()]
            with pytest.raises(errors.UnknownTask):
                await client.task(10**9)
            assert await client.is_alive() and await client.is_ready()

    asyncio.run(use())


def test_both_clients_have_the_same_calls() -> None:
    def shape(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(method)).split(" ->")[0]
            for name, method in vars(kind).items()
            if not name.startswith("_") and callable(method)
        }

    assert shape(apportion.Client) == shape(apportion.AsyncClient)


def test_the_whole_api_is_there(client: apportion.Client) -> None:
    """Each operation of the OpenAPI document has its method."""
    methods = {
        "submit_tasks": "submit",
        "list_tasks": "tasks",
        "show_task": "task",
        "cancel_task": "cancel",
        "retry_task": "retry",
        "explain_task": "explain",
        "read_result": "result",
        "read_stdout": "log",
        "read_stderr": "log",
        "pop_inbox": "pop",
        "list_queues": "queues",
        "list_agents": "agents",
        "list_resources": "resources",
        "report_outside": "report_outside",
        "stream_events": "events",
        "show_openapi": "openapi",
        "is_alive": "is_alive",
        "is_ready": "is_ready",
        "show_metrics": "metrics",
    }
    document = client.openapi()
    operations = {call["operationId"] for path in document["paths"].values() for call in path.values()}
    for operation in operations & methods.keys():
        assert hasattr(apportion.Client, methods[operation])
    json.dumps(sorted(operations - methods.keys()))  # calls for other parts of the system than clients


def test_a_token_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization", ""))
        return httpx.Response(200, json={"queues": []})

    for token, variable in (("given", None), (None, "of the environment")):
        if variable:
            monkeypatch.setenv("APPORTION_TOKEN", variable)
        client = apportion.Client("http://example", token=token)
        client._http = httpx.Client(
            base_url="http://example", headers=client._http.headers, transport=httpx.MockTransport(answer)
        )
        client.queues()
    assert seen == ["Bearer given", "Bearer of the environment"]


def test_errors_survive_pickling() -> None:
    import pickle

    for error in (
        errors.NeverFits("never_fits", "too much", {"path": "demand"}, 422),
        errors.TaskFailed("timed_out", "too long", 7),
        errors.RemoteError("a.B", "a.B: c", "Traceback"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and vars(again) == vars(error)
