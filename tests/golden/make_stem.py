"""Write stem.npz: the Acoustic-Transformer's stem in PyTorch.

    python tests/golden/make_stem.py

needs PyTorch. Figure 2 of the paper (Kim and Ahn): three blocks of Conv2d 3 x 3,
BatchNorm2d and ReLU, max-pool 2 along frequency after the second and the third, then a
fully connected layer. Inputs and weights come from `stem_inputs.py`.
"""

from pathlib import Path

import numpy as np
import stem_inputs as inputs
import torch
from torch import nn


class Stem(nn.Module):
    def __init__(self, bins: int, width: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        ins = (1, *channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=3, padding=1, bias=False)
            for a, b in zip(ins, channels, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.pools = (1, 2, 2)
        self.out = nn.Linear(channels[-1] * bins // 4, width)

    def forward(self, feats_BxTxF: torch.Tensor) -> torch.Tensor:
        x_BxCxTxF = feats_BxTxF[:, None]
        for conv, norm, pool in zip(self.convs, self.norms, self.pools, strict=True):
            x_BxCxTxF = torch.relu(norm(conv(x_BxCxTxF)))
            x_BxCxTxF = nn.functional.max_pool2d(x_BxCxTxF, (1, pool))
        # The paper's figure does not say how bins and channels lie in the dense
        # layer's input: here as in mt3x, channels last.
        return self.out(x_BxCxTxF.permute(0, 2, 3, 1).flatten(start_dim=2))


def stem() -> Stem:
    """The network with the seeded weights."""
    network = Stem(inputs.BINS, inputs.WIDTH, inputs.CHANNELS)
    params = inputs.params()
    with torch.no_grad():
        for n, (conv, norm) in enumerate(
            zip(network.convs, network.norms, strict=True)
        ):
            block = params[f"block_{n}"]
            kernel_HxWxCxD = torch.from_numpy(block["kernel"])
            conv.weight.copy_(kernel_HxWxCxD.permute(3, 2, 0, 1))
            norm.weight.copy_(torch.from_numpy(block["norm"]["scale"]))
            norm.bias.copy_(torch.from_numpy(block["norm"]["bias"]))
            norm.running_mean.copy_(torch.from_numpy(block["norm"]["mean"]))
            norm.running_var.copy_(torch.from_numpy(block["norm"]["var"]))
        network.out.weight.copy_(torch.from_numpy(params["out"]["kernel"]).T)
        network.out.bias.copy_(torch.from_numpy(params["out"]["bias"]))
    return network


def outputs() -> dict[str, np.ndarray]:
    """Outputs in evaluation and training, and the running statistics behind."""
    network = stem()
    feats_BxTxF = torch.from_numpy(inputs.feats_BxTxF())
    arrays = {
        "eval": network.eval()(feats_BxTxF),
        "train": network.train()(feats_BxTxF),
    }
    torch.sum(torch.sin(arrays["train"])).backward()
    for n, (conv, norm) in enumerate(zip(network.convs, network.norms, strict=True)):
        arrays[f"mean_{n}"], arrays[f"var_{n}"] = norm.running_mean, norm.running_var
        arrays[f"kernel_grad_{n}"] = conv.weight.grad.permute(2, 3, 1, 0)
    return {name: array.detach().numpy() for name, array in arrays.items()}


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).parent / "stem.npz", **outputs())
