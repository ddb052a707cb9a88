"""`python3 -m provision COMMAND`: see provision/program.py. Holds nothing that an older Python cannot read."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the Python that the user has is not one that pyproject.toml asks for
    sys.exit(
        f"set-up    Python {sys.version_info[0]}.{sys.version_info[1]} is too old, 3.11 is needed: "
        "install a newer one, or name it: make PYTHON=/path/to/python3"
    )

from provision.program import main

sys.exit(main(sys.argv[1:]))
