"""The real ComfyUI with the pinned front end, on the CPU and a port of its own, on folders that are removed again."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provision.editor import static_folder
from tests.running import ROOT, free_ports, status_of

# Seven on a machine that has nothing else to do.
START_SECONDS = 180.0


@contextmanager
def running_comfyui(folder: Path | None = None, *flags: str) -> Iterator[str]:
    """Its address. `folder`: another ComfyUI than the one that make fetched; the same Python runs it."""
    source = folder or Path(os.environ["COMFYUI_DIR"])
    editor = static_folder(ROOT / ".build")
    assert editor.is_dir(), "run `make conversion-check` or `make test`: they fetch ComfyUI's front end"
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="conversion-", dir="/tmp") as base:
        (Path(base) / "custom_nodes").mkdir()
        command = [
            *(os.environ["COMFYUI_PYTHON"], str(source / "main.py"), "--cpu", "--disable-auto-launch"),
            *("--listen", "127.0.0.1", "--port", str(port), "--base-directory", base),
            *("--database-url", f"sqlite:///{base}/comfyui.db", "--front-end-root", str(editor), *flags),
        ]
        log = Path(base) / "comfyui.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, cwd=base, stdout=stream, stderr=subprocess.STDOUT)
        try:
            _wait(process, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while status_of(f"{address}/system_stats") != 200:
        output = log.read_text(errors="replace")[-3000:]
        assert process.poll() is None, f"ComfyUI ended with {process.returncode}:\n{output}"
        assert time.monotonic() < until, f"ComfyUI did not answer in {START_SECONDS:.0f} s:\n{output}"
        time.sleep(0.1)
