"""Programs that work in the background: the download workers (`python -m worker N`) and the reconciler."""
