"""The hubs under their own names: whoever goes through `proxy` and trusts `ca_file` meets the imitations."""

from types import TracebackType

from services.proxies import Proxies, Proxy
from services.settings import Secret
from tests.fakes.model_host import Civitai, HuggingFace, ModelHost
from tests.fakes.proxy import ForwardProxy

_NAMES = ("huggingface.co", "civitai.com", "models.example", "127.0.0.1")


class Internet:
    """`hub` answers under every name, `store` is another host, with the large files.

    `hf` and `civitai`: tokens that are known there; the first one was granted what is gated. `dead`: names that lead
    nowhere.
    """

    def __init__(self, *, hf: tuple[str, ...] = (), civitai: tuple[str, ...] = (), dead: tuple[str, ...] = ()) -> None:
        self.hub, self.store = ModelHost(tls=True, names=_NAMES), ModelHost(tls=True, names=_NAMES)
        granted = {token: {"gated/model"} if token == hf[0] else set() for token in hf}
        self.hugging_face = HuggingFace(self.hub, self.store, tokens=granted, site="https://huggingface.co")
        self.civitai = Civitai(self.hub, self.store, tokens=frozenset(civitai), site="https://civitai.com")
        names = dict.fromkeys(_NAMES[:-1], self.hub.port)
        self.proxy = ForwardProxy(ports=names | dict.fromkeys(dead, 1))
        self.ca_file = self.hub.ca_file

    @property
    def proxies(self) -> Proxies:
        return Proxies(None, Proxy("http", "127.0.0.1", self.proxy.port, Secret("")))

    def asked(self, method: str = "") -> list[str]:
        """The paths that the hubs were asked for, in order."""
        return [request.path for request in self.hub.requests if method in {"", request.method}]

    def __enter__(self) -> "Internet":
        for part in (self.hub, self.store, self.proxy):
            part.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (self.proxy, self.store, self.hub):
            part.__exit__(kind, error, trace)
