from starlette.requests import Request

from dashboard.cached import CachedJson


def asked(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


def test_an_answer_is_made_once_per_version() -> None:
    cached, made = CachedJson(), []

    def make() -> list[int]:
        made.append(1)
        return made

    for version in ("a", "a", "b", "b", "a"):
        cached.answer(asked(), version, make)
    assert len(made) == 3


def test_an_equal_version_is_the_same_version() -> None:
    cached = CachedJson()
    cached.answer(asked(), (1, "x"), lambda: "first")
    assert cached.answer(asked(), (1, "x"), lambda: "second").body == b'"first"'


def test_who_has_the_newest_answer_is_sent_none() -> None:
    cached = CachedJson()
    tag = cached.answer(asked(), 1, lambda: [1]).headers["etag"]
    for known in (tag, f"W/{tag}"):
        again = cached.answer(asked(if_none_match=known), 1, lambda: [1])
        assert (again.status_code, again.body) == (304, b"")
        assert again.headers["etag"] == tag


def test_who_has_an_older_answer_is_sent_the_newest() -> None:
    cached = CachedJson()
    tag = cached.answer(asked(), 1, lambda: [1]).headers["etag"]
    answer = cached.answer(asked(if_none_match=tag), 2, lambda: [2])
    assert (answer.status_code, answer.body) == (200, b"[2]")


def test_answers_of_the_same_bytes_have_the_same_tag() -> None:
    cached = CachedJson()
    tags = {cached.answer(asked(), version, lambda: [1]).headers["etag"] for version in (1, 2)}
    assert len(tags) == 1
