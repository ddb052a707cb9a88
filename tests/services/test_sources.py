import socket
from collections.abc import Callable

import pytest

from services.errors import DownloadFailed
from services.settings import Secret, load
from services.sources import Sources, is_public


def sources(**changes: object) -> Sources:
    values = {"hf_token": Secret("hf"), "civitai_token": Secret("civitai"), "hf_endpoint": "", "private_hosts": False}
    return Sources(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://huggingface.co/a/b/resolve/main/c.safetensors", "hf"),
        ("https://HuggingFace.co/a", "hf"),
        ("https://civitai.com/api/download/models/1", "civitai"),
        ("https://www.civitai.com/api/download/models/1", "civitai"),
    ],
)
def test_a_token_goes_to_its_own_host(url: str, token: str) -> None:
    assert sources().headers(url) == {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "url",
    [
        "http://huggingface.co/a",
        "https://evil-huggingface.co/a",
        "https://huggingface.co.evil.com/a",
        "https://huggingface.co./a",
        "https://cdn.huggingface.co/a",
        "https://cdn-lfs.hf.co/a",
        "https://huggingface.com/a",
        "https://huggingface.co@evil.com/a",
        "https://huggingface.co:443@evil.com/a",
        "https://evil.com/huggingface.co",
        "https://evil.com/?https://huggingface.co/",
        "https://evil.com#huggingface.co",
        "https://user:huggingface.co@evil.com/",
        "ftp://huggingface.co/a",
        "//huggingface.co/a",
        "huggingface.co/a",
        "http://civitai.com/a",
        "https://evilcivitai.com/a",
        "https://civitai.com.evil.com/a",
        "https://image.civitai.com/a",
        "https:///a",
        "",
    ],
)
def test_no_token_goes_anywhere_else(url: str) -> None:
    assert sources().headers(url) == {}


def test_without_a_token_nothing_is_sent() -> None:
    assert sources(hf_token=Secret("")).headers("https://huggingface.co/a") == {}


def test_the_token_goes_to_a_mirror_over_tls() -> None:
    mirrored = sources(hf_endpoint="https://mirror.example")
    assert mirrored.headers("https://mirror.example/a") == {"Authorization": "Bearer hf"}


def test_the_token_does_not_go_to_a_mirror_without_tls() -> None:
    assert sources(hf_endpoint="http://mirror.example").headers("http://mirror.example/a") == {}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://huggingface.co/a/b", "https://mirror.example/base/a/b"),
        ("https://huggingface.co.evil.com/a", "https://huggingface.co.evil.com/a"),
        ("https://civitai.com/a", "https://civitai.com/a"),
        ("http://huggingface.co/a", "http://huggingface.co/a"),
    ],
)
def test_only_hugging_faces_addresses_are_asked_for_at_the_mirror(url: str, address: str) -> None:
    assert sources(hf_endpoint="https://mirror.example/base").address(url) == address


def test_without_a_mirror_an_address_stays_as_it_is() -> None:
    assert sources().address("https://huggingface.co/a") == "https://huggingface.co/a"


def test_the_rules_come_from_the_settings() -> None:
    settings = load({"HF_TOKEN": "t", "HF_ENDPOINT": "https://mirror.example", "DOWNLOAD_PRIVATE_HOSTS": "on"})
    made = Sources.from_settings(settings)
    assert (made.hf_token.reveal(), made.hf_endpoint, made.private_hosts) == ("t", "https://mirror.example", True)


