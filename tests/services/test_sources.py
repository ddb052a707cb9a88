import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from services.credentials import Credentials
from services.errors import DownloadFailed
from services.settings import Secret, load
from services.sources import Promise, Sources, Trouble, is_public
from services.sources.hugging_face import pinned
from services.workspace import Workspace


def sources(**changes: object) -> Sources:
    values = {"hf_token": Secret("hf"), "civitai_token": Secret("civitai"), "hf_endpoint": "", "private_hosts": False}
    return Sources(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://huggingface.co/a/b/resolve/main/c.safetensors", "hf"),
        ("https://HuggingFace.co/a", "hf"),
        ("https://huggingface.co:443/a", "hf"),
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
        "https://huggingface.co:8443/a",
        "https://civitai.com:8443/api/download/models/1",
        "https://www.civitai.com:8443/a",
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
        "https://civitai.red/api/download/models/1",
        "https://auth.civitai.com/login",
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


def test_the_token_goes_to_the_port_of_the_mirror_only() -> None:
    mirrored = sources(hf_endpoint="https://mirror.example:8443")
    assert mirrored.headers("https://mirror.example:8443/a") == {"Authorization": "Bearer hf"}
    assert mirrored.headers("https://mirror.example:9443/a") == mirrored.headers("https://mirror.example/a") == {}


def test_the_token_does_not_go_to_a_mirror_without_tls() -> None:
    assert sources(hf_endpoint="http://mirror.example").headers("http://mirror.example/a") == {}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://huggingface.co/a/b", "https://mirror.example/base/a/b"),
        ("https://huggingface.co.evil.com/a", "https://huggingface.co.evil.com/a"),
        ("https://civitai.com/a", "https://civitai.com/a"),
        ("http://huggingface.co/a", "http://huggingface.co/a"),
        ("https://huggingface.co/o/r/blob/main/a.gguf", "https://mirror.example/base/o/r/resolve/main/a.gguf"),
    ],
)
def test_only_hugging_faces_addresses_are_asked_for_at_the_mirror(url: str, address: str) -> None:
    assert sources(hf_endpoint="https://mirror.example/base").address(url) == address


def test_without_a_mirror_an_address_stays_as_it_is() -> None:
    assert sources().address("https://huggingface.co/a") == "https://huggingface.co/a"


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("/o/r/blob/main/a.safetensors", "/o/r/resolve/main/a.safetensors"),
        ("/o/r/raw/main/a.safetensors", "/o/r/resolve/main/a.safetensors"),
        (
            "/o/r/blob/refs%2Fpr%2F1/deep/blob/a.gguf?download=true",
            "/o/r/resolve/refs%2Fpr%2F1/deep/blob/a.gguf?download=true",
        ),
        ("/datasets/o/r/blob/main/a.bin", "/datasets/o/r/resolve/main/a.bin"),
    ],
)
def test_the_page_of_a_file_on_hugging_face_stands_for_the_file(page: str, file: str) -> None:
    assert sources().address(f"https://huggingface.co{page}") == f"https://huggingface.co{file}"


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co/o/r/resolve/main/blob/a.safetensors",
        "https://huggingface.co/o/r/resolve/main/a.safetensors?download=true",
        "https://models.example/o/r/blob/main/a.safetensors",
        "https://models.example/?https://huggingface.co/o/r/blob/main/a",
        "https://civitai.com/api/download/models/7?type=Model&format=SafeTensor",
        "http://civitai.com/models/1",
        "https://civitai.com.evil.com/models/1",
        "https://civitai.com/api/v1/models/1",
    ],
)
def test_what_is_no_page_of_a_file_stays_as_it_is(url: str) -> None:
    assert sources().address(url) == url


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("https://civitai.com/models/12/some-name?modelVersionId=34", "https://civitai.com/api/download/models/34"),
        ("https://www.civitai.com/models/12?modelVersionId=34#x", "https://civitai.com/api/download/models/34"),
        ("https://civitai.com/model-versions/34", "https://civitai.com/api/download/models/34"),
        ("https://civitai.red/models/12?modelVersionId=34", "https://civitai.com/api/download/models/34"),
        ("https://civitai.red/api/download/models/34?type=VAE", "https://civitai.com/api/download/models/34?type=VAE"),
    ],
)
def test_the_page_of_a_version_on_civitai_stands_for_its_file(page: str, file: str) -> None:
    assert sources().address(page) == file


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("?token=canary", ""),
        ("?type=Model&token=canary&format=SafeTensor", "?type=Model&format=SafeTensor"),
        ("?Token=canary&t%6Fken=canary&tokens=1", "?tokens=1"),
    ],
)
@pytest.mark.parametrize("host", ["civitai.com", "www.civitai.com", "civitai.red"])
def test_a_token_in_an_address_on_civitai_is_not_kept(host: str, query: str, left: str) -> None:
    found = sources().link(f"https://{host}/api/download/models/34{query}")
    assert found == f"https://{host.replace('red', 'com')}/api/download/models/34{left}"


