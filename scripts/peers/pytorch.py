"""PyTorch, alone or as DDP over gloo (started by torchrun): seconds of a training step.

Variants: 2threads (instead of 1), compile (torch.compile of the model), pin (bind each rank to one core).
"""

import os
import sys

import torch
import torch.distributed as dist
from shared import LEARNING_RATE, MOMENTUM, answer, arguments, made_up, time_chunks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

options = arguments()
rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if "pin" in options.variant:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
torch.set_num_threads(2 if "2threads" in options.variant else 1)
torch.manual_seed(0)

shapes = zip(options.layers, options.layers[1:], strict=False)
units = [part for a, b in shapes for part in (nn.Linear(a, b), nn.ReLU())]
model: nn.Module = nn.Sequential(*units[:-1])
if ranks > 1:
    dist.init_process_group("gloo")
    model = DistributedDataParallel(model, gradient_as_bucket_view=True, static_graph=True)
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, fused=True)
loss = nn.CrossEntropyLoss()
step_model = torch.compile(model) if "compile" in options.variant else model

x, y = (torch.from_numpy(a) for a in made_up(options.layers, options.batch * options.steps, rank))
batches = list(zip(x.split(options.batch), y.split(options.batch), strict=True))


def chunk() -> None:
    """Run one step for each batch."""
    for inputs, targets in batches:
        optimizer.zero_grad(set_to_none=True)
        loss(step_model(inputs), targets).backward()
        optimizer.step()


seconds = time_chunks(chunk, options)
if rank == 0:
    answer(seconds, ["torch"])
if ranks > 1:
    dist.destroy_process_group()
    # with a normal exit, one process in ten aborts ("terminate called without an active exception"), and torchrun fails
    sys.stdout.flush()
    os._exit(0)
