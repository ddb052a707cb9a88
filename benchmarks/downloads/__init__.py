"""What measures the downloads' section of docs/benchmarks.md: `make bench-downloads`, or some of it, for a quick look:
`make bench-downloads ARGS='metered --rounds 1'`.

Ours and the other programs take turns on the same host and the same files; every file that came is checked.
"""
