"""The hosts, each in processes of its own, and what they cost the machine that they share with the clients."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fakes.model_host.tls import authority
from tests.running import ROOT, free_ports

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Host:
    """`urls`: by the files' names, on 127.0.0.1."""

    port: int
    urls: dict[str, str]
    pid: int

    @property
    def other_name(self) -> str:
        """huggingface_hub takes no redirect to the host it asked for one to the store."""
        return f"http://localhost:{self.port}"

    def cpu_seconds(self) -> float:
        """Of all its processes until now."""
        first = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (first, *first.children(recursive=True))]
        return sum(time.user + time.system for time in times)


@contextlib.contextmanager
def model_host(folder: Path, *options: str) -> Iterator[Host]:
    """The tests' host with every file of `folder`; `options` as on its command line."""
    port = free_ports(1)[0]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    command = [sys.executable, "-m", "tests.fakes.model_host", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        urls = {name: process.stdout.readline().strip() for name in names}
        assert all(urls.values()), "the host did not start"
        yield Host(port, urls, process.pid)
    finally:
        _stop(process)


@contextlib.contextmanager
def nginx_with_tls(folder: Path, work: Path) -> Iterator[Host]:
    """The files of `folder` as fast as they go, to whoever trusts `authority().file`. `work`: for its own files."""
    port = free_ports(1)[0]
    certificate = authority().certificate(("localhost", "127.0.0.1"))
    user = "user root;" if os.geteuid() == 0 else ""
    log = work / "nginx.log"
    (work / "nginx.conf").write_text(
        f"{user} daemon off; pid {work}/nginx.pid; error_log {log}; worker_processes auto; events {{}}\n"
        f"http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port} ssl; root {folder};\n"
        f"ssl_certificate {certificate}; ssl_certificate_key {certificate}; }} }}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(["nginx", "-e", str(log), "-c", str(work / "nginx.conf")])
    try:
        _wait_until_it_listens(process, port)
        urls = {path.name: f"https://127.0.0.1:{port}/{path.name}" for path in folder.iterdir()}
        yield Host(port, urls, process.pid)
    finally:
        _stop(process)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + STOP_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "nginx did not start"
            assert time.monotonic() < until, "nginx does not listen"
            time.sleep(0.05)
        else:
            return


def _stop(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
