"""The download engine: one file from its hosts to its place, in segments, resumed, verified, and only then published.

`fetcher` decides what has to be done, `transfer` gets the missing bytes from one host over several lines, `segments`
knows which bytes those are, `part` and services/journal.py keep them, `digest` hashes them on the way.
"""

from services.downloads.fetcher import Fetcher

__all__ = ["Fetcher"]
