"""Prepares a machine for the suite: packages, users, two virtual environments, the front end and ComfyUI.

Standard library only: the system's Python runs this before anything is installed.
"""
