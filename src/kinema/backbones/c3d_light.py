"""The light C3D of motion-appearance statistics: five convolutions without normalisation."""

from __future__ import annotations

from torch import nn

from kinema.backbones.layers import StagedBackbone, check_width, conv_stage


class C3DLight(StagedBackbone):
    """Five 3x3x3 convolutions with ReLU, each followed by a max pool, no normalisation (4,651,008 parameters).

    The network of motion-appearance statistics (Wang et al., CVPR 2019) up to its fifth pool; its fully connected
    layers are `kinema.modules.heads.C3DLightHead`. Stages p1 to p5 end with their pool. A clip [B, 3, 16, 112, 112]
    gives the map [B, 256, 1, 4, 4]. Convolution weights start as N(0, 0.01), biases as 0.

    Args:
        width: channels of the first stage; the others keep their proportion (2 and then 4 times).
    """

    def __init__(self, *, width: int = 64) -> None:
        check_width(width)
        pool = (2, 2, 2)
        super().__init__(
            {
                "p1": conv_stage(3, [width], norm=False, pool=(1, 2, 2)),
                "p2": conv_stage(width, [2 * width], norm=False, pool=pool),
                "p3": conv_stage(2 * width, [4 * width], norm=False, pool=pool),
                "p4": conv_stage(4 * width, [4 * width], norm=False, pool=pool),
                "p5": conv_stage(4 * width, [4 * width], norm=False, pool=pool),
            },
            feature_dim=4 * width,
            stride=(16, 32, 32),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