PRIVATE = [
    "169.254.169.254",
    "127.0.0.1",
    "127.1.2.3",
    "127.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[::ffff:0:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fec0::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[ff02::1]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_an_address_of_the_own_network_is_refused_in_every_disguise(host: str) -> None:
    with pytest.raises(DownloadFailed, match="internal network") as caught:
        sources().resolve(f"https://{host}/a")
    assert caught.value.permanent


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1"])
def test_an_address_of_the_own_network_is_allowed_by_the_setting(host: str) -> None:
    ((_, (address, port)),) = sources(private_hosts=True).resolve(f"http://{host}:9000/a")
    assert (address, port) == (host.strip("[]"), 9000)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "100.128.0.1", "172.32.0.1"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_a_public_address_is_resolved_to_itself() -> None:
    assert sources().resolve("https://8.8.8.8/a") == [(socket.AF_INET, ("8.8.8.8", 443))]


def test_the_port_of_the_address_counts() -> None:
    assert sources().resolve("https://8.8.8.8:8443/a") == [(socket.AF_INET, ("8.8.8.8", 8443))]


def test_plain_http_is_refused() -> None:
    with pytest.raises(DownloadFailed, match="only https is allowed") as caught:
        sources().resolve("http://8.8.8.8/a")
    assert caught.value.permanent


@pytest.mark.parametrize(
    "url",
    [
        "ftp://8.8.8.8/a",
        "file:///etc/passwd",
        "8.8.8.8/a",
        "https:///a",
        "https://8.8.8.8:99999/a",
        "https://[half/a",
        "https://a..example/a",
        "",
    ],
)
def test_what_is_no_http_address_is_refused_for_good(url: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        sources().resolve(url)
    assert caught.value.permanent


def test_a_name_that_does_not_resolve_may_do_so_later() -> None:
    with pytest.raises(DownloadFailed, match=r"nowhere\.invalid: the name does not resolve") as caught:
        sources().resolve("https://nowhere.invalid/a")
    assert not caught.value.permanent


HF = "https://huggingface.co/a/b/resolve/main/c.safetensors"
CIVITAI = "https://civitai.com/api/download/models/1"
OTHER = "https://models.example/c.safetensors"


@pytest.mark.parametrize(
    ("status", "url", "tokens", "words", "permanent"),
    [
        (401, HF, False, "set HF_TOKEN", True),
        (403, HF, False, "accept the licence", True),
        (401, HF, True, "refused HF_TOKEN", True),
        (403, HF, True, "refused HF_TOKEN", True),
        (401, CIVITAI, False, "set CIVITAI_TOKEN", True),
        (401, CIVITAI, True, "does not allow this download", True),
        (403, OTHER, False, "models.example does not allow this download", True),
        (404, HF, True, "no such file", True),
        (410, OTHER, False, "no such file", True),
        (400, OTHER, False, "HTTP 400", True),
        (451, OTHER, False, "HTTP 451", True),
        (408, OTHER, False, "HTTP 408", False),
        (425, OTHER, False, "HTTP 425", False),
        (429, HF, True, "HTTP 429", False),
        (500, OTHER, False, "HTTP 500", False),
        (503, OTHER, False, "HTTP 503", False),
        (599, OTHER, False, "HTTP 599", False),
    ],
)
def test_a_refusal_says_what_to_do_and_whether_trying_again_can_help(
    status: int, url: str, tokens: bool, words: str, permanent: bool
) -> None:
    given = sources() if tokens else sources(hf_token=Secret(""), civitai_token=Secret(""))
    refusal = given.refusal(status, url)
    assert words in refusal.message
    assert refusal.permanent is permanent
    assert refusal.details == {"status": status}


def test_a_refusal_of_the_mirror_speaks_of_the_token_too() -> None:
    given = sources(hf_token=Secret(""), hf_endpoint="https://mirror.example")
    assert "HF_TOKEN" in given.refusal(401, "https://mirror.example/a").message


@pytest.mark.parametrize(
    "url", ["ftp://user:canary@h/a?token=canary", "https://h:99999/a#canary", "https://[canary@half/a?canary"]
)
def test_an_address_that_is_refused_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        sources().resolve(url)
    assert "canary" not in caught.value.message


@pytest.mark.parametrize("speak", [lambda s: s.refusal(404, f"{OTHER}?token=canary#canary").message, repr])
def test_no_token_and_no_signature_stands_in_what_is_told(speak: Callable[[Sources], str]) -> None:
    assert "canary" not in speak(sources(hf_token=Secret("canary"), civitai_token=Secret("canary")))
