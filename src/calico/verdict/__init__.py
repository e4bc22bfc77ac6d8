"""What happens to a packet, and why: the meaning of a desired state."""
