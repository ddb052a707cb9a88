"""Who gets in, through the real nginx, on both ports; and what ComfyUI gets to see."""

import html
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from dashboard.api import ENDPOINTS
from tests.running import PASSWORD, RunningSuite

EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def echo() -> Iterator[RunningSuite]:
    """A suite in whose ComfyUI's place something answers with what it was sent."""
    folder = RunningSuite()
    stand_in = folder.folder / "comfyui"
    stand_in.mkdir()
    stand_in.chmod(0o755)
    source = Path(__file__).parent.parent / "fakes" / "comfyui" / "main.py"
    (stand_in / "main.py").write_bytes(source.read_bytes())
    (stand_in / "mode").write_text("environment")
    folder.settings |= {"COMFYUI_DIR": str(stand_in), "COMFYUI_PYTHON": sys.executable, "HF_TOKEN": "hf_canary_token"}
    try:
        folder.start().wait_until_ready()
        yield folder
    finally:
        folder.remove()


@pytest.fixture
def client(echo: RunningSuite) -> Iterator[httpx.Client]:
    with echo.client() as client:
        yield client


def from_comfyui(echo: RunningSuite, client: httpx.Client, path: str = "/anything", **headers: str) -> dict[str, Any]:
    answer = client.get(echo.comfyui_address + path, headers={"Origin": echo.comfyui_address, **headers})
    assert answer.status_code == 200, answer.text
    seen: dict[str, Any] = answer.json()
    return seen


VARIANTS = (
    "{}",
    "/{}",
    "/.{}",
    "{}/..{}",
    "{}%2e%2e/",
    "/%2e{}",
    "{}?login",
    "{};/login",
    "/login/..{}",
    "/_suite/static/..{}",
)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_reaches_comfyui_without_a_login(echo: RunningSuite, variant: str, method: str) -> None:
    path = variant.format("/prompt", "/prompt")
    status, body = raw_request(echo.ports[1], method, path)
    assert status in {400, 401, 404, 405} or (status == 302 and "/_suite/login" in body), (path, status)
    assert '"headers"' not in body


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_no_endpoint_answers_without_a_login(echo: RunningSuite, endpoint: Any) -> None:
    path = re.sub(r"\{[^}]+\}", "x", endpoint.path)
    answer = httpx.request(endpoint.method, echo.address + path, json={}, headers={"Origin": echo.address})
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "not_signed_in"


