"""C3D with batch normalisation and global average pooling."""

from __future__ import annotations

from kinema.backbones.layers import StagedBackbone, check_width, conv_stage


class C3D(StagedBackbone):
    """Eight plain 3x3x3 convolutions, each with batch normalisation and ReLU, in five stages (27,661,440 parameters).

    The form of C3D (Tran et al., ICCV 2015) that clip-order prediction (Xu et al., CVPR 2019) and its successors use:
    no fifth pool and no fully connected layers. Stages p1 to p4 end with their max pool, p5 is the last map. A clip
    [B, 3, 16, 112, 112] gives the map [B, 512, 2, 7, 7].

    Differs from the original: pools round odd sizes up instead of dropping the last frame, row or column.

    Args:
        width: channels of the first stage; the others keep their proportion (2, 4, 8 and 8 times).
    """

    def __init__(self, *, width: int = 64) -> None:
        check_width(width)
        pool = (2, 2, 2)
        super().__init__(
            {
                "p1": conv_stage(3, [width], norm=True, pool=(1, 2, 2)),
                "p2": conv_stage(width, [2 * width], norm=True, pool=pool),
                "p3": conv_stage(2 * width, [4 * width] * 2, norm=True, pool=pool),
                "p4": conv_stage(4 * width, [8 * width] * 2, norm=True, pool=pool),
                "p5": conv_stage(8 * width, [8 * width] * 2, norm=True, pool=None),
            },
            feature_dim=8 * width,
            stride=(8, 16, 16),
        )
