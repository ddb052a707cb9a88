"""Every fault of the model host, and how a download from it has to end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from services import http_stream
from services.artifacts import Artifact
from services.downloads import transfer
from services.errors import DownloadFailed
from services.workspace import Workspace
from tests.fakes.model_host import ModelHost, TlsFault
from tests.services.downloads.scene import MIB, PATH, Watcher, artifact, fetcher_for, left_behind, model, target_of

# More than one segment.
SIZE = 12 * MIB
DATA = model(SIZE)
# So that lines have a moment to become several.
LINE_BYTES_PER_SECOND = 48.0 * MIB
# What a line had on its way when it ended, or another took over its end, is lost.
MEANWHILE_BYTES = MIB
STALL_SECONDS = 1.0

End = Literal["whole", "failed for good", "failed for now"]
Add = Callable[[ModelHost], str]


def behaving(**behaviour: Any) -> Add:
    return lambda host: host.add(PATH, DATA, **{"throttle": LINE_BYTES_PER_SECOND, **behaviour})


def signed(**limits: Any) -> Add:
    return lambda host: host.add_signed(PATH, DATA, **{"throttle": LINE_BYTES_PER_SECOND, **limits})


@dataclass(frozen=True)
class Fault:
    """`most`: how often the host may send the file in the end. `unseen`: without size and digest nobody can
    tell that the file is not what it should be."""

    add: Add
    end: End
    most: float
    unseen: bool = False


FAULTS = {
    "none": Fault(behaving(), "whole", 1),
    # Bodies that do not come whole
    "lines that break": Fault(behaving(break_after=MIB), "whole", 1.1),
    "every third line breaks at once": Fault(behaving(break_after=1000, break_every=3), "whole", 1.1),
    "lines that always break at once": Fault(behaving(break_after=0), "failed for now", 0),
    "a stall": Fault(behaving(stall_after=MIB, stalls=1), "whole", 1.1),
    "every second line stalls": Fault(behaving(stall_after=2 * MIB, stall_every=2), "whole", 1.3),
    "lines that never say anything": Fault(behaving(stall_after=0), "failed for now", 0),
    "lines that are closed after each answer": Fault(behaving(keep_alive=False), "whole", 1),
    "a late first byte": Fault(behaving(first_byte_seconds=0.3), "whole", 1),
    # Refusals
    "no such file": Fault(behaving(status=404), "failed for good", 0),
    "gone": Fault(behaving(status=410), "failed for good", 0),
    "a token is asked for": Fault(behaving(status=401), "failed for good", 0),
    "forbidden": Fault(behaving(status=403), "failed for good", 0),
    "too many requests, then enough": Fault(behaving(status=429, status_times=2, retry_after=0.2), "whole", 1),
    "too many requests for ever": Fault(behaving(status=429), "failed for now", 0),
    "unavailable, until a date": Fault(
        behaving(status=503, status_times=1, retry_after=1, retry_after_date=True), "whole", 1
    ),
    "broken for ever": Fault(behaving(status=500), "failed for now", 0),
    "every fourth request fails": Fault(behaving(status=502, status_every=4, break_after=MIB), "whole", 1.1),
    "two lines for each client": Fault(behaving(max_connections=2), "whole", 1),
    # Other places
    "a redirect to itself": Fault(behaving(redirect=PATH), "failed for good", 0),
    "redirects without end": Fault(behaving(endless_redirects=True), "failed for good", 0),
    "a login page": Fault(behaving(login=True), "failed for good", 0),
    "a page with status 200": Fault(behaving(page=True), "failed for good", 0),
    "links that are good for three requests": Fault(signed(uses=3, break_after=MIB), "whole", 1.1),
    "links that expire": Fault(signed(seconds=2.0, break_after=MIB, throttle=2 * MIB), "whole", 1.2),
    "links that were never good": Fault(signed(uses=0), "failed for good", 0),
    # Ranges, and what the headers say
    "no ranges": Fault(behaving(ranges=False), "whole", 1),
    "no ranges, and a break": Fault(behaving(ranges=False, break_after=5 * MIB, breaks=1), "whole", 1.5),
    "the whole file for a range": Fault(behaving(whole_every=1), "whole", 2),
    "the whole file for a range now and then": Fault(behaving(whole_every=3), "whole", 2),
    "another first byte": Fault(behaving(wrong_range="start"), "failed for now", 2),
    "another last byte": Fault(behaving(wrong_range="end"), "whole", 2),
    "another total": Fault(behaving(wrong_range="total"), "failed for good", 2),
    "no length": Fault(behaving(length=False), "whole", 1),
    "no length, and half the file": Fault(
        behaving(length=False, break_after=SIZE // 2, breaks=1), "whole", 2, unseen=True
    ),
    "a length that is too large": Fault(behaving(length_off=1000), "whole", 2),
    "a length that is too small": Fault(behaving(length_off=-1000), "failed for now", 2, unseen=True),
    "chunks": Fault(behaving(chunked=True), "whole", 1),
    "packed": Fault(behaving(gzip=True), "failed for good", 0),
    "no validator": Fault(behaving(etag="", break_after=MIB), "whole", 1.2),
    "a weak validator": Fault(behaving(etag='W/"weak"', break_after=MIB), "whole", 1.2),
    # The content
    "another version from the second answer on": Fault(behaving(change_after=1, break_after=MIB), "failed for good", 3),
    "wrong bytes": Fault(behaving(corrupt_at=5 * MIB), "failed for good", 1, unseen=True),
    "wrong first bytes": Fault(behaving(corrupt_at=0), "failed for good", 1),
}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(http_stream, "STALL_SECONDS", STALL_SECONDS)


def end_of(wanted: Artifact, workspace: Workspace) -> End:
    """How the download ended; what it left is as it should be after such an end."""
    try:
        fetcher_for(workspace, Watcher()).fetch(wanted)
    except DownloadFailed as failure:
        assert not target_of(workspace, wanted).exists()
        return "failed for good" if failure.permanent else "failed for now"
    assert left_behind(workspace) == [wanted.name]
    return "whole"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_host_with_a_fault_is_answered_rightly(fault: Fault, workspace: Workspace, model_host: ModelHost) -> None:
    wanted = artifact(fault.add(model_host), DATA)
    assert end_of(wanted, workspace) == fault.end
    if fault.end == "whole":
        assert target_of(workspace, wanted).read_bytes() == DATA
    assert sum(request.bytes_sent for request in model_host.requests) <= fault.most * SIZE + MEANWHILE_BYTES


SEEN = {name: fault for name, fault in FAULTS.items() if not fault.unseen}


@pytest.mark.parametrize("fault", SEEN.values(), ids=SEEN)
def test_a_fault_spoils_no_file_of_which_nothing_is_known(
    fault: Fault, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(fault.add(model_host), DATA, size_bytes=None, sha256=None)
    if end_of(wanted, workspace) == "whole":
        assert target_of(workspace, wanted).read_bytes() == DATA


@pytest.fixture
def tls_host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHost]:
    """A host with the fault of the parameter, whose authority is believed."""
    with ModelHost(tls=True, tls_fault=request.param) as host:
        monkeypatch.setenv("SSL_CERT_FILE", str(host.ca_file))
        http_stream._tls.cache_clear()
        yield host
    http_stream._tls.cache_clear()


@pytest.mark.parametrize(
    ("tls_host", "end"),
    [
        (None, "whole"),
        (TlsFault.EXPIRED, "failed for good"),
        (TlsFault.WRONG_NAME, "failed for good"),
        (TlsFault.SELF_SIGNED, "failed for good"),
        (TlsFault.HANG_UP, "failed for now"),
        (TlsFault.PLAIN_TEXT, "failed for now"),
    ],
    indirect=["tls_host"],
)
def test_a_host_with_a_fault_in_its_tls_is_answered_rightly(
    end: End, tls_host: ModelHost, workspace: Workspace
) -> None:
    wanted = artifact(tls_host.add(PATH, DATA), DATA)
    assert end_of(wanted, workspace) == end
    assert tls_host.bytes_sent(PATH) == (SIZE if end == "whole" else 0)
