"""How much of the line downloads may take, and at which hours."""

from dataclasses import dataclass
from datetime import datetime

from services.settings import Hours, Settings


@dataclass(frozen=True)
class Bandwidth:
    """`bytes_per_second`: for all downloads of this container together, 0 for no limit; `hours`: when it holds, None
    for always."""

    bytes_per_second: int
    hours: Hours | None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Bandwidth":
        return cls(settings.download_max_bytes_per_second, settings.download_limit_hours)

    def share(self, now: datetime, active: int) -> float | None:
        """Bytes per second for one of `active` running downloads; None: as fast as it can.

        `now` in the container's local time.
        """
        if not self.bytes_per_second or (self.hours is not None and not self.hours.include(now.time())):
            return None
        return self.bytes_per_second / max(active, 1)
