"""Checks that all ranks read the same data and the same model, before collectives whose sizes depend on them."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from nnmpi.data.sources import Source
from nnmpi.errors import InputError
from nnmpi.files.model import Model, metadata_of
from nnmpi.mpi.world import World

LARGE = 1 << 26  # bytes; of a file of this size or more only samples are compared
SAMPLES, SAMPLE = 64, 1 << 14  # number of samples of a large file, and bytes of each
BUILT_IN_SIZE = 1 << 20  # numbers; a source without files is compared up to this size


def check_same_data(source: Source, world: World) -> None:
    """Refuse a source that holds other data on another rank. All ranks take part.

    Raises
    ------
    InputError
        On all ranks; it names the ranks whose data differ from those of rank 0.
    """
    with world.together():
        contents = _contents(source)
    _check_same(
        world,
        contents,
        f"--data {source.name} is not the same on all ranks: {{ranks}} other contents than rank 0. Give all ranks the "
        "same file: use an absolute path in a directory that all hosts share, or copy the file to all hosts again",
    )


def check_same_model(path: Path, model: Model, world: World) -> None:
    """Refuse a model that is another one on another rank. All ranks take part.

    Raises
    ------
    InputError
        On all ranks; it names the ranks whose model differs from that of rank 0.
    """
    parts = [metadata_of(model).encode(), model.parameters.tobytes()]
    parts += [s.mean.tobytes() + s.scale.tobytes() for s in (model.scaler, model.target_scaler) if s]
    _check_same(
        world,
        b"".join(parts),
        f"{path} is not the same on all ranks: {{ranks}} another model than rank 0. Give all ranks the same file: use "
        "an absolute path in a directory that all hosts share",
    )


def _check_same(world: World, contents: bytes, message: str) -> None:
    digests = world.gather_bytes(hashlib.blake2b(contents).digest())
    others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
    if others:
        ranks = f"rank {others[0]} sees" if len(others) == 1 else f"ranks {', '.join(others)} see"
        raise InputError(message.format(ranks=ranks), shared=True)


def _contents(source: Source) -> bytes:
    """Return bytes that identify the data of a source; large data cost little time.

    A zip archive is identified by the checksums of its members, which are verified when the members are read. A large
    file is identified by its size and samples of its bytes.
    """
    if source.files:
        return b"".join(map(_contents_of_file, source.files))
    if source.size * source.features > BUILT_IN_SIZE:  # too large to compare
        return b""
    x = np.empty((source.size, source.features))
    source.read(np.arange(source.size), x)
    others = [array.tobytes() for array in (source.y, source.weights) if array is not None]
    return hashlib.blake2b(b"".join([x.tobytes(), *others])).digest()


def _contents_of_file(path: str) -> bytes:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return repr(sorted((m.filename, m.file_size, m.CRC) for m in archive.infolist())).encode()
    size = os.path.getsize(path)
    with open(path, "rb", buffering=0) as file:
        if size < LARGE:
            return hashlib.file_digest(file, "blake2b").digest()
        digest = hashlib.blake2b(str(size).encode())
        for i in range(SAMPLES):
            file.seek((size - SAMPLE) * i // (SAMPLES - 1))
            digest.update(file.read(SAMPLE))
    return digest.digest()
