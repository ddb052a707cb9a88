"""Who listens to what. One message is made once, whatever the number of listeners."""

import asyncio
from collections.abc import Iterable
from typing import Any, Literal, get_args

import msgspec

Channel = Literal["downloads", "outputs", "queue", "system"]
CHANNELS: frozenset[str] = frozenset(get_args(Channel))

_encoder = msgspec.json.Encoder()


def message(type_: str, data: Any) -> str:
    return _encoder.encode({"type": type_, "data": data}).decode()


class Listener:
    """One socket's mailbox. Of each thing it holds the newest message only, so a slow client costs no memory and is
    told the present state instead of every step to it."""

    def __init__(self, session: str | None) -> None:
        self.session = session
        self.channels: set[str] = set()
        self.closed = False
        self._mail: dict[str, str] = {}
        self._arrived = asyncio.Event()

    def put(self, key: str, text: str) -> None:
        # To the end, so that messages leave in the order in which they became true.
        self._mail.pop(key, None)
        self._mail[key] = text
        self._arrived.set()

    def close(self) -> None:
        """The session is over; `take` returns None from now on."""
        self.closed = True
        self._arrived.set()

    async def take(self) -> list[str] | None:
        """All that is in the mailbox, as soon as there is something."""
        await self._arrived.wait()
        if self.closed:
            return None
        self._arrived.clear()
        mail, self._mail = self._mail, {}
        return list(mail.values())


class Hub:
    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def is_heard(self, channel: Channel) -> bool:
        return any(channel in listener.channels for listener in self._listeners)

    def publish(self, channel: Channel, key: str, text: str) -> None:
        """`key` names the thing that `text` is the newest word on."""
        for listener in self._listeners:
            if channel in listener.channels:
                listener.put(key, text)

    def end_sessions(self, sessions: Iterable[str]) -> None:
        ended = set(sessions)
        for listener in self._listeners:
            if listener.session in ended:
                listener.close()
