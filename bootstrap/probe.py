"""`python -m bootstrap.probe`: examines the workspace and prints what it found, as JSON.

The dashboard runs it again and again, in a process that may hang in its stead.
"""

import sys

import msgspec

from services import settings, volume


def main() -> int:
    config = settings.from_environment()
    sys.stdout.buffer.write(msgspec.json.encode(volume.examine(config.workspace)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
