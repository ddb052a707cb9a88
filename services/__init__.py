"""All the suite knows about presets, models, downloads, ComfyUI and the machine.

No HTTP server, no worker loop and no process start lives here: those are the programs
(`bootstrap`, `dashboard`, `worker`, `tools`), which import this package and never one another.
"""
