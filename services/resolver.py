"""Addresses resolved to exact bytes: what the lock knows, and what the hosts say of the rest, asked side by side."""

import http.client
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from services import log
from services.artifacts import Artifact
from services.errors import DownloadFailed, InvalidRequest
from services.http_stream import Client
from services.lockfile import Fact, LockFile
from services.log import redact
from services.lookup import Described, look_up
from services.proxies import Proxies
from services.sources import Sources, Trouble
from services.sources.addresses import shown
from services.sources.hugging_face import pinned

__all__ = ["Described", "Fact", "Resolver", "Trouble", "locked"]

THREADS = 8
RESOLVE_SECONDS = 8.0
# A host may take this long for one file of a preset, whoever waits: an answer that never ends, each byte of it in time,
# would keep its thread for ever.
ANSWER_SECONDS = 30.0
# So long nobody is asked again what he could not say, nor a host that did not answer.
TROUBLE_SECONDS = 60.0
# Of what an error says of itself.
CAUSE_MAX = 120

_log = log.get("resolver")


class _Wanted(Struct, frozen=True):
    """`renew`: what the lock says is to be replaced."""

    url: str
    renew: bool


class Resolver:
    """Blocking, for any thread; its own ones end when there is nothing left to ask.

    `sources` gives the rules of this moment, tokens included: with another token everything is worth asking again.
    """

    def __init__(self, sources: Callable[[], Sources], proxies: Proxies, lock: LockFile) -> None:
        self._sources = sources
        self._proxies = proxies
        self._lock = lock
        self._saving = threading.Lock()
        # Guards all of the following, and tells who waits that something was answered.
        self._changed = threading.Condition()
        self._rules: Sources | None = None
        self._waiting: deque[_Wanted] = deque()
        self._asked: set[str] = set()
        self._threads = 0
        self._unsaved: list[tuple[_Wanted, Fact]] = []
        self._troubles: dict[str, tuple[float, Trouble]] = {}
        self._silent_hosts: dict[str, tuple[float, Trouble]] = {}

    def resolve(
        self, urls: Iterable[str], *, seconds: float = RESOLVE_SECONDS, refresh: bool = False
    ) -> dict[str, Fact | Trouble]:
        """A fact or a trouble for each of `urls`, after `seconds` and what the volume takes.

        From the lock, unless `refresh`. Who has not answered by then is unreachable for now; what he says later goes
        into the lock all the same.
        """
        wanted, known = tuple(dict.fromkeys(urls)), self._lock.all()
        missing = [url for url in wanted if refresh or url not in known]
        if not missing:
            return {url: known[url] for url in wanted}
        troubles = self._ask_and_wait(missing, time.monotonic() + seconds, refresh=refresh)
        self._save()
        known = self._lock.all()
        found: dict[str, Fact | Trouble] = {**known, **troubles} if refresh else {**troubles, **known}
        return {url: found.get(url) or _no_answer(url) for url in wanted}

    def known(self, urls: Iterable[str]) -> dict[str, Fact | Trouble]:
        """Those of `urls` that nobody would be asked for now."""
        facts = self._lock.all()
        with self._changed:
            if self._sources() != self._rules:
                return {url: facts[url] for url in urls if url in facts}
            _drop_old(self._troubles)
            found: dict[str, Fact | Trouble] = {url: trouble for url, (_, trouble) in self._troubles.items()}
            found |= facts
            return {url: found[url] for url in urls if url in found}

    def describe(self, url: str, *, seconds: float = RESOLVE_SECONDS) -> Described | Trouble:
        """What could be added as a model from `url`, which may be that of a page. Nothing is locked.

        The host may take `seconds` to answer, beside what it takes to reach it.
        """
        sources = self._sources()
        with Client(sources, self._proxies) as client:
            return _ask_host(client, sources, url, seconds)[0]

    def link(self, url: str) -> str:
        """The address of the file itself, also where `url` is that of its page. Raises InvalidRequest."""
        try:
            return self._sources().link(url)
        except DownloadFailed as failure:
            raise InvalidRequest(failure.message) from None

    def forget(self) -> None:
        """What could not be resolved is worth asking again."""
        with self._changed:
            self._troubles.clear()
            self._silent_hosts.clear()

    def _ask_and_wait(self, urls: list[str], until: float, *, refresh: bool) -> dict[str, Trouble]:
        """Those of `urls` that have no fact when all were asked, or at `until`."""
        rules = self._sources()
        with self._changed:
            if rules != self._rules:
                self.forget()
            self._rules = rules
            _drop_old(self._troubles)
            _drop_old(self._silent_hosts)
            # What was answered since the lock was looked into is not asked again.
            answered = {*self._troubles, *self._lock.all(), *(wanted.url for wanted, _ in self._unsaved)}
            self._enqueue([url for url in urls if refresh or url not in answered], renew=refresh)
            while self._is_open(urls) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            for url in urls:
                if url in self._asked:
                    # Also for the next one who asks, while this is still under way.
                    _remember(self._troubles, url, _no_answer(url))
            return {url: self._troubles[url][1] for url in urls if url in self._troubles}

    def _is_open(self, urls: list[str]) -> bool:
        return any(url in self._asked and url not in self._troubles for url in urls)

    def _enqueue(self, urls: list[str], *, renew: bool) -> None:
        for url in urls:
            self._troubles.pop(url, None)
            if renew:
                # Somebody wants to know it now.
                self._silent_hosts.pop(_host(url), None)
            if url not in self._asked:
                self._asked.add(url)
                self._waiting.append(_Wanted(url, renew))
        for _ in range(min(THREADS - self._threads, len(self._waiting))):
            self._threads += 1
            # A host that hangs must not keep the program from ending.
            threading.Thread(target=self._work, name="resolver", daemon=True).start()

    def _work(self) -> None:
        """One line to a host after the other, kept for its next file."""
        while (rules := self._rules_if_needed()) is not None:
            with Client(rules, self._proxies) as client:
                while not client.is_aborted and (wanted := self._next(rules)) is not None:
                    self._settle(wanted, *self._ask(client, rules, wanted.url))
        self._save()

    def _rules_if_needed(self) -> Sources | None:
        with self._changed:
            if self._waiting:
                return self._rules
            self._threads -= 1
            return None

    def _next(self, rules: Sources) -> _Wanted | None:
        """None also when other rules hold by now."""
        with self._changed:
            return self._waiting.popleft() if self._waiting and rules == self._rules else None

    def _ask(self, client: Client, rules: Sources, url: str) -> tuple[Described | Trouble, bool]:
        """(what came of it, whether the host has nothing to say at all for now)."""
        host = _host(url)
        with self._changed:
            silent = self._silent_hosts.get(host)
        if silent:
            return silent[1], True
        try:
            return _ask_host(client, rules, url, ANSWER_SECONDS)
        except Exception:  # noqa: BLE001 - a thread has nobody to raise to, and who waits is to be told something
            _log.exception("resolve_broke", url=shown(url))
            return Trouble("unreachable", f"{_host(url)}: something broke; the log has more"), False

    def _settle(self, wanted: _Wanted, found: Described | Trouble, is_silent: bool) -> None:
        url = wanted.url
        with self._changed:
            self._asked.discard(url)
            self._troubles.pop(url, None)
            if isinstance(found, Trouble):
                _remember(self._troubles, url, found)
                if is_silent and _host(url) not in self._silent_hosts:
                    _remember(self._silent_hosts, _host(url), found)
            else:
                fact = Fact(url, found.size_bytes, found.sha256, found.commit, found.etag, round(time.time(), 3))
                self._unsaved.append((wanted, fact))
            self._changed.notify_all()

    def _save(self) -> None:
        """When it returns, whatever was answered before is in the lock."""
        with self._saving:
            with self._changed:
                unsaved = tuple(self._unsaved)
            for renew in (False, True):
                if facts := [fact for wanted, fact in unsaved if wanted.renew == renew]:
                    self._lock.put(facts, renew=renew)
            with self._changed:
                del self._unsaved[: len(unsaved)]


