"""gRPC, bytes in and bytes out: this package knows nothing of protobuf, of xDS or of this registry.

``seam`` is what a service is written against; ``grpcio_server`` carries it on the gRPC library.
"""
