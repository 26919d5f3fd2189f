"""The stdout and stderr of a command.

output_streams.py   texts are made printable on a terminal, and fit for the encoding elsewhere
standard_output.py  a failed write to stdout is an error of the machine, reported with its cause
resource_errors.py  errors of the kernel that mean that disk, memory or descriptors are used up
"""
