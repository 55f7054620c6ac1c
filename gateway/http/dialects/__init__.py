"""What each API asks and how it is answered: bodies → requests, outcomes → bodies; no routes, no sockets."""
