"""`python -m tests.faults --kills 100 --seed 7`: kills downloads at random moments and prints what each kind cost."""

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.model_host import ModelHost
from tests.faults.kills import KINDS, Kill, kill_once, table
from tests.faults.pod import Pod


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--kind", choices=KINDS, help="only kills of this kind")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--pods", type=int, default=2, help="how many are killed side by side, each on its own volume")
    options = parser.parse_args()
    print(f"{options.kills} kills, seed {options.seed}", flush=True)
    kinds = [options.kind or list(KINDS)[number % len(KINDS)] for number in range(options.kills)]
    random.Random(options.seed).shuffle(kinds)
    todo = list(enumerate(kinds, 1))
    with ModelHost() as host, ThreadPoolExecutor(options.pods) as pods:
        shares = [
            pods.submit(_kills, host, todo[first :: options.pods], options.seed + first)
            for first in range(options.pods)
        ]
        print(table([kill for share in shares for kill in share.result()]))
    return 0


def _kills(host: ModelHost, todo: list[tuple[int, str]], seed: int) -> list[Kill]:
    dice, kills = random.Random(seed), []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, Pod(Path(folder)) as pod:
        for number, kind in todo:
            kill = kill_once(pod, host, kind, dice, number)
            print(
                f"{number:>3} {kind:<6} at {kill.done_bytes / 2**20:5.1f} MiB: "
                f"{kill.refetched_bytes / 2**20:5.1f} MiB again, still for {kill.still_seconds:4.1f} s",
                flush=True,
            )
            kills.append(kill)
    return kills


if __name__ == "__main__":
    sys.exit(main())