@pytest.mark.parametrize("query", ["", "?modelVersionId=", "?modelVersionId=3x", "?modelVersionId=3&modelVersionId=4"])
def test_the_page_of_a_model_on_civitai_does_not_say_which_file(query: str) -> None:
    with pytest.raises(DownloadFailed, match=r"choose one there.*\?modelVersionId=") as caught:
        sources().address(f"https://civitai.com/models/12/some-name{query}")
    assert caught.value.permanent


def test_the_rules_come_from_the_settings(tmp_path: Path) -> None:
    settings = load({"HF_TOKEN": "t", "HF_ENDPOINT": "https://mirror.example", "DOWNLOAD_PRIVATE_HOSTS": "on"})
    made = Sources.from_settings(settings, Credentials(settings, Workspace(tmp_path)))
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


INSIDE = ["router", "printer.local", "metadata.google.internal", "nas.home.arpa", "a.localhost.", "127.0.0.1."]


@pytest.mark.parametrize("host", [*PRIVATE, *INSIDE])
def test_it_is_refused_without_asking_a_resolver(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    with pytest.raises(DownloadFailed, match="internal network") as caught:
        sources().check(f"https://{host}/a")
    assert caught.value.permanent


@pytest.mark.parametrize(
    "host",
    [
        "010.0.0.1",
        "134744072",
        "0x08080808",
        "8.2056",
        "8.8.8.08",
        "4294967297",
        "1.2.3.4.5",
        "256.1.1.1",
        "0xg.0x",
        "%31%32%37.0.0.1",
        "a b.example",
        "a..example",
        "[1::2::3]",
    ],
)
def test_a_host_that_two_programs_may_read_differently_is_refused(host: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        sources().check(f"https://{host}/a")
    assert caught.value.permanent


@pytest.mark.parametrize("host", ["\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\uff4cocalhost"])
def test_digits_and_dots_of_other_alphabets_hide_nothing(host: str) -> None:
    with pytest.raises(DownloadFailed, match="internal network"):
        sources().check(f"https://{host}/a")


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://models.example/a", "models.example:443"),
        ("https://me@Models.example:8443/a", "models.example:8443"),
        ("https://8.8.8.8/a", "8.8.8.8:443"),
        ("https://[2606:4700:4700::1111]/", "[2606:4700:4700::1111]:443"),
        ("https://b\u00fccher.example", "xn--bcher-kva.example:443"),
    ],
)
def test_a_proxy_is_asked_for_what_was_checked(url: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert sources().check(url) == asked


@pytest.mark.parametrize("url", ["http://router/a", "http://0x7f000001/a", "http://metadata.google.internal/a"])
def test_the_setting_allows_the_own_network_by_any_name(url: str) -> None:
    sources(private_hosts=True).check(url)


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
        (403, HF, False, "without HF_TOKEN", True),
        (401, HF, True, "refused HF_TOKEN", True),
        (403, HF, True, "does not let HF_TOKEN read a/b", True),
        (401, CIVITAI, False, "set CIVITAI_TOKEN", True),
        (401, CIVITAI, True, "refused CIVITAI_TOKEN", True),
        (403, CIVITAI, True, "may be in early access", True),
        (404, CIVITAI, True, "taken down", True),
        (410, CIVITAI, True, "taken down", True),
        (403, OTHER, False, "models.example does not allow this download", True),
        (404, HF, True, "no such file", True),
        (410, OTHER, False, "no such file", True),
        (400, OTHER, False, "HTTP 400", True),
        (451, OTHER, False, "HTTP 451", True),
        (408, OTHER, False, "HTTP 408", False),
        (425, OTHER, False, "HTTP 425", False),
        (429, HF, True, "takes no more requests for now (HTTP 429)", False),
        (429, HF, False, "it takes more with HF_TOKEN", False),
        (429, CIVITAI, False, "takes no more requests for now (HTTP 429)", False),
        (500, OTHER, False, "HTTP 500", False),
        (503, CIVITAI, False, "HTTP 503", False),
        (599, HF, False, "HTTP 599", False),
    ],
)
def test_a_refusal_says_what_to_do_and_whether_trying_again_can_help(
    status: int, url: str, tokens: bool, words: str, permanent: bool
) -> None:
    given = sources() if tokens else sources(hf_token=Secret(""), civitai_token=Secret(""))
    refusal = given.refusal(status, url)
    assert words in refusal.message
    assert refusal.permanent is permanent
    assert refusal.details["status"] == status


