"""A host of model files that can be slow, lie and break off, as real ones do.

In a test: `with ModelHost() as host: host.add("/a.safetensors", data, throttle=1e6)`; every fault is a field of
`Behaviour`, and `behave()` changes it while the host runs. The hubs of `hubs.py` are put on top of a host.
By hand: `python -m tests.fakes.model_host FOLDER --throttle 2000000`, and `--help`.
"""

from tests.fakes.model_host.answer import Short
from tests.fakes.model_host.behaviour import PIECE_BYTES, Behaviour
from tests.fakes.model_host.host import ModelHost, Site
from tests.fakes.model_host.hubs import Civitai, HuggingFace
from tests.fakes.model_host.request import Request
from tests.fakes.model_host.tls import TlsFault

__all__ = ["PIECE_BYTES", "Behaviour", "Civitai", "HuggingFace", "ModelHost", "Request", "Short", "Site", "TlsFault"]
