"""What a host was asked and what it sent."""

from dataclasses import dataclass


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    method: str = "GET"
    query: str = ""
    client: tuple[str, int] = ("", 0)
    status: int = 0
    # Of the body, as it goes over the line: packed if it is, but without the frames of chunks. The piece that is on its
    # way counts in full.
    bytes_sent: int = 0

    @property
    def range(self) -> str:
        """The Range header, or nothing."""
        return self.headers.get("range", "")

    @property
    def client_port(self) -> int:
        return self.client[1]

    @property
    def token(self) -> str:
        """The bearer token that came along, or nothing."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
