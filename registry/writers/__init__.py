"""What the registry writes into member clusters.

``plan``             what to do about one ServiceEntry, from what is wanted and what is there (pure)
``unknown``          the members of which nothing is known yet (pure)
``kept``             what entries have of those, and what of an entry is gone (pure)
``held``             our entries in one cluster, by service (pure)
``contests``         when what others changed is put back (pure)
``refusals``         why an API server does not take one object (pure)
``told``             status and conditions (pure)
``answers``          what an API server answers to a writer
``entry_api``        the API server's ServiceEntries: list, watch, read, apply, delete
``entry_watch``      follows our own entries in one cluster
``export_api``       the API server's ServiceExports and their conditions
``export_conditions``  what became of each ServiceExport of one cluster, in its status
``aside``            objects that failed, each with its own time
``loop``             compare, follow, back off: what every writer does
``service_entries``  keeps the ServiceEntries of one cluster as the merged list says
``departure``        removes our entries from a cluster that left
``fleet``            a writer for each member
"""
