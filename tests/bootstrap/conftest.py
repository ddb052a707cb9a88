"""The suite without users of its own, in folders short enough for sockets."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap import programs, users
from bootstrap.users import Users
from services.settings import Settings, load
from tests.running import free_ports
from tests.services.conftest import faulty_volume, full_folder

__all__ = ["faulty_volume", "full_folder"]

# What a test mounts there nobody else sees. In a chroot the root is no mount point, and cannot be made private; whoever
# made the chroot has done it.
IN_A_NAMESPACE = [
    "unshare",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    "--mount",
    "--propagation=unchanged",
]
PRIVATE_MOUNTS = "mount --make-rprivate / 2>/dev/null || true; "

MakeSettings = Callable[..., Settings]


@pytest.fixture
def nobody() -> Users:
    """Everything runs as whoever runs the tests."""
    return Users(None, None, None, ())


@pytest.fixture
def real_users(make_settings: MakeSettings) -> Users:
    """Started as root: the suite's own users. Otherwise everything runs as whoever runs the tests."""
    found = users.find(make_settings(), Path(sys.executable))
    assert found.suite is not None or os.geteuid() != 0, found.missing
    return found


@pytest.fixture
def make_settings(open_folder: Path) -> MakeSettings:
    """Settings with folders and ports that are free, and whatever else is given."""
    ports = free_ports(3)
    names = ("DASHBOARD_PORT", "COMFYUI_PORT", "COMFYUI_LOOPBACK_PORT")
    folders = {"WORKSPACE": str(open_folder / "workspace"), "STATE_DIR": str(open_folder / "state")}

    def make(**environ: str) -> Settings:
        return load({**folders, **{name: str(port) for name, port in zip(names, ports, strict=True)}, **environ})

    return make


@pytest.fixture
def config(make_settings: MakeSettings, nobody: Users) -> Settings:
    """With the container's own folders made."""
    made = make_settings()
    programs.prepare_state(made, nobody)
    return made
