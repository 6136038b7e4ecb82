"""Train one model with several processes (ranks) that torchrun starts: shares of a batch, and exchange between ranks.

Every rank holds the whole model and knows the whole batch, but runs the network on its own rows only. The network's
outputs, a few numbers per row, are gathered, and every rank computes the loss of the whole batch, whose gradient flows
back through its own rows. Gradients are therefore summed over the ranks, not averaged; losses, decisions and random
numbers are the same on every rank. With a single rank, every method returns its input.
"""

import contextlib
import hashlib
import os
import socket
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Rank `rank` of `count`. All ranks must call the methods that exchange something, in the same order."""

    rank: int = 0
    count: int = 1

    @property
    def alone(self) -> bool:
        """Return whether this is the only rank."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Return whether this rank writes the checkpoints, pictures and progress."""
        return self.rank == 0

    def share(self, rows: int, unit: int = 1) -> slice:
        """Return this rank's slice of `rows` rows, in whole units; the last ranks may get fewer rows, or none."""
        part = self._part(rows, unit)
        return slice(min(self.rank * part, rows), min((self.rank + 1) * part, rows))

    def epoch(self, rows: int, batch: int) -> tuple[np.ndarray, list[int]]:
        """Return this rank's share of every batch of an epoch: the row numbers, and how many belong to each batch."""
        shares = []
        for start in range(0, rows, batch):
            of_batch = np.arange(start, min(start + batch, rows))
            shares.append(of_batch[self.share(len(of_batch))])
        return np.concatenate(shares), [len(share) for share in shares]

    def place(self, rows: int, unit: int = 1) -> tuple[int, int] | None:
        """Return (first row, all rows) of this rank's share, to draw as for the whole batch; None for a single rank."""
        return None if self.alone else (self.share(rows, unit).start, rows)

    def gather(self, mine: Tensor, rows: int, unit: int = 1) -> Tensor:
        """Gather all `rows` rows, of which this rank's share is `mine`; gradients flow back through `mine` only.

        Every rank computes the same loss from them, so the ranks' gradients add up to that of the whole batch.
        """
        share, part = self.share(rows, unit), self._part(rows, unit)
        if len(mine) != share.stop - share.start:
            raise ValueError(f"rank {self.rank} has {len(mine)} rows; its share of {rows} is {share}")
        if self.alone:
            return mine
        padded = mine.new_zeros(part, *mine.shape[1:])
        padded[: len(mine)] = mine.detach()
        whole = mine.new_empty(part * self.count, *mine.shape[1:])
        dist.all_gather(list(whole.chunk(self.count)), padded)
        return torch.cat([whole[: share.start], mine, whole[share.stop : rows]])  # the padding lies behind the last row

    def gather_array(self, mine: np.ndarray, rows: int, device: torch.device) -> np.ndarray:
        """Do the same as `gather` for an array; `device` is where the ranks exchange it."""
        if self.alone:
            return mine
        return self.gather(torch.from_numpy(mine).to(device), rows).cpu().numpy()

    def sum(self, mine: Tensor) -> Tensor:
        """Sum a tensor over the ranks; every rank gets the sum. Differentiable any number of times."""
        return mine if self.alone else _Sum.apply(mine)

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over the ranks, in one exchange."""
        if self.alone:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        sums = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view(g.shape) for part, g in zip(sums, gradients, strict=True)])

    def broadcast_first(self, value: float, device: torch.device) -> float:
        """Broadcast the first rank's `value`; the other ranks' values are ignored."""
        if self.alone:
            return value
        first = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(first, 0)
        return float(first)

    def wait(self) -> None:
        """Wait until all ranks have called this method."""
        if not self.alone:
            dist.barrier()

    @torch.no_grad()
    def expect_same(self, what: str, tensors: Iterable[Tensor], text: str = "") -> None:
        """Raise RuntimeError unless all ranks hold the same bits of float32 `tensors`, and the same `text`."""
        if self.alone:
            return
        sums = [t.detach().contiguous().view(torch.int32).sum(dtype=torch.int64) for t in tensors]
        text_digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
        mine = torch.stack([*sums, torch.tensor(text_digest, device=sums[0].device)])
        every = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(every, mine)
        if not all(torch.equal(other, mine) for other in every):
            raise RuntimeError(
                f"the ranks do not have the same {what}: they must see one folder, the same data and settings, the "
                "same torch and the same kind of device"
            )

    def _part(self, rows: int, unit: int) -> int:
        """Compute the number of rows in a full share."""
        return -(-rows // (unit * self.count)) * unit


class _Sum(torch.autograd.Function):
    """A sum over the ranks whose gradient is summed too, because every rank uses the sum in its loss."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.apply(*gradients)


ALONE = Ranks()


def here() -> Ranks:
    """Return this process's rank among those that it joined; `ALONE` if it joined none."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return ALONE


@contextlib.contextmanager
def joined(device: torch.device, store: str | None = None) -> Generator[torch.device]:
    """Join the other ranks if torchrun started several, and yield this rank's device.

    On "cuda", every rank takes the GPU with its local rank number and exchanges through NCCL; otherwise through gloo.
    `store` is the address where ranks find each other, as for `init_process_group`; by default torchrun's. Raises
    ValueError for a device that ranks cannot share, RuntimeError if a machine has more ranks than GPUs.
    """
    environment = os.environ
    count, local = (int(environment.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if count == 1 or dist.is_initialized():
        yield device
        return
    if device.type not in ("cuda", "cpu") or device.index is not None:
        raise ValueError(f"device {str(device)!r} cannot be shared by {count} ranks; give cuda (a GPU each) or cpu")
    if local == count:  # all on this machine: use loopback, so that no port is open to the network
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            if loopback is not None:
                environment.setdefault(variable, loopback)
    kind: dict[str, Any] = {"backend": "gloo"}
    if device.type == "cuda":
        number, there = int(environment["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= there:
            raise RuntimeError(f"{local} ranks on this machine, and it has {there} GPU(s); start one a GPU")
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
        kind = {"backend": "nccl", "device_id": device}
    if store is not None:
        kind |= {"init_method": store, "rank": int(environment["RANK"]), "world_size": count}
    dist.init_process_group(**kind)
    try:
        yield device
    finally:
        dist.destroy_process_group()
