"""The HTTP/2 connection without a socket: what breaks a rule, what does not, and windows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from support.h2_client import HELLO, request

from registry.rpc import frames
from registry.rpc.connection import CONNECTION_WINDOW, Connection
from registry.rpc.frames import ErrorCode, FrameReader, Setting
from registry.rpc.headers import Header, encode
from registry.rpc.limits import Limits
from registry.rpc.streams import STREAM_WINDOW
from registry.rpc.turns import Slice

OK = encode([(b":status", b"200")])
DONE = encode([(b"grpc-status", b"0")])


class Rig:
    """A connection, what it told, and the frames it wants to send."""

    def __init__(self, limits: Limits = Limits(), hello: bytes = HELLO) -> None:  # noqa: B008 - frozen
        self.told: list[tuple[object, ...]] = []
        self.now = 0.0
        self.time = Slice()
        self.connection = Connection(limits, self, 0.0, self.time)
        self._reader = FrameReader(1 << 24)
        self.sent()
        if hello:
            self.feed(hello)
            self.sent()

    def on_request(self, stream_id: int, _headers: list[Header], ended: bool) -> None:
        self.told.append(("request", stream_id, ended))

    def on_content(self, stream_id: int, data: bytes, ended: bool) -> None:
        self.told.append(("content", stream_id, data, ended))

    def on_sent(self, stream_id: int) -> None:
        self.told.append(("sent", stream_id))

    def on_abort(self, stream_id: int, code: int) -> None:
        self.told.append(("abort", stream_id, code))

    def on_ping(self) -> None:
        self.told.append(("ping",))

    def on_pong(self, payload: bytes) -> None:
        self.told.append(("pong", payload))

    def on_failure(self, code: ErrorCode, message: str) -> None:
        self.told.append(("failure", code, message))

    def feed(self, *data: bytes) -> None:
        self.connection.receive(b"".join(data))
        assert not self.connection.work(self.now)

    def sent(self) -> list[frames.Frame]:
        return self._reader.feed(b"".join(self.connection.out.take()))

    @property
    def failure(self) -> object:
        """The code of the failure, None without one."""
        return next((each[1] for each in self.told if each[0] == "failure"), None)


def test_request_is_told_answered_and_ended() -> None:
    rig = Rig()
    rig.feed(request(1), frames.data(1, b"abc", end_stream=True))
    assert rig.told == [("request", 1, False), ("content", 1, b"abc", True)]
    rig.connection.out.respond(1, OK)
    assert rig.connection.out.send(1, b"xyz")
    rig.connection.out.finish(1, DONE)
    assert [(kind, flags, at) for kind, flags, at, _ in rig.sent()] == [
        (frames.HEADERS, frames.END_HEADERS, 1),
        (frames.DATA, 0, 1),
        (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1),
    ]
    assert rig.connection.streams == 0


def test_response_that_is_complete_before_its_request_says_that_the_rest_is_not_wanted() -> None:
    rig = Rig()
    rig.feed(request(1))
    rig.connection.out.finish(1, DONE)
    rig.feed(frames.data(1, b"late"))
    assert [frame[0] for frame in rig.sent()] == [frames.HEADERS, frames.RST_STREAM]
    assert rig.failure is None


@pytest.mark.parametrize(
    ("bytes_", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.ping(bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
        (HELLO + request(2), ErrorCode.PROTOCOL_ERROR),
        (HELLO + request(3) + request(1), ErrorCode.STREAM_CLOSED),
        (HELLO + frames.frame_header(0, frames.CONTINUATION, 4, 1), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.frame_header(0, frames.HEADERS, 0, 1) + frames.ping(bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.frame_header(7, frames.PING, 0, 0) + bytes(7), ErrorCode.FRAME_SIZE_ERROR),
        (HELLO + frames.frame_header(5, frames.SETTINGS, 0, 0) + bytes(5), ErrorCode.FRAME_SIZE_ERROR),
        (HELLO + frames.frame_header(0, frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), ErrorCode.FLOW_CONTROL_ERROR),
        (HELLO + frames.settings({Setting.MAX_FRAME_SIZE: 1}), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.settings({Setting.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.window_update(0, (1 << 31) - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (HELLO + frames.rst_stream(1, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.frame_header(0, frames.PUSH_PROMISE, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (HELLO + frames.headers(1, b"\xff\xff\xff", end_stream=True), ErrorCode.COMPRESSION_ERROR),
    ],
)
def test_what_breaks_the_connection(bytes_: bytes, code: ErrorCode) -> None:
    rig = Rig(hello=b"")
    rig.feed(bytes_)
    assert rig.failure is code
    kind, _, _, payload = rig.sent()[-1]
    assert (kind, frames.word(payload[4:])) == (frames.GOAWAY, code)
    told = list(rig.told)
    rig.feed(request(9))
    assert rig.told == told, "nothing is understood after a failure"


@pytest.mark.parametrize(
    ("bytes_", "code"),
    [
        (request(1, connection="close"), ErrorCode.PROTOCOL_ERROR),
        (request(1, end=True) + frames.data(1, b"x"), ErrorCode.STREAM_CLOSED),
        (request(1) + frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (request(1) + frames.window_update(1, (1 << 31) - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (request(1, content_length="3") + frames.data(1, b"four"), ErrorCode.PROTOCOL_ERROR),
        (request(1) + frames.frame_header(4, frames.PRIORITY, 0, 1) + bytes(4), ErrorCode.FRAME_SIZE_ERROR),
        (request(1) + frames.headers(1, b"", end_stream=False), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_what_breaks_one_stream_leaves_the_others(bytes_: bytes, code: ErrorCode) -> None:
    rig = Rig()
    rig.feed(bytes_, request(5))
    resets = [frames.word(payload) for kind, _, at, payload in rig.sent() if kind == frames.RST_STREAM and at == 1]
    assert resets == [code]
    assert rig.failure is None
    assert ("request", 5, False) in rig.told


def test_unknown_frames_settings_and_flags_are_ignored() -> None:
    rig = Rig()
    rig.feed(frames.frame_header(3, 0x77, 0xFF, 9) + b"abc")
    rig.feed(frames.frame_header(6, frames.SETTINGS, 0, 0) + b"\x00\x99\0\0\0\x01")
    assert rig.failure is None


def test_streams_beyond_the_promise_are_refused() -> None:
    rig = Rig(Limits(streams=2))
    rig.feed(request(1), request(3), request(5))
    assert [(at, frames.word(payload)) for kind, _, at, payload in rig.sent() if kind == frames.RST_STREAM] == [
        (5, ErrorCode.REFUSED_STREAM)
    ]
    rig.feed(frames.rst_stream(1, ErrorCode.CANCEL), request(7))
    assert ("request", 7, False) in rig.told


def test_windows_hold_back_what_does_not_fit_and_say_when_it_is_through() -> None:
    rig = Rig()
    rig.feed(frames.settings({Setting.INITIAL_WINDOW_SIZE: 10}), request(1))
    rig.connection.out.respond(1, OK)
    rig.sent()
    assert not rig.connection.out.send(1, b"0123456789abcdef")
    assert [frame[3] for frame in rig.sent()] == [b"0123456789"]
    rig.feed(frames.window_update(1, 2))
    assert [frame[3] for frame in rig.sent()] == [b"ab"]
    assert ("sent", 1) not in rig.told
    rig.feed(frames.settings({Setting.INITIAL_WINDOW_SIZE: 14}))
    assert [(frame[0], frame[3]) for frame in rig.sent()] == [(frames.SETTINGS, b""), (frames.DATA, b"cdef")]
    assert rig.told[-1] == ("sent", 1)


def test_what_was_framed_before_goes_out_whole_or_not_at_all() -> None:
    rig = Rig()
    rig.feed(request(1), frames.window_update(1, 100_000))
    content = bytes(40_000)
    framed = frames.all_data(1, content)
    assert rig.connection.out.send_framed(1, framed, len(content))
    assert [len(payload) for _, _, _, payload in rig.sent()] == [16_384, 16_384, 7_232]
    assert not rig.connection.out.send_framed(1, framed, len(content)), "the connection's window has 25,535 left"
    assert rig.sent() == []
    assert not rig.connection.out.send(1, content)
    assert sum(len(payload) for _, _, _, payload in rig.sent()) == 25_535


def test_window_that_settings_make_negative_has_to_be_filled_first() -> None:
    rig = Rig()
    rig.feed(request(1))
    rig.connection.out.send(1, bytes(60_000))
    rig.feed(frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
    rig.sent()
    assert not rig.connection.out.send(1, b"x")
    rig.feed(frames.window_update(1, 60_000))
    assert rig.sent() == []
    rig.feed(frames.window_update(1, 1))
    assert [frame[3] for frame in rig.sent()] == [b"x"]


def test_trailers_wait_for_what_the_windows_hold_back() -> None:
    rig = Rig()
    rig.feed(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1}), request(1, end=True))
    rig.connection.out.respond(1, OK)
    rig.connection.out.send(1, b"ab")
    rig.connection.out.finish(1, DONE)
    rig.sent()
    rig.feed(frames.window_update(1, 1))
    assert [(frame[0], frame[3] if frame[0] == frames.DATA else b"") for frame in rig.sent()] == [
        (frames.DATA, b"b"),
        (frames.HEADERS, b""),
    ]


def test_one_connection_window_serves_all_streams_in_turn() -> None:
    rig = Rig()
    rig.feed(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 20}), request(1), request(3))
    for at in (1, 3):
        rig.connection.out.send(at, bytes(100_000))
    assert sum(len(frame[3]) for frame in rig.sent() if frame[0] == frames.DATA) == frames.DEFAULT_WINDOW
    served = []
    for _ in range(4):
        rig.feed(frames.window_update(0, 10_000))
        served.append({frame[2] for frame in rig.sent()})
    assert {1, 3} == set().union(*served)


def test_credit_is_given_back_as_content_is_taken() -> None:
    rig = Rig()
    rig.feed(request(1))
    for _ in range(STREAM_WINDOW // 16_384 * 3):
        rig.feed(frames.data(1, bytes(16_384)))
    updates = [(at, frames.word(payload)) for kind, _, at, payload in rig.sent() if kind == frames.WINDOW_UPDATE]
    assert sum(credit for at, credit in updates if at == 1) >= 2 * STREAM_WINDOW
    assert rig.failure is None


def test_more_than_the_window_is_a_fault() -> None:
    rig = Rig()
    rig.connection._credit = CONNECTION_WINDOW - 10
    rig.feed(request(1), frames.data(1, bytes(11)))
    assert rig.failure is ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    ("flood", "limit"),
    [
        (frames.ping(bytes(8)), "control_frames"),
        (frames.settings({}), "control_frames"),
        (frames.window_update(0, 1), "control_frames"),
        (frames.frame_header(5, frames.PRIORITY, 0, 3) + bytes(5), "control_frames"),
        (frames.frame_header(0, 0x99, 0, 0), "control_frames"),
        (frames.data(1, b""), "control_frames"),
        (frames.ping(bytes(8), ack=True), "control_frames"),
        (frames.data(3, b"x"), "control_frames"),
        (frames.headers(3, OK, end_stream=True), "control_frames"),
    ],
    ids=[
        "PING",
        "SETTINGS",
        "WINDOW_UPDATE",
        "PRIORITY",
        "unknown",
        "empty DATA",
        "PING ACK nobody waits for",
        "DATA of a stream that was reset",
        "HEADERS of a stream that was reset",
    ],
)
def test_floods_of_control_frames_end_the_connection_and_patience_comes_back(flood: bytes, limit: str) -> None:
    rig = Rig(replace(Limits(), **{limit: 20}, burst_seconds=1))
    rig.feed(request(1), request(3, connection="close"))
    for _ in range(10):
        rig.feed(flood)
    assert rig.failure is None
    rig.now = 10.0
    for _ in range(15):
        rig.feed(flood)
    assert rig.failure is None
    rig.feed(flood * 50)
    assert rig.failure is ErrorCode.ENHANCE_YOUR_CALM


def test_one_settings_frame_with_thousands_of_values_is_a_flood() -> None:
    """Each changes the window of every stream."""
    rig = Rig()
    rig.feed(*(request(number) for number in range(1, 400, 2)))
    value = frames.settings({Setting.INITIAL_WINDOW_SIZE: 70_000})[frames.HEADER_BYTES :]
    many = frames.frame_header(2700 * len(value), frames.SETTINGS, 0, 0) + value * 2700
    rig.feed(many, many, many)
    assert rig.failure is ErrorCode.ENHANCE_YOUR_CALM


def test_answers_to_pings_of_ours_are_free() -> None:
    rig = Rig(Limits(control_frames=5, burst_seconds=1))
    for _ in range(100):
        rig.connection.out.ping(bytes(8))
        rig.feed(frames.ping(bytes(8), ack=True))
    assert rig.failure is None
    rig.feed(frames.ping(bytes(8), ack=True) * 10)
    assert rig.failure is ErrorCode.ENHANCE_YOUR_CALM


def test_streams_after_the_last_goaway_are_not_free() -> None:
    rig = Rig(Limits(control_frames=20, burst_seconds=1))
    rig.connection.out.go_away(last=True)
    for number in range(1, 101, 2):
        rig.feed(request(number))
    assert rig.failure is ErrorCode.ENHANCE_YOUR_CALM


def test_rapid_reset_ends_the_connection() -> None:
    """CVE-2023-44487."""
    rig = Rig(Limits(resets=10, burst_seconds=1))
    for number in range(1, 201, 2):
        rig.feed(request(number), frames.rst_stream(number, ErrorCode.CANCEL))
    assert rig.failure is ErrorCode.ENHANCE_YOUR_CALM
    assert rig.connection.streams == 0


def test_continuation_flood_ends_the_connection() -> None:
    """CVE-2024-27316: never END_HEADERS."""
    rig = Rig()
    rig.feed(frames.frame_header(1, frames.HEADERS, 0, 1) + b"\x82")
    for _ in range(100):
        rig.feed(frames.frame_header(1000, frames.CONTINUATION, 0, 1) + bytes(1000))
    assert rig.failure is ErrorCode.ENHANCE_YOUR_CALM


def test_goaway_twice_serves_what_was_begun_and_ignores_what_comes_after() -> None:
    rig = Rig()
    rig.feed(request(1))
    rig.connection.out.go_away(last=False)
    rig.feed(request(3))
    rig.connection.out.go_away(last=True)
    rig.feed(request(5), frames.data(5, b"x"), frames.window_update(5, 1))
    last = [frames.word(payload) for kind, _, _, payload in rig.sent() if kind == frames.GOAWAY]
    assert last == [(1 << 31) - 1, 3]
    assert [each[1] for each in rig.told if each[0] == "request"] == [1, 3]
    assert rig.failure is None


def test_first_block_after_a_change_of_the_table_size_says_that_no_table_is_used() -> None:
    rig = Rig()
    rig.feed(request(1), request(3), request(5))
    rig.connection.out.respond(1, OK)
    rig.connection.out.respond(3, OK)
    rig.feed(frames.settings({Setting.HEADER_TABLE_SIZE: 0}))
    rig.connection.out.respond(5, OK)
    assert [frame[3] for frame in rig.sent() if frame[0] == frames.HEADERS] == [b"\x20" + OK, OK, b"\x20" + OK]


encoder = Encoder()
ids = st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1])
anything = st.one_of(
    st.builds(lambda at, end: request(at or 1, end=end), ids, st.booleans()),
    st.builds(lambda at, body, end: frames.data(at, body, end_stream=end), ids, st.binary(max_size=40), st.booleans()),
    st.builds(lambda at: frames.rst_stream(at, ErrorCode.CANCEL), ids),
    st.builds(frames.window_update, ids, st.sampled_from([0, 1, 100, 2**31 - 1])),
    st.builds(lambda value: frames.settings({Setting.INITIAL_WINDOW_SIZE: value}), st.integers(0, 2**31)),
    st.just(frames.ping(bytes(8))),
    st.builds(
        lambda kind, flags, at, body: frames.frame_header(len(body), kind, flags, at) + body,
        st.integers(0, 11),
        st.integers(0, 255),
        ids,
        st.binary(max_size=40),
    ),
    st.binary(max_size=40),
)


@given(st.lists(anything, max_size=25), st.booleans())
def test_whatever_comes_is_understood_or_refused_and_the_books_are_right(parts: list[bytes], greet: bool) -> None:
    """Against a model: which streams are open follows from what was told; nothing else ever escapes."""
    rig = Rig(hello=HELLO if greet else b"")
    for part in parts:
        rig.feed(part)
        for each in list(rig.told):
            if each[0] == "request":
                rig.connection.out.send(int(str(each[1])), b"answer" * 100)
        sent = rig.sent()
        began = {each[1] for each in rig.told if each[0] == "request"}
        ended = {each[1] for each in rig.told if each[0] == "abort"}
        assert len([each for each in rig.told if each[0] == "request"]) == len(began), "a stream begins once"
        if rig.failure is None:
            assert rig.connection.streams == len(began - ended)
        else:
            assert rig.connection.streams == 0
        data = sum(len(frame[3]) for frame in sent if frame[0] == frames.DATA)
        assert data <= 25 * 600
