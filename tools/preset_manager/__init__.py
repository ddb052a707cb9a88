"""`preset-manager`: the command line for presets, inside the container or beside it; docs/preset-manager.md has it all.

Each command is a module with a `run`; what they share is in `context` (what there is), `output` (what is shown) and
`endings` (how it ends).
"""
