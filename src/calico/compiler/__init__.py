"""From what users say to what one host must do.

`host.compile_host` is total and the specification; `incremental.HostCompiler`
gives the same answer at a cost that follows the change.
"""