def locked(artifact: Artifact, facts: Mapping[str, Fact | Trouble]) -> Artifact:
    """`artifact` as the lock has it: with the length and the digest that its preset does not name, and from the very
    commit that was locked; where the preset says, the file is still looked for if that commit is gone."""
    fact = facts.get(artifact.url)
    if not isinstance(fact, Fact) or (artifact.sha256 and fact.sha256 and artifact.sha256 != fact.sha256):
        # The host has another file by now than the preset means: its version is not the one to pin.
        return artifact
    known = replace(artifact, size_bytes=artifact.size_bytes or fact.size_bytes, sha256=artifact.sha256 or fact.sha256)
    address = pinned(artifact.url, fact.commit) if fact.commit else None
    return replace(known, url=address, mirrors=(artifact.url, *artifact.mirrors)) if address else known


def _ask_host(client: Client, sources: Sources, url: str, seconds: float) -> tuple[Described | Trouble, bool]:
    """(what came of it, whether the host has nothing to say at all for now)."""
    watch = threading.Timer(seconds, client.abort)
    watch.daemon = True
    watch.start()
    try:
        return look_up(client, sources, url), False
    except DownloadFailed as failure:
        # The name did not resolve; or the host takes no more requests.
        is_silent = not failure.permanent and failure.details.get("status") in {None, 429}
        return Trouble.of(failure), is_silent
    except (OSError, http.client.HTTPException) as error:
        _log.warning("host_unreachable", url=shown(url), error=f"{type(error).__name__}: {error}")
        text = f"{_host(url)} could not be reached ({cause_of(error)}): check the pod's network"
        return Trouble("unreachable", text), True
    finally:
        watch.cancel()


def cause_of(error: Exception) -> str:
    """The error's own words, as they may be shown; its kind where it has none."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    words = "".join(letter for letter in redact(" ".join(said.split())) if letter.isprintable())
    return words[:CAUSE_MAX] or type(error).__name__


def _no_answer(url: str) -> Trouble:
    return Trouble("unreachable", f"{_host(url)} has not answered yet: look again in a minute")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or shown(url)
    except ValueError:
        return shown(url)


def _remember(troubles: dict[str, tuple[float, Trouble]], key: str, trouble: Trouble) -> None:
    troubles[key] = (time.monotonic() + TROUBLE_SECONDS, trouble)


def _drop_old(troubles: dict[str, tuple[float, Trouble]]) -> None:
    now = time.monotonic()
    for key in [key for key, (until, _) in troubles.items() if until < now]:
        del troubles[key]
