"""ComfyUI's own front end judges our conversion: all of it by `make conversion-check`, a sample in `make test`."""
