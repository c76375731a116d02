"""The running means and variances of normalization layers: what training changes without gradient.

A forward pass in training changes them, so a step that is skipped must put them back; and of
several processes each has those of its own images, until the next forward pass takes the first's.
"""

from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _NormBase

from common.runtime.processes import Processes


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Name -> running mean, variance or count of batches of each such layer."""
    return {
        f"{name}.{key}".lstrip("."): buffer
        for name, module in model.named_modules()
        if isinstance(module, _NormBase)
        for key, buffer in module.named_buffers(recurse=False)
    }


def share_running_statistics(model: nn.Module, processes: Processes) -> None:
    """Give every process those of the first, which are the ones that a checkpoint holds."""
    if processes.world_size > 1:
        for buffer in running_statistics(model).values():
            dist.broadcast(buffer, src=0)
