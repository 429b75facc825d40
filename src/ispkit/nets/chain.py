"""Two networks as one, for the ablation that trains a pair without a target between them."""

from __future__ import annotations

from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.nets.picture_net import PictureNet


class ChainNet(PictureNet):
    """The pictures of `first` go into `second`; shapes and ranges are theirs.

    Neither may pool: the features of `second` would need the whole picture of `first`. Raises `ParamError`.
    """

    def __init__(self, first: PictureNet, second: PictureNet) -> None:
        super().__init__()
        if second.inputs != first.outputs:
            raise ParamError(
                f"ChainNet: the second net reads {second.inputs} channels, the first gives {first.outputs}"
            )
        if first.pool_stride or second.pool_stride:
            raise ParamError("ChainNet: a net that pools over the whole picture cannot be chained; make it a part")
        if second.multiple % first.scale and first.scale % second.multiple:
            raise ParamError(f"ChainNet: sides in multiples of {second.multiple} do not fit a scale of {first.scale}")
        self.nets = nn.ModuleList([first, second])
        self.inputs, self.scale = first.inputs, first.scale * second.scale
        self.multiple = max(first.multiple, -(-second.multiple // first.scale))
        self.halo = first.halo - (-second.halo // first.scale)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        for net in self.nets:
            x = net(x)
        return x
