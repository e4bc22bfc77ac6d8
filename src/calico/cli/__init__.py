"""`calicoctl`: words in, values of the model, words out.

`groups` holds one grammar entry per command group, pure data; the module named
by a form of it holds the functions that carry it out and is imported after the
words have been understood. To add a group: one module in `groups`, its name in
`groups.SUMMARIES`, and one module here.
"""
