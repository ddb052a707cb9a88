"""What is said when something does not fit on the volume."""

from services.errors import NotEnoughSpace
from services.sizes import bytes_text


def no_room(
    what: str, needed_bytes: int, free_bytes: int, reserve_bytes: int = 0, promised_bytes: int = 0
) -> NotEnoughSpace:
    """`what`: with a colon behind it, such as `preset 'SDXL':`. `free_bytes`: what is left beside the reserve and what
    was promised to others."""
    reserve = f" beside {bytes_text(reserve_bytes)} in reserve (DISK_RESERVE_BYTES)" if reserve_bytes else ""
    return NotEnoughSpace(
        f"{what} needs {bytes_text(needed_bytes)}, {bytes_text(free_bytes)} free for it on the volume{reserve}",
        {
            "needed_bytes": needed_bytes,
            "free_bytes": free_bytes,
            "reserve_bytes": reserve_bytes,
            "promised_bytes": promised_bytes,
        },
    )
