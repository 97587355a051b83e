"""What all ranks must have in common before the first collective whose size depends on it."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from nnmpi.data.sources import Source
from nnmpi.errors import InputError
from nnmpi.files.model import Model, metadata_of
from nnmpi.mpi.world import World

LARGE = 1 << 26  # bytes of a file from which on samples of it are compared
SAMPLES, SAMPLE = 64, 1 << 14  # how many, and of how many bytes
BUILT_IN_SIZE = 1 << 20  # numbers up to which a source that is no file is compared number by number


def check_same_data(source: Source, world: World) -> None:
    """Refuse to go on where ranks see different data under one name. All ranks take part.

    Raises
    ------
    InputError
        On all ranks.
    """
    with world.together():
        contents = _contents(source)
    _check_same(
        world,
        contents,
        f"--data {source.name} is not the same on all ranks: {{ranks}} other contents than rank 0. Give all ranks one "
        "file, for example by its absolute path in a directory that all hosts share, or copy it to all of them again",
    )


def check_same_model(path: Path, model: Model, world: World) -> None:
    """Refuse to go on where ranks have read different models. All ranks take part.

    Raises
    ------
    InputError
        On all ranks.
    """
    parts = [metadata_of(model).encode(), model.parameters.tobytes()]
    parts += [s.mean.tobytes() + s.scale.tobytes() for s in (model.scaler, model.target_scaler) if s]
    _check_same(
        world,
        b"".join(parts),
        f"{path} is not the same on all ranks: {{ranks}} another model than rank 0. Give all ranks one file, for "
        "example by its absolute path in a directory that all hosts share",
    )


def _check_same(world: World, contents: bytes, message: str) -> None:
    digests = world.gather_bytes(hashlib.blake2b(contents).digest())
    others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
    if others:
        ranks = f"rank {others[0]} sees" if len(others) == 1 else f"ranks {', '.join(others)} see"
        raise InputError(message.format(ranks=ranks), shared=True)


def _contents(source: Source) -> bytes:
    """What differs where data differ, at next to no cost where they are large.

    An archive lists the checksum of all bytes of each member, which is verified when they are read. Of large files some
    parts are read.
    """
    if source.files:
        return b"".join(map(_contents_of_file, source.files))
    if source.size * source.features > BUILT_IN_SIZE:  # made up from its name, which is a setting
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
