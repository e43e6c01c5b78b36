"""The architectures of the encoders in docs/how-to/encoders.md, small and with made-up weights."""

import re
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "encoders.md"


def stated(heading):
    """The TOML file that the page shows for one encoder."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    (text,) = re.findall(r"^```toml\n(.*?)^```$", section, re.M | re.S)
    return text


class Attention(nn.Module):
    """Self-attention of two heads; `turns` are rotary position embeddings of the places behind the class token."""

    def __init__(self, width, turns=None):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if turns is not None:
            self.register_buffer("turns", torch.stack([turns.sin(), turns.cos()]))

    def forward(self, seen):
        parts = self.qkv(seen).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        if hasattr(self, "turns"):
            query, key = self.turned(query), self.turned(key)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))

    def turned(self, seen):
        first, places = seen[:, :, :1], seen[:, :, 1:]
        pairs = places.unflatten(3, (-1, 2))
        crossed = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(3)
        return torch.cat([first, places * self.turns[1] + crossed * self.turns[0]], dim=2)


class SwiGLU(nn.Module):
    """The feed-forward layers of EVA: a gate, and a norm inside."""

    def __init__(self, width):
        super().__init__()
        self.gate, self.into, self.out = nn.Linear(width, 16), nn.Linear(width, 16), nn.Linear(16, width)
        self.norm = nn.LayerNorm(16)

    def forward(self, seen):
        return self.out(self.norm(F.silu(self.gate(seen)) * self.into(seen)))


class ViT(nn.Module):
    """A vision transformer: tokens (B, 1 + places, 12), the class token first.

    As RAD-DINO it is DINOv2's: patches of 14, GELU, a learnt scale behind each half of a block. As EVA-X it has patches
    of 16, rotary positions and SwiGLU.
    """

    def __init__(self, size, patch, *, eva, width=12, blocks=2):
        super().__init__()
        side = size // patch
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, side**2 + 1, width))
        of_heads = width // 2
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        place = torch.stack([rows, columns, rows + columns]).flatten(1).T / side  # one for each pair of a head's six
        turns = place.repeat_interleave(2, dim=1)[:, :of_heads] if eva else None
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            gelu = nn.Sequential(nn.Linear(width, 24), nn.GELU(), nn.Linear(24, width))
            self.blocks.append(
                nn.ModuleDict(
                    {
                        "norm1": nn.LayerNorm(width),
                        "attention": Attention(width, turns),
                        "norm2": nn.LayerNorm(width),
                        "feed": SwiGLU(width) if eva else gelu,
                    }
                )
            )
        self.scales = nn.Parameter(torch.ones(blocks, 2, width) if eva else torch.rand(blocks, 2, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, images):
        seen = self.patches(images).flatten(2).transpose(1, 2)
        seen = torch.cat([self.cls.expand(seen.shape[0], -1, -1), seen], dim=1) + self.places
        for block, scale in zip(self.blocks, self.scales, strict=True):
            seen = seen + scale[0] * block["attention"](block["norm1"](seen))
            seen = seen + scale[1] * block["feed"](block["norm2"](seen))
        return self.norm(seen)


class DaViT(nn.Module):
    """MedImageInsight's image encoder: attention within windows, then between channels, and an embedding (B, 6).

    A stage of Ding et al. 2022, *ECCV*: each half begins with a depthwise convolution that tells places. The embedding
    is the normalised projection of the mean, as its `encode_image` gives it.
    """

    def __init__(self, width=8, window=4):
        super().__init__()
        self.window = window
        self.stem = nn.Conv2d(3, width, 7, 4, 3)
        self.where = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.within = Attention(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.projection = nn.Parameter(torch.randn(width, 6) / width**0.5)

    def forward(self, images):
        maps = self.stem(images)
        maps = maps + self.where[0](maps)
        batch, width, high, wide = maps.shape
        side = self.window
        cut = maps.reshape(batch, width, high // side, side, wide // side, side).permute(0, 2, 4, 3, 5, 1)
        found = self.within(self.norms[0](cut.reshape(-1, side * side, width)))
        found = found.reshape(batch, high // side, wide // side, side, side, width).permute(0, 5, 1, 3, 2, 4)
        maps = maps + found.reshape(batch, width, high, wide)
        maps = maps + self.where[1](maps)
        seen = maps.flatten(2).transpose(1, 2)
        query, key, value = self.qkv(self.norms[1](seen)).chunk(3, dim=2)
        weights = (query.transpose(1, 2) @ key / seen.shape[1] ** 0.5).softmax(dim=2)  # between channels
        seen = seen + self.out((weights @ value.transpose(1, 2)).transpose(1, 2))
        embedding = self.norms[2](seen.mean(dim=1)) @ self.projection
        return embedding / embedding.norm(dim=1, keepdim=True)


class DenseMaps(nn.Module):
    """torchxrayvision's DenseNet as the page exports it, smaller: the maps of MONAI's own of two dense blocks."""

    def __init__(self):
        from monai.networks.nets import DenseNet

        super().__init__()
        self.model = DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2), bn_size=2)

    def forward(self, images):
        return torch.relu(self.model.features(images))
