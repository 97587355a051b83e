"""Recovery: the survivors go on after ranks died, with Open MPI's ULFM (``mpirun --with-ft ulfm``).

When a rank is dead, a collective raises an error on some ranks and may succeed on the others. So the survivors may
differ by the effect of that collective. A rank that gets an error revokes the communicator; then all others get an
error, too. The survivors build a new communicator and agree on the state from which they go on (Bland et al. 2013).
"""

from collections.abc import Callable
from typing import Any

from nnmpi.errors import RunError
from nnmpi.mpi.world import World


def recovering(world: World, attempt: Callable[[], None], agree: Callable[[], None]) -> None:
    """Call `attempt` until it ends without the death of a rank; before each new attempt the survivors call `agree`.

    All ranks call this. `attempt` must cope with what an earlier attempt left behind, and must end with
    `World.agree_on_end`. Without ULFM an MPI error is raised unchanged. With ULFM the error code does not tell whether
    a rank died: a broken connection between hosts may be reported as any error.

    Raises
    ------
    RunError
        On all ranks of a part of the world that must not go on, see `shrink`. Also on all ranks after an MPI error if
        no rank is lost.
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
    """Shrink the world to the survivors; `agreed` are the ranks of the last world that all its ranks agreed on.

    A lost rank is dead if its process no longer exists and a survivor is on its host. Otherwise it may only be cut off
    or stopped for a while, and may take the survivors for dead. Then only one part of the ranks may go on: the part
    with more than half of the `agreed` ranks, or, of two halves, the one with the lowest rank. This part kills the lost
    ranks whose processes it sees.

    Raises
    ------
    RunError
        On all ranks of a part that must not go on.
    """
    world.comm.Revoke()
    world.shrink_to(world.position.counted(world.comm.Shrink)())
    survivors, addresses = world.initial_ranks, world.addresses
    lost = [rank for rank in agreed if rank not in survivors]
    hosts = {addresses.host_of(rank) for rank in survivors} - {""}  # "": not known before the ranks have met
    alive = addresses.alive(lost)
    maybe_alive = [rank for rank in lost if rank in alive or addresses.host_of(rank) not in hosts]
    margin = 2 * len(survivors) - len(agreed)
    if maybe_alive and (margin < 0 or (margin == 0 and agreed[0] not in survivors)):
        raise RunError(
            f"{addresses.name(lost)} cannot be reached and may still run: only the part with more than half of the "
            f"ranks, or of two halves the one with the lowest rank, may go on; this part, {len(survivors)} of "
            f"{len(agreed)} ranks, stops and writes nothing",
            shared=True,
        )
    addresses.kill(alive)


def _failed(world: World, error: Any) -> RunError:
    """Return the error for an MPI failure in which no rank was lost, the same on all ranks.

    It quotes the first rank whose error is not just that another rank revoked the communicator.
    """
    own = "" if error.Get_error_class() == world.mpi.ERR_REVOKED else str(error)
    errors = world.gather_bytes(own.encode())
    rank, text = next(((rank, text) for rank, text in enumerate(errors) if text), (0, b"MPI_ERR_REVOKED"))
    return RunError(
        f"MPI failed on {world.addresses.name([world.initial_ranks[rank]])}: {text.decode(errors='replace')}",
        shared=True,
    )
