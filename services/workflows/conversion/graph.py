"""The editor's graph as values that are worked on: nets of nodes and links.

The links of a net join a node's output to a socket of another node. The editor keeps them by id, and the sockets name
the id: the slot numbers in a link are stale as soon as a node class changed, so nothing here goes by them alone.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct

LinkId = int | str

MUTED, BYPASSED = 2, 4
# What stands in a link where a net's own inputs and outputs are meant.
NET_INPUT, NET_OUTPUT = "-10", "-20"
ANY = "*"

MAX_SLOTS = 1_000


class Link(Struct, eq=False):
    id: LinkId
    origin: str
    origin_slot: int
    target: str
    target_slot: int


class Widget(Struct, eq=False):
    """A value that the editor shows on a node. UNSET is a value that is not there at all."""

    name: str
    kind: str
    value: Any = UNSET
    # Of combos.
    choices: list[Any] | None = None
    # Of numbers: (minimum, maximum, step).
    limits: tuple[float, float, float] | None = None
    # Of numbers: what values are rounded to when another node sets them; 0 does not round.
    rounding: float = 0
    # Of combos that bring inputs along: choice to the inputs' specifications.
    branches: Mapping[str, Any] | None = None
    # It has a place in the node's saved values.
    is_kept: bool = True
    # It goes into the prompt.
    is_sent: bool = True
    is_dynamic_text: bool = False


class Socket(Struct, eq=False):
    """An input of a node; `widget` names the widget whose place a link takes."""

    name: str
    type: str = ANY
    link: LinkId | None = None
    widget: str | None = None
    # Of a node that stands for a subgraph: what the input sets inside.
    promoted: Widget | None = None


class Output(Struct, eq=False):
    type: str
    links: list[LinkId]


class Port(Struct, eq=False):
    """An input or an output of a subgraph, seen from inside; `links` are those within."""

    name: str
    type: str
    links: list[LinkId]


class Node(Struct, eq=False):
    """`values` as saved. `sockets`, `outputs` and `widgets` are as saved until the node's class is known."""

    id: str
    type: str
    title: str
    mode: int
    sockets: list[Socket]
    outputs: list[Output]
    values: list[Any] | dict[str, Any] | None
    properties: dict[str, Any]
    widgets: list[Widget] = []
    # The net that the node stands for.
    inner: "Net | None" = None
    # Inputs that grow as they are linked: group to what one more is made of.
    growing: dict[str, Any] = {}
    # Its sockets and widgets are those of its class, or of the subgraph.
    is_built: bool = False
    # Values that a group node has for its widgets, by name.
    given: dict[str, Any] = {}
    # Those of its net.
    links: dict[LinkId, Link] = {}

    def widget(self, name: str | None) -> Widget | None:
        return next((widget for widget in self.widgets if widget.name == name), None) if name is not None else None

    def widget_of(self, socket: Socket) -> Widget | None:
        return socket.promoted or self.widget(socket.widget)

    def socket_of(self, link: LinkId) -> Socket | None:
        return next((socket for socket in self.sockets if socket.link == link), None)

    def fix_link_slots(self, start: int = 0) -> None:
        """Lets the links into the sockets from `start` on have their numbers: those saved are of another day."""
        for place, socket in enumerate(self.sockets[start:], start):
            link = self.links.get(socket.link) if socket.link is not None else None
            if link is not None:
                link.target_slot = place


class Net(Struct, eq=False):
    """A whole graph: the workflow itself, or what a subgraph is defined to be."""

    id: str
    name: str
    nodes: list[Node]
    links: dict[LinkId, Link]
    inputs: list[Port]
    outputs: list[Port]
    # The nodes by id, and the nodes elsewhere that stand for this net: both set when ids are final.
    by_id: dict[str, Node] = {}
    hosts: list[Node] = []
    # What each input reaches, as long as nothing changes.
    reach: dict[Port, list[Any]] = {}


class Graph(Struct, eq=False):
    """A workflow: its root, the subgraphs by id in file order, and group nodes by name, as saved."""

    root: Net
    nets: dict[str, Net]
    groups: dict[str, Any]
    last_node_id: int
    # The ids of the root that are numbers in the file: no subgraph may use them too.
    reserved: set[str]
