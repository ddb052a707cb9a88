"""The section of docs/benchmarks.md, from the results. Whether a goal was met is said here, and by nobody else."""

from collections.abc import Mapping
from typing import Any

from benchmarks.downloads.clients import ARIA2C, CURL, OURS, UNHASHED

Figures = Mapping[str, Any]

TITLE = "## Downloads beside other programs"
OF_THE_CAP = 0.93
OF_ARIA2C = 1.15
UNHASHED_OF_CURL = 1.0
HASHED_OF_CURL = 0.75
ADDED_MS = 25.0
PSS_MEGABYTES = 80.0


def text(results: Mapping[str, Figures], machine: str) -> str:
    """`machine`: when and where."""
    parts = [
        _head(machine, results["metered"]["rounds"]),
        _metered(results["metered"]),
        _unthrottled(results["unthrottled"]),
        _per_file(results["per_file"]),
        _large(results["large"]),
    ]
    return "\n".join(parts)


def at_least(found: float, wanted: float) -> str:
    return _goal(f"≥ {wanted:.2f}", found, is_met=found >= wanted)


def at_most(found: float, wanted: float) -> str:
    return _goal(f"≤ {wanted:.0f}", found, is_met=found <= wanted)


def _goal(wanted: str, found: float, *, is_met: bool) -> str:
    return f"{found:.2f} (goal {wanted}: {'met' if is_met else '**missed**'})"


def _head(machine: str, rounds: int) -> str:
    return f"""{TITLE}

Measured by `make bench-downloads` {machine}.
Rounds: {rounds}, in which the programs take turns, each round beginning with another; medians. Every file is checked by
its SHA-256: by our own engine as it comes, for the others when the clock has stopped. A Python program's clock starts
when its imports are done. Files in the host's memory; host and client share the cores.
"""


def _metered(found: Figures) -> str:
    clients, cap = found["clients"], found["cap_mib_per_second"]
    ours, aria2c = clients[OURS], clients[ARIA2C]["mib_per_second"]
    rows = "\n".join(
        f"| {name} | {row['size_mib']:,.0f} | {row['mib_per_second']:,.0f} "
        f"({row['slowest']:,.0f} to {row['fastest']:,.0f}) | {row['mib_per_second'] / cap:.2f} | {row['ratio']:.2f} "
        f"| {row['cpu_seconds']:.2f} | {row['cpu_seconds_per_gb']:.2f} | {row['host_seconds']:.2f} |"
        for name, row in clients.items()
    )
    return f"""### 25 MiB/s for each connection

The host meters every byte; 16 connections could bring {cap:,.0f} MiB/s. Onto {found["file_system"]}, for that is what a
volume is. Those with one connection get a smaller file.

| program | MiB | MiB/s | of {cap:,.0f} | of aria2c | CPU s | CPU s per GB | the host's CPU s |
|---|---|---|---|---|---|---|---|
{rows}

Ours, SHA-256 included: {at_least(ours["mib_per_second"] / cap, OF_THE_CAP)} of what 16 connections bring,
{at_least(ours["ratio"], OF_ARIA2C)} of {ARIA2C}, of whom all of the cap would be
{cap / aria2c:.2f}. {_profile(found)}
"""


def _unthrottled(found: Figures) -> str:
    clients = found["clients"]
    rows = "\n".join(
        f"| {name} | {row['mib_per_second']:,.0f} ({row['slowest']:,.0f} to {row['fastest']:,.0f}) "
        f"| {row['ratio']:.2f} | {row['ratio_of_medians']:.2f} "
        f"| {row['user_seconds']:.2f} + {row['system_seconds']:.2f} "
        f"| {row['cpu_seconds_per_gb']:.2f} | {row['host_seconds']:.2f} | {100 * row['cores_busy']:.0f} % |"
        for name, row in clients.items()
    )
    unhashed, ours = clients[UNHASHED], clients[OURS]
    disk = found["on_disk"]["clients"]
    return f"""### TLS without a limit

{clients[CURL]["size_mib"]:,.0f} MiB from nginx, onto {found["file_system"]}. Of curl: the median of the rounds'
ratios, and the ratio of the medians.

| program | MiB/s | of curl | of medians | CPU s, user + system | CPU s per GB | the host's CPU s | cores busy |
|---|---|---|---|---|---|---|---|
{rows}

Ours: {at_least(unhashed["ratio"], UNHASHED_OF_CURL)} of curl without hashing,
{at_least(ours["ratio"], HASHED_OF_CURL)} with. {_profile(found)}

Onto {found["on_disk"]["file_system"]}: curl {disk[CURL]["mib_per_second"]:,.0f} MiB/s, ours with its SHA-256
{disk[OURS]["mib_per_second"]:,.0f} ({disk[OURS]["ratio"]:.2f} of curl). Ours is on the disk when it ends, and writes
down on the way what is there already; curl leaves all of it to the kernel.
"""


def _profile(found: Figures) -> str:
    seconds = ", ".join(f"{name} {value:.2f}" for name, value in found["threads"].items())
    return f"Where our CPU seconds go, by thread: {seconds}."


def _per_file(found: Figures) -> str:
    parts, count = found["parts"], found["count"]
    each = 1000 / count
    return f"""### What the queue adds

{count} files of {found["size_bytes"] // 1024} KiB in one preset, from the request until it is installed,
{parts["workers"]:.0f} workers; alone is our engine in one process, one file after the other. Pairs: {found["rounds"]}.

| | seconds | ms per file |
|---|---|---|
| alone | {found["alone_seconds"]:.2f} | {found["alone_seconds"] * each:.1f} |
| through the queue | {found["queued_seconds"]:.2f} | {found["queued_seconds"] * each:.1f} |
| added | | {at_most(found["added_ms_per_file"], ADDED_MS)} |

By the log of the downloads: {parts["until_the_first_seconds"]:.2f} s until the first job,
{parts["inside_ms_per_file"]:.1f} ms in each job, {parts["between_ms_per_file"]:.1f} ms from one job of a worker to its
next, {parts["after_the_last_seconds"]:.2f} s from the last file until the preset was seen as installed.
"""


def _large(found: Figures) -> str:
    rows = "\n".join(
        f"| {name} | {row['lines']:.0f} | {row['mib_per_second']:,.0f} | {row['peak_pss_megabytes']:.1f} "
        f"| {row['cpu_seconds_per_gb']:.2f} |"
        for name, row in found["rows"].items()
    )
    peak = max(row["peak_pss_megabytes"] for row in found["rows"].values())
    is_whole = found["size_bytes"] == found["wanted_bytes"]
    smaller = "" if is_whole else f" There was no room for {found['wanted_bytes'] / 1e9:.0f} GB."
    return f"""### The memory of a large file

{found["size_bytes"] / 1e9:.0f} GB through the whole suite, once: the process of the job.{smaller}

| host | connections | MiB/s | peak PSS, MB | CPU s per GB |
|---|---|---|---|---|
{rows}

The higher peak: {at_most(peak, PSS_MEGABYTES)} MB.
"""
