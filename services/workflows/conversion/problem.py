"""What of a graph does not make it into the prompt."""

from msgspec import Struct


class Unconverted(Struct, frozen=True):
    """A node that the prompt lacks, or holds only in part."""

    node_id: str
    class_type: str
    title: str
    reason: str
