"""What scripts/server.py is made of: settings, Java, the server's processes, and the spaces it serves."""


class LaunchError(Exception):
    """The server cannot be started or did not become ready; the message is written for the operator."""