BAD_TOKEN = {"x-error-message": "Invalid credentials in Authorization header"}
NO_PASSWORD = {"x-error-message": "Invalid username or password."}
DISABLED = {"x-error-message": "Access to this resource is disabled."}


@pytest.mark.parametrize(
    ("status", "headers", "token", "words"),
    [
        (401, {"x-error-code": "GatedRepo"}, "", "licence at https://huggingface.co/a/b, then set HF_TOKEN"),
        (403, {"x-error-code": "GatedRepo"}, "t", "licence at https://huggingface.co/a/b, with the account"),
        (404, {"x-error-code": "EntryNotFound"}, "t", "a/b has no file 'c.safetensors' at revision 'main'"),
        (404, {"x-error-code": "RevisionNotFound"}, "t", "a/b has no revision 'main'"),
        (404, {"x-error-code": "RepoNotFound"}, "t", "a/b does not exist (HTTP 404): check the link; or it is private"),
        (401, NO_PASSWORD, "", "a/b does not exist (HTTP 401): check the link; or it is private: set HF_TOKEN"),
        (401, BAD_TOKEN, "t", "refused HF_TOKEN (HTTP 401): make a new one at https://huggingface.co/settings/tokens"),
        (403, DISABLED, "t", "taken a/b down"),
        (403, {"x-error-message": "Enable gated access."}, "t", "HF_TOKEN read a/b (HTTP 403): Enable gated access."),
    ],
)
def test_what_hugging_face_means_is_told_apart(status: int, headers: dict[str, str], token: str, words: str) -> None:
    refusal = sources(hf_token=Secret(token)).refusal(status, HF, headers)
    assert words in refusal.message
    assert refusal.permanent


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/base/a/b/resolve/main/c", "https://huggingface.co/a/b"),
        ("/datasets/a/b/resolve/main/c", "https://huggingface.co/datasets/a/b"),
        ("/elsewhere", "the model's page"),
    ],
)
def test_a_licence_is_accepted_on_hugging_face_whatever_the_mirror(path: str, page: str) -> None:
    given = sources(hf_endpoint="https://mirror.example/base")
    message = given.refusal(403, f"https://mirror.example{path}", {"x-error-code": "GatedRepo"}).message
    assert f"accept its licence at {page}, with" in message


def test_no_other_host_speaks_for_hugging_face() -> None:
    assert "licence" not in sources().refusal(403, OTHER, {"x-error-code": "GatedRepo"}).message


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, b'{"error":"Early Access","deadline":"2030-01-02T03:04:05.000Z"}', "is in early access until 2030-01-02"),
        (403, b'{"error":"Early Access"}', "is in early access (HTTP 403): wait, or buy it at"),
        (403, b'{"error":"Early Access"}', "https://civitai.com/model-versions/1"),
        (403, b'{"error":"Forbidden"}', "does not allow this download (HTTP 403): Forbidden"),
        (403, b"<html>", "may be in early access"),
        (401, b'{"message":"The creator has disabled downloads of this"}', "does not allow it to be downloaded"),
        (401, b'{"message":"Log in first"}', "refused CIVITAI_TOKEN"),
        (401, b"[" * 5000, "refused CIVITAI_TOKEN"),
        (401, b'["a", {"message": 3}]', "refused CIVITAI_TOKEN"),
        (401, b'{"message": 3}', "refused CIVITAI_TOKEN"),
        (401, b"\xff\xfe", "refused CIVITAI_TOKEN"),
    ],
)
def test_what_civitai_means_stands_in_its_answer(status: int, body: bytes, words: str) -> None:
    assert words in sources().refusal(status, CIVITAI, {}, body).message


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        ("https://civitai.com/login?returnUrl=%2F&reason=download-auth", "", "set CIVITAI_TOKEN"),
        ("https://auth.civitai.com/login?reason=download-auth", "", "set CIVITAI_TOKEN"),
        ("https://auth.civitai.com/login?reason=download-auth", "t", "refused CIVITAI_TOKEN"),
        ("https://civitai.com/model-versions/1", "t", "early access; see https://civitai.com/model-versions/1"),
        (HF, "t", "take the file's own link, which has /resolve/ in it"),
        (OTHER, "t", "models.example sent a page (text/html) instead of the file"),
        ("https://models.example/login", "t", "is a login or a licence needed?"),
    ],
)
def test_a_page_in_place_of_the_file_is_explained(url: str, token: str, words: str) -> None:
    failure = sources(civitai_token=Secret(token)).not_the_file(url, "Text/HTML; charset=utf-8")
    assert failure is not None
    assert words in failure.message
    assert failure.permanent


