"""The gallery behind the real nginx."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from tests.running import RunningSuite


@pytest.fixture(scope="module")
def client(small_suite: RunningSuite) -> Iterator[httpx.Client]:
    with small_suite.client() as client:

        def is_there() -> bool:
            return bool(client.get("/api/system/status").json()["workspace"]["state"] == "ok")

        small_suite.wait_for(is_there, "the volume")
        yield client


@pytest.fixture(scope="module")
def output(small_suite: RunningSuite) -> Path:
    return small_suite.workspace / "output"


def test_nginx_hands_out_a_small_picture(client: httpx.Client, output: Path) -> None:
    Image.effect_noise((800, 600), 50).convert("RGB").save(output / "images" / "a b.png")
    (shown,) = client.get("/api/outputs/?search=a+b").json()["outputs"]
    for _ in range(2):
        answer = client.get(shown["thumbnail_url"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        assert "immutable" in answer.headers["cache-control"]
        with Image.open(io.BytesIO(answer.content)) as small:
            assert small.size == (320, 240)


def test_nginx_passes_a_zip_on(client: httpx.Client, output: Path) -> None:
    (output / "videos" / "b.mp4").write_bytes(bytes(5_000_000))
    answer = client.post("/api/outputs/zip", data={"path": ["videos/b.mp4"]})
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["videos/b.mp4"]


def test_whoever_breaks_off_a_zip_stops_the_reading(
    small_suite: RunningSuite, client: httpx.Client, output: Path
) -> None:
    long = output / "videos" / "long.mp4"
    with long.open("wb") as file:
        file.truncate(4_000_000_000)
    dashboard = psutil.Process(small_suite.pid_of("dashboard"))
    before = dashboard.memory_info().rss

    def is_read() -> bool:
        return any(file.path == str(long) for file in dashboard.open_files())

    with client.stream("POST", "/api/outputs/zip", json={"paths": ["videos/long.mp4"]}) as answer:
        assert answer.status_code == 200, answer.read()
        # Without a name it would be closed at once, and the connection with it.
        pieces = answer.iter_raw(1_000_000)
        assert len(next(pieces)) == 1_000_000
        small_suite.wait_for(is_read, "the file to be read", 20)
        assert dashboard.memory_info().rss - before < 100_000_000
    small_suite.wait_for(lambda: not is_read(), "the file to be closed", 20)
    long.unlink()


@pytest.mark.parametrize("name", ["page.html", "page.svg", "page.png", "script.js"])
def test_a_hostile_file_is_never_a_page(client: httpx.Client, output: Path, name: str) -> None:
    (output / name).write_bytes(b"<html><script>alert(1)</script>")
    answer = client.get(f"/outputs/{name}")
    assert answer.headers["content-type"].partition(";")[0] in {"application/octet-stream", "image/png"}
    assert name == "page.png" or answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_what_nginx_keeps_is_not_reached_around_the_dashboard(client: httpx.Client) -> None:
    for place in ("thumbnails/ab/x.webp", "local/thumbnails/ab/x.webp", "local/sessions.json", "output/a.png"):
        assert client.get(f"/_suite/files/{place}").status_code == 404
