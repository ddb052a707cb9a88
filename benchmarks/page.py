"""docs/benchmarks.md, from the results."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks import library, outputs

Figures = dict[str, Any]
PAGE = Path("docs/benchmarks.md")


def write(results: dict[str, Figures], kept: tuple[str, ...] = ()) -> None:
    """The page anew, but for the sections with the titles `kept`, which another run wrote."""
    old = PAGE.read_text(encoding="utf-8")
    sections = [found for title in kept if (found := _section(old, title))]
    PAGE.write_text("\n".join([text(results), *sections]), encoding="utf-8")


def put_section(title: str, section: str) -> None:
    """Into the page, in place of the section with that title, or at its end."""
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), title, section), encoding="utf-8")


def with_section(page: str, title: str, section: str) -> str:
    old = _section(page, title)
    return page.replace(old, section) if old else f"{page}\n{section}"


def _section(page: str, title: str) -> str:
    """From its title to the next of its rank, or to the end; without the empty line that parts it from the next."""
    found = re.search(rf"^{re.escape(title)}\n.*?(?=\n## |\Z)", page, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def text(results: dict[str, Figures]) -> str:
    return "\n".join(
        [
            _head(),
            _boot(results["boot"]),
            _library(results["library"]),
            _memory(results["memory"]),
            _outputs(results["outputs"]),
            _requests(results["requests"]),
            _sockets(results["sockets"]),
            _watchers(results["watchers"]),
        ]
    )


def _head() -> str:
    return f"""# Benchmarks

Measured by `make bench` {machine()}. Medians; both sides of a ratio come from one run, interleaved.
Absolute times drift with the machine: compare ratios.
"""


def machine() -> str:
    """When it is, and where this runs."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": unknown")
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.split("/")[-1].strip()
    return f"""on {time.strftime("%Y-%m-%d", time.gmtime())}: {os.cpu_count()} cores
({cpu.split(":")[1].strip()}),
Python {platform.python_version()}, nginx {nginx}"""


def _boot(found: Figures) -> str:
    low, high = found["overhead_spread"]
    return f"""## Boot

{found["pairs"]} alternating pairs on a warm page cache, from exec; `page` is the sign-in page through nginx, `ready`
is `/readyz`, `bare` is `python main.py` with the same flags up to its first answer.

| | seconds | goal |
|---|---|---|
| page | {found["page_seconds"]:.2f} ({found["page_spread"][0]:.2f} to {found["page_spread"][1]:.2f}) | ≤ 0.8 |
| bare ComfyUI | {found["bare_seconds"]:.2f} | |
| ready | {found["ready_seconds"]:.2f} | ≤ 30 |
| ready minus bare | {found["overhead_seconds"]:.2f} ({low:.2f} to {high:.2f}) | ≤ 0.5 |
"""


def _library(found: Figures) -> str:
    rows = "\n".join(
        f"| {name} | {row['p50']:.1f} | {row['p95']:.1f} | {row['max']:.1f} | {goal} |"
        for name, row, goal in (
            ("page after page", found["warm_ms"], "10"),
            ("the first after a start", found["after_start_ms"], "200"),
            ("the first after a change", found["after_change_ms"], "200"),
        )
    )
    slow, (before, after) = found["slow"], found["resident_megabytes"]
    return f"""## Model library

{found["models"]:,} verified models in 25 folders, a third of them nested; pages of 100 through nginx, in milliseconds.
After a start: asked for again and again from before the dashboard listens, {library.STARTS} starts. After a change: a
file more and a workflow saved, {library.CHANGES} times.

| page | p50 | p95 | longest | goal at p95 |
|---|---|---|---|---|
{rows}

The very first start on such a volume, which reads every verification record: {found["first_start_ms"]:.0f} ms. The
heads of all models are read in {found["heads_seconds"]:.0f} s in the background. The dashboard's resident memory before
and after {library.REQUESTS} pages and {library.CHANGES} changes: {before} → {after} MB.

Where each look at a file takes 5 ms (FUSE), {slow["models"]:,} models take {slow["scan_seconds"]:.0f} s and show
folder by folder after {slow["first_shown_seconds"]} s; pages meanwhile {slow["answers_ms"]["p95"]:.1f} ms at p95, the
event loop late by {slow["loop_lag_ms"]["p95"]:.1f} ms at p95 and {slow["loop_lag_ms"]["max"]:.1f} ms at most.
"""


