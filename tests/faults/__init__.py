"""What downloads survive: kills at random moments, hosts that misbehave, others who want the same file.

A sample is part of `make test`; `make test-faults-downloads` runs all of it and prints its figures.
"""
