"""`python -m tests.faults --kills 100 --seed 7`: kills downloads at random moments and prints what each kind cost."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.model_host import ModelHost
from tests.faults.kills import KINDS, kill_once, table
from tests.faults.pod import Pod


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--kind", choices=KINDS, help="only kills of this kind")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"{options.kills} kills, seed {options.seed}", flush=True)
    dice = random.Random(options.seed)
    kinds = [options.kind or list(KINDS)[number % len(KINDS)] for number in range(options.kills)]
    dice.shuffle(kinds)
    kills = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ModelHost() as host, Pod(Path(folder)) as pod:
        for number, kind in enumerate(kinds, 1):
            kills.append(kill_once(pod, host, kind, dice, number))
            print(
                f"{number:>3} {kind:<6} at {kills[-1].done_bytes / 2**20:5.1f} MiB: "
                f"{kills[-1].refetched_bytes / 2**20:5.1f} MiB again, still for {kills[-1].still_seconds:4.1f} s",
                flush=True,
            )
    print(table(kills))
    return 0


if __name__ == "__main__":
    sys.exit(main())
