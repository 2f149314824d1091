"""Write the golden files of the CQT and of HPPNet from the reference implementations.

    python tests/golden/make_hppnet.py HPPNET_CHECKOUT

needs PyTorch, nnAudio and a checkout of github.com/WX-Wei/HPPNet. Inputs and weights
come from `hppnet_inputs.py`; only outputs are stored (and two small `.pt` files as
torch.save writes them, for the importer). Written beside this script:

    cqt.npz                nnAudio's CQT magnitudes and their dB values
    hppnet_{tiny,base,sp}.npz  layers (subsampled), rolls and gradients of HPPNet
    hppnet_model.pt        a whole pickled model, sp with 8 channels, float16
    hppnet_state.pt        a state dict, one subnet with 8 channels, float32
"""

import argparse
from pathlib import Path

import hppnet_inputs as inputs
import numpy as np
import torch
import torch_hppnet

HERE = Path(__file__).parent
SIZES = {"tiny": (48, False), "base": (128, False), "sp": (128, True)}
LAYERS = ("block_1", "block_2", "block_2_5", "conv_3", "block_4")
LAYERS += ("block_5", "block_6", "block_7", "block_8")
SEED = 1
BATCH, NUM_FRAMES = 2, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", help="folder that holds the authors' hppnet/")
    checkout = parser.parse_args().checkout
    torch.manual_seed(0)
    np.savez_compressed(HERE / "cqt.npz", **cqt_outputs(checkout))
    for size, (channels, sp) in SIZES.items():
        model = seeded_model(checkout, channels, sp).double()
        np.savez_compressed(HERE / f"hppnet_{size}.npz", **model_outputs(model))
    whole = seeded_model(checkout, 8, sp=True)
    torch.save(whole.half(), HERE / "hppnet_model.pt")
    one = seeded_model(checkout, 8, sp=False)
    torch.save(one.state_dict(), HERE / "hppnet_state.pt")


def cqt_outputs(checkout: str) -> dict[str, np.ndarray]:
    """Return the magnitudes (every second bin) and dB (every third) of the signal."""
    samples_1xS = torch.from_numpy(inputs.signal())[None]
    cqt_1xFxT = torch_hppnet.import_transcriber(checkout).to_cqt(samples_1xS)
    magnitude_1xTxF = cqt_1xFxT.permute(0, 2, 1)
    db_1xTxF = torch_hppnet.AmplitudeToDB(80.0)(magnitude_1xTxF)
    return {
        "magnitude": magnitude_1xTxF[:, :, ::2].numpy(),
        "db": db_1xTxF[:, ::3].numpy().astype(np.float16),
    }


def seeded_model(checkout: str, channels: int, sp: bool) -> torch.nn.Module:
    """Return the authors' model with the weights of `hppnet_inputs`."""
    model = torch_hppnet.build(checkout, channels, sp)
    shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    arrays = inputs.weights(SEED, shapes)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    model.inference_mode = False
    return model


def model_outputs(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return layer outputs, rolls and gradient sums, keyed by `kind/name`.

    Computed in double precision: in single, a few units that lie near ReLU's kink
    change the trunk's gradients by up to a hundredth.
    """
    outputs: dict[str, np.ndarray] = {}
    handles = []
    for path, module in model.named_modules():
        if path.rpartition(".")[2] in LAYERS or path.endswith(".lstm.rnn"):
            keep = _keep(outputs, f"layer/{path}")
            handles.append(module.register_forward_hook(keep))
    rolls = run(model, NUM_FRAMES)
    for handle in handles:
        handle.remove()
    outputs["num_parameters"] = np.array(sum(p.numel() for p in model.parameters()))
    for name, roll_BxTxP in rolls.items():
        outputs[f"roll/{name}"] = roll_BxTxP[:, :, ::5].detach().float().numpy()
    shape = tuple(rolls["onset"].shape)
    heads = zip(torch_hppnet.HEADS, range(4), strict=True)
    total = sum(
        (rolls[name] * torch.from_numpy(inputs.cotangent(i, shape))).sum()
        for name, i in heads
    )
    assert isinstance(total, torch.Tensor)
    total.backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None
        probe = torch.from_numpy(inputs.cotangent(5, tuple(gradient.shape)))
        outputs[f"gradient/{name}"] = np.array(
            [(gradient * probe).sum().item(), gradient.norm().item()]
        )
    with torch.no_grad():
        for name, roll_BxTxP in run(model, NUM_FRAMES + 1).items():
            outputs[f"odd_roll/{name}"] = roll_BxTxP[:, :, ::8].float().numpy()
    return outputs


def run(model: torch.nn.Module, num_frames: int) -> dict[str, torch.Tensor]:
    """Return the four rolls BxTxP for the seeded features."""
    model.frame_num = num_frames  # type: ignore[assignment]
    feats_BxTxF = torch.from_numpy(inputs.features(SEED, BATCH, num_frames)).double()
    rolls = model.forward_logspecgram(feats_BxTxF)  # type: ignore[operator]
    return {name: roll_Bx1xTxP[:, 0] for name, roll_Bx1xTxP in rolls.items()}


def _keep(outputs: dict[str, np.ndarray], key: str):
    """Return a hook that stores a thin slice of a layer's output."""

    def hook(_module, _arguments, output) -> None:
        if isinstance(output, tuple):  # LSTM: (B*P)xTxD
            outputs[key] = output[0][::17, ::5, ::3].detach().float().numpy()
        else:  # BxCxTxF
            outputs[key] = output[:, ::7, ::9, ::13].detach().float().numpy()

    return hook


if __name__ == "__main__":
    main()
