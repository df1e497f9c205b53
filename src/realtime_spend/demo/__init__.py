"""The main job end to end on one machine: real clients, sockets and OTLP, and the truth beside the figures."""
