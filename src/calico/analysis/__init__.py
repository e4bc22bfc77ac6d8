"""What policy says of all packets at once: exact answers, or none.

Sets of packets are unions of boxes (`boxes`) over header fields and addresses
(`space`), and a list of profiles splits such a set by what decides
(`partition`). `reach` and `shadow` ask their questions with it.
"""
