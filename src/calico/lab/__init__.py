"""Hosts and workloads as network namespaces on one machine.

A lab is one holder process (`holder`) whose namespaces everything else lives
in; `register` finds labs by name, `entry` runs things inside one, `network`
lays the links that `plan` describes, `lifecycle` brings a lab up and takes it
down, `workloads` and `probes` are what a user does with it. `demo` is the
tutorial, typed in a lab of its own and checked with real packets.
"""
