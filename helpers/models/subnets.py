"""Smaller networks inside a pretrained one: fewer blocks in a stage, or larger last maps.

    efficientnet_lite0_d1222231      1, 2, 2, 2, 2, 3 and 1 blocks in its seven stages
    efficientnet_lite0_d1222231_s16  and maps of 1/16 of the image, not of 1/32

Such a name works like that of any backbone. The first blocks of each stage stay, with their
pretrained weights. The others are residual, so the network still works without them (elastic depth
in Once-for-all, Cai et al. 2020, arXiv 1908.09791).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import timm
from torch import nn

_NAME = re.compile(r"(?P<base>.+)_d(?P<depths>[1-9]+)(?P<stride>_s16)?")
STRIDES = (32, 16)  # of the last maps; the first is the whole network's


@dataclass(frozen=True)
class Subnet:
    """Name what is kept of a network."""

    depths: tuple[int, ...]  # blocks of each stage
    stride: int = STRIDES[0]  # of the last maps

    def of(self, base: str) -> str:
        """Return the name of this part of a backbone."""
        stride = "" if self.stride == STRIDES[0] else f"_s{self.stride}"
        return f"{base}_d{''.join(map(str, self.depths))}{stride}"

    def __str__(self) -> str:
        maps = "" if self.stride == STRIDES[0] else f", maps of 1/{self.stride}"
        return f"{'-'.join(map(str, self.depths))} blocks{maps}"


def divided(backbone: str) -> tuple[str, Subnet | None]:
    """Return the whole backbone that a name refers to, and the part that is kept (None: all)."""
    bare = backbone.removeprefix("hf-hub:").removeprefix("timm/")
    if timm.is_model(bare) or (match := _NAME.fullmatch(backbone)) is None:
        return backbone, None
    depths = tuple(map(int, match["depths"]))
    return match["base"], Subnet(depths, STRIDES[1] if match["stride"] else STRIDES[0])


def depths_of(trunk: Any) -> tuple[int, ...]:
    """Return the number of blocks in each stage of a trunk.

    Raises:
        ValueError: the trunk does not have stages `blocks` as an EfficientNet does.
    """
    blocks = getattr(trunk, "blocks", None)
    if not isinstance(blocks, nn.Sequential) or not all(
        isinstance(stage, nn.Sequential) and hasattr(stage[0], "conv_dw") for stage in blocks
    ):
        raise ValueError("only networks in stages, such as EfficientNets, have such parts")
    return tuple(len([*stage.children()]) for stage in blocks)


def cut(trunk: Any, kept: Subnet) -> None:
    """Remove blocks and set the last stride, in place; the modules that stay are the same objects.

    Raises:
        ValueError: the trunk does not have these blocks.
    """
    full = depths_of(trunk)
    if len(kept.depths) != len(full) or any(d > n for d, n in zip(kept.depths, full, strict=True)):
        most = "".join(map(str, full))
        raise ValueError(f"its stages have at most so many blocks: _d{most}")
    trunk.blocks = nn.Sequential(
        *(stage[:depth] for stage, depth in zip(trunk.blocks, kept.depths, strict=True))
    )
    narrowing = [stage[0].conv_dw for stage in trunk.blocks if max(stage[0].conv_dw.stride) > 1]
    if kept.stride != STRIDES[0]:
        narrowing[-1].stride = (1, 1)
