"""What a client did that ends its stream, and nobody else's."""

from __future__ import annotations


class XdsError(Exception):
    """Base of the errors a session raises from ``receive``. The session is of no use afterwards; close it."""


class InvalidRequestError(XdsError):
    """The request is not a discovery request, or not one for this stream. gRPC: INVALID_ARGUMENT."""


class TooManyNamesError(XdsError):
    """The stream subscribes to more names than the server allows. gRPC: RESOURCE_EXHAUSTED."""
