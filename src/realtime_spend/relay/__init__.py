"""A WebSocket pass-through that meters: for browsers, .NET, JavaScript, and whatever else Python does not hold.

A client is pointed at the relay instead of at the provider, and nothing else changes. The handshake is read and its
host (and, if the relay holds the provider's key, its credentials) exchanged; from then on bytes are copied both ways as
they come. Beside them a tap follows the frames of the server and hands those that can tell usage to the same metering
that the hooks use. So no frame can be altered, and a fault in the metering cannot stop a phone call.
"""
