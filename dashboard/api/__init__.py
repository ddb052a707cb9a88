"""The JSON API: every endpoint, in the order of `docs/api.md`."""

from dashboard.api import (
    additions,
    adoptions,
    checks,
    comfyui,
    credentials,
    downloads,
    duplicates,
    inputs,
    models,
    outputs,
    presets,
    runs,
    system,
    uploads,
    workflows,
)
from dashboard.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *presets.ENDPOINTS,
    *downloads.ENDPOINTS,
    *models.ENDPOINTS,
    *additions.ENDPOINTS,
    *duplicates.ENDPOINTS,
    *uploads.ENDPOINTS,
    *adoptions.ENDPOINTS,
    *comfyui.ENDPOINTS,
    *runs.ENDPOINTS,
    *inputs.ENDPOINTS,
    *outputs.ENDPOINTS,
    *workflows.ENDPOINTS,
    *checks.ENDPOINTS,
    *system.ENDPOINTS,
    *credentials.ENDPOINTS,
)
