"""Network policy for Docker and plain Linux hosts.

What is where: `ARCHITECTURE.md`. Importing this package does nothing.
"""

__version__ = "0.1.0"
