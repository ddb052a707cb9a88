from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services import hub_accounts
from services.credentials import HUBS, Credentials, Hub
from services.hub_accounts import Credential, HubAccounts
from services.proxies import Proxies
from services.settings import Secret, Settings, load
from services.workspace import Workspace
from tests.fakes.internet import Internet
from tests.services.raw_host import RawHost

MakeHost = Callable[..., RawHost]
PATHS: dict[Hub, str] = {"huggingface": "/api/whoami-v2", "civitai": "/api/v1/me"}


@pytest.fixture
def plain(workspace: Workspace) -> Settings:
    return replace(load({"DOWNLOAD_PRIVATE_HOSTS": "on"}), workspace=workspace.root)


def accounts(settings: Settings, proxies: Proxies) -> HubAccounts:
    return HubAccounts(settings, Credentials(settings, Workspace(settings.workspace)), proxies)


@pytest.mark.parametrize("hub", HUBS)
def test_a_token_is_known_by_its_account(hub: Hub, plain: Settings, internet: Internet) -> None:
    checked = accounts(plain, internet.proxies).check(hub, Secret("knows"))
    assert (checked.state, checked.account) == ("valid", "someone")
    assert internet.asked() == [PATHS[hub]]


@pytest.mark.parametrize("hub", HUBS)
def test_a_token_that_the_hub_does_not_know_is_refused(hub: Hub, plain: Settings, internet: Internet) -> None:
    checked = accounts(plain, internet.proxies).check(hub, Secret("canary"))
    assert (checked.state, checked.account) == ("refused", None)
    assert "copy it anew" in checked.message
    assert "canary" not in checked.message


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize(
    "behaviour",
    [
        {"status": 503},
        {"status": 429},
        {"status": 403},
        {"status": 200, "body": b"<html>"},
        {"status": 200, "body": b"{}"},
        {"status": 200, "body": b"[" * 60_000},
        {"redirect": "https://models.example/login", "status": None},
    ],
)
def test_a_hub_that_says_something_else_has_not_checked_it(
    behaviour: dict[str, Any], hub: Hub, plain: Settings, internet: Internet
) -> None:
    internet.hub.behave(PATHS[hub], **behaviour)
    checked = accounts(plain, internet.proxies).check(hub, Secret("knows"))
    assert checked.state == "not_checked"
    assert "check again later" in checked.message


def test_no_other_host_sees_the_token(plain: Settings, internet: Internet) -> None:
    internet.hub.behave("/api/v1/me", redirect="https://models.example/api/v1/me2")
    accounts(plain, internet.proxies).check("civitai", Secret("knows"))
    sent = [request.headers.get("authorization") for request in internet.hub.requests]
    assert sent == ["Bearer knows", None]


def test_the_hubs_do_not_see_each_others_tokens(plain: Settings, internet: Internet) -> None:
    asked = accounts(replace(plain, hf_token=Secret("knows")), internet.proxies)
    assert asked.check("civitai", Secret("other")).state == "refused"
    assert [request.token for request in internet.hub.requests] == ["other"]


def test_a_hub_that_is_away_has_not_checked_it(plain: Settings) -> None:
    with Internet(dead=("huggingface.co",)) as away:
        checked = accounts(plain, away.proxies).check("huggingface", Secret("canary"))
    assert checked.state == "not_checked"
    assert "could not be reached" in checked.message


def test_a_hub_that_hangs_is_not_waited_for(
    plain: Settings, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_accounts, "CHECK_SECONDS", 0.5)
    internet.hub.behave("/api/v1/me", first_byte_seconds=60.0)
    checked = accounts(plain, internet.proxies).check("civitai", Secret("knows"))
    assert (checked.state, "did not answer" in checked.message) == ("not_checked", True)


def test_a_mirror_is_asked_in_the_hubs_place(plain: Settings, internet: Internet) -> None:
    mirror = f"https://127.0.0.1:{internet.hub.port}"
    checked = accounts(replace(plain, hf_endpoint=mirror), internet.proxies).check("huggingface", Secret("knows"))
    assert (checked.state, checked.account) == ("valid", "someone")
    assert b"CONNECT 127.0.0.1:" in internet.proxy.heads[0]


def test_a_mirror_without_tls_never_sees_the_token(plain: Settings, raw_host: MakeHost) -> None:
    host = raw_host(b"")
    mirrored = replace(plain, hf_endpoint=host.url(""))
    checked = accounts(mirrored, Proxies(None, None)).check("huggingface", Secret("canary"))
    assert (checked.state, "does not speak https" in checked.message) == ("not_checked", True)
    assert host.requests == []


def test_what_was_heard_is_told_without_asking_again(plain: Settings, internet: Internet) -> None:
    given = replace(plain, civitai_token=Secret("knows"))
    known = accounts(given, internet.proxies)
    assert known.credential("civitai") == Credential("civitai", True, "environment", "not_checked", None, "")
    known.remember("civitai", Secret("knows"), known.check("civitai", Secret("knows")))
    assert known.credential("civitai") == Credential("civitai", True, "environment", "valid", "someone", "")
    assert len(internet.hub.requests) == 1


def test_what_was_heard_of_one_token_says_nothing_of_the_next(plain: Settings, internet: Internet) -> None:
    known = accounts(replace(plain, civitai_token=Secret("other")), internet.proxies)
    known.remember("civitai", Secret("knows"), known.check("civitai", Secret("knows")))
    assert known.credential("civitai").state == "not_checked"


def test_without_a_token_there_is_nothing_to_tell(plain: Settings, internet: Internet) -> None:
    found = accounts(plain, internet.proxies).credentials()
    assert found == tuple(Credential(hub, False, None, "not_checked", None, "") for hub in HUBS)
