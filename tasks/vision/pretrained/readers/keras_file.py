"""Read a `.keras` file of Keras 3 as data: never through Keras, whose own loading can run code.

The file is a zip of config.json (the graph), metadata.json (Keras' version) and model.weights.h5. Each is read
within bounds, and the network is rebuilt from a list of stock layers.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.pretrained.readers.bounded_json import parse_json
from tasks.vision.pretrained.readers.foreign_formats import refuse_other_formats
from tasks.vision.pretrained.readers.keras_graph import walk
from tasks.vision.pretrained.readers.keras_weights import AGAIN, read_weights
from tasks.vision.text import printable

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_FILE = 4 << 30  # bytes; the largest network of keras.applications has 1 GiB
SMALL = {CONFIG: 32 << 20, METADATA: 1 << 20}
MAX_RATIO = 20  # of the unpacked weights to the file; Keras stores them as they are
DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError)


def read_keras_file(path: Path) -> PretrainedNetwork:
    """Read a network from a `.keras` file.

    Raises:
        BadInput: it is no such file, is damaged, or has something that relevo doesn't rebuild. Other formats
            are recognised by their content; the message says how to convert them.
    """
    given = printable(path)
    refuse_other_formats(path, given)
    if path.stat().st_size > MAX_FILE:
        raise BadInput(f"{given} has {path.stat().st_size:,} bytes; at most {MAX_FILE:,} expected")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, given)
            metadata = parse_json(_read(archive, members[METADATA]), f"{given}: {METADATA}")
            _check_version(metadata, given)
            document = parse_json(_read(archive, members[CONFIG]), f"{given}: {CONFIG}")
            config, graph = walk(document, given)
            content = _read(archive, members[WEIGHTS])
    except DAMAGE as error:
        raise BadInput(f"{given} is damaged ({printable(error)}); {AGAIN}") from None
    tensors = read_weights(content, config, graph, f"{given}: {WEIGHTS}")
    return PretrainedNetwork(config, tensors)


def _members(archive: zipfile.ZipFile, given: str) -> dict[str, zipfile.ZipInfo]:
    """The three members by name, checked before any is unpacked."""
    found: dict[str, zipfile.ZipInfo] = {}
    size = Path(archive.filename or "").stat().st_size
    for info in archive.infolist():
        name = printable(info.filename)
        if info.filename not in (CONFIG, METADATA, WEIGHTS):
            raise BadInput(
                f"{given} has the member {name[:100]!r}; expected {CONFIG}, {METADATA} and {WEIGHTS} alone: "
                f"{AGAIN}, without assets"
            )
        if info.filename in found:
            raise BadInput(f"{given} has {name} twice; {AGAIN}")
        if info.flag_bits & 1:
            raise BadInput(f"{given} has an encrypted {name}; {AGAIN}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInput(f"{given} has {name} neither stored nor deflated; {AGAIN}")
        most = SMALL.get(info.filename, MAX_RATIO * size)
        if info.file_size > most or info.compress_size > size:
            raise BadInput(
                f"{given} unpacks {name} to {info.file_size:,} bytes, at most {most:,} expected; {AGAIN}"
            )
        found[info.filename] = info
    if missing := [name for name in (CONFIG, METADATA, WEIGHTS) if name not in found]:
        raise BadInput(f"{given} has no {missing[0]}, so it is no .keras file; {AGAIN}")
    return found


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One member's bytes; never more than its header names."""
    with archive.open(info) as member:
        content = member.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} has another size than its header names")
    return content


def _check_version(metadata: object, given: str) -> None:
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not version.startswith("3."):
        shown = printable(version)[:30]
        raise BadInput(
            f"{given} is of Keras {shown}; open it there and save it with Keras 3: model.save('x.keras')"
        )
