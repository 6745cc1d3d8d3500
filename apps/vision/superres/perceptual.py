"""LPIPS (Zhang et al. 2018), the perceptual distance; an optional column of the tables, lower is better.

torchmetrics' form on AlexNet, whose ImageNet weights torchvision fetches the first time.
"""

__all__ = ["Perceptual"]

import numpy as np
import torch

from core.errors import UserError


class Perceptual:
    """Callable on two images (H, W, 3) uint8 of the same size.

    Raises:
        UserError: torchvision is not installed, or the weights cannot be fetched.
    """

    def __init__(self) -> None:
        try:
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            self.metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()
        except ImportError:
            raise UserError("--model.lpips: needs torchvision; install it with `pip install omnimix[lpips]`.") from None
        except OSError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"--model.lpips: the weights of AlexNet could not be fetched ({reason}); connect to the network once."
            ) from None

    @torch.no_grad()
    def __call__(self, a: np.ndarray, b: np.ndarray) -> float:
        pair = [torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None].float() / 255 for x in (a, b)]
        return float(self.metric(*pair))