@pytest.mark.parametrize(
    "path", ["/", "/presets", "/models", "/settings", "/outputs/x.png", "/temp/x.png", "/open-comfyui"]
)
def test_a_page_leads_to_the_login_and_back(echo: RunningSuite, path: str) -> None:
    answer = httpx.get(echo.address + path, headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={path}"
    with httpx.Client(base_url=echo.address, headers={"Origin": echo.address}) as browser:
        signed_in = browser.post("/login", data={"password": PASSWORD, "next": path})
        assert signed_in.headers["location"] == path


@pytest.mark.parametrize("path", ["/models?folder=a%20b&search=c%26d", "/view?filename=a%2Bb.png&type=output&x=1?2"])
@pytest.mark.parametrize("port", [0, 1])
def test_the_login_leads_back_to_the_whole_address(echo: RunningSuite, port: int, path: str) -> None:
    address = (echo.address, echo.comfyui_address)[port]
    with httpx.Client(base_url=address, headers={"Origin": address, "Accept": "text/html"}) as browser:
        login = browser.get(path, follow_redirects=True)
        field = re.search(r'name="next" value="([^"]*)"', login.text)
        assert field is not None
        signed_in = browser.post(login.url, data={"password": PASSWORD, "next": html.unescape(field[1])})
        assert signed_in.headers["location"] == path


@pytest.mark.parametrize(
    "next_",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=y"],
)
def test_the_login_leads_nowhere_else(echo: RunningSuite, next_: str) -> None:
    with httpx.Client(base_url=echo.address, headers={"Origin": echo.address}) as browser:
        answer = browser.post("/login", data={"password": PASSWORD, "next": next_})
        assert answer.headers["location"] == "/"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login", "/_suite/starting.css"])
def test_what_is_open_says_little(echo: RunningSuite, path: str) -> None:
    answer = httpx.get(echo.address + path)
    assert answer.status_code == 200
    assert "comfyui_version" not in answer.text
    assert PASSWORD not in answer.text


def test_nginx_alone_may_ask_for_a_verdict(echo: RunningSuite, client: httpx.Client) -> None:
    assert client.get("/internal/auth").status_code == 404
    assert (
        client.get(f"{echo.comfyui_address}/_suite/auth", headers={"Origin": echo.comfyui_address}).status_code == 404
    )


def test_comfyui_sees_neither_cookie_nor_token_nor_origin(echo: RunningSuite, client: httpx.Client) -> None:
    token = client.post("/api/tokens/", json={"name": "test"}).json()["token"]
    headers = from_comfyui(echo, client, Authorization=f"Bearer {token}", **{"Sec-Fetch-Site": "same-origin"})[
        "headers"
    ]
    assert not {"cookie", "authorization", "origin", "sec-fetch-site"} & headers.keys()
    assert token not in json.dumps(headers)
    assert client.cookies[f"suite-{echo.ports[0]}"] not in json.dumps(headers)


def test_comfyui_can_neither_set_cookies_nor_send_files_of_ours(echo: RunningSuite, client: httpx.Client) -> None:
    answer = client.get(f"{echo.comfyui_address}/x", headers={"Origin": echo.comfyui_address})
    assert "set-cookie" not in answer.headers
    assert answer.json()["path"] == "/x"


def test_comfyui_learns_no_secret_of_the_suite(echo: RunningSuite) -> None:
    found = json.loads((echo.workspace / "output" / "found.json").read_text())
    text = json.dumps(found["environ"]) + json.dumps(found["environments"])
    if found["uid"] == 0 or found["uid"] == _uid_of(echo, "dashboard"):
        pytest.fail("the suite's users are not separate here: `make test` as root makes them")
    for secret in (PASSWORD, "hf_canary_token"):
        assert secret not in text
    allowed = {"boot.json", "launch.json", "supervisord.conf", "supervisord.pid", "volume.json"}
    secret_files = [
        name
        for name in found["readable"]
        if Path(name).name not in allowed and "/comfyui/" not in name and "/logs/" not in name
    ]
    assert secret_files == []


def test_no_secret_stands_in_a_log_or_in_the_environment_of_a_process(echo: RunningSuite, client: httpx.Client) -> None:
    client.get("/api/system/status")
    logs = "".join(file.read_text(errors="replace") for file in (echo.state / "logs").iterdir())
    logs += echo.console.read_text(errors="replace")
    for pid in echo.pids():
        logs += Path(f"/proc/{pid}/environ").read_text(errors="replace")
    assert "hf_canary_token" not in logs
    assert PASSWORD not in logs
    assert client.cookies[f"suite-{echo.ports[0]}"] not in logs


STATE_CHANGING = [
    ("POST", "/api/presets/SD15/install"),
    ("DELETE", "/api/models/"),
    ("POST", "/logout"),
    ("PUT", "/api/workflows/x"),
]


@pytest.mark.parametrize(("method", "path"), STATE_CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
        {"Origin": EVIL, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {},
    ],
)
def test_another_origin_changes_nothing(echo: RunningSuite, method: str, path: str, headers: dict[str, str]) -> None:
    with echo.client() as browser:
        del browser.headers["Origin"]
        answer = browser.request(method, path, json={}, headers=headers)
        assert answer.status_code == 403
        assert browser.get("/api/presets/").status_code == 200


def test_the_other_port_of_the_same_host_is_another_origin(echo: RunningSuite, client: httpx.Client) -> None:
    answer = client.post("/api/presets/SD15/install", headers={"Origin": echo.comfyui_address})
    assert answer.status_code == 403


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1"])
def test_another_origin_reaches_no_comfyui(echo: RunningSuite, client: httpx.Client, origin: str) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, f"{echo.comfyui_address}/prompt", headers={"Origin": origin})
        assert answer.status_code == 403


