"""One of two gloo ranks for test_supcon.py: `supcon_rank.py RANK FOLDER`."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from nnunet_mgcl.losses import supcon_loss
from nnunet_mgcl.network.batch_norm import BatchNorm


def losses(rank: int, shares: list[list[int]], tile: int | None, normed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of the whole batch, and the weights' gradient after DDP's averaging."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4).double()
    network = DistributedDataParallel(torch.nn.Sequential(layer, BatchNorm()) if normed else layer)
    total, before = sum(map(len, shares)), sum(map(len, shares[:rank]))
    inputs = torch.linspace(-1, 1, 3 * total, dtype=torch.float64).reshape(-1, 3).sin().mul(9).cos()
    mine = slice(before, before + len(shares[rank]))
    loss = supcon_loss(network(inputs[mine]), torch.tensor(shares[rank]), temperature=0.1, ignore_index=-1, tile=tile)
    loss.backward()
    return loss.detach(), layer.weight.grad


def main(rank: int, folder: Path) -> None:
    """Writes `RANK.pt`: what `losses` gives in every scenario."""
    dist.init_process_group("gloo", init_method=(folder / "rendezvous").as_uri(), rank=rank, world_size=2)
    scenarios = torch.load(folder / "shares.pt")
    results = {
        (name, tile, normed): losses(rank, shares, tile, normed)
        for (name, shares), tile, normed in product(scenarios.items(), [None, 2], [False, True])
    }
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":  # a network that lives until the interpreter ends may abort it, with its gloo threads
    main(int(sys.argv[1]), Path(sys.argv[2]))
