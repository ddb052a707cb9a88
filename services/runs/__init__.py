"""Runs: submitted, followed, remembered."""

from services.runs.book import Change, RunBook
from services.runs.records import KEEP_RUNS, Content, Keeper, RunRecord, RunRecords
from services.runs.run import QueueItem, QueueView, Run, RunOutput, RunState

__all__ = [
    "KEEP_RUNS",
    "Change",
    "Content",
    "Keeper",
    "QueueItem",
    "QueueView",
    "Run",
    "RunBook",
    "RunOutput",
    "RunRecord",
    "RunRecords",
    "RunState",
]