def test_a_link_from_elsewhere_still_opens(echo: RunningSuite, client: httpx.Client) -> None:
    del client.headers["Origin"]
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
    assert client.get("/", headers=headers).status_code == 200
    assert client.get(f"{echo.comfyui_address}/", headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
@pytest.mark.parametrize("mode", ["no-cors", "cors", "websocket"])
def test_a_page_from_elsewhere_has_nothing_of_ours_in_it(
    echo: RunningSuite, client: httpx.Client, site: str, mode: str
) -> None:
    del client.headers["Origin"]
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": "image"}
    assert client.get("/api/presets/", headers=headers).status_code == 403
    assert client.get(f"{echo.comfyui_address}/view", headers=headers).status_code == 403


def test_a_link_from_one_port_to_the_other_opens(echo: RunningSuite, client: httpx.Client) -> None:
    del client.headers["Origin"]
    headers = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=headers).status_code == 200
    assert client.get(f"{echo.comfyui_address}/", headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_what_a_page_of_ours_shows_is_shown(echo: RunningSuite, client: httpx.Client, site: str) -> None:
    del client.headers["Origin"]
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/presets/", headers=headers).status_code == 200
    assert client.get(f"{echo.comfyui_address}/view", headers=headers).status_code == 200


def test_no_other_origin_may_read_an_answer(echo: RunningSuite, client: httpx.Client) -> None:
    answer = client.get("/api/presets/", headers={"Origin": EVIL})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_works_without_an_origin_until_it_is_revoked(echo: RunningSuite, client: httpx.Client) -> None:
    made = client.post("/api/tokens/", json={"name": "script"}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert httpx.get(f"{echo.address}/api/presets/", headers=headers).status_code == 200
    assert httpx.get(f"{echo.comfyui_address}/x", headers=headers).status_code == 200
    assert made["token"] not in client.get("/api/tokens/").text
    assert client.delete(f"/api/tokens/{made['id']}").status_code == 200
    assert httpx.get(f"{echo.address}/api/presets/", headers=headers).status_code == 401


def test_a_session_ends_with_the_logout_and_so_does_its_socket(echo: RunningSuite) -> None:
    with echo.client() as browser:
        cookie = f"suite-{echo.ports[0]}={browser.cookies[f'suite-{echo.ports[0]}']}"
        with connect(
            f"ws://127.0.0.1:{echo.ports[0]}/ws", additional_headers={"Cookie": cookie}, origin=Origin(echo.address)
        ) as live:
            live.send('{"type": "subscribe", "channels": ["system"]}')
            live.recv(timeout=10)
            assert browser.post("/logout").status_code == 303
            with pytest.raises(ConnectionClosed) as closed:
                drain(live)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
    assert httpx.get(f"{echo.address}/api/presets/", headers={"Cookie": cookie}).status_code == 401


def test_signing_in_makes_a_new_session(echo: RunningSuite) -> None:
    name = f"suite-{echo.ports[0]}"
    with httpx.Client(base_url=echo.address, headers={"Origin": echo.address}, cookies={name: "planted"}) as browser:
        answer = browser.post("/login", data={"password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert "planted" not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_the_dashboard_may_restart_without_signing_anyone_out(echo: RunningSuite, client: httpx.Client) -> None:
    echo.supervisorctl("restart", "suite:dashboard")
    echo.wait_for(lambda: client.get("/healthz").status_code == 200, "the dashboard", 60)
    assert client.get("/api/presets/").status_code == 200


def test_while_the_dashboard_is_away_nobody_sees_a_bare_error(echo: RunningSuite, client: httpx.Client) -> None:
    echo.supervisorctl("stop", "suite:dashboard")
    try:
        for address in (echo.address, echo.comfyui_address):
            page = client.get(address, headers={"Accept": "text/html", "Origin": address})
            assert page.status_code == 503
            assert page.headers["retry-after"].isdigit()
            assert page.headers["refresh"].isdigit()
            assert "starting" in page.text
            api = client.get(f"{address}/api/presets/", headers={"Origin": address})
            assert api.status_code == 503
            assert "try again" in api.json()["error"]["message"]
    finally:
        echo.supervisorctl("start", "suite:dashboard")
        echo.wait_for(lambda: client.get("/healthz").status_code == 200, "the dashboard", 60)


@pytest.mark.parametrize("host", ["evil", "evil.example", "127.0.0.1.evil.example"])
def test_a_foreign_host_name_is_turned_away(echo: RunningSuite, host: str) -> None:
    for port in echo.ports[:2]:
        answer = httpx.get(f"http://127.0.0.1:{port}/healthz", headers={"Host": host})
        assert answer.status_code == 421
        assert f"ALLOWED_HOSTS={host}" in answer.text
        assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "192.168.7.7", "[::1]", "suite.localhost"])
def test_its_own_names_are_welcome(echo: RunningSuite, host: str) -> None:
    answer = httpx.get(f"{echo.address}/healthz", headers={"Host": f"{host}:{echo.ports[0]}"})
    assert answer.status_code == 200


def test_sockets_of_other_origins_are_refused(echo: RunningSuite, client: httpx.Client) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    for port in echo.ports[:2]:
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"ws://127.0.0.1:{port}/ws", additional_headers={"Cookie": cookie}, origin=Origin(EVIL)),
        ):
            pass
        assert refused.value.response.status_code == 403


