"""Sockets: the gRPC services (xDS, lookup) and the HTTP API, over ``views``, ``xds`` and ``rpc``."""
