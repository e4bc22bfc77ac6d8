"""Between text and values: rule words, JSON and datastore keys.

The only place where untyped data exists. Everything in here is strict: what it
does not know it refuses, with the place, what was found and what is accepted.
"""
