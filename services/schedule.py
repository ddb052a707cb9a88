"""What was said about the downloads as a whole: whether all of them are paused, and which preset comes first.

Two records on the volume, because two people may say two things at once.
"""

import time

from msgspec import Struct

from services.records import RecordFolder
from services.workspace import Workspace

_PAUSE = "paused"
_ORDER = "order"


class Pause(Struct, frozen=True):
    """Nothing is fetched, also nothing that is asked for later, until someone resumes."""

    at: float


class Order(Struct, frozen=True):
    """Ids of presets, first to last; those it does not name come after them."""

    preset_ids: tuple[str, ...]


class Schedule(Struct, frozen=True):
    """`paused_at`: since when everything waits. `preset_ids`: those that come first, in this order."""

    paused_at: float | None = None
    preset_ids: tuple[str, ...] = ()

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    def place(self, preset_id: str) -> int:
        """Smaller comes first; the same for all that nobody gave a place."""
        return self.preset_ids.index(preset_id) if preset_id in self.preset_ids else len(self.preset_ids)


class ScheduleRecords:
    """The schedule of one workspace. Blocking."""

    def __init__(self, workspace: Workspace) -> None:
        self._pauses = RecordFolder(workspace.config / "schedule", Pause)
        self._orders = RecordFolder(workspace.config / "schedule", Order)

    def get(self) -> Schedule:
        """Raises OSError when the volume does not answer."""
        pause, order = self._pauses.get(_PAUSE), self._orders.get(_ORDER)
        return Schedule(pause.at if pause else None, order.preset_ids if order else ())

    def pause(self) -> None:
        """Raises NotEnoughSpace, OSError."""
        if self._pauses.get(_PAUSE) is None:
            self._pauses.put(_PAUSE, Pause(time.time()))

    def resume(self) -> None:
        """Raises OSError."""
        self._pauses.delete(_PAUSE)

    def arrange(self, preset_ids: tuple[str, ...]) -> None:
        """Raises NotEnoughSpace, OSError."""
        self._orders.put(_ORDER, Order(preset_ids))
