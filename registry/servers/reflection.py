"""gRPC server reflection (grpc/grpc doc/server-reflection.md), v1 and v1alpha, whose messages are the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from importlib import import_module

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2 as pb

from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream, StreamHandler

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = pb.DESCRIPTOR.services_by_name["ServerReflection"].full_name
XDS_MODULES = (
    "envoy.service.discovery.v3.ads_pb2",
    "envoy.service.cluster.v3.cds_pb2",
    "envoy.service.endpoint.v3.eds_pb2",
    "envoy.service.listener.v3.lds_pb2",
    "envoy.service.route.v3.rds_pb2",
    "registry.protos.peers_pb2",
    "registry.protos.registry_pb2",
)
"""Where the services are described; imported when somebody asks, since serving needs only their messages."""

MAX_QUESTIONS, QUESTION_BYTES = 100, 1_024
"""So many questions may wait for a client that does not read, and each may be so long. An answer is made when the
client can take it."""

KEPT_ANSWERS = 64
"""Descriptions of files that are kept for those who ask for the same: there are as many files as there are."""


class ReflectionServer:
    """Describes ``services`` and itself, out of protobuf's own pool."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._names = sorted({V1, V1ALPHA, *(service.name for service in services)})
        self._pool = descriptor_pool.Default()
        self._described: dict[str, bytes] = {}
        """Answers that describe a file with all that it imports, encoded, by the file's name."""

    def services(self) -> tuple[Service, ...]:
        """What the gRPC server is to carry."""
        return tuple(Service(name, streams={"ServerReflectionInfo": self._open}) for name in (V1, V1ALPHA))

    def _open(self, stream: Stream, _call: CallInfo) -> StreamHandler:
        for module in XDS_MODULES:
            import_module(module)
        return _Conversation(self, stream)

    def answer(self, request: pb.ServerReflectionRequest) -> bytes:
        """The encoded ServerReflectionResponse."""
        response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        described = b""
        try:
            described = self._answer(request, response)
        except KeyError:
            response.error_response.error_code = int(Code.NOT_FOUND)
            response.error_response.error_message = f"not known here: {request.WhichOneof('message_request')}"
        # Fields of a protobuf message may be put together from pieces.
        return response.SerializeToString() + described

    def _answer(self, request: pb.ServerReflectionRequest, response: pb.ServerReflectionResponse) -> bytes:
        """Gives what is to follow the encoded response. Raises KeyError for what is not known."""
        match request.WhichOneof("message_request"):
            case "list_services":
                response.list_services_response.service.extend(pb.ServiceResponse(name=name) for name in self._names)
            case "file_by_filename":
                return self._describe(self._pool.FindFileByName(request.file_by_filename))
            case "file_containing_symbol":
                # v1 is v1alpha under another name; the pool has the latter.
                symbol = request.file_containing_symbol.replace("grpc.reflection.v1.", "grpc.reflection.v1alpha.")
                return self._describe(self._pool.FindFileContainingSymbol(symbol))
            case "file_containing_extension":
                wanted = request.file_containing_extension
                message = self._pool.FindMessageTypeByName(wanted.containing_type)
                extension = self._pool.FindExtensionByNumber(message, wanted.extension_number)
                return self._describe(self._pool.FindFileContainingSymbol(extension.full_name))
            case "all_extension_numbers_of_type":
                message = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = response.all_extension_numbers_response
                numbers.base_type_name = message.full_name
                numbers.extension_number.extend(each.number for each in self._pool.FindAllExtensions(message))
            case _:
                response.error_response.error_code = int(Code.INVALID_ARGUMENT)
                response.error_response.error_message = "the request asks for nothing"
        return b""

    def _describe(self, file: FileDescriptor) -> bytes:
        """The file and everything it imports, each once, so that a client need not ask again."""
        described = self._described.get(file.name)
        if described is not None:
            return described
        found = {file.name: file}
        waiting = deque([file])
        while waiting:
            for imported in waiting.popleft().dependencies:
                if imported.name not in found:
                    found[imported.name] = imported
                    waiting.append(imported)
        response = pb.ServerReflectionResponse()
        response.file_descriptor_response.file_descriptor_proto.extend(each.serialized_pb for each in found.values())
        described = response.SerializeToString()
        if len(self._described) >= KEPT_ANSWERS:
            del self._described[next(iter(self._described))]
        self._described[file.name] = described
        return described


class _Conversation:
    """One open stream: an answer to each request, in order."""

    def __init__(self, server: ReflectionServer, stream: Stream) -> None:
        self._server = server
        self._stream = stream
        self._questions: deque[pb.ServerReflectionRequest] = deque()

    def received(self, message: bytes) -> None:
        if len(message) > QUESTION_BYTES:
            text = f"a question of {len(message)} bytes; at most {QUESTION_BYTES} are read"
            raise RpcError(Code.INVALID_ARGUMENT, text)
        try:
            request = pb.ServerReflectionRequest.FromString(message)
        except DecodeError as error:
            raise RpcError(Code.INVALID_ARGUMENT, f"not a ServerReflectionRequest: {error}") from error
        if len(self._questions) >= MAX_QUESTIONS:
            raise RpcError(Code.RESOURCE_EXHAUSTED, "read the answers before you ask more")
        self._questions.append(request)
        self._stream.charge(2 * QUESTION_BYTES * len(self._questions))

    def half_closed(self) -> None:
        self._stream.finish()

    def next_message(self) -> bytes | None:
        if not self._questions:
            return None
        answer = self._server.answer(self._questions.popleft())
        self._stream.charge(2 * QUESTION_BYTES * len(self._questions))
        return answer

    def closed(self) -> None:
        self._questions.clear()
