"""What the registry writes into member clusters.

``plan``             what to do about one ServiceEntry, from what is wanted and what is there (pure)
``entry_api``        the API server's ServiceEntries: list, read, apply, delete
``export_api``       the API server's ServiceExports and their conditions
``export_conditions``  what became of each ServiceExport of one cluster, said in its status
``answers``          what an API server answers to a writer
``loop``             compare, follow, back off: what every writer does
``fleet``            a writer for each member
``service_entries``  keeps the ServiceEntries of one cluster as the merged list says
"""
