"""Which clusters are members, now: taken from several places, united, and followed as they come, change and go.

``spec``       what is said of one member, and the seam to those who say it
``reconcile``  all that is said, as one membership; what changed since (pure)
``identity``   which cluster each member is, so that none is followed twice or mistaken for another (pure)
``absence``    members that a place names no more, and whether that is believed (pure)
``standby``    what a source says while another is still in charge (pure)
``succession`` a member that goes only when the one that takes its place has come (pure)
``leaving``    that, by the clock
``hearing``    what the places say, united
``members``    starts, replaces and stops what follows each member
``following``  the source of one member, and the seams to what is around it
``opening``    the source for a way to reach a member
``looking``    folders and files, looked at when something changed
``configured`` members of the flags and of the configuration file
``folder``     members of a folder of kubeconfigs
``places``     all of these, as configured
``secrets``    members of the Secrets of a home cluster; ``roster`` is what these come to (pure)
"""
