"""How much of a member cluster is believed, from two signals: its API server's freshness, its data plane's answers.

``table`` says what follows from them (pure), with ``damping`` against clusters that come and go; ``plan``,
``tally`` and ``sample`` are the pure half of the probes that ``probes`` sends; ``watch`` brings all together,
once a second.
"""
