"""ComfyUI's own example picture, for an input folder without files: a newcomer's first workflow loads it."""

from pathlib import Path

from bootstrap.deadline import TimedOut, run_within
from bootstrap.users import User, as_user
from services.errors import SuiteError
from services.workspace import write_atomic

DEADLINE_SECONDS = 3.0
NAME = "example.png"


def put_into(input_dir: Path, comfyui_dir: Path, writer: User | None) -> str:
    """Says what the problem is; nothing when there is none."""

    def work() -> bytes:
        picture = comfyui_dir / "input" / NAME
        try:
            if picture.is_file() and not any(entry.is_file() for entry in input_dir.iterdir()):
                write_atomic(input_dir / NAME, picture.read_bytes(), mode=0o664)
        except (OSError, SuiteError) as error:
            return str(error).encode()
        return b""

    try:
        return run_within(DEADLINE_SECONDS, as_user(writer, work)).decode()
    except (TimedOut, OSError) as error:
        return str(error)
