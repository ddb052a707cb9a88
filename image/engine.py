"""A Docker engine: the machine's own, or as root on Debian one of our own below `.build/engine/`.

Debian trixie's packages are unpacked there, the system's stay as they are. Our engine changes nothing about the
machine's network (no bridge, no iptables rules), so its builds and containers use the host's, or none.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
# program: the package of the machine's own release that brings it
NEEDED = {"runc": "runc", "iptables": "iptables"}
START_SECONDS = 30.0
STOP_SECONDS = 30.0
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class EngineError(Exception):
    """One sentence: what failed, and what to do."""


@dataclass(frozen=True)
class Engine:
    """`environment` is what `docker` needs; `network` what builds and containers are given, empty for Docker's own."""

    environment: Mapping[str, str]
    network: str = ""

    def docker(self, *arguments: str | Path, check: bool = True) -> str:
        """What `docker ARGUMENTS` prints. Raises EngineError with the end of what it said."""
        done = subprocess.run(
            ["docker", *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
            raise EngineError(f"docker {' '.join(map(str, arguments))} failed:\n{said}")
        return done.stdout.strip()

    def show(self, *arguments: str | Path) -> None:
        """Like docker(), with the output on the terminal."""
        command = ["docker", *map(str, arguments)]
        if code := subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL).returncode:
            raise EngineError(f"docker {arguments[0]} failed (exit status {code})")


class OwnEngine:
    """The one below `folder`; its images stay there when it is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "root" / "usr"
        self._socket = folder / "docker.sock"
        self._pid_file = folder / "docker.pid"

    def start(self) -> Engine:
        """Raises EngineError."""
        if os.geteuid() != 0:
            raise EngineError("no Docker answers here: install it, or run this as root for an engine of our own")
        self._install()
        engine = Engine(self._environment(), network="host")
        if not answers(engine):
            self._spawn()
        until = time.monotonic() + START_SECONDS
        while not answers(engine):
            if time.monotonic() > until:
                raise EngineError(f"our Docker engine did not start; {self._folder}/dockerd.log says why")
            time.sleep(0.2)
        return engine

    def stop(self) -> None:
        """Ends it, with all containers. Not running: nothing."""
        if not self._pid_file.exists():
            return
        pid = int(self._pid_file.read_text(encoding="utf-8"))
        until = time.monotonic() + STOP_SECONDS
        try:
            os.kill(pid, 15)
        except ProcessLookupError:
            return
        # The last thing it does.
        while self._pid_file.exists():
            if time.monotonic() > until:
                raise EngineError(f"our Docker engine (pid {pid}) does not end")
            time.sleep(0.2)
        # It leaves the network of the machine mounted there, and nobody could remove the folder.
        for left in (self._folder / "exec" / "netns").glob("*"):
            subprocess.run(["umount", "--quiet", left], check=False)

    def _environment(self) -> dict[str, str]:
        path = f"{self._programs}/bin:{self._programs}/sbin:{os.environ.get('PATH', os.defpath)}"
        config = self._folder / "config"
        return {**os.environ, "PATH": path, "DOCKER_HOST": f"unix://{self._socket}", "DOCKER_CONFIG": str(config)}

    def _spawn(self) -> None:
        with (self._folder / "dockerd.log").open("ab") as log:
            # As a child of nobody's: it outlives this program.
            subprocess.run(
                [
                    *("setsid", "--fork", self._programs / "sbin/dockerd"),
                    *("--host", f"unix://{self._socket}", "--pidfile", self._pid_file),
                    *("--data-root", self._folder / "data", "--exec-root", self._folder / "exec"),
                    *("--bridge=none", "--iptables=false", "--ip6tables=false"),
                ],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def _install(self) -> None:
        install_missing(NEEDED)
        if (self._folder / "config").exists():
            return
        debs = self._folder / "debs"
        shutil.rmtree(debs, ignore_errors=True)
        debs.mkdir(parents=True)
        environment = self._private_apt()
        _run("apt-get", "update", "-qq", environment=environment)
        _run("apt-get", "-o", "APT::Sandbox::User=root", "download", *PACKAGES, environment=environment, cwd=debs)
        for deb in debs.iterdir():
            _run("dpkg", "-x", str(deb), str(self._folder / "root"))
        shutil.rmtree(debs)
        plugins = self._folder / "config" / "cli-plugins"
        plugins.mkdir(parents=True)
        for plugin in (self._programs / "libexec/docker/cli-plugins").iterdir():
            (plugins / plugin.name).symlink_to(plugin)

    def _private_apt(self) -> dict[str, str]:
        """An apt that knows trixie and nothing that is installed here; the machine's own mirror."""
        apt = self._folder / "apt"
        for name in ("lists/partial", "cache/archives/partial"):
            (apt / name).mkdir(parents=True, exist_ok=True)
        (apt / "status").touch()
        (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} trixie main\n", encoding="utf-8")
        (apt / "apt.conf").write_text(
            f'Dir::Etc::SourceList "{apt}/sources.list";\nDir::Etc::SourceParts "/dev/null";\n'
            f'Dir::State::Lists "{apt}/lists";\nDir::State::status "{apt}/status";\nDir::Cache "{apt}/cache";\n',
            encoding="utf-8",
        )
        return {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}


def find(folder: Path) -> Engine:
    """The machine's engine if one answers, else our own. Raises EngineError."""
    machine = Engine(dict(os.environ))
    if shutil.which("docker") and answers(machine):
        return machine
    return OwnEngine(folder).start()


def install_missing(programs: Mapping[str, str]) -> None:
    """`programs`: name -> Debian's package. Raises EngineError."""
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing and os.geteuid() != 0:
        raise EngineError(f"as root these would be installed: {' '.join(missing)}; install them, or run this as root")
    if missing:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing)


def answers(engine: Engine) -> bool:
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return not subprocess.run(command, env=engine.environment, capture_output=True, timeout=20).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def _mirror() -> str:
    """Where this machine gets its Debian packages from. Raises EngineError."""
    for file in (*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")):
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            for word in line.split():
                if word.startswith(("http://", "https://")) and line.startswith(("URIs:", "deb ")):
                    return word
    raise EngineError("no Docker answers here, and this is no Debian to take one from: install Docker")


def _run(*command: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise EngineError(f"{' '.join(command)} failed:\n{said}")
