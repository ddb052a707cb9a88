import pytest

from services.errors import DownloadFailed, InvalidSettings
from services.proxies import Proxies, Proxy
from services.settings import Secret, load

URL = "https://models.example/a"


def proxies(**environ: str) -> Proxies:
    return Proxies.from_settings(load(environ))


def host_of(proxy: Proxy | None) -> str | None:
    return proxy.host if proxy else None


def goes_direct(no_proxy: str, url: str) -> bool:
    return proxies(ALL_PROXY="http://proxy.example:3128", NO_PROXY=no_proxy).for_url(url) is None


def test_without_settings_there_is_no_proxy() -> None:
    assert proxies().for_url(URL) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://models.example/a", "for-https"),
        ("http://models.example/a", "for-http"),
        ("ftp://models.example", None),
    ],
)
def test_each_scheme_has_its_proxy(url: str, host: str | None) -> None:
    made = proxies(HTTP_PROXY="http://for-http:1", HTTPS_PROXY="http://for-https:1", ALL_PROXY="http://for-all:1")
    assert host_of(made.for_url(url)) == host


@pytest.mark.parametrize("url", ["https://models.example/a", "http://models.example/a"])
def test_the_proxy_for_all_serves_a_scheme_without_its_own(url: str) -> None:
    assert host_of(proxies(ALL_PROXY="http://for-all:1").for_url(url)) == "for-all"


def test_the_proxy_of_one_scheme_does_not_serve_the_other() -> None:
    assert proxies(HTTP_PROXY="http://for-http:1").for_url(URL) is None


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"])
def test_the_name_in_small_letters_wins(name: str) -> None:
    assert load({name: "large:1", name.lower(): "small:1"}) == load({name: "small:1"})


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"])
def test_an_empty_name_in_small_letters_hides_nothing(name: str) -> None:
    assert load({name: "large:1", name.lower(): " "}) == load({name: "large:1"})


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("http://proxy.example:3128", "proxy.example", 3128),
        ("HTTP://Proxy.Example:3128/", "proxy.example", 3128),
        ("proxy.example:3128", "proxy.example", 3128),
        ("http://proxy.example", "proxy.example", 80),
        ("http://10.0.0.1:3128", "10.0.0.1", 3128),
        ("http://[fd00::1]:3128", "fd00::1", 3128),
    ],
)
def test_a_proxy_is_host_and_port(address: str, host: str, port: int) -> None:
    assert proxies(HTTPS_PROXY=address).for_url(URL) == Proxy("http", host, port, Secret(""))


def test_the_credentials_are_decoded() -> None:
    proxy = proxies(HTTPS_PROXY="http://me%40work:p%2Fw%3A@proxy.example:1").for_url(URL)
    assert proxy is not None
    assert proxy.credentials == Secret("me@work:p/w:")


def test_the_proxy_gets_its_credentials_in_a_header_of_its_own() -> None:
    # Aladdin and his password are the example of RFC 7617, 2.
    proxy = Proxy("http", "proxy.example", 1, Secret("Aladdin:open sesame"))
    assert proxy.headers() == {"Proxy-Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}


def test_without_credentials_there_is_no_header() -> None:
    assert Proxy("http", "proxy.example", 1, Secret("")).headers() == {}


def test_no_password_shows_in_a_repr() -> None:
    environ = {"HTTPS_PROXY": "http://me:canary@proxy.example:1"}
    assert "canary" not in repr(load(environ)) + repr(proxies(**environ))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://me:canary@proxy.example:1", "in plain http"),
        ("socks5://me:canary@proxy.example:1", "in plain http"),
        ("socks5h://canary:1", "in plain http"),
        ("http://", "say http://host:port"),
        ("http://me:can/ary@proxy.example:1", "percent-encoded"),
        ("http://me:can#ary@proxy.example:1", "percent-encoded"),
        ("http://me:can?ary@proxy.example:1", "percent-encoded"),
        ("http://proxy.example:canary", "say http://host:port"),
        ("http://proxy.example:99999", "say http://host:port"),
        ("http://proxy.example:0", "say http://host:port"),
        ("http://proxy.example/canary", "say http://host:port"),
        ("http://pro xy:1", "say http://host:port"),
        ("http://[canary:1", "say http://host:port"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_and_its_password_is_not(name: str, address: str, words: str) -> None:
    with pytest.raises(InvalidSettings, match=f"^{name}: .*{words}") as caught:
        load({name: address})
    assert "canary" not in str(caught.value.details)
    assert "ary@" not in str(caught.value.details)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", URL),
        ("models.example", URL),
        ("Models.Example", "https://MODELS.example/a"),
        (".models.example", URL),
        ("example", URL),
        (".example", URL),
        ("models.example.", "https://models.example./a"),
        ("other.example, models.example", URL),
        ("other.example models.example", URL),
        ("models.example:443", URL),
        ("models.example:8443", "https://models.example:8443/a"),
        ("example:80", "http://models.example/a"),
        ("10.1.2.3", "http://10.1.2.3/a"),
        ("10.0.0.0/8", "http://10.1.2.3/a"),
        ("10.1.2.3/8", "http://10.9.9.9/a"),
        ("10.1.2.3:8000", "http://10.1.2.3:8000/a"),
        ("::1", "http://[::1]/a"),
        ("[::1]", "http://[::1]/a"),
        ("[::1]:8000", "http://[::1]:8000/a"),
        ("0:0::1", "http://[::1]/a"),
        ("fd00::/8", "http://[fd12::1]/a"),
    ],
)
def test_what_no_proxy_covers_is_reached_directly(no_proxy: str, url: str) -> None:
    assert goes_direct(no_proxy, url)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", URL),
        (".", URL),
        ("odels.example", URL),
        ("models.example.org", URL),
        ("a.models.example", URL),
        ("*.example.org", URL),
        ("models.example:80", URL),
        ("models.example", "https://models.example.evil.com/a"),
        ("models.example", "https://notmodels.example/a"),
        ("models.example", "https://evil.com/models.example"),
        ("models.example", "https://models.example@evil.com/"),
        ("10.1.2.3", "http://110.1.2.3/a"),
        ("2.3", "http://10.1.2.3/a"),
        ("10.0.0.0/8", "http://11.1.2.3/a"),
        ("10.0.0.0/99", "http://10.1.2.3/a"),
        ("10.0.0.0/8", "http://10.example/a"),
        ("10.0.0.0/8", "http://[::1]/a"),
        ("[::1]:8000", "http://[::1]:8001/a"),
        ("::/0", "http://10.1.2.3/a"),
    ],
)
def test_everything_else_goes_by_the_proxy(no_proxy: str, url: str) -> None:
    assert not goes_direct(no_proxy, url)


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(DownloadFailed):
        proxies(ALL_PROXY="http://proxy.example:1").for_url("https://models.example:99999/")
