"""Model files that someone sends from their own machine, in chunks, in any order, over as many days as it takes.

The data lies beside its target as `<name>.upload`, which no loader offers; a record says which chunks of it are
certain. A chunk is recorded only after its bytes are synced, so what a record names survives kills and power cuts.
"""

from services.uploads.book import UploadBook
from services.uploads.chunk import content_digest
from services.uploads.upload import CHUNK_BYTES, Span, State, Upload, Wish

__all__ = ["CHUNK_BYTES", "Span", "State", "Upload", "UploadBook", "Wish", "content_digest"]
