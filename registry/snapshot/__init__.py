"""What the registry remembers across a restart: the facts of every cluster, in one checksummed file.

``rows`` and ``format`` say how facts become bytes and back, ``pace`` when to write (all pure); ``file`` replaces the
file in one step, ``writer`` keeps it current, ``loader`` reads it at the start.
"""