def _memory(found: Figures) -> str:
    rows = "\n".join(
        f"| {name} | {size:.1f} |" for name, size in sorted(found["megabytes"].items(), key=lambda r: -r[1])
    )
    return f"""## Memory

Everything but ComfyUI, idle after the first page: proportional set sizes. Goal: ≤ 150 MB in all.

| process | MB |
|---|---|
{rows}
| **in all** | **{found["total_megabytes"]:.1f}** |
"""


def _outputs(found: Figures) -> str:
    rows = "\n".join(
        f"| {name} | {row['p50']:.1f} | {row['p95']:.1f} | {row['max']:.1f} | {goal} |"
        for name, row, goal in (
            ("page after page", found["warm_ms"], "10"),
            ("a search that was not made before", found["search_ms"], ""),
            ("the first after a start", found["after_start_ms"], "200"),
            ("the first after a change", found["after_change_ms"], "200"),
        )
    )
    lag, (before, after) = found["loop_lag_ms"], found["resident_megabytes"]
    width, height = outputs.LARGE_PIXELS
    return f"""## Outputs

{found["pictures"]:,} pictures in {outputs.FOLDERS} folders; pages of 100 through nginx, in milliseconds. After a start:
{outputs.STARTS} starts. After a change: one file more and one deleted, {outputs.CHANGES} times.

| page | p50 | p95 | longest | goal at p95 |
|---|---|---|---|---|
{rows}

Small pictures, asked for {outputs.CONNECTIONS} at a time through nginx: {found["made_per_second"]:.0f} a second are
made of PNGs of {width} by {height} pixels, by {found["processes"]} processes; {found["kept_per_second"]:.0f} a second
are handed out when they are there. Without nginx, all at once: {found["large_per_second"]:.1f} a second, with the event
loop late by {lag["p95"]:.1f} ms at p95 and {lag["max"]:.1f} ms at most.
The dashboard's resident memory before and after {outputs.REQUESTS} pages: {before} → {after} MB.
"""


def _requests(found: Figures) -> str:
    rows = "\n".join(
        f"| {name.split()[0]} | {name.split()[1]} | {row['rate']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |"
        for name, row in sorted(found["endpoints"].items())
    )
    return f"""## Requests

wrk through nginx, signed in, {found["rounds"]} rounds of {found["seconds"]} s: `/api/presets/` with 300 presets of
three files, `/api/models/?limit=100` with 10,000 files, `/api/system/status`, `/healthz`. Goals at 32 connections:
presets and status ≥ 2,000 requests a second with p99 ≤ 30 ms; models ≤ 10 ms warm at one connection, ≤ 200 ms cold.

| endpoint | connections | requests/s | p50 ms | p99 ms |
|---|---|---|---|---|
{rows}

The first listing of 10,000 models after a restart of the dashboard: {found["models_cold_ms"]:.0f} ms.
"""


def _sockets(found: Figures) -> str:
    before, after = found["dashboard_pss_megabytes"]
    heard = f"{found['least_heard']} of {found['sent']}"
    return f"""## WebSockets

{found["listeners"]:,} dashboards through nginx, {found["sent"]} messages, 4 a second, from the worker's word in Redis
to the client. Goal: p99 ≤ 40 ms, none missing.

| p50 ms | p99 ms | fewest messages at a client | connections lost | dashboard's memory, MB |
|---|---|---|---|---|
| {found["p50_ms"]:.1f} | {found["p99_ms"]:.1f} | {heard} | {found["lost"]} | {before} → {after} |
"""


def _watchers(found: Figures) -> str:
    rows = "\n".join(
        f"| {int(count):,} | {found['mib_per_second'][count]:,.0f} | {found['ratio'][count]:.2f} |"
        for count in found["ratio"]
    )
    return f"""## Downloads while dashboards watch

1 GiB from nginx on loopback, SHA-256 included, {found["rounds"]} interleaved rounds. The watchers run on the same
cores. Goal: ≥ 0.95 of the unwatched speed with 1,000.

| dashboards | MiB/s | of unwatched |
|---|---|---|
{rows}
"""
