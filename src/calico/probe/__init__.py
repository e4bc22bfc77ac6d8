"""Send a real packet and see what becomes of it: on the wire, and in the kernel.

Not here: what should have become of it, which `verdict` says.
"""
