"""Train one model with several processes, the ranks: which rank this is, its share of a batch, what ranks exchange.

Every rank holds the whole model and knows the whole batch, but runs the network on its own rows only. The network's
outputs are a few numbers a row; they are gathered, and every rank computes the loss of the whole batch, whose gradient
flows back through its own rows. So gradients are summed over the ranks, not averaged, and losses, decisions and random
numbers are the same everywhere. With a single rank, every method returns its input.

torchrun starts the ranks.
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
        """Whether there is no other."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes checkpoints, pictures and progress."""
        return self.rank == 0

    def share(self, rows: int, unit: int = 1) -> slice:
        """This rank's of `rows` rows: a run of them, in whole units; the last ranks have fewer, or none."""
        part = self._part(rows, unit)
        return slice(min(self.rank * part, rows), min((self.rank + 1) * part, rows))

    def epoch(self, rows: int, batch: int) -> tuple[np.ndarray, list[int]]:
        """This rank's rows of an epoch that is cut into batches: their numbers, and how many each batch has of them."""
        shares = []
        for start in range(0, rows, batch):
            of_batch = np.arange(start, min(start + batch, rows))
            shares.append(of_batch[self.share(len(of_batch))])
        return np.concatenate(shares), [len(share) for share in shares]

    def place(self, rows: int, unit: int = 1) -> tuple[int, int] | None:
        """(first row, all rows) of this rank's share, by which it draws what the whole batch would; None when alone."""
        return None if self.alone else (self.share(rows, unit).start, rows)

    def gather(self, mine: Tensor, rows: int, unit: int = 1) -> Tensor:
        """All `rows` rows, of which this rank's share is `mine`; the gradient flows back through `mine` alone.

        Every rank then computes the same loss from them: the sum of the ranks' gradients is that of the whole batch.
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
        return torch.cat([whole[: share.start], mine, whole[share.stop : rows]])  # what pads is behind the last row

    def gather_array(self, mine: np.ndarray, rows: int, device: torch.device) -> np.ndarray:
        """As `gather`, for an array; `device` is where the ranks exchange it."""
        if self.alone:
            return mine
        return self.gather(torch.from_numpy(mine).to(device), rows).cpu().numpy()

    def sum(self, mine: Tensor) -> Tensor:
        """The ranks' sum, of use to all of them; differentiable as often as one likes."""
        return mine if self.alone else _Sum.apply(mine)

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over the ranks: one exchange of all of them in a row."""
        if self.alone:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        sums = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view(g.shape) for part, g in zip(sums, gradients, strict=True)])

    def first_says(self, value: float, device: torch.device) -> float:
        """The first rank's `value`; that of the others is not looked at."""
        if self.alone:
            return value
        said = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(said, 0)
        return float(said)

    def wait(self) -> None:
        """Until all ranks are here."""
        if not self.alone:
            dist.barrier()

    @torch.no_grad()
    def expect_same(self, what: str, tensors: Iterable[Tensor], text: str = "") -> None:
        """Raise RuntimeError unless all ranks hold the same bits of float32 `tensors`, and the same `text`."""
        if self.alone:
            return
        sums = [t.detach().contiguous().view(torch.int32).sum(dtype=torch.int64) for t in tensors]
        said = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
        mine = torch.stack([*sums, torch.tensor(said, device=sums[0].device)])
        every = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(every, mine)
        if not all(torch.equal(other, mine) for other in every):
            raise RuntimeError(
                f"the ranks do not have the same {what}: they must see one folder, the same data and settings, the "
                "same torch and the same kind of device"
            )

    def _part(self, rows: int, unit: int) -> int:
        """Rows of a full share."""
        return -(-rows // (unit * self.count)) * unit


class _Sum(torch.autograd.Function):
    """What one rank adds changes the loss through every rank's use of the sum: the gradients are summed as well."""

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
    """This process among those that it has joined; alone where it has joined none."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return ALONE


@contextlib.contextmanager
def joined(device: torch.device, store: str | None = None) -> Generator[torch.device]:
    """Join the other ranks, where torchrun started this process as one of several; the device that is this rank's.

    On "cuda" every rank takes the GPU of its number on its machine and they exchange through NCCL, else through gloo.
    `store` is where they find each other, as `init_process_group` takes it; by default where torchrun says. Raises
    ValueError for a device that several ranks cannot have, RuntimeError where a machine has more ranks than GPUs.
    """
    environment = os.environ
    count, local = (int(environment.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if count == 1 or dist.is_initialized():
        yield device
        return
    if device.type not in ("cuda", "cpu") or device.index is not None:
        raise ValueError(f"device {str(device)!r} cannot be shared by {count} ranks; give cuda (a GPU each) or cpu")
    if local == count:  # all on this machine: nothing of theirs is seen from outside
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
