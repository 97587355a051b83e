"""Going on after ranks died, with Open MPI's ULFM (``mpirun --with-ft ulfm``).

A collective in which a rank is dead raises an error on some of the others and may succeed on the rest, so that ranks
can differ by what one collective decides. Whoever gets an error revokes the communicator, which makes everybody else
get one, too; then all that are left build a new communicator and agree on where they stand (Bland et al. 2013).
"""

from collections.abc import Callable
from typing import Any

from nnmpi.errors import RunError
from nnmpi.mpi.world import World


def recovering(world: World, attempt: Callable[[], None], agree: Callable[[], None]) -> None:
    """Call `attempt` until no rank dies while it runs; before each further one the survivors call `agree`.

    All ranks call this. `attempt` has to cope with whatever an earlier attempt left behind, and to end with
    `World.agree_on_end`. Without ULFM an MPI error is raised as it is. With ULFM the error code does not tell whether a
    rank died: a broken connection between hosts may be reported as any error.

    Raises
    ------
    RunError
        On all ranks of a part of the world that must not go on, see `shrink`; and on all ranks after an error of MPI
        where nobody is lost.
    """
    agreed = world.initial_ranks
    failure: Any = None
    while True:
        try:
            if failure:
                shrink(world, agreed)
                if len(world.initial_ranks) == len(agreed):
                    raise _failed(world, failure)
                agree()
                agreed, failure = world.initial_ranks, None
            attempt()
            return
        except world.mpi.Exception as error:
            if not world.recovers:
                raise
            failure = error


def shrink(world: World, agreed: list[int]) -> None:
    """Go on with the ranks that are left of `agreed`, the ranks of the last world that all its ranks agreed on.

    A rank that was lost on a host where others are alive, and whose process is no longer there, is dead. Else it may
    only be cut off or stopped for a while, and believe the same of us: then only one part may go on, the one with more
    than half of the `agreed` ranks, or, of two halves, that with the lowest rank. It kills whom it sees of the others.

    Raises
    ------
    RunError
        If this part may not go on.
    """
    world.comm.Revoke()
    world.shrink_to(world.position.counted(world.comm.Shrink)())
    left, members = world.initial_ranks, world.addresses
    lost = [rank for rank in agreed if rank not in left]
    ours = {members.host_of(rank) for rank in left} - {""}  # before the ranks know their hosts, all may be far away
    alive = members.alive(lost)
    unsure = [rank for rank in lost if rank in alive or members.host_of(rank) not in ours]
    halves = 2 * len(left) - len(agreed)
    if unsure and (halves < 0 or (halves == 0 and agreed[0] not in left)):
        raise RunError(
            f"{members.name(lost)} cannot be reached, and may be going on without us: this part, {len(left)} of "
            f"{len(agreed)} ranks, is the smaller one; it stops, and writes nothing",
            shared=True,
        )
    members.kill(alive)


def _failed(world: World, error: Any) -> RunError:
    """What went wrong in MPI though all are alive, the same on all ranks: the error of the one that told the others."""
    own = "" if error.Get_error_class() == world.mpi.ERR_REVOKED else str(error)
    errors = world.gather_bytes(own.encode())
    rank, text = next(((rank, text) for rank, text in enumerate(errors) if text), (0, b"MPI_ERR_REVOKED"))
    return RunError(
        f"MPI failed on {world.addresses.name([world.initial_ranks[rank]])}: {text.decode(errors='replace')}",
        shared=True,
    )
