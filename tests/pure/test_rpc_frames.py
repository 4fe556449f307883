"""HTTP/2 frames, header blocks and gRPC messages as bytes."""

from __future__ import annotations

import contextlib

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from registry.rpc import frames, messages
from registry.rpc.frames import ConnectionFaultError, ErrorCode, FrameReader, Setting, StreamFaultError
from registry.rpc.headers import TABLE_SIZE_ZERO, HeaderDecoder, check_request, encode
from registry.rpc.messages import MessageReader, NotGrpcError
from registry.rpc.seam import Code, RpcError

GET = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"content-type", b"application/grpc")]
bodies = st.binary(max_size=300)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 255), st.integers(0, 2**31 - 1), bodies)), st.data())
def test_frames_cut_anywhere_are_the_same_frames(wanted: list[frames.Frame], data: st.DataObject) -> None:
    whole = b"".join(frames.frame_header(len(body), kind, flags, at) + body for kind, flags, at, body in wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    reader = FrameReader()
    found = [
        frame
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
        for frame in reader.feed(whole[begin:end])
    ]
    assert found == wanted


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20))
def test_pieces_that_come_while_frames_are_left_wait_behind_them(steps: list[tuple[int, int]]) -> None:
    """Each step puts a piece of so many frames, and takes so many."""
    reader, found, put = FrameReader(), list[int](), 0
    for came, most in [*steps, (0, 4 * len(steps))]:
        reader.put(b"".join(frames.data(put + number, b"x") for number in range(1, came + 1)))
        put += came
        for _ in range(most):
            frame = reader.next()
            found += [frame[2]] if frame is not None else []
    assert found == list(range(1, put + 1))
    assert reader.waiting == 0


def test_every_byte_position_of_one_frame_is_a_place_to_cut() -> None:
    whole = frames.data(1, b"hello", end_stream=True)
    for cut in range(len(whole) + 1):
        reader = FrameReader()
        assert [*reader.feed(whole[:cut]), *reader.feed(whole[cut:])] == [(frames.DATA, frames.END_STREAM, 1, b"hello")]


def test_frame_that_is_too_large_is_refused_before_its_payload_comes() -> None:
    with pytest.raises(ConnectionFaultError, match="at most 16384") as error:
        FrameReader().feed(frames.frame_header(16_385, frames.DATA, 0, 1))
    assert error.value.code is ErrorCode.FRAME_SIZE_ERROR


def test_reserved_bit_of_a_stream_is_ignored() -> None:
    assert FrameReader().feed(frames.frame_header(0, 4, 0, 0x8000_0005)) == [(4, 0, 5, b"")]


