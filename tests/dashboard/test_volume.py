import pytest

from dashboard.volume import Volume
from services import volume
from services.errors import WorkspaceUnavailable
from services.settings import Settings


async def test_a_volume_that_hung_at_the_boot_is_not_touched(settings: Settings) -> None:
    volume.keep_report(settings.state_dir, volume.hung(settings.workspace, 6.0))
    watched = Volume(settings)
    touched: list[int] = []
    with pytest.raises(WorkspaceUnavailable, match="did not answer"):
        await watched.run(touched.append, 1)
    watched.close()
    assert touched == []


async def test_a_volume_of_which_the_boot_left_no_word_is_tried(settings: Settings) -> None:
    watched = Volume(settings)
    assert await watched.run(lambda: settings.workspace.is_dir())
    watched.close()
