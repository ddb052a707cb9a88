"""Why a file cannot be had from where it lies, for programs and for people."""

from typing import Any, Literal

from msgspec import Struct

from services.errors import DownloadFailed

Kind = Literal["gated", "unauthorized", "forbidden", "missing", "early_access", "unreachable", "not_a_file"]
TokenName = Literal["HF_TOKEN", "CIVITAI_TOKEN"]


class Trouble(Struct, frozen=True):
    """`message`: what, why and what to do. `page`: where to accept a licence, or to look. `token`: which one to set,
    where that helps."""

    kind: Kind
    message: str
    page: str | None = None
    token: TokenName | None = None

    @classmethod
    def of(cls, failure: DownloadFailed) -> "Trouble":
        """What `failure` means, whoever raised it."""
        plain: Kind = "forbidden" if failure.permanent else "unreachable"
        details = failure.details
        return cls(details.get("kind", plain), failure.message, details.get("page"), details.get("token"))

    def failure(self, *, permanent: bool, **details: Any) -> DownloadFailed:
        """The same as an error; `of` gets it back."""
        told = {"kind": self.kind, "page": self.page, "token": self.token}
        return DownloadFailed(self.message, permanent=permanent, details={**details, **told})