@pytest.mark.parametrize("status", [200, 403, 404, 503])
def test_whatever_the_login_of_civitai_answers_a_token_is_what_is_missing(status: int) -> None:
    refusal = sources(civitai_token=Secret("")).refusal(status, "https://auth.civitai.com/login?reason=download-auth")
    assert "set CIVITAI_TOKEN" in refusal.message
    assert refusal.permanent


@pytest.mark.parametrize("kind", ["application/json", "application/xml", "text/xml", "application/xhtml+xml"])
def test_other_kinds_of_text_are_no_model_either(kind: str) -> None:
    assert sources().not_the_file(OTHER, kind)


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "binary/octet-stream", "text/plain"])
def test_what_a_model_is_sent_as_is_taken(kind: str) -> None:
    assert sources().not_the_file(OTHER, kind) is None


SHA256, COMMIT = "ab" * 32, "cd" * 20
LINKED = {"x-linked-size": "123", "x-linked-etag": f'"{SHA256}"', "x-repo-commit": COMMIT, "etag": f'"{"ef" * 32}"'}


def test_hugging_face_promises_size_digest_and_commit() -> None:
    assert sources().promised(HF, LINKED) == Promise(123, SHA256, COMMIT)


def test_the_mirror_promises_as_hugging_face_does() -> None:
    mirrored = sources(hf_endpoint="https://mirror.example")
    assert mirrored.promised("https://mirror.example/a/b/resolve/main/c", LINKED) == Promise(123, SHA256, COMMIT)


@pytest.mark.parametrize("url", [OTHER, CIVITAI, "https://cdn.huggingface.co/a", "https://huggingface.co.evil.com/a"])
def test_nobody_else_promises_anything(url: str) -> None:
    assert sources().promised(url, LINKED) == Promise()


@pytest.mark.parametrize("etag", ["", f'"{COMMIT}"', f'"{SHA256}00"', f'"{SHA256.upper()}"', f"{SHA256}\n\n!"])
def test_an_etag_that_is_no_sha256_promises_no_digest(etag: str) -> None:
    assert sources().promised(HF, {**LINKED, "x-linked-etag": etag}).sha256 is None


def test_the_stores_own_etag_is_no_digest() -> None:
    assert sources().promised(HF, {"etag": f'"{SHA256}"'}) == Promise()


@pytest.mark.parametrize("size", ["", "-1", "1e9", "12 34", "\u0661", "9" * 30])
def test_a_size_that_is_no_number_is_none(size: str) -> None:
    assert sources().promised(HF, {"x-linked-size": size}).size_bytes is None


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


@pytest.mark.parametrize("url", [HF, CIVITAI, OTHER])
@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500])
def test_no_refusal_tells_a_token_or_a_signature(status: int, url: str) -> None:
    given = sources(hf_token=Secret("canary"), civitai_token=Secret("canary"))
    told = "https://a.example/?token=canary"
    body = json.dumps({"error": told, "message": told}).encode()
    assert "canary" not in given.refusal(status, f"{url}?sig=canary#canary", {"x-error-message": told}, body).message


GATED = {"x-error-code": "GatedRepo"}
EARLY = b'{"error":"Early Access"}'


@pytest.mark.parametrize(
    ("status", "url", "headers", "body", "trouble"),
    [
        (401, HF, GATED, b"", ("gated", "https://huggingface.co/a/b", "HF_TOKEN")),
        (401, HF, {}, b"", ("missing", "https://huggingface.co/a/b", "HF_TOKEN")),
        (404, HF, {"x-error-code": "RepoNotFound"}, b"", ("missing", "https://huggingface.co/a/b", "HF_TOKEN")),
        (404, HF, {"x-error-code": "EntryNotFound"}, b"", ("missing", "https://huggingface.co/a/b", None)),
        (404, HF, {"x-error-code": "RevisionNotFound"}, b"", ("missing", "https://huggingface.co/a/b", None)),
        (403, HF, DISABLED, b"", ("missing", None, None)),
        (403, HF, {}, b"", ("forbidden", "https://huggingface.co/a/b", "HF_TOKEN")),
        (429, HF, {}, b"", ("unreachable", None, "HF_TOKEN")),
        (401, CIVITAI, {}, b"", ("unauthorized", "https://civitai.com/model-versions/1", "CIVITAI_TOKEN")),
        (403, CIVITAI, {}, EARLY, ("early_access", "https://civitai.com/model-versions/1", "CIVITAI_TOKEN")),
        (403, CIVITAI, {}, b'{"error":"No"}', ("forbidden", "https://civitai.com/model-versions/1", None)),
        (404, CIVITAI, {}, b"", ("missing", "https://civitai.com/model-versions/1", None)),
        (401, OTHER, {}, b"", ("unauthorized", None, None)),
        (403, OTHER, {}, b"", ("forbidden", None, None)),
        (404, OTHER, {}, b"", ("missing", None, None)),
        (500, OTHER, {}, b"", ("unreachable", None, None)),
    ],
)
def test_a_refusal_says_for_programs_what_is_the_matter(
    status: int, url: str, headers: dict[str, str], body: bytes, trouble: tuple[str, str | None, str | None]
) -> None:
    found = Trouble.of(sources(hf_token=Secret(""), civitai_token=Secret("")).refusal(status, url, headers, body))
    assert (found.kind, found.page, found.token) == trouble


