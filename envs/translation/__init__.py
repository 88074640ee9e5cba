"""Translation between upstream's environments and our records, at any point of an episode.

To *read* is to turn upstream's state into a record, to *write* is the reverse. Objects,
instructions and rules each have a file with both; ``environments`` combines them.
"""
