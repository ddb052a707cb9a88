"""Where models come from: which links lead to a file, which credentials go to which host, which addresses are
allowed, what an answer that is not the file means.

`rules` is what others use. `addresses` knows networks, `hugging_face` and `civitai` know their site's ways, `troubles`
says what they all mean.
"""

from services.sources.addresses import is_public
from services.sources.hugging_face import Promise
from services.sources.rules import Sources
from services.sources.troubles import Trouble

__all__ = ["Promise", "Sources", "Trouble", "is_public"]
