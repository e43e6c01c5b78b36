"""Ports for servers that tests start: none that an outgoing connection of another test may be given meanwhile."""

import random
import socket

RANGE = range(20_000, 32_000)  # below Linux' range of ports for outgoing connections (32,768 to 60,999)
CHANCE = random.SystemRandom()  # tests set the seed of the other one, and all workers would get the same ports


def free_port():
    """A port of loopback that nobody has."""
    while True:
        port = CHANCE.choice(RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
