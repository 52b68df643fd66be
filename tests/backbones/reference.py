"""Slow, plain second implementations of the networks, from their published descriptions, for comparison by formula.

They share no code with kinema: every tensor is made on the spot by the cross-check formulas, from its shape alone.
"""

import torch
import torch.nn.functional as F


def conv(x, width, kernel, stride=(1, 1, 1), bias=False):
    shape = (width, x.shape[1], *kernel)
    fan_in = x.shape[1] * kernel[0] * kernel[1] * kernel[2]
    k = torch.arange(width * fan_in, dtype=torch.float64)
    weight = (2 / fan_in) ** 0.5 * torch.cos(0.7 * k + 0.3 * torch.sin(0.013 * k))
    shift = 0.01 * torch.sin(torch.arange(width, dtype=torch.float64)) if bias else None
    return F.conv3d(x, weight.view(shape), shift, stride, [size // 2 for size in kernel])


def norm(x):
    k = torch.arange(x.shape[1], dtype=torch.float64).view(-1, 1, 1, 1)
    return x / (1 + 1e-5) ** 0.5 * (1 + 0.05 * torch.cos(k)) + 0.02 * torch.sin(k)


def factored(x, width, kernel, stride=(1, 1, 1)):
    (t, h, w), channels = kernel, x.shape[1]
    middle = (t * h * w * channels * width) // (h * w * channels + t * width)
    x = F.relu(norm(conv(x, middle, (1, h, w), (1, *stride[1:]))))
    return conv(x, width, (t, 1, 1), (stride[0], 1, 1))


def resnet(x, width, layers, conv=conv):
    stages = [F.relu(norm(conv(x, width, (3, 7, 7), (1, 2, 2))))]
    for number, blocks in enumerate(layers):
        x = stages[-1]
        for block in range(blocks):
            stride = (2, 2, 2) if number and not block else (1, 1, 1)
            y = F.relu(norm(conv(x, width * 2**number, (3, 3, 3), stride)))
            y = norm(conv(y, width * 2**number, (3, 3, 3)))
            x = F.relu(y + (norm(conv(x, width * 2**number, (1, 1, 1), stride)) if stride[0] == 2 else x))
        stages.append(x)
    return stages


def plain(x, groups, pools, after):
    stages = []
    for widths, pool in zip(groups, pools, strict=True):
        for width in widths:
            x = F.relu(after(conv(x, width, (3, 3, 3), bias=True)))
        x = F.max_pool3d(x, pool, ceil_mode=True)
        stages.append(x)
    return stages


def c3d(x, width):
    groups = [[1], [2], [4, 4], [8, 8], [8, 8]]
    pools = [(1, 2, 2), 2, 2, 2, 1]
    return plain(x, [[width * factor for factor in group] for group in groups], pools, norm)


def c3d_light(x, width):
    return plain(x, [[width * factor] for factor in (1, 2, 4, 4, 4)], [(1, 2, 2), 2, 2, 2, 2], lambda x: x)
