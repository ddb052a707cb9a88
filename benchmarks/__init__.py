"""What measures the figures of docs/benchmarks.md: `make bench`, or some of it: `make bench ARGS='boot memory'`.

Everything is measured through the real programs on this machine, in one run, medians of interleaved repetitions.
"""
