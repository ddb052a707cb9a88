"""The way from nothing to a running suite: check the volume, write the configuration, become supervisord.

It is the critical path of every start, so it imports no web framework, no queue and no HTTP client.
"""
