"""`python -m benchmarks.downloads.fetch_hub REPOSITORY FILE FOLDER`: huggingface_hub's own way, from HF_ENDPOINT."""

import sys

from huggingface_hub import hf_hub_download

from benchmarks.downloads import stopwatch


def main(repository: str, file: str, folder: str) -> None:
    stopwatch.begin()
    hf_hub_download(repository, file, local_dir=folder)
    stopwatch.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
