"""Upstream's environments and our records, both ways, at any moment of an episode.

To *read* is to turn what upstream has into a record, to *write* to turn a record into what upstream
has. Objects, instructions and rules each have a file with both ways; ``environments`` puts them
together.
"""
