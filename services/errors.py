"""The errors that more than one module raises or catches, below the one that all the suite's own errors share.

What a single module means by its own (`auth.TooManyAttempts`, `yaml_files.InvalidYaml`) stands there.

SuiteError
 ├── InvalidRequest            what was sent does not fit; nothing was changed
 │    ├── InvalidSettings      the environment holds bad values
 │    ├── InvalidName          a name that could leave its folder
 │    └── WorkflowRefused      ComfyUI would not run it: missing models, missing nodes, bad inputs
 ├── NotFound                  no such preset, model, download, run, workflow, process
 ├── Conflict                  it cannot be done while something else is under way
 ├── NotEnoughSpace            the volume is too small for it
 ├── Unavailable               a part of the suite is down
 │    ├── WorkspaceUnavailable
 │    ├── QueueUnavailable
 │    └── ComfyUIUnavailable
 ├── DownloadStopped           someone asked it to
 └── DownloadFailed            one file could not be brought in; `permanent` says whether trying again can help
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class SuiteError(Exception):
    """An error with a sentence for people and a stable name for programs."""

    type: ClassVar[str] = "error"

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class InvalidRequest(SuiteError):
    type = "invalid"


class InvalidSettings(InvalidRequest):
    type = "invalid_settings"


class InvalidName(InvalidRequest):
    type = "invalid_name"


class WorkflowRefused(InvalidRequest):
    type = "workflow_refused"


class NotFound(SuiteError):
    type = "not_found"


class Conflict(SuiteError):
    type = "conflict"


class NotEnoughSpace(SuiteError):
    type = "not_enough_space"


class Unavailable(SuiteError):
    type = "unavailable"


class WorkspaceUnavailable(Unavailable):
    type = "workspace_unavailable"


class QueueUnavailable(Unavailable):
    type = "queue_unavailable"


class ComfyUIUnavailable(Unavailable):
    type = "comfyui_unavailable"


class DownloadFailed(SuiteError):
    """`permanent`: the same request would fail again until someone changes something (a token, a URL, a licence)."""

    type = "download_failed"

    def __init__(self, message: str, *, permanent: bool, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details)
        self.permanent = permanent


class DownloadStopped(SuiteError):
    """Someone asked the download to stop; what was fetched is kept."""

    type = "download_stopped"