def test_a_socket_without_a_session_is_told_to_sign_in(echo: RunningSuite) -> None:
    with connect(f"ws://127.0.0.1:{echo.ports[0]}/ws", origin=Origin(echo.address)) as live:
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_only_nginx_listens_beyond_loopback(echo: RunningSuite) -> None:
    ours = set(echo.pids())
    addresses = [
        connection.laddr
        for connection in psutil.net_connections("inet")
        if connection.laddr and connection.status == psutil.CONN_LISTEN and connection.pid in ours
    ]
    assert {address.port for address in addresses if address.ip != "127.0.0.1"} == set(echo.ports[:2])


def test_guessing_is_slowed_down_and_nobody_is_locked_out(
    new_suite: Callable[..., RunningSuite],
) -> None:
    suite = new_suite().start()
    with httpx.Client(base_url=suite.address, headers={"Origin": suite.address}) as browser:
        answers = [
            browser.post("/login", data={"password": f"guess {n}"}, headers={"X-Forwarded-For": f"10.0.0.{n}"})
            for n in range(12)
        ]
        assert [answer.status_code for answer in answers].count(401) == 5
        assert {answer.status_code for answer in answers[5:]} == {429}
        right = browser.post("/login", data={"password": PASSWORD})
        assert right.status_code == 429


def test_without_a_login_a_banner_says_so(new_suite: Callable[..., RunningSuite]) -> None:
    suite = new_suite(AUTH="off").start()
    page = httpx.get(suite.address, headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "AUTH=off" in page.text
    assert httpx.post(f"{suite.address}/api/presets/SD15/install", headers={"Origin": EVIL}).status_code == 403


def test_a_cookie_over_https_is_bound_to_its_host(new_suite: Callable[..., RunningSuite]) -> None:
    suite = new_suite(TRUST_PROXY="on").start()
    headers = {"Origin": f"https://127.0.0.1:{suite.ports[0]}", "X-Forwarded-Proto": "https"}
    cookie = httpx.post(f"{suite.address}/login", data={"password": PASSWORD}, headers=headers).headers["set-cookie"]
    assert cookie.startswith(f"__Host-suite-{suite.ports[0]}=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


def test_on_runpod_a_ticket_takes_the_login_to_the_other_host_name(new_suite: Callable[..., RunningSuite]) -> None:
    suite = new_suite(RUNPOD_POD_ID="abc123").start()
    dashboard, comfyui = (f"abc123-{port}.proxy.runpod.net" for port in suite.ports[:2])
    https = {"X-Forwarded-Proto": "https"}
    with httpx.Client() as browser:
        headers = {"Host": dashboard, "Origin": f"https://{dashboard}", **https}
        signed_in = browser.post(f"{suite.address}/login", data={"password": PASSWORD}, headers=headers)
        cookie = signed_in.headers["set-cookie"].partition(";")[0]
        opened = browser.get(f"{suite.address}/open-comfyui", headers={"Host": dashboard, "Cookie": cookie, **https})
        target = opened.headers["location"]
        assert target.startswith(f"https://{comfyui}/_suite/enter?ticket=")
        path = target.removeprefix(f"https://{comfyui}")
        entered = browser.get(suite.comfyui_address + path, headers={"Host": comfyui, **https})
        assert entered.headers["location"] == "/"
        assert entered.headers["set-cookie"].startswith("__Host-suite-")
        again = browser.get(suite.comfyui_address + path, headers={"Host": comfyui, **https})
        assert again.headers["location"].startswith("/_suite/login")


def drain(live: ClientConnection) -> None:
    while True:
        live.recv(timeout=10)


def raw_request(port: int, method: str, path: str) -> tuple[int, str]:
    """(status, headers and body) of a request whose path no client library has tidied up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    text = answer.decode(errors="replace")
    return int(text.split(" ", 2)[1]), text


def _uid_of(suite: RunningSuite, program: str) -> int:
    return Path(f"/proc/{suite.pid_of(program)}").stat().st_uid
