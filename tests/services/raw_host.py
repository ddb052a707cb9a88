"""A host that sends exactly the bytes it is told: for answers that no proper server gives."""

import socket
import threading


class RawHost:
    """`requests` holds the head of each request that came, as it was sent."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        # Wakes accept(), which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line:
                self._answer(line)

    def _answer(self, line: socket.socket) -> None:
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                piece = line.recv(65536)
                if not piece:
                    return
                head += piece
            self.requests.append(head)
            line.sendall(self._answers[min(len(self.requests), len(self._answers)) - 1])
        except OSError:
            # The client hung up, which it may.
            return


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An answer with `headers` (underscores stand for dashes) and no others."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
