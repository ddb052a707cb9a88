"""Workflows: kept on the volume, checked against what ComfyUI offers before they are queued."""

from services.workflows.saved import SOURCES, SavedWorkflow, Source, Workflows
from services.workflows.shape import MAX_NODES, check_shape

__all__ = [
    "MAX_NODES",
    "SOURCES",
    "SavedWorkflow",
    "Source",
    "Workflows",
    "check_shape",
]
