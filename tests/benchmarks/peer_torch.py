"""Peer: the airbench network and recipe as a plain PyTorch script with Muon and channels last.

python tests/benchmarks/peer_torch.py cifar10-png.zip [--epochs 8] [--dtype bfloat16] prints one JSON
line per epoch: seconds of training so far, and accuracy on test with and without its test-time
augmentation (after the last epoch). After cifar10-airbench (Jordan, arXiv 2404.00498, and its
airbench94_muon), written from the numbers of the recipe.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from peer_images import read
from torch import Tensor, nn

PLACE = "cuda" if torch.cuda.is_available() else "cpu"
MEAN, STD = (0.49140, 0.48216, 0.44653), (0.24703, 0.24349, 0.26159)
SMOOTHING, DECAY = 0.2, 0.004
KERNEL_RATE, KERNEL_MOMENTUM = 0.24, 0.6
HEAD_RATE, BIAS_RATE, MOMENTUM = 0.67, 0.053, 0.85


class Block(nn.Sequential):
    """Convolution, pooling, normalisation, GELU; convolution, normalisation, GELU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(width_in, width, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            normalisation(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            normalisation(width),
            nn.GELU(),
        )


def normalisation(width: int) -> nn.BatchNorm2d:
    """Batch normalisation without a trained scale; PyTorch's momentum is one minus Keras'."""
    norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


class Network(nn.Module):
    """Whitening, three blocks, a linear head with scaled logits."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.blocks = nn.Sequential(
            *(Block(a, b) for a, b in zip([24, *widths[:-1]], widths, strict=True))
        )
        self.head = nn.Linear(widths[-1], 10, bias=False)
        for module in self.blocks.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.dirac_(module.weight[: module.in_channels])
        self.head.weight.data /= self.head.weight.data.std()

    def set_whitening(self, images: Tensor) -> None:
        """Eigenvectors of the second moment of all 2x2 patches, and their negatives."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / torch.sqrt(values + 5e-4)).T.reshape(-1, 3, 2, 2).float()
        self.whiten.weight.data = torch.cat([filters, -filters])
        self.whiten.weight.requires_grad = False
        self.whiten.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.whiten(x))
        x = F.max_pool2d(self.blocks(x), 3).flatten(1)
        return self.head(x) / 256


def orthogonalised(update: Tensor, dtype: torch.dtype) -> Tensor:
    """Three Newton-Schulz steps on the (filters, inputs) matrix of a kernel's update."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update.reshape(len(update), -1).to(dtype)
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(3):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).float().reshape(update.shape)


class Updates:
    """Muon for kernels, Nesterov SGD for the rest; every rate falls linearly to zero."""

    def __init__(self, model: Network, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.kernels: list[tuple[str, Tensor, Tensor]] = []
        self.rest: list[tuple[str, Tensor, Tensor]] = []
        for name, weights in model.named_parameters():
            if weights.requires_grad:
                kind = self.kernels if weights.ndim == 4 else self.rest
                kind.append((name, weights, torch.zeros_like(weights)))

    @torch.no_grad()
    def step(self, done: float, epoch: float) -> None:
        """Apply one update; `done` is the share of training that is over."""
        for _, weights, slot in self.kernels:
            slot.mul_(KERNEL_MOMENTUM).add_(weights.grad)
            update = orthogonalised(weights.grad + KERNEL_MOMENTUM * slot, self.dtype)
            weights.mul_(len(weights) ** 0.5 / weights.norm())
            weights.sub_(KERNEL_RATE * (1 - done) * update)
        for name, weights, slot in self.rest:
            rate = HEAD_RATE if name.startswith("head") else BIAS_RATE
            now = rate * (1 - done)
            if name.startswith("whiten"):  # its bias trains for the first three epochs alone
                now = rate * max(0.0, 1 - epoch / 3)
            gradient = weights.grad + DECAY / rate * weights
            slot.mul_(MOMENTUM).add_(gradient)
            weights.sub_(now * (gradient + MOMENTUM * slot))


def crops(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """A random 32x32 crop of each image, padded by reflection."""
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    rows, columns = torch.randint(
        0, 2 * reach + 1, (2, len(images)), generator=generator, device=PLACE
    )
    windows = padded.unfold(2, 32, 1).unfold(3, 32, 1)
    return windows[torch.arange(len(images), device=PLACE), :, rows, columns]


def accuracy(model: Network, images: Tensor, labels: Tensor, average: bool) -> float:
    """Share of right answers, with test-time augmentation if `average`."""

    def mirrored(x: Tensor) -> Tensor:
        return 0.5 * (model(x) + model(x.flip(-1)))

    model.eval()
    right = 0
    with torch.no_grad():
        for part, truth in zip(images.split(500), labels.split(500), strict=True):
            logits = model(part)
            if average:
                padded = F.pad(part, (1,) * 4, mode="reflect")
                moved = mirrored(padded[..., :32, :32]) + mirrored(padded[..., 2:, 2:])
                logits = 0.5 * mirrored(part) + 0.25 * moved
            right += int((logits.argmax(1) == truth).sum())
    model.train()
    return right / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 256])
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", type=int, help="stop after this many steps, to measure throughput"
    )
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    generator = torch.Generator(PLACE).manual_seed(given.seed)
    dtype = getattr(torch, given.dtype)

    def prepared(split: str) -> tuple[Tensor, Tensor]:
        images, labels, _ = read(given.archive, split)
        x = ((images / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32)
        return (
            torch.from_numpy(x).permute(0, 3, 1, 2).to(PLACE),
            torch.from_numpy(labels).to(PLACE),
        )

    x, y = prepared("train")
    test_x, test_y = prepared("test")
    model = Network(given.widths)
    model.set_whitening(x[:5000].cpu())
    model = model.to(PLACE, memory_format=torch.channels_last)
    updates = Updates(model, dtype)
    flipped = torch.rand(len(x), generator=generator, device=PLACE) < 0.5
    steps = len(x) // given.batch
    seconds, step = 0.0, 0

    def autocast() -> torch.autocast:
        return torch.autocast(PLACE, dtype, enabled=dtype != torch.float32)

    for epoch in range(given.epochs):
        clock = time.monotonic()
        order = torch.randperm(len(x), generator=generator, device=PLACE)
        for chosen in order[: steps * given.batch].split(given.batch):
            inputs = x[chosen]
            mirror = flipped[chosen] ^ bool(epoch % 2)
            inputs[mirror] = inputs[mirror].flip(-1)
            inputs = crops(inputs, generator).contiguous(memory_format=torch.channels_last)
            with autocast():
                logits = model(inputs)
            loss = F.cross_entropy(
                logits.float(), y[chosen], label_smoothing=SMOOTHING, reduction="sum"
            )
            model.zero_grad(set_to_none=True)
            loss.backward()
            updates.step(step / (given.epochs * steps), step / steps)
            step += 1
            if given.steps and step % given.steps == 0:
                loss.item()  # waits for the GPU, which works asynchronously
                took = seconds + time.monotonic() - clock
                print(
                    json.dumps({"images_per_second": step * given.batch / took, "seconds": took}),
                    flush=True,
                )
                return
        loss.item()
        seconds += time.monotonic() - clock
        last = epoch + 1 == given.epochs
        with autocast():
            row = {
                "epoch": epoch + 1,
                "seconds": seconds,
                "images_per_second": step * given.batch / seconds,
                "loss": loss.item() / given.batch,
                "accuracy": accuracy(model, test_x, test_y, False),
            }
            if last:
                row["accuracy_tta"] = accuracy(model, test_x, test_y, True)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
