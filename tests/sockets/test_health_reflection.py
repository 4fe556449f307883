"""Health checking and reflection, asked by the clients of their own libraries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from registry.rpc.seam import Service
from registry.rpc.server import RpcServer
from registry.servers.ads import XdsServer
from registry.servers.health import HealthServer
from registry.servers.reflection import V1, ReflectionServer
from registry.xds.store import ResourceStore

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


class Rig:
    def __init__(self) -> None:
        services = (*XdsServer(ResourceStore(), clock=lambda: 0.0).services(), Service("registry.v1.Registry"))
        self.health = HealthServer(services)
        services = (*services, self.health.service())
        self.server = RpcServer((*services, *ReflectionServer(services).services()), "127.0.0.1:0")


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    it = Rig()
    await it.server.start()
    yield it
    await it.server.stop(0)


async def test_health_is_told_and_followed(rig: Rig) -> None:
    async with grpc.aio.insecure_channel(rig.server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest
        assert (await stub.Check(request(service=""))).status == NOT_SERVING
        watch = stub.Watch(request(service=ADS))
        unknown = stub.Watch(request(service="no.Such"))
        assert (await watch.read()).status == NOT_SERVING
        assert (await unknown.read()).status == UNKNOWN
        rig.health.open()
        assert (await watch.read()).status == SERVING
        assert (await stub.Check(request(service=ADS))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Check(request(service="no.Such"))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        watch.cancel()
        unknown.cancel()


async def test_services_can_be_found_and_described_without_their_protos(rig: Rig) -> None:
    def ask() -> tuple[list[str], list[str]]:
        with grpc.insecure_channel(rig.server.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            ads = pool.FindServiceByName(ADS)
            lookup = pool.FindServiceByName("registry.v1.Registry")
            assert [each.name for each in lookup.methods] == ["Lookup", "Watch"]
            fields = ads.methods_by_name["DeltaAggregatedResources"].input_type.fields_by_name
            return list(database.get_services()), list(fields)

    services, fields = await asyncio.to_thread(ask)
    assert {ADS, "registry.v1.Registry", "grpc.health.v1.Health", V1} <= set(services)
    assert "resource_names_subscribe" in fields


async def test_v1_answers_too_and_says_what_it_does_not_know(rig: Rig) -> None:
    request = reflection_pb2.ServerReflectionRequest
    async with grpc.aio.insecure_channel(rig.server.address) as channel:
        call = channel.stream_stream(
            f"/{V1}/ServerReflectionInfo",
            request_serializer=request.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()
        answers = []
        for asked in (
            request(list_services=""),
            request(file_containing_symbol=V1),
            request(file_containing_symbol="no.Such"),
            request(file_by_filename="no/such.proto"),
            request(all_extension_numbers_of_type="google.protobuf.FieldOptions"),
            request(),
        ):
            await call.write(asked)
            answers.append(await call.read())
        await call.done_writing()
        kinds = [answer.WhichOneof("message_response") for answer in answers]
        assert kinds == [
            "list_services_response",
            "file_descriptor_response",
            "error_response",
            "error_response",
            "all_extension_numbers_response",
            "error_response",
        ]
        assert [each.error_response.error_code for each in answers if each.HasField("error_response")] == [5, 5, 3]
        assert await call.code() is grpc.StatusCode.OK
