"""What an API server answers to a writer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from registry.sources.kubernetes.api import retry_after
from registry.sources.kubernetes.client import ApiResponse
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.decode import decode_status_message

SUCCESS = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)


class WriteError(Exception):
    """The API server answered, and not with success.

    ``lasting``: asking again for the same will not help until something else changes.
    """

    def __init__(self, condition: Fault, response: ApiResponse) -> None:
        super().__init__(condition.message)
        self.condition = condition
        self.status = response.status
        self.retry_after = retry_after(response.headers)

    @property
    def lasting(self) -> bool:
        return self.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


def success(verb: str, what: str, response: ApiResponse, missing: str) -> Any:
    """The answer's document. ``missing`` says what is probably not installed where the path is not found.

    Raises:
        WriteError: it is no success, or no JSON.
    """
    if response.status in SUCCESS:
        try:
            return msgspec.json.decode(response.body)
        except (ValueError, RecursionError) as error:
            raise WriteError(Fault(Reason.BAD_RESPONSE, f"{verb} {what}: {error}"), response) from error
    condition = refused(verb, what, response.status, decode_status_message(response.body))
    if response.status == HTTPStatus.NOT_FOUND:
        condition = Fault(Reason.NOT_FOUND, f"{verb} {what}: {missing}")
    raise WriteError(condition, response)
