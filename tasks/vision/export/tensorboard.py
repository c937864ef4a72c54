"""Export a training's history as a TensorBoard event file.

The file is a sequence of TFRecords (length, CRC, bytes, CRC), each a protocol buffer `Event` of
tensorflow/core/util/event.proto, of which scalars need few fields.
"""

# Written by hand: tensorboardX would save 60 lines, but be a dependency for everybody, import
# boto3, and write to a path where a store takes bytes; TensorBoard's own writer needs its extra.

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

TAGS = {
    "loss": "loss/train",
    "validation_loss": "loss/validation",
    "accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
}


def event_file(
    history: Sequence[Mapping[str, float]], scores: Mapping[str, float], started: float
) -> bytes:
    """Return the content of one `events.out.tfevents...` file.

    Args:
        history: of a model's card, one row per epoch; `seconds` are since the start of the training.
        scores: of the trained model on test, logged as `test/NAME` at the last epoch.
        started: start of the training, in seconds since 1970.
    """
    events = [_fixed64(1, started) + _bytes(3, b"brain.Event:2")]
    for row in history:
        values = {tag: row[key] for key, tag in TAGS.items()}
        events.append(_event(started + row["seconds"], int(row["epoch"]), values))
    last = history[-1]
    tests = {f"test/{name}": value for name, value in scores.items()}
    events.append(_event(started + last["seconds"], int(last["epoch"]), tests))
    return b"".join(_record(event) for event in events)


def _event(time: float, step: int, values: Mapping[str, float]) -> bytes:
    scalars = (
        _bytes(1, tag.encode()) + _key(2, 5) + struct.pack("<f", value)
        for tag, value in values.items()
    )
    summary = b"".join(_bytes(1, scalar) for scalar in scalars)
    return _fixed64(1, time) + _key(2, 0) + _varint(step) + _bytes(5, summary)


# Protocol buffers' wire format: protobuf.dev/programming-guides/encoding


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _fixed64(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


# Records, as tensorflow/core/lib/io/record_writer.cc writes them


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """Return Castagnoli's checksum (RFC 3720, appendix B.4), computed byte by byte.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_OF_BYTE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_OF_BYTE = [_crc_of(byte) for byte in range(256)]
