"""gRPC over HTTP/2, bytes in and bytes out: this package knows nothing of protobuf, of xDS or of this registry.

``seam`` is what a service is written against. ``frames`` and ``headers`` are the form of HTTP/2, ``messages`` that of
gRPC; ``connection``, with its ``streams`` and its ``outbox``, is the state machine; ``limits`` and ``vigil`` say what a
client may do. These do no IO and are told the time. ``calls``, ``open_calls`` and ``link`` carry them on asyncio,
``server`` listens.
"""
