"""Choose the device of a run and its precision, and decide whether data fits into the device's memory."""

import contextlib
from collections.abc import Generator

import torch

NAMES = ("auto", "cuda", "mps", "cpu")


def resolve(name: str) -> torch.device:
    """Return the torch device for `name`: auto, cuda, cuda:N, mps or cpu; auto takes the first available in this order.

    Raises ValueError for an unknown name, RuntimeError naming the available devices if this one is missing.
    """
    kind, _, index = name.partition(":")
    if kind not in NAMES or (index and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"device {name!r} is unknown; give one of {', '.join(NAMES)}, or cuda:N")
    there = available()
    if kind == "auto":
        kind = there[0]
    if kind not in there:
        raise RuntimeError(f"device {name!r} was asked for and is not here; {_missing(kind, there)}")
    if index and int(index) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise RuntimeError(
            f"device {name!r} was asked for; this machine has {count} GPU(s), cuda:0 to cuda:{count - 1}"
        )
    return torch.device(f"{kind}:{index}" if index else kind)


def available() -> list[str]:
    """List the kinds of device that torch can use here, best first; the CPU is always last."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def describe(device: torch.device) -> str:
    """Describe the device for reports: the GPU's name and memory, or the number of CPU threads."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)"
    if device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} thread(s)"
    return device.type


def precision(name: str, device: torch.device) -> str:
    """Resolve "auto" to bfloat16 if the device multiplies in it (a GPU, AVX-512 BF16, AMX), else float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") else "float32"


def autocast(name: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Return the context in which a forward pass runs in the precision `name`."""
    if precision(name, device) == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@contextlib.contextmanager
def reproducible_kernels() -> Generator[None]:
    """Make another process compute the same bits on the same device, inside the block."""
    # Otherwise cuDNN times its kernels and takes the fastest, and another kernel gives other last bits.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


def fits(nbytes: int, device: torch.device, share: float = 0.5) -> bool:
    """Return whether `nbytes` of data take at most `share` of the memory that is free on `device` now.

    False for the CPU, which reads the memory map directly, so that a copy would gain nothing.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return nbytes <= share * free
    return device.type == "mps" and nbytes <= share * torch.mps.recommended_max_memory()


def _missing(kind: str, there: list[str]) -> str:
    has = f"this machine offers {', '.join(there)}"
    if kind == "cuda" and torch.version.cuda is None:
        built = f"this torch ({torch.__version__}) was built without CUDA"
        return f"{has}, and {built}: install the CUDA build, or choose auto"
    if kind == "cuda":
        return f"{has}: check the driver with nvidia-smi (and CUDA_VISIBLE_DEVICES), or choose auto or cpu"
    return f"{has}: choose auto or cpu"
