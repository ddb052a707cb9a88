"""A sample of what `make test-faults-downloads` does a hundred times."""

import random
from collections.abc import Iterator

import pytest

from tests.fakes.model_host import ModelHost
from tests.faults.kills import KINDS, Kill, kill_once, table
from tests.faults.pod import Pod


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    with Pod(tmp_path_factory.mktemp("volume")) as made:
        yield made


@pytest.mark.parametrize(("number", "kind"), list(enumerate(KINDS)), ids=KINDS)
def test_a_download_survives_a_kill(number: int, kind: str, pod: Pod, model_host: ModelHost) -> None:
    kill = kill_once(pod, model_host, kind, random.Random(), number)
    assert kill.kind == kind


def test_the_table_has_the_worst_of_each_kind() -> None:
    mib = 1024 * 1024
    rows = table([Kill("job", 0, 2 * mib, 1.0), Kill("job", 0, 4 * mib, 9.0), Kill("all", 0, 0, 3.0)]).splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["job", "2", "3.0", "4.0", "5.0", "9.0"],
        ["all", "1", "0.0", "0.0", "3.0", "3.0"],
    ]
