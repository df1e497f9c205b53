"""What is true of usage and money, without any I/O: frames in, usages out, line items out.

Nothing here reads a clock, an environment variable or a file, logs, or knows of OpenTelemetry: instants and rate cards
are arguments. That is what lets the laws of this folder be tested as laws.
"""