@pytest.mark.parametrize(
    ("status", "url", "headers", "body", "trouble"),
    [
        (403, HF, GATED, b"", ("gated", "https://huggingface.co/a/b", None)),
        (401, HF, BAD_TOKEN, b"", ("unauthorized", "https://huggingface.co/settings/tokens", "HF_TOKEN")),
        (404, HF, {"x-error-code": "RepoNotFound"}, b"", ("missing", "https://huggingface.co/a/b", None)),
        (401, CIVITAI, {}, b"", ("unauthorized", "https://civitai.com/model-versions/1", "CIVITAI_TOKEN")),
        (403, CIVITAI, {}, EARLY, ("early_access", "https://civitai.com/model-versions/1", None)),
    ],
)
def test_a_token_that_is_set_already_is_asked_for_only_where_another_helps(
    status: int, url: str, headers: dict[str, str], body: bytes, trouble: tuple[str, str | None, str | None]
) -> None:
    found = Trouble.of(sources().refusal(status, url, headers, body))
    assert (found.kind, found.page, found.token) == trouble


@pytest.mark.parametrize("url", [OTHER, HF, "https://civitai.com/model-versions/1"])
def test_a_page_is_told_from_a_refusal(url: str) -> None:
    failure = sources().not_the_file(url, "text/html")
    assert failure is not None
    assert Trouble.of(failure).kind == "not_a_file"


def test_a_login_in_place_of_the_file_asks_for_a_token() -> None:
    failure = sources(civitai_token=Secret("")).not_the_file("https://auth.civitai.com/login", "text/html")
    assert failure is not None
    assert (Trouble.of(failure).kind, Trouble.of(failure).token) == ("unauthorized", "CIVITAI_TOKEN")


@pytest.mark.parametrize(("permanent", "kind"), [(True, "forbidden"), (False, "unreachable")])
def test_a_failure_that_no_host_named_is_told_all_the_same(permanent: bool, kind: str) -> None:
    assert Trouble.of(DownloadFailed("said", permanent=permanent)) == Trouble(kind, "said")  # type: ignore[arg-type]


def test_the_page_of_a_model_that_does_not_say_which_file_is_no_file() -> None:
    with pytest.raises(DownloadFailed) as caught:
        sources().link("https://civitai.com/models/12")
    trouble = Trouble.of(caught.value)
    assert (trouble.kind, trouble.page) == ("not_a_file", "https://civitai.com/models/12")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (HF, f"https://huggingface.co/a/b/resolve/{COMMIT}/c.safetensors"),
        (f"{HF}?download=true", f"https://huggingface.co/a/b/resolve/{COMMIT}/c.safetensors?download=true"),
        (HF.replace("/resolve/", "/blob/"), f"https://huggingface.co/a/b/resolve/{COMMIT}/c.safetensors"),
        (
            "https://huggingface.co/datasets/a/b/resolve/refs%2Fpr%2F1/d/c.gguf",
            f"https://huggingface.co/datasets/a/b/resolve/{COMMIT}/d/c.gguf",
        ),
    ],
)
def test_an_address_is_pinned_to_a_commit(url: str, address: str) -> None:
    assert pinned(url, COMMIT) == address


@pytest.mark.parametrize(
    "url", [HF.replace("main", COMMIT), CIVITAI, OTHER, f"{OTHER}?{HF}", "https://huggingface.co/a/b"]
)
def test_what_has_no_revision_to_replace_is_not_pinned(url: str) -> None:
    assert pinned(url, "ef" * 20) is None
