"""Uploads through the real nginx: passed on as they come, in chunks of their real size."""

import base64
import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from services.uploads import CHUNK_BYTES
from tests.fakes import carriers
from tests.running import RunningSuite

MIB = 1024 * 1024
DATA = os.urandom(2 * CHUNK_BYTES + 5 * MIB + 1)


@pytest.fixture
def client(small_suite: RunningSuite) -> Iterator[httpx.Client]:
    with small_suite.client() as client:
        yield client


def begin(client: httpx.Client, name: str, size_bytes: int = len(DATA)) -> dict[str, Any]:
    answer = client.post("/api/uploads/", json={"folder": "loras", "name": name, "size_bytes": size_bytes})
    assert answer.status_code in {200, 201}, answer.text
    begun: dict[str, Any] = answer.json()
    return begun


def piece(number: int) -> bytes:
    return DATA[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]


def put(client: httpx.Client, id_: str, number: int) -> httpx.Response:
    digest = base64.b64encode(hashlib.sha256(piece(number)).digest()).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:", "Content-Type": "application/octet-stream"}
    return client.put(f"/api/uploads/{id_}/chunks/{number}", content=piece(number), headers=headers)


def open_chunk(suite: RunningSuite, client: httpx.Client, id_: str, number: int) -> socket.socket:
    """A connection on which that chunk is expected next."""
    connection = socket.create_connection(("127.0.0.1", suite.ports[0]))
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    head = (
        f"PUT /api/uploads/{id_}/chunks/{number} HTTP/1.1\r\nHost: 127.0.0.1:{suite.ports[0]}\r\n"
        f"Origin: {suite.address}\r\nCookie: {cookie}\r\nContent-Length: {len(piece(number))}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def wait_until_done(suite: RunningSuite, client: httpx.Client, id_: str) -> None:
    suite.wait_for(lambda: client.get(f"/api/uploads/{id_}").json()["state"] == "done", "the check", 60)


def test_a_file_arrives_whole_in_chunks_sent_side_by_side(small_suite: RunningSuite, client: httpx.Client) -> None:
    begun = begin(client, "whole.ckpt")
    dashboard = psutil.Process(small_suite.pid_of("dashboard"))
    before = dashboard.memory_info().rss
    with ThreadPoolExecutor(3) as threads:
        sending = [threads.submit(put, client, begun["id"], number) for number in (2, 1, 0)]
        peak = before
        while not all(future.done() for future in sending):
            peak = max(peak, dashboard.memory_info().rss)
            time.sleep(0.005)
    assert [future.result().status_code for future in sending] == [200, 200, 200]
    # No chunk is ever held whole.
    assert peak - before < CHUNK_BYTES
    assert client.post(f"/api/uploads/{begun['id']}/complete").status_code == 202
    wait_until_done(small_suite, client, begun["id"])
    assert (small_suite.workspace / "models" / "loras" / "whole.ckpt").read_bytes() == DATA


def test_what_comes_is_written_before_the_chunk_is_over(small_suite: RunningSuite, client: httpx.Client) -> None:
    begun = begin(client, "slow.ckpt")
    data = small_suite.workspace / "models" / "loras" / "slow.ckpt.upload"
    with open_chunk(small_suite, client, begun["id"], 0) as connection:
        connection.sendall(piece(0)[: 8 * MIB])
        small_suite.wait_for(lambda: data.stat().st_size >= 7 * MIB, "what was sent", 60)
        assert not any((small_suite.state / "nginx" / "body").rglob("*"))
        connection.sendall(piece(0)[8 * MIB :])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert client.get(f"/api/uploads/{begun['id']}").json()["received"] == [[0, 1]]


def test_a_line_that_breaks_costs_the_chunk_that_was_on_it(small_suite: RunningSuite, client: httpx.Client) -> None:
    begun = begin(client, "broken.ckpt")
    data = small_suite.workspace / "models" / "loras" / "broken.ckpt.upload"
    put(client, begun["id"], 2)
    with open_chunk(small_suite, client, begun["id"], 0) as connection:
        connection.sendall(piece(0)[: 4 * MIB])
        small_suite.wait_for(lambda: data.read_bytes()[: 3 * MIB] == piece(0)[: 3 * MIB], "what was sent", 60)
    assert begin(client, "broken.ckpt")["received"] == [[2, 3]]
    assert put(client, begun["id"], 0).json()["received"] == [[0, 1], [2, 3]]
    assert "request_failed" not in (small_suite.state / "logs" / "dashboard.log").read_text()


@pytest.mark.parametrize("size_bytes", [2, 70_000, CHUNK_BYTES])
def test_who_is_not_signed_in_any_more_hears_so(size_bytes: int, small_suite: RunningSuite) -> None:
    # Not that the dashboard is away: a page would try again for ever.
    with small_suite.client(sign_in=False) as stranger:
        for _ in range(20):
            answer = stranger.put("/api/uploads/x/chunks/0", content=bytes(size_bytes))
            assert answer.status_code == 401, answer.text


@pytest.mark.parametrize("moment", ["while a chunk comes", "while it is checked"])
def test_a_dashboard_that_is_killed_goes_on_where_it_was(
    moment: str, small_suite: RunningSuite, client: httpx.Client
) -> None:
    name = f"{moment.split()[-1]}.ckpt"
    begun = begin(client, name)
    numbers = [0, 1, 2] if moment == "while it is checked" else [1]
    for number in numbers:
        put(client, begun["id"], number)
    if moment == "while it is checked":
        client.post(f"/api/uploads/{begun['id']}/complete")
    with open_chunk(small_suite, client, begun["id"], 0) as connection:
        connection.sendall(piece(0)[: 4 * MIB])
        os.kill(small_suite.pid_of("dashboard"), signal.SIGKILL)
    time.sleep(0.1)
    small_suite.wait_until_answers()
    if moment == "while a chunk comes":
        assert begin(client, name)["received"] == [[1, 2]]
        put(client, begun["id"], 0)
        put(client, begun["id"], 2)
        client.post(f"/api/uploads/{begun['id']}/complete")
    target = small_suite.workspace / "models" / "loras" / name
    small_suite.wait_for(lambda: target.exists(), "the file", 60)
    assert target.read_bytes() == DATA


def test_a_chunk_that_is_too_large_is_refused_as_json(client: httpx.Client) -> None:
    begun = begin(client, "large.ckpt")
    answer = client.put(f"/api/uploads/{begun['id']}/chunks/0", content=bytes(34 * MIB))
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == "the body is larger than 33 MiB"


def test_everything_else_stays_small(client: httpx.Client) -> None:
    answer = client.post("/api/tokens/", content=bytes(3 * MIB), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == "the body is larger than 2 MiB"


def test_a_picture_that_carries_a_workflow_may_be_larger(client: httpx.Client) -> None:
    graph = json.dumps({"nodes": [{"id": 1}]})
    padding = carriers.png_chunk(b"iDLE", bytes(40 * MIB))
    picture = carriers.png_file(padding, carriers.png_chunk(b"tEXt", f"workflow\0{graph}".encode()))
    answer = client.post("/api/workflows/?name=large", content=picture)
    assert (answer.status_code, answer.json()["nodes"]) == (201, 1)
    assert client.delete("/api/workflows/large").is_success
    for address in ("/api/workflows/?name=large", "/api/comfyui/execute"):
        answer = client.post(address, content=picture + bytes(30 * MIB))
        assert (answer.status_code, answer.json()["error"]["message"]) == (413, "the body is larger than 64 MiB")


def test_a_refused_chunk_is_answered_although_it_was_still_coming(client: httpx.Client) -> None:
    begun = begin(client, "refused.ckpt")
    answer = client.put(f"/api/uploads/{begun['id']}/chunks/9", content=piece(0))
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
    assert put(client, begun["id"], 0).status_code == 200
