"""The JSON API: every endpoint, in the order of `docs/api.md`."""

from dashboard.api import comfyui, downloads, models, presets, runs, system, workflows
from dashboard.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *presets.ENDPOINTS,
    *downloads.ENDPOINTS,
    *models.ENDPOINTS,
    *comfyui.ENDPOINTS,
    *runs.ENDPOINTS,
    *workflows.ENDPOINTS,
    *system.ENDPOINTS,
)
