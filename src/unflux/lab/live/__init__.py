"""The model on real sockets: real DNS, real HTTP, a real resolver, sealed in a namespace.

`session.Lab` starts a lab from Python, `unflux lab run` from the shell. Everything that has a
socket runs in a user, network and process namespace of its own with nothing but loopback and
reserved addresses; `seal` refuses anything else before a socket opens. This package imports
nothing heavy: `enter` has to leave the machine's network before threads exist.
"""
