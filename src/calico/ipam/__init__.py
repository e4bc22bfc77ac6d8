"""Addresses out of blocks: who gets which, and how it comes back."""
