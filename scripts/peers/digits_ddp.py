"""Train like ``nnmpi train digits``, with PyTorch DDP under torchrun: ``digits_ddp.py FILE``, an .npz with x and y.

Split sizes, scaling, network, optimizer, global batch and number of epochs are the same, and the evaluation at the end
is exact. FILE makes the import of scikit-learn unnecessary.
"""

import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

EPOCHS, BATCH = 10, 32
dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.set_num_threads(1)
torch.manual_seed(42)

digits = np.load(sys.argv[1])
order = np.random.default_rng(42).permutation(len(digits["y"]))
test, train = order[:360], order[360:]
features, labels = torch.from_numpy(digits["x"].astype(np.float32)), torch.from_numpy(digits["y"])
mean, scale = features[train].mean(0), features[train].std(0, correction=0)
features = (features - mean) / torch.where(scale > 0, scale, 1.0)
x, y = features[train], labels[train]

model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
ddp = DistributedDataParallel(model, gradient_as_bucket_view=True, static_graph=True)
optimizer = torch.optim.SGD(ddp.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)
loss = nn.CrossEntropyLoss()
for _ in range(EPOCHS):
    shuffled = torch.randperm(len(x))  # the same on all ranks
    for batch in shuffled.split(BATCH):
        own = batch[rank::ranks]
        optimizer.zero_grad(set_to_none=True)
        loss(ddp(x[own]), y[own]).backward()
        optimizer.step()

with torch.inference_mode():
    own = torch.from_numpy(test[rank::ranks])
    scores = model(features[own])
    sums = torch.stack([nn.functional.cross_entropy(scores, labels[own], reduction="sum"),
                        (scores.argmax(1) == labels[own]).sum()])  # fmt: skip
    dist.all_reduce(sums)
if rank == 0:
    print(f"test accuracy {sums[1] / len(test):.4f}, test loss {sums[0] / len(test):.4f}")
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # see pytorch.py
