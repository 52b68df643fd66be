"""Slow, plain second implementations of the networks, under the names that published code gives their tensors.

They share no code with kinema. Each is a function of a `Named`, a clip and a width; it asks for its tensors by name,
and the first time they are made on the spot: from their shape alone by the cross-check formulas, or at random from
their name. So one forward pass gives both the state dict of a published network and its output.
"""

import zlib

import torch
import torch.nn.functional as F


def triple(value):
    return value if isinstance(value, tuple) else (value,) * 3


class Named:
    """Tensors by public name; `formula` makes them by the cross-check formulas instead of at random."""

    def __init__(self, *, formula=False, eps=1e-5):
        self.tensors, self.formula, self.eps = {}, formula, eps

    def get(self, name, shape, by_formula, by_chance):
        if name not in self.tensors:
            count = torch.Size(shape).numel()
            if self.formula:
                values = by_formula(torch.arange(count, dtype=torch.float64))
            else:
                key = torch.Generator().manual_seed(zlib.crc32(name.encode()))
                values = by_chance(torch.randn(count, generator=key, dtype=torch.float64))
            self.tensors[name] = values.view(shape)
        assert self.tensors[name].shape == tuple(shape), name
        return self.tensors[name]

    def weight(self, name, shape):
        gain = (2 / torch.Size(shape[1:]).numel()) ** 0.5
        return self.get(
            f"{name}.weight",
            shape,
            lambda k: gain * torch.cos(0.7 * k + 0.3 * torch.sin(0.013 * k)),
            lambda n: gain * n,
        )

    def shift(self, name, width):
        return self.get(f"{name}.bias", (width,), lambda k: 0.01 * torch.sin(k), lambda n: 0.1 * n)

    def conv(self, x, name, width, kernel, stride=1, *, groups=1, bias=False):
        kernel, stride = triple(kernel), triple(stride)
        weight = self.weight(name, (width, x.shape[1] // groups, *kernel))
        shift = self.shift(name, width) if bias else None
        return F.conv3d(x, weight, shift, stride, [size // 2 for size in kernel], groups=groups)

    def norm(self, x, name):
        width = x.shape[1]
        scale = self.get(f"{name}.weight", (width,), lambda k: 1 + 0.05 * torch.cos(k), lambda n: 1 + 0.2 * n)
        shift = self.get(f"{name}.bias", (width,), lambda k: 0.02 * torch.sin(k), lambda n: 0.1 * n)
        mean = self.get(f"{name}.running_mean", (width,), lambda k: 0 * k, lambda n: 0.1 * n)
        variance = self.get(f"{name}.running_var", (width,), lambda k: 0 * k + 1, lambda n: (0.3 * n).exp())
        parts = [part.view(-1, 1, 1, 1) for part in (scale, shift, mean, variance)]
        return (x - parts[2]) / (parts[3] + self.eps).sqrt() * parts[0] + parts[1]

    def linear(self, x, name, width):
        return F.linear(x, self.weight(name, (width, x.shape[1])), self.shift(name, width))

    def unit(self, x, conv, norm, width, kernel=1, stride=1, **options):
        """Convolution, normalisation, ReLU."""
        return F.relu(self.norm(self.conv(x, conv, width, kernel, stride, **options), norm))

    def gate(self, x, name):
        scores = self.linear(x.mean((2, 3, 4)), name, x.shape[1])
        return x / (1 + torch.exp(-scores))[:, :, None, None, None]


# Plain networks


def c3d(net, x, width):
    stages = []
    for number, (factor, parts) in enumerate([(1, [""]), (2, [""]), (4, "ab"), (8, "ab"), (8, "ab")], start=1):
        for part in parts:
            x = net.unit(x, f"conv{number}{part}", f"bn{number}{part}", width * factor, 3, bias=True)
        if number < 5:
            x = F.max_pool3d(x, (1, 2, 2) if number == 1 else 2, ceil_mode=True)
        stages.append(x)
    return stages


def prp_c3d(net, x, width):
    stages = []
    for number, (factor, parts) in enumerate([(1, [""]), (2, [""]), *[(f, ["_1", "_2"]) for f in (4, 8, 8)]], start=1):
        for part in parts:
            name = f"conv{number}{part}.conv3d"
            x = net.unit(x, f"{name}.0", f"{name}.1", width * factor, 3, bias=True)
        if number < 5:
            x = F.max_pool3d(x, (1, 2, 2) if number == 1 else 2, ceil_mode=True)
        stages.append(x)
    return stages


def c3d_light(net, x, width):
    stages = []
    for number, factor in enumerate((1, 2, 4, 4, 4), start=1):
        x = F.relu(net.conv(x, f"conv_{number}", width * factor, 3, bias=True))
        x = F.max_pool3d(x, (1, 2, 2) if number == 1 else 2, ceil_mode=True)
        stages.append(x)
    return stages


# Residual networks


def middle(kernel, channels, width):
    t, h, w = kernel
    return (t * h * w * channels * width) // (h * w * channels + t * width)


def vcop(net, x, width, layers=(1, 1, 1, 1), factored=False):
    def conv(x, name, width, kernel, stride=(1, 1, 1)):
        if not factored:
            return net.conv(x, f"{name}.temporal_spatial_conv", width, kernel, stride)
        spatial, temporal = (1, *stride[1:]), (stride[0], 1, 1)
        between = middle(kernel, x.shape[1], width)
        x = net.unit(x, f"{name}.spatial_conv", f"{name}.bn", between, (1, *kernel[1:]), spatial)
        return net.conv(x, f"{name}.temporal_conv", width, (kernel[0], 1, 1), temporal)

    stages = [F.relu(net.norm(conv(x, "conv1", width, (3, 7, 7), (1, 2, 2)), "bn1"))]
    for number, blocks in enumerate(layers):
        x, wide = stages[-1], width * 2**number
        for block in range(blocks):
            name = f"conv{number + 2}." + ("block1" if block == 0 else f"blocks.{block - 1}")
            stride = (2, 2, 2) if number and not block else (1, 1, 1)
            y = F.relu(net.norm(conv(x, f"{name}.conv1", wide, (3, 3, 3), stride), f"{name}.bn1"))
            y = net.norm(conv(y, f"{name}.conv2", wide, (3, 3, 3)), f"{name}.bn2")
            if stride[0] == 2:
                x = net.norm(conv(x, f"{name}.downsampleconv", wide, (1, 1, 1), stride), f"{name}.downsamplebn")
            x = F.relu(y + x)
        stages.append(x)
    return stages


def torchvision(net, x, width, kind="r3d"):
    if kind == "r2plus1d":
        x = net.unit(x, "stem.0", "stem.1", 45 * width // 64, (1, 7, 7), (1, 2, 2))
        stages = [net.unit(x, "stem.3", "stem.4", width, (3, 1, 1))]
    else:
        stages = [net.unit(x, "stem.0", "stem.1", width, (3, 7, 7), (1, 2, 2))]
    for number in range(4):
        x, wide = stages[-1], width * 2**number
        for block in range(2):
            name, step = f"layer{number + 1}.{block}", 2 if number and not block else 1
            between = middle((3, 3, 3), x.shape[1], wide)
            y = x
            for which, stride in ((1, step), (2, 1)):
                at = f"{name}.conv{which}"
                if kind == "r2plus1d":
                    y = net.unit(y, f"{at}.0.0", f"{at}.0.1", between, (1, 3, 3), (1, stride, stride))
                    y = net.conv(y, f"{at}.0.3", wide, (3, 1, 1), (stride, 1, 1))
                elif kind == "mc3" and number:
                    y = net.conv(y, f"{at}.0", wide, (1, 3, 3), (1, stride, stride))
                else:
                    y = net.conv(y, f"{at}.0", wide, 3, stride)
                y = net.norm(y, f"{at}.1")
                y = F.relu(y) if which == 1 else y
            if step == 2:
                stride = (1, 2, 2) if kind == "mc3" else 2
                x = net.norm(net.conv(x, f"{name}.downsample.0", wide, 1, stride), f"{name}.downsample.1")
            x = F.relu(x + y)
        stages.append(x)
    return stages


def hara(net, x, width, layers=(2, 2, 2, 2), bottleneck=False, shortcut="B", kernel=7, step=1, pool=True):
    stages = [net.unit(x, "conv1", "bn1", width, (kernel, 7, 7), (step, 2, 2))]
    for number, blocks in enumerate(layers):
        x, wide = stages[-1], width * 2**number
        x = F.max_pool3d(x, 3, 2, 1) if number == 0 and pool else x
        for block in range(blocks):
            name, stride = f"layer{number + 1}.{block}", 2 if number and not block else 1
            if bottleneck:
                y = net.unit(x, f"{name}.conv1", f"{name}.bn1", wide)
                y = net.unit(y, f"{name}.conv2", f"{name}.bn2", wide, 3, stride)
                y = net.norm(net.conv(y, f"{name}.conv3", 4 * wide, 1), f"{name}.bn3")
            else:
                y = net.unit(x, f"{name}.conv1", f"{name}.bn1", wide, 3, stride)
                y = net.norm(net.conv(y, f"{name}.conv2", wide, 3), f"{name}.bn2")
            if x.shape != y.shape and shortcut == "B":
                x = net.norm(net.conv(x, f"{name}.downsample.0", y.shape[1], 1, stride), f"{name}.downsample.1")
            elif x.shape != y.shape:
                x = F.avg_pool3d(x, 1, stride)
                x = torch.cat([x, x.new_zeros(x.shape[0], y.shape[1] - x.shape[1], *x.shape[2:])], 1)
            x = F.relu(x + y)
        stages.append(x)
    return stages


def cvrl(net, x, width, same=False):
    def pad(x, kernel, stride, value=0.0):
        """Where `same`: all of TensorFlow's padding. Else none, since `conv` pads by half its kernel."""
        for axis in (2, 3, 4):
            size, k, s = x.shape[axis], triple(kernel)[axis - 2], triple(stride)[axis - 2]
            total = max(0, ((size + s - 1) // s - 1) * s + k - size)
            shape = list(x.shape)
            for amount, end in ((total // 2, False), (total - total // 2, True)):
                shape[axis] = amount
                extra = torch.full(shape, value, dtype=x.dtype)
                x = torch.cat([x, extra] if end else [extra, x], axis)
        return x

    def conv(x, name, width, kernel, stride=1):
        if not same:
            return net.conv(x, name, width, kernel, stride)
        weight = net.weight(name, (width, x.shape[1], *triple(kernel)))
        return F.conv3d(pad(x, kernel, stride), weight, None, triple(stride))

    stages = [F.relu(net.norm(conv(x, "stem", width, (5, 7, 7), 2), "stem_bn"))]
    for number, (factor, blocks, time) in enumerate([(1, 3, 1), (2, 4, 1), (4, 6, 3), (8, 3, 3)]):
        x = stages[-1]
        if number == 0 and same:
            x = F.max_pool3d(pad(x, (1, 3, 3), (1, 2, 2), -torch.inf), (1, 3, 3), (1, 2, 2))
        elif number == 0:
            x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for block in range(blocks):
            name, stride = f"res{number}.{block}", (1, 2, 2) if number and not block else (1, 1, 1)
            y = F.relu(net.norm(conv(x, f"{name}.a", width * factor, (time, 1, 1)), f"{name}.a_bn"))
            y = F.relu(net.norm(conv(y, f"{name}.b", width * factor, (1, 3, 3), stride), f"{name}.b_bn"))
            y = net.norm(conv(y, f"{name}.c", 4 * width * factor, 1), f"{name}.c_bn")
            if block == 0:
                x = net.norm(conv(x, f"{name}.s", 4 * width * factor, 1, stride), f"{name}.s_bn")
            x = F.relu(x + y)
        stages.append(x)
    return stages
