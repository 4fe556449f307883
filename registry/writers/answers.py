"""What an API server answers to a writer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from registry.sources.kubernetes.api import retry_after
from registry.sources.kubernetes.client import ApiResponse
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.decode import decode_status_message
from registry.writers.refusals import Refusal, refusal, shortened

SUCCESS = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)


class WriteError(Exception):
    """The API server answered, and not with success.

    ``refusal`` says why it does not take this object, None where the answer may not be about the object.
    """

    def __init__(self, condition: Fault, status: int, refusal: Refusal | None, retry_after: float | None) -> None:
        super().__init__(condition.message)
        self.condition = condition
        self.status = status
        self.refusal = refusal
        self.retry_after = retry_after

    @classmethod
    def of_object(cls, refusal: Refusal, message: str) -> WriteError:
        """An object that the API server would not take: it is not asked."""
        return cls(Fault(Reason.BAD_OBJECT, message), HTTPStatus.UNPROCESSABLE_ENTITY, refusal, None)

    def with_outcome(self, outcome: str) -> WriteError:
        """The same, with what became of the object."""
        fault = Fault(self.condition.reason, f"{self.condition.message}; {outcome}")
        return WriteError(fault, self.status, self.refusal, self.retry_after)

    @property
    def reason(self) -> str:
        """One word, fit for a metric label."""
        return self.refusal or self.condition.reason


def success(verb: str, what: str, response: ApiResponse, missing: str) -> Any:
    """The answer's document. ``missing`` says what is probably not installed where the path is not found.

    Raises:
        WriteError: it is no success, or no JSON.
    """
    if response.status in SUCCESS:
        try:
            return msgspec.json.decode(response.body)
        except (ValueError, RecursionError) as error:
            fault = Fault(Reason.BAD_RESPONSE, f"{verb} {what}: {error}")
            raise WriteError(fault, response.status, None, None) from error
    raise failure(verb, what, response, missing)


def failure(verb: str, what: str, response: ApiResponse, missing: str) -> WriteError:
    """The error that an answer without success is."""
    status, message = response.status, decode_status_message(response.body)
    why = refusal(status, message)
    if why is not None:
        condition = Fault(Reason.BAD_OBJECT, f"{verb} {what}: {status} {shortened(message)}")
    elif status == HTTPStatus.NOT_FOUND:
        condition = Fault(Reason.NOT_FOUND, f"{verb} {what}: {missing}")
    else:
        condition = refused(verb, what, status, shortened(message))
    return WriteError(condition, status, why, retry_after(response.headers))