@given(st.integers(0, 100_000))
def test_content_of_any_length_is_framed_so_that_every_peer_takes_it(length: int) -> None:
    payload = bytes(range(256)) * (length // 256 + 1)
    found = FrameReader().feed(frames.all_data(7, payload[:length]))
    assert {(kind, flags, at) for kind, flags, at, _ in found} == {(frames.DATA, 0, 7)}
    assert b"".join(each for _, _, _, each in found) == payload[:length]


def test_long_header_block_is_continued() -> None:
    block = bytes(40_000)
    first, *rest = FrameReader().feed(frames.headers(3, block, end_stream=True))
    assert [frame[0] for frame in (first, *rest)] == [frames.HEADERS, frames.CONTINUATION, frames.CONTINUATION]
    assert first[1] == frames.END_STREAM
    assert [frame[1] for frame in rest] == [0, frames.END_HEADERS]
    assert b"".join(frame[3] for frame in (first, *rest)) == block


@pytest.mark.parametrize(("payload", "left"), [(b"\x00abc", b"abc"), (b"\x02a\0\0", b"a"), (b"\x03abc", b"")])
def test_padding_is_taken_off(payload: bytes, left: bytes) -> None:
    assert frames.unpad(frames.PADDED, payload) == left


@pytest.mark.parametrize("payload", [b"", b"\x04abc"])
def test_more_padding_than_payload_is_a_fault(payload: bytes) -> None:
    with pytest.raises(ConnectionFaultError):
        frames.unpad(frames.PADDED, payload)


def test_settings_are_read_as_they_are_written() -> None:
    ((kind, _, _, payload),) = FrameReader().feed(frames.settings({Setting.MAX_FRAME_SIZE: 20_000}))
    assert kind == frames.SETTINGS
    assert list(frames.parse_settings(payload)) == [(5, 20_000)]
    with pytest.raises(ConnectionFaultError):
        frames.parse_settings(payload[:-1])


@given(
    st.lists(st.tuples(st.from_regex(rb"[a-z][-a-z0-9]{0,300}", fullmatch=True), st.binary(max_size=300)), max_size=9)
)
def test_every_decoder_reads_the_blocks_we_encode(headers: list[tuple[bytes, bytes]]) -> None:
    wanted = [(b":status", b"200"), *headers]
    assert [tuple(each) for each in Decoder().decode(TABLE_SIZE_ZERO + encode(wanted), raw=True)] == wanted


def test_header_bomb_is_refused_at_its_limit() -> None:
    encoder = Encoder()
    one = encoder.encode([("a", "x" * 3000)])
    bomb = one + encoder.encode([("a", "x" * 3000)]) * 1000
    assert len(bomb) < 5000
    with pytest.raises(ConnectionFaultError) as error:
        HeaderDecoder(16_384).decode(bomb)
    assert error.value.code is ErrorCode.ENHANCE_YOUR_CALM


@given(st.binary(max_size=200))
def test_rubbish_is_a_header_block_or_a_connection_fault(block: bytes) -> None:
    with contextlib.suppress(ConnectionFaultError):
        HeaderDecoder(1000).decode(block)


@pytest.mark.parametrize(
    "headers",
    [
        GET[1:],
        [*GET, (b":path", b"/twice")],
        [*GET, (b":late", b"x")],
        [(b":status", b"200"), *GET],
        [*GET, (b"Upper", b"x")],
        [*GET, (b"connection", b"close")],
        [*GET, (b"te", b"gzip")],
        [*GET, (b"a", b"line\r\nbreak")],
        [*GET, (b"content-length", b"many")],
        [*GET, (b"content-length", b"9" * 5000)],
        [*GET, (b"", b"x")],
        [(b":method", b""), *GET[1:]],
    ],
)
def test_malformed_request_is_a_fault_of_its_stream(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(StreamFaultError) as error:
        check_request(7, headers)
    assert (error.value.stream_id, error.value.code) == (7, ErrorCode.PROTOCOL_ERROR)


@given(st.lists(bodies, max_size=6), st.data())
def test_messages_cut_anywhere_are_the_same_messages(wanted: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(map(messages.framed, wanted))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    reader = MessageReader(1000)
    found = [
        each
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
        for each in reader.feed(whole[begin:end])
    ]
    assert found == wanted
    assert reader.held == 0
    reader.close()


def test_message_that_is_too_large_compressed_or_cut_off_ends_its_call() -> None:
    with pytest.raises(RpcError) as error:
        MessageReader(10).feed(b"\0\0\0\0\x0b")
    assert error.value.code is Code.RESOURCE_EXHAUSTED
    with pytest.raises(RpcError) as error:
        MessageReader(10).feed(b"\x01\0\0\0\x01x")
    assert error.value.code is Code.INTERNAL
    reader = MessageReader(10)
    reader.feed(b"\0\0\0\0\x05abc")
    with pytest.raises(RpcError, match="within a message"):
        reader.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"99999999n", 0.099999999)],
)
def test_timeouts_are_read(text: bytes, seconds: float) -> None:
    assert messages.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"S", b"1", b"1x", b"-1S", b"123456789S", b"1.5S"])
def test_what_is_no_timeout_is_refused(text: bytes) -> None:
    with pytest.raises(RpcError):
        messages.seconds(text)


def test_status_messages_are_percent_encoded() -> None:
    assert messages.percent_encoded("100 % of\nzoë") == b"100 %25 of%0Azo%C3%AB"


def test_head_of_a_request() -> None:
    head = messages.read_head(
        [*GET, (b"x-custom", b"1"), (b"x-bin", b"AAA"), (b"grpc-timeout", b"1S"), (b"te", b"trailers")]
    )
    assert (head.path, head.metadata, head.timeout) == ("/a.B/C", {"x-custom": "1"}, 1.0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [([(b":method", b"GET"), *GET[1:]], 405), ([*GET[:3], (b"content-type", b"text/html")], 415), (GET[:3], 415)],
)
def test_what_is_not_grpc_gets_an_http_status(headers: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(NotGrpcError) as error:
        messages.read_head(headers)
    assert error.value.status == status


def test_compression_that_is_not_spoken_is_refused() -> None:
    with pytest.raises(RpcError) as error:
        messages.read_head([*GET, (b"grpc-encoding", b"gzip")])
    assert error.value.code is Code.UNIMPLEMENTED
