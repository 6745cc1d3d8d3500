"""What several processes found, in one place."""

__all__ = ["gathered"]

from typing import Any

import torch


def gathered(results: dict[int, Any]) -> dict[int, Any]:
    """The results of all processes by their numbers; those of this one where there is no other."""
    if not torch.distributed.is_initialized():
        return results
    parts: list[dict[int, Any]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, results)
    return {number: result for part in parts for number, result in part.items()}
