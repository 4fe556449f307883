"""gRPC over HTTP/2, bytes in and bytes out: this package knows nothing of protobuf, of xDS or of this registry.

``seam`` is what a service is written against. ``frames``, ``headers``, ``connection``, ``messages``, ``limits`` and
``vigil`` do no IO and are told the time; ``calls`` and ``link`` carry them on asyncio, ``server`` listens.
"""
