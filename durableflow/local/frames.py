"""How do two of our processes talk? Frames of JSON over a stream socket, each with its length in front."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Final

from durableflow import values

if TYPE_CHECKING:
    import socket

    from durableflow.values import Object

FRAME_MAX_BYTES: Final = 64 * 1024 * 1024
"""An event of 5 MiB whose payloads are escaped once more fits; what is longer is no frame of ours."""

_LENGTH = struct.Struct(">I")


class Channel:
    """One end of a conversation; each end says one thing at a time.

    Args:
        stream: a connected stream socket; its timeout counts for every call.
        max_bytes: the longest message that is received.
    """

    def __init__(self, stream: socket.socket, *, max_bytes: int = FRAME_MAX_BYTES) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._received = bytearray()

    def send(self, message: Object) -> None:
        """Send one message.

        Raises:
            OSError: the other end is gone, or the timeout is over.
            ValueError: the message is longer than a frame may be.
        """
        data = values.to_text(message).encode()
        if len(data) > FRAME_MAX_BYTES:
            raise ValueError(f"a message of {len(data)} bytes is longer than {FRAME_MAX_BYTES}")
        self._stream.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self) -> Object | None:
        """Return the next message, or None when the other end is gone.

        Raises:
            OSError: the connection broke, or the timeout is over.
            ValueError: what came is no message.
        """
        if not self._fill(_LENGTH.size):
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if length > self._max_bytes:
            raise ValueError(f"a message of {length} bytes is longer than {self._max_bytes}")
        if not self._fill(_LENGTH.size + length):
            return None
        data = bytes(memoryview(self._received)[_LENGTH.size : _LENGTH.size + length])
        del self._received[: _LENGTH.size + length]
        message = json.loads(data)
        if not values.is_object(message):
            raise ValueError("a message is a JSON object")
        return message

    def _fill(self, size: int) -> bool:
        while len(self._received) < size:
            # No more than the message at hand: another Channel may go on with the same socket.
            more = self._stream.recv(size - len(self._received))
            if not more:
                return False
            self._received += more
        return True

    def close(self) -> None:
        """Close the connection; the other end receives None."""
        self._stream.close()
