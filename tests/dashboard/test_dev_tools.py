"""code-server's and JupyterLab's ports, through the real nginx; on their sockets something answers with what it was
sent. Who gets in is the same question as for ComfyUI's port."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.running import PASSWORD, ROOT, RunningSuite, free_ports

EVIL = "https://evil.example"
NAMES = ("code-server", "jupyter")


def settings_for(program: Path) -> dict[str, str]:
    ports = free_ports(2)
    return {
        "CODE_SERVER": "on",
        "CODE_SERVER_PORT": str(ports[0]),
        "CODE_SERVER_PROGRAM": str(program),
        "JUPYTER": "on",
        "JUPYTER_PORT": str(ports[1]),
        "JUPYTER_PROGRAM": str(program),
    }


@pytest.fixture(scope="module")
def suite() -> Iterator[RunningSuite]:
    """With both on, and a ComfyUI whose user is its own."""
    running = RunningSuite(HF_TOKEN="hf_canary_token")
    comfyui = running.folder / "comfyui"
    comfyui.mkdir(mode=0o755)
    (comfyui / "main.py").write_bytes((ROOT / "tests" / "fakes" / "comfyui" / "main.py").read_bytes())
    (comfyui / "mode").write_text("echo")
    program = running.folder / "dev-tool"
    fake = ROOT / "tests" / "fakes" / "dev_tool.py"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(fake))} "$@"\n')
    program.chmod(0o755)
    running.settings |= {"COMFYUI_DIR": str(comfyui), "COMFYUI_PYTHON": sys.executable, **settings_for(program)}
    try:
        running.start()
        for name in NAMES:
            running.wait_for((running.state / "dev" / f"{name}.sock").exists, name, 60)
        yield running
    finally:
        running.remove()


@pytest.fixture
def client(suite: RunningSuite) -> Iterator[httpx.Client]:
    with suite.client() as client:
        yield client


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def address(suite: RunningSuite, name: str) -> str:
    return f"http://127.0.0.1:{port_of(suite, name)}"


def port_of(suite: RunningSuite, name: str) -> str:
    return suite.settings[{"code-server": "CODE_SERVER_PORT", "jupyter": "JUPYTER_PORT"}[name]]


def seen_by(address: str, client: httpx.Client, **headers: str) -> dict[str, Any]:
    answer = client.get(f"{address}/x?y=1", headers={"Origin": address, **headers})
    assert answer.status_code == 200, answer.text
    seen: dict[str, Any] = answer.json()
    return seen


def cookie_of(client: httpx.Client) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}


def test_nothing_reaches_it_without_a_login(address: str) -> None:
    refused = httpx.get(f"{address}/x")
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "not_signed_in"


def test_a_page_leads_to_the_login_and_back(address: str) -> None:
    with httpx.Client(base_url=address, headers={"Origin": address, "Accept": "text/html"}) as browser:
        page = browser.get("/?folder=/workspace")
        assert page.status_code == 302
        assert page.headers["location"].endswith("/_suite/login?next=/?folder=/workspace")
        signed_in = browser.post("/_suite/login", data={"password": PASSWORD, "next": "/?folder=/workspace"})
        assert signed_in.headers["location"] == "/?folder=/workspace"
        assert browser.get("/?folder=/workspace").json()["path"] == "/?folder=/workspace"


def test_who_is_signed_in_at_the_dashboard_gets_in(address: str, client: httpx.Client) -> None:
    assert seen_by(address, client)["path"] == "/x?y=1"


def test_it_sees_neither_cookie_nor_token(address: str, client: httpx.Client, suite: RunningSuite) -> None:
    token = client.post("/api/tokens/", json={"name": "test"}).json()["token"]
    seen = json.dumps(seen_by(address, client, Authorization=f"Bearer {token}")["headers"])
    assert "cookie" not in seen
    assert "authorization" not in seen
    assert token not in seen


def test_it_can_compare_the_origin_with_the_host(address: str, client: httpx.Client) -> None:
    claims = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    headers = seen_by(address, client, **claims)["headers"]
    assert headers["origin"] == f"http://{headers['host']}" == address
    assert "evil.example" not in json.dumps(headers)


def test_it_can_neither_set_cookies_nor_send_files_of_ours(address: str, client: httpx.Client) -> None:
    answer = client.get(f"{address}/x", headers={"Origin": address})
    assert "set-cookie" not in answer.headers
    assert answer.json()["path"] == "/x"


def test_its_own_errors_pass_as_they_are(address: str, client: httpx.Client) -> None:
    answer = client.get(f"{address}/page-error", headers={"Origin": address})
    assert answer.status_code == 502
    assert answer.json()["path"] == "/page-error"


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1"])
def test_another_origin_reaches_nothing(address: str, client: httpx.Client, origin: str) -> None:
    for method in ("GET", "POST"):
        assert client.request(method, f"{address}/x", headers={"Origin": origin}).status_code == 403


def test_a_foreign_host_name_is_turned_away(address: str) -> None:
    assert httpx.get(f"{address}/x", headers={"Host": "evil.example"}).status_code == 421


def test_a_socket_passes_without_the_login(address: str, client: httpx.Client) -> None:
    with connect(
        address.replace("http", "ws", 1) + "/socket", additional_headers=cookie_of(client), origin=Origin(address)
    ) as live:
        headers = json.loads(live.recv(timeout=20))
        assert not {"cookie", "authorization"} & headers.keys()
        live.send("hello")
        assert live.recv(timeout=20) == "hello"


@pytest.mark.parametrize("origin", [EVIL, "http://127.0.0.1:1", None])
def test_a_socket_of_another_origin_is_refused(address: str, client: httpx.Client, origin: str | None) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            address.replace("http", "ws", 1),
            additional_headers=cookie_of(client),
            origin=Origin(origin) if origin else None,
        ),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_socket_without_a_session_is_refused(address: str) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(address.replace("http", "ws", 1), origin=Origin(address)),
    ):
        pass
    assert refused.value.response.status_code == 401


def test_it_runs_as_comfyuis_user_and_knows_no_secret(suite: RunningSuite, address: str, client: httpx.Client) -> None:
    seen = seen_by(address, client)
    assert seen["uid"] == uid_of(suite, "comfyui")
    if seen["uid"] == 0 or seen["uid"] == uid_of(suite, "dashboard"):
        pytest.fail("the suite's users are not separate here: `make test` as root makes them")
    known = json.dumps(seen["environ"]) + json.dumps(seen["arguments"])
    for secret in (PASSWORD, "hf_canary_token", str(suite.state / "secrets")):
        assert secret not in known


def test_it_works_on_the_volume(suite: RunningSuite, address: str, client: httpx.Client) -> None:
    seen = seen_by(address, client)
    assert seen["folder"] == str(suite.workspace)
    assert str(suite.workspace / "user") in json.dumps(seen["arguments"]) + json.dumps(seen["environ"])


def test_nobody_else_reaches_its_socket(suite: RunningSuite, name: str) -> None:
    folder = (suite.state / "dev").stat()
    assert folder.st_mode & 0o7777 == 0o2770
    socket = (suite.state / "dev" / f"{name}.sock").stat()
    assert socket.st_mode & 0o777 == 0o660
    assert socket.st_gid == folder.st_gid


def test_while_it_is_away_a_page_says_so(suite: RunningSuite, name: str, address: str, client: httpx.Client) -> None:
    suite.supervisorctl("stop", f"suite:{name}")
    try:
        page = client.get(address, headers={"Accept": "text/html", "Origin": address})
        assert page.status_code == 503
        assert page.headers["retry-after"].isdigit()
        assert "starting" in page.text
        answer = client.get(address, headers={"Origin": address})
        assert answer.status_code == 503
        assert "try again" in answer.json()["error"]["message"]
        assert httpx.get(address).status_code == 401
    finally:
        suite.supervisorctl("start", f"suite:{name}")
        suite.wait_for(lambda: client.get(address, headers={"Origin": address}).status_code == 200, name, 60)


def test_one_that_dies_is_started_again(suite: RunningSuite, name: str, address: str, client: httpx.Client) -> None:
    # supervisord counts it as running only then, and as one that failed to start before.
    suite.wait_for(lambda: "RUNNING" in suite.supervisorctl("status", f"suite:{name}"), name, 60)
    suite.supervisorctl("signal", "KILL", f"suite:{name}")
    time.sleep(0.2)
    suite.wait_for(lambda: client.get(address, headers={"Origin": address}).status_code == 200, name, 60)


def test_the_dashboard_leads_there(suite: RunningSuite, name: str, address: str, client: httpx.Client) -> None:
    assert f'href="/open/{name}"' in client.get("/", headers={"Accept": "text/html"}).text
    opened = client.get(f"/open/{name}")
    assert opened.status_code == 303
    assert opened.headers["location"] == f"{address}/"


def test_one_that_does_not_exist_is_not_led_to(client: httpx.Client) -> None:
    assert client.get("/open/nothing").status_code == 404


def test_one_that_is_not_installed_is_named_and_the_rest_starts(new_suite: Callable[..., RunningSuite]) -> None:
    suite = new_suite(**settings_for(Path("/nonexistent/dev-tool"))).start()
    console = suite.console.read_text()
    for setting in ("CODE_SERVER", "JUPYTER"):
        assert f"{setting}=on, but /nonexistent/dev-tool is not there" in console
    with suite.client() as client:
        assert "/open/" not in client.get("/", headers={"Accept": "text/html"}).text
        assert client.get("/open/jupyter").status_code == 404


def test_on_runpod_a_ticket_takes_the_login_there(
    new_suite: Callable[..., RunningSuite], stand_in_comfyui: Callable[[str], dict[str, str]]
) -> None:
    # Whether it runs does not matter here: nginx and the dashboard alone are asked.
    tools, comfyui = settings_for(Path("/bin/false")), stand_in_comfyui("echo")
    suite = new_suite(comfyui=True, RUNPOD_POD_ID="abc123", **tools, **comfyui).start()
    dashboard = f"abc123-{suite.ports[0]}.proxy.runpod.net"
    jupyter = f"abc123-{port_of(suite, 'jupyter')}.proxy.runpod.net"
    https = {"X-Forwarded-Proto": "https"}
    with httpx.Client() as browser:
        headers = {"Host": dashboard, "Origin": f"https://{dashboard}", **https}
        signed_in = browser.post(f"{suite.address}/login", data={"password": PASSWORD}, headers=headers)
        cookie = signed_in.headers["set-cookie"].partition(";")[0]
        opened = browser.get(f"{suite.address}/open/jupyter", headers={"Host": dashboard, "Cookie": cookie, **https})
        target = opened.headers["location"]
        assert target.startswith(f"https://{jupyter}/_suite/enter?ticket=")
        path = target.removeprefix(f"https://{jupyter}")
        entered = browser.get(f"http://127.0.0.1:{port_of(suite, 'jupyter')}{path}", headers={"Host": jupyter, **https})
        assert entered.headers["set-cookie"].startswith("__Host-suite-")


def uid_of(suite: RunningSuite, program: str) -> int:
    return Path(f"/proc/{suite.pid_of(program)}").stat().st_uid


@pytest.mark.parametrize("target", ["supervisor.sock", "redis.sock", "dashboard.sock"])
def test_a_link_in_its_sockets_place_leads_to_none_of_the_suites(
    suite: RunningSuite, client: httpx.Client, target: str
) -> None:
    """nginx follows the link, and may reach what it leads to: whoever answers there must ask for more."""
    address = f"http://127.0.0.1:{port_of(suite, 'jupyter')}"
    socket = suite.state / "dev" / "jupyter.sock"
    kept = socket.rename(socket.with_suffix(".kept"))
    socket.symlink_to(suite.state / "sockets" / target)
    try:
        call = "<methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>"
        for path in ("/RPC2", "/api/presets/", "/logtail/suite:dashboard"):
            answer = client.post(f"{address}{path}", content=call, headers={"Origin": address})
            assert answer.status_code in {401, 403, 404, 405, 502, 503}, answer.text
            assert "dashboard" not in answer.text or answer.status_code in {401, 503}
    finally:
        socket.unlink()
        kept.rename(socket)
