"""Networks: specifications, backbones, pretrained weights, complexity, fast execution."""

from typing import Literal, get_args

AUTO = "auto"  # as BACKBONE: the first of `weights.AUTO_ORDER` whose weights are available
RANDOM = "random"  # as WEIGHTS, in place of a file: random initial weights
Precision = Literal["auto", "bf16", "fp16", "no"]  # of the arithmetic; "no": float32
PRECISIONS = f"^({'|'.join(get_args(Precision))})$"
Views = Literal[1, 4, 8]  # of an image: itself; its mirror images too; all symmetries of the square
# how a layer's output holds feature maps: (B, K, u, v), (B, u, v, K), or (B, prefix + u * v, K)
Layout = Literal["maps", "maps_last", "tokens"]
