import email.utils
import time
from collections.abc import Callable

import pytest

from services.downloads.offer import RETRY_AFTER_MAX_SECONDS, Offer, read_offer
from services.errors import DownloadFailed
from services.http_stream import Client
from tests.services.downloads.scene import SOURCES
from tests.services.raw_host import RawHost, answer

MakeHost = Callable[..., RawHost]


def offer_of(host: RawHost) -> Offer:
    with Client(SOURCES) as client:
        return read_offer(client.get(host.url("/a"), {}), SOURCES)


def part(content_range: str, **headers: str) -> bytes:
    return answer(b"12345", "206 Partial Content", Content_Length="5", Content_Range=content_range, **headers)


def test_a_whole_file_starts_at_its_first_byte(raw_host: MakeHost) -> None:
    host = raw_host(answer(b"12345", Content_Length="5", ETag='"one"', Accept_Ranges="bytes"))
    assert offer_of(host) == Offer("whole", 0, 5, '"one"', takes_ranges=True)


def test_a_host_that_says_nothing_of_ranges_may_not_know_them(raw_host: MakeHost) -> None:
    assert not offer_of(raw_host(answer(b"12345", Content_Length="5"))).takes_ranges


def test_a_host_that_refuses_ranges_does_not_take_them(raw_host: MakeHost) -> None:
    assert not offer_of(raw_host(answer(b"12345", Content_Length="5", Accept_Ranges="none"))).takes_ranges


def test_a_whole_file_may_have_no_length(raw_host: MakeHost) -> None:
    assert offer_of(raw_host(answer(b"12345", Connection="close"))).total is None


def test_a_part_says_where_it_starts_and_how_long_the_file_is(raw_host: MakeHost) -> None:
    assert offer_of(raw_host(part("bytes 5-9/10"))) == Offer("part", 5, 10, None, takes_ranges=True)


def test_a_part_may_not_know_the_files_length(raw_host: MakeHost) -> None:
    offer = offer_of(raw_host(part("bytes 5-9/*")))
    assert (offer.kind, offer.start, offer.total) == ("part", 5, None)


@pytest.mark.parametrize(
    "content_range",
    ["", "nonsense", "items 5-9/10", "bytes */10", "bytes -5/10", "bytes x-9/10", f"bytes {'9' * 25}-9/10"],
)
def test_a_part_that_does_not_say_where_it_starts_is_none(content_range: str, raw_host: MakeHost) -> None:
    assert offer_of(raw_host(part(content_range))).kind == "other"


def test_a_range_that_does_not_exist_is_another_file(raw_host: MakeHost) -> None:
    host = raw_host(answer(b"", "416 Range Not Satisfiable", Content_Length="0", Content_Range="bytes */10"))
    offer = offer_of(host)
    assert (offer.kind, offer.total) == ("other", 10)


def test_a_weak_validator_is_none(raw_host: MakeHost) -> None:
    assert offer_of(raw_host(answer(b"12345", Content_Length="5", ETag='W/"one"'))).etag is None


@pytest.mark.parametrize(
    ("status", "permanent"),
    [("401 x", True), ("404 x", True), ("410 x", True), ("429 x", False), ("500 x", False), ("503 x", False)],
)
def test_a_refusal_is_a_failure(status: str, permanent: bool, raw_host: MakeHost) -> None:
    with pytest.raises(DownloadFailed) as caught:
        offer_of(raw_host(answer(b"no", status, Content_Length="2")))
    assert caught.value.permanent is permanent
    assert "retry_after_seconds" not in caught.value.details


@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("100000", RETRY_AFTER_MAX_SECONDS)])
def test_a_host_may_say_when_to_come_back(said: str, seconds: int, raw_host: MakeHost) -> None:
    with pytest.raises(DownloadFailed) as caught:
        offer_of(raw_host(answer(b"", "503 x", Content_Length="0", Retry_After=said)))
    assert caught.value.details["retry_after_seconds"] == seconds


def test_a_host_may_say_the_time_to_come_back(raw_host: MakeHost) -> None:
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    with pytest.raises(DownloadFailed) as caught:
        offer_of(raw_host(answer(b"", "429 x", Content_Length="0", Retry_After=date)))
    assert 15 < caught.value.details["retry_after_seconds"] <= 20


@pytest.mark.parametrize("said", ["0", "-5", "soon", "\xb2", "9" * 5000, "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_time_that_makes_no_sense_or_is_over_is_none(said: str, raw_host: MakeHost) -> None:
    with pytest.raises(DownloadFailed) as caught:
        offer_of(raw_host(answer(b"", "503 x", Content_Length="0", Retry_After=said)))
    assert "retry_after_seconds" not in caught.value.details


def test_a_refusal_whose_explanation_never_comes_is_one_all_the_same(raw_host: MakeHost) -> None:
    with pytest.raises(DownloadFailed, match="HTTP 403"):
        offer_of(raw_host(answer(b"half", "403 Forbidden", Content_Length="1000")))


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json"])
@pytest.mark.parametrize("status", ["200 OK", "206 Partial Content"])
def test_a_page_is_no_file(kind: str, status: str, raw_host: MakeHost) -> None:
    page = answer(b"12345", status, Content_Length="5", Content_Type=kind, Content_Range="bytes 0-4/5")
    with pytest.raises(DownloadFailed, match="a page") as caught:
        offer_of(raw_host(page))
    assert caught.value.permanent


def test_a_packed_file_is_refused(raw_host: MakeHost) -> None:
    with pytest.raises(DownloadFailed, match="gzip") as caught:
        offer_of(raw_host(answer(b"12345", Content_Length="5", Content_Encoding="gzip")))
    assert caught.value.permanent


def test_a_file_that_says_that_it_is_not_packed_is_taken(raw_host: MakeHost) -> None:
    assert offer_of(raw_host(answer(b"12345", Content_Length="5", Content_Encoding=" Identity "))).kind == "whole"


@pytest.mark.parametrize("length", ["9" * 400, str(2**53 + 1)])
def test_a_length_that_no_file_has_is_refused(length: str, raw_host: MakeHost) -> None:
    with pytest.raises(DownloadFailed, match="more bytes than any file has") as refused:
        offer_of(raw_host(answer(b"12345", Content_Length=length)))
    assert refused.value.permanent
