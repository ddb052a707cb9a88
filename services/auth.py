"""Who may come in: sessions, API tokens, and the brake on guessing.

Sessions live in memory and in a 0600 file beside the sockets, so that neither a lost Redis nor a restarted dashboard
signs anyone out; a changed password signs everyone out. What is stored of a session or a token is its SHA-256: reading
the file gives no way in. They are random and 256 bits long, so a slow hash would only slow the right answer.
"""

import hashlib
import hmac
import math
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from services import log
from services.errors import NotEnoughSpace, NotFound, SuiteError
from services.workspace import write_atomic

IDLE_SECONDS = 12 * 3600
LIFETIME_SECONDS = 7 * 24 * 3600
# How stale the stored "last seen" may be, so that not every request writes.
SEEN_SECONDS = 300

TRIES = 5
PAUSE_SECONDS = 60.0
TRIES_OF_EVERYONE = 50

T = TypeVar("T")

_log = log.get("auth")


class TooManyAttempts(SuiteError):
    type = "too_many_attempts"

    def __init__(self, retry_after_seconds: float) -> None:
        # Rounded up: who comes back when told must not be told again.
        seconds = max(1, math.ceil(retry_after_seconds))
        super().__init__(f"too many wrong passwords: try again in {seconds} s", {"retry_after_seconds": seconds})
        self.retry_after_seconds = seconds


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _keyed_digest(secret: str, salt: str) -> str:
    return hmac.new(salt.encode(), secret.encode(), "sha256").hexdigest()


def _read(file: Path, kind: type[T], empty: T) -> T:
    """What `file` holds; `empty`, and a line in the log, when nobody can make sense of it. Raises OSError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return empty
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.error("file_unreadable", file=str(file), error=str(error))
        return empty


class Session(Struct):
    digest: str
    created_at: float
    seen_at: float


class _StoredSessions(Struct, frozen=True):
    """`password`: a digest of the one they were started with, keyed with `salt`."""

    salt: str
    password: str
    sessions: list[Session]


class Sessions:
    """Signed-in browsers. The cookie holds the id, this holds its digest. Safe to share between threads.

    They end with the `password` they were started with.
    """

    def __init__(self, file: Path, password: str, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        # Random, so that the digest is good for nothing elsewhere; the password itself lies beside it, as well kept.
        self._salt = secrets.token_hex(16)
        self._password = _keyed_digest(password, self._salt)
        stored = _read(file, _StoredSessions, _StoredSessions("", "", []))
        if stored.password == _keyed_digest(password, stored.salt):
            self._sessions = {session.digest: session for session in stored.sessions}
        elif stored.sessions:
            self._try_to_save()

    def start(self) -> str:
        """The id of a new session."""
        id_ = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._sessions[digest(id_)] = Session(digest(id_), now, now)
            self._try_to_save()
        return id_

    def is_valid(self, id_: str) -> bool:
        with self._lock:
            session = self._sessions.get(digest(id_))
            if session is None or not self._is_live(session):
                self._sessions.pop(digest(id_), None)
                return False
            if self._clock() - session.seen_at > SEEN_SECONDS:
                session.seen_at = self._clock()
                self._try_to_save()
            return True

    def end(self, id_: str) -> None:
        """Raises NotEnoughSpace, OSError when a restart would bring the session back."""
        with self._lock:
            if self._sessions.pop(digest(id_), None):
                self._save()

    def _is_live(self, session: Session) -> bool:
        # A clock that was set back must not sign anyone out, nor keep anyone in for longer than the lifetime.
        idle, age = self._clock() - session.seen_at, self._clock() - session.created_at
        return idle < IDLE_SECONDS and -LIFETIME_SECONDS < age < LIFETIME_SECONDS

    def _save(self) -> None:
        self._sessions = {key: session for key, session in self._sessions.items() if self._is_live(session)}
        stored = _StoredSessions(self._salt, self._password, list(self._sessions.values()))
        write_atomic(self._file, msgspec.json.encode(stored), mode=0o600)

    def _try_to_save(self) -> None:
        """A full disk must not keep its owner out: what is not written is only lost with the dashboard's process."""
        try:
            self._save()
        except (NotEnoughSpace, OSError) as error:
            _log.error("sessions_not_saved", file=str(self._file), error=str(error))


class Token(Struct, frozen=True):
    """An API token as it is kept and listed; the token itself is shown once, when it is made."""

    id: str
    name: str
    created_at: float
    digest: str


class Tokens:
    """API tokens, on the volume: they outlive the container. Blocking where it reads and writes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = {}

    def load(self) -> None:
        """Raises OSError."""
        self._tokens = {token.id: token for token in _read(self._file, list[Token], [])}

    def all(self) -> list[Token]:
        return sorted(self._tokens.values(), key=lambda token: token.created_at)

    def create(self, name: str) -> tuple[Token, str]:
        """(the record, the token itself). Raises NotEnoughSpace, OSError."""
        secret = secrets.token_urlsafe(32)
        token = Token(secrets.token_hex(6), name, time.time(), digest(secret))
        with self._lock:
            # What lies there counts: it may not have been read yet, or another pod on the volume has added to it.
            self.load()
            self._store({**self._tokens, token.id: token})
        return token, secret

    def revoke(self, id_: str) -> None:
        """Raises NotFound, NotEnoughSpace, OSError."""
        with self._lock:
            self.load()
            if id_ not in self._tokens:
                raise NotFound(f"there is no token '{id_[:40]}'")
            self._store({key: token for key, token in self._tokens.items() if key != id_})

    def is_valid(self, secret: str) -> bool:
        wanted = digest(secret)
        return any(hmac.compare_digest(token.digest, wanted) for token in self._tokens.values())

    def _store(self, tokens: dict[str, Token]) -> None:
        write_atomic(self._file, msgspec.json.encode(list(tokens.values())), mode=0o600)
        self._tokens = tokens


class Brake:
    """Slows guessing down: so many wrong tries a minute, per address and in all. Nobody is locked out for good."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When the wrong tries were, by address; None: everyone's.
        self._wrong: dict[str | None, list[float]] = {}

    def check(self, address: str) -> None:
        """Raises TooManyAttempts."""
        for key, tries in ((address, TRIES), (None, TRIES_OF_EVERYONE)):
            recent = self._recent(key)
            if len(recent) >= tries:
                # With the oldest that counts a try becomes free.
                raise TooManyAttempts(PAUSE_SECONDS - (self._clock() - recent[-tries]))

    def wrong(self, address: str) -> int:
        """Notes a wrong try; how many are left before the pause."""
        self._wrong = {key: recent for key in self._wrong if (recent := self._recent(key))}
        for key in (address, None):
            self._wrong.setdefault(key, []).append(self._clock())
        return max(TRIES - len(self._wrong[address]), 0)

    def right(self, address: str) -> None:
        self._wrong.pop(address, None)

    def _recent(self, key: str | None) -> list[float]:
        return [at for at in self._wrong.get(key, []) if self._clock() - at < PAUSE_SECONDS]


def is_same_origin(origin: str | None, fetch_site: str | None, host: str) -> bool:
    """Whether a browser's request comes from a page of `host` itself.

    `Sec-Fetch-Site` is the browser's own word where it is sent (https and localhost); `Origin` has to do elsewhere.
    Other pods under the same provider's domain are `same-site`, which is not enough.
    """
    if fetch_site is not None:
        return fetch_site == "same-origin"
    # Compared as a whole (RFC 6454, 6.2: scheme, host and port, nothing else): what is not parsed cannot be misread.
    return origin is not None and origin.lower() in {f"{scheme}://{host.lower()}" for scheme in ("https", "http")}
