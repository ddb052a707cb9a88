"""Workflows: kept on the volume, checked against what ComfyUI offers before they are queued."""

from services.workflows.check import MissingModel, MissingNode, check
from services.workflows.saved import SOURCES, Source, Workflows, WorkflowSummary
from services.workflows.shape import MAX_NODES, check_shape, parse

__all__ = [
    "MAX_NODES",
    "SOURCES",
    "MissingModel",
    "MissingNode",
    "Source",
    "WorkflowSummary",
    "Workflows",
    "check",
    "check_shape",
    "parse",
]
