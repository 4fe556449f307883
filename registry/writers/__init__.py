"""What the registry writes into member clusters.

``plan``             what to do about one ServiceEntry, from what is wanted and what is there (pure)
``entry_api``        the API server's ServiceEntries: list, read, apply, delete
``service_entries``  keeps the ServiceEntries of one cluster as the merged list says
"""
