import asyncio

import pytest

from dashboard.live.hub import Hub, Listener, message


def listener(hub: Hub, *channels: str, session: str | None = None) -> Listener:
    joined = Listener(session)
    joined.channels.update(channels)
    hub.join(joined)
    return joined


async def test_a_message_reaches_those_who_listen_to_its_channel_only() -> None:
    hub = Hub()
    hears, deaf = listener(hub, "system", "queue"), listener(hub, "downloads")
    hub.publish("system", "system", "news")
    assert await hears.take() == ["news"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(deaf.take(), 0.05)


async def test_who_left_hears_nothing_more() -> None:
    hub = Hub()
    gone = listener(hub, "system")
    hub.leave(gone)
    hub.publish("system", "system", "news")
    assert len(hub) == 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gone.take(), 0.05)


async def test_a_slow_listener_gets_the_newest_word_on_each_thing() -> None:
    hub = Hub()
    slow = listener(hub, "downloads")
    for number in range(1000):
        hub.publish("downloads", f"download:{number % 2}", str(number))
    assert await slow.take() == ["998", "999"]


async def test_messages_leave_in_the_order_in_which_they_became_true() -> None:
    hub = Hub()
    slow = listener(hub, "queue")
    for key, text in (("a", "a1"), ("b", "b1"), ("a", "a2")):
        hub.publish("queue", key, text)
    assert await slow.take() == ["b1", "a2"]


async def test_what_was_taken_is_not_given_again() -> None:
    hub = Hub()
    one = listener(hub, "queue")
    hub.publish("queue", "a", "first")
    await one.take()
    hub.publish("queue", "a", "second")
    assert await one.take() == ["second"]


async def test_who_waits_is_woken_by_a_message() -> None:
    hub = Hub()
    one = listener(hub, "queue")
    waiting = asyncio.create_task(one.take())
    await asyncio.sleep(0)
    hub.publish("queue", "a", "news")
    assert await waiting == ["news"]


async def test_a_session_that_ends_closes_its_listeners_only() -> None:
    hub = Hub()
    ended, other, nobody = (listener(hub, "system", session=session) for session in ("one", "two", None))
    hub.end_sessions(["one"])
    hub.publish("system", "system", "news")
    assert await ended.take() is None
    assert await other.take() == ["news"]
    assert await nobody.take() == ["news"]


def test_a_channel_is_heard_while_someone_listens_to_it() -> None:
    hub = Hub()
    one = listener(hub, "system")
    assert hub.is_heard("system")
    assert not hub.is_heard("queue")
    hub.leave(one)
    assert not hub.is_heard("system")


def test_a_message_says_its_type() -> None:
    assert message("snapshot", {"channel": "queue"}) == '{"type":"snapshot","data":{"channel":"queue"}}'
