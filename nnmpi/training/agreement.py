"""Checks that all ranks read the same data and the same model, before collectives whose sizes depend on them."""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.digest import digest_of_bits
from nnmpi.data.sources import Source
from nnmpi.errors import InputError
from nnmpi.files.model import Model, contents_of
from nnmpi.mpi.checks import differing_ranks
from nnmpi.mpi.world import World

LARGE = 1 << 26  # bytes; of a file of this size or more only samples are compared
SAMPLES, SAMPLE = 64, 1 << 14  # number of samples of a large file, and bytes of each
AT_ONCE = 1 << 17  # numbers of a source without files that are read at once


def check_same_data(source: Source, world: World) -> None:
    """Refuse a source that holds other data on another rank. All ranks take part.

    Raises
    ------
    InputError
        On all ranks; it names the ranks whose data differ from those of rank 0.
    """
    if world.size == 1:
        return
    with world.together():
        contents = _contents(source)
    remedy = (
        "the same file: use an absolute path in a directory that all hosts share, or copy the file to all hosts again"
        if source.files
        else "the same samples, targets and weights"
    )
    _check_same(
        world,
        contents,
        f"--data {source.name} is not the same on all ranks: {{ranks}} other contents than rank 0. Give all ranks "
        f"{remedy}",
    )


def check_same_model(path: Path, model: Model, world: World) -> None:
    """Refuse a model that is another one on another rank. All ranks take part.

    Raises
    ------
    InputError
        On all ranks; it names the ranks whose model differs from that of rank 0.
    """
    digest = hashlib.blake2b()
    for piece in contents_of(model):
        digest.update(piece)
    _check_same(
        world,
        digest.digest(),
        f"{path} is not the same on all ranks: {{ranks}} another model than rank 0. Give all ranks the same file: use "
        "an absolute path in a directory that all hosts share",
    )


def _check_same(world: World, digest: bytes, message: str) -> None:
    others = [str(rank) for rank in differing_ranks(world, digest)]
    if others:
        ranks = f"rank {others[0]} sees" if len(others) == 1 else f"ranks {', '.join(others)} see"
        raise InputError(message.format(ranks=ranks), shared=True)


def _contents(source: Source) -> bytes:
    """Return a digest of the data of a source; large data cost little time.

    A zip archive is identified by the checksums of its members, which are verified when the members are read. A large
    file is identified by its size and samples of its bytes. Of data in memory all are compared.
    """
    if source.files:
        return hashlib.blake2b(b"".join(map(_contents_of_file, source.files))).digest()
    if source.name.startswith("random:"):  # the name gives the samples
        return b""
    return digest_of_bits(_blocks(source))


def _blocks(source: Source) -> Iterator[Array]:
    """Yield all samples, targets and weights of a source without files, in blocks."""
    rows = max(1, AT_ONCE // source.features)
    x = np.empty((rows, source.features), source.dtype)
    for start in range(0, source.size, rows):
        block = x[: source.size - start]
        source.read(np.arange(start, start + len(block)), block)
        yield block
    for array in (source.y, source.weights):
        if array is not None:
            yield from (array[start : start + AT_ONCE] for start in range(0, len(array), AT_ONCE))


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
