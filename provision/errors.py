"""What can go wrong during set-up, and the sentence that says what to do about it.

SetupError            the sentence the user reads
├── AdvisoriesFound   a locked package has one
├── CommandError      a program that set-up started failed
├── NotAudited        nobody knows, for some of the locked packages
└── StoppedError      Ctrl-C, or another step failed
"""

import re
from pathlib import Path

NO_NETWORK = re.compile(
    r"Temporary failure (in name resolution|resolving)|Name or service not known|Could not resolve host|"
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|timed out|Connection refused|"
    r"Network is unreachable|Could not connect to|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH"
)
DISK_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded|don't have enough free space")
BAD_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|SELF_SIGNED_CERT|UNABLE_TO_(GET_ISSUER|VERIFY)")
BAD_HASH = re.compile(r"DO NOT MATCH THE HASHES|EINTEGRITY")
LAST_ERROR = re.compile(r"^(?:npm (?:error|ERR!)|E:|ERROR:|error:|fatal:|\w*Error:).*", re.MULTILINE)


class SetupError(Exception):
    """One sentence: what failed, and what to do."""

    exit_status = 1


class AdvisoriesFound(SetupError):
    """One line for each."""


class NotAudited(SetupError):
    """An advisory service was out of reach, or did not know all packages."""

    exit_status = 3


class StoppedError(SetupError):
    """The step was told to end."""


class CommandError(SetupError):
    """`what` is the step in the user's words, `output` all the program said, kept in `log`."""

    def __init__(self, what: str, output: str, log: Path) -> None:
        self.output = output
        super().__init__(f"{what} failed: {cause(output)} (the whole output is in {log})")


def cause(output: str) -> str:
    """The reason and the remedy that a program's output points at; its last error line where it points at none."""
    if DISK_FULL.search(output):
        return "the disk is full; free some space and run this again"
    if BAD_CERTIFICATE.search(output):
        return (
            "the registry's certificate is not trusted; behind an inspecting proxy, "
            "point PIP_CERT and NODE_EXTRA_CA_CERTS at its certificate"
        )
    if BAD_HASH.search(output):
        return "a download is not the file that was pinned; run this again, and change the mirror if it stays"
    if NO_NETWORK.search(output):
        return "the network or the registry is out of reach; check the connection (or HTTPS_PROXY) and run this again"
    errors = LAST_ERROR.findall(output)
    lines = [line for line in output.splitlines() if line.strip()]
    return (errors or lines or ["it said nothing"])[-1].strip().rstrip(".")
