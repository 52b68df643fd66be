"""Second implementations, continued: S3D in its flavours, and the light networks. See `public`."""

import torch
import torch.nn.functional as F

TABLE = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
NUMBERS = dict(zip(TABLE, (5, 6, 8, 9, 10, 11, 12, 14, 15), strict=True))


def pair(net, x, first, second, width, kernel, stride=1, early=False):
    """A separable convolution; `first` and `second` name its halves' convolution and normalisation."""
    in_time, late = (stride, 1) if early else (1, stride)
    x = net.unit(x, *first, width, (1, kernel, kernel), (in_time, stride, stride))
    return net.unit(x, *second, width, (kernel, 1, 1), (late, 1, 1))


def pooled(x, stage):
    if stage == "5":
        return F.max_pool3d(x, 2, 2, ceil_mode=True)
    return F.max_pool3d(x, 3, 2, 1) if stage == "4" else F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


def inception(net, x, widths, names, gate):
    """`names(branch, step)` names what `unit` or `pair` takes; `gate(y, branch)` may gate a branch."""
    b0, b1a, b1, b2a, b2, b3 = widths
    branches = [
        net.unit(x, *names(0, "plain"), b0),
        pair(net, net.unit(x, *names(1, "reduce"), b1a), *names(1, "pair"), b1, 3),
        pair(net, net.unit(x, *names(2, "reduce"), b2a), *names(2, "pair"), b2, 3),
        net.unit(F.max_pool3d(x, 3, 1, 1), *names(3, "plain"), b3),
    ]
    return torch.cat([gate(branch, number) for number, branch in enumerate(branches)], 1)


def s3d(net, x, width, flavour):
    """All four flavours; they differ in names, gates, stem and pools."""
    stem, reduce, second, block, gate = flavour(net)
    pool = pace_pool if flavour is pace else pooled
    stages = [stem(x, width)]
    x = reduce(pool(stages[-1], "2"), width)
    stages.append(second(x, 192 * width // 64))
    for stage in "345":
        x = pool(stages[-1], stage)
        for key in (key for key in TABLE if key[0] == stage):
            widths = [max(1, count * width // 64) for count in TABLE[key]]
            x = inception(net, x, widths, lambda branch, step, key=key: block(key, branch, step),
                          lambda y, branch, key=key: gate(y, key, branch))  # fmt: skip
        stages.append(x)
    return stages


def numbered(name):
    return f"{name}.0", f"{name}.1"


def torchvision(net):
    def halves(name):
        return numbered(f"{name}.0"), numbered(f"{name}.1")

    def block(key, branch, step):
        name = f"features.{NUMBERS[key]}.branch{branch}"
        if step == "pair":
            return halves(f"{name}.1")
        return numbered({"plain": name if branch == 0 else f"{name}.1", "reduce": f"{name}.0"}[step])

    return (
        lambda x, width: pair(net, x, *halves("features.0"), width, 7, 2),
        lambda x, width: net.unit(x, *numbered("features.2"), width),
        lambda x, width: pair(net, x, *halves("features.3"), width, 3),
        block,
        lambda y, key, branch: y,
    )


def coclr_halves(name):
    return (f"{name}.conv1", f"{name}.bn1"), (f"{name}.conv2", f"{name}.bn2")


def coclr(net, gated=True):
    def single(name):
        return f"{name}.conv", f"{name}.bn"

    def block(key, branch, step):
        name = f"Mixed_{key}.branch{branch}"
        if step == "pair":
            return coclr_halves(f"{name}.1")
        return single(f"{name}.1" if branch == 3 else f"{name}.0")

    return (
        lambda x, width: pair(net, x, *coclr_halves("Conv_1a"), width, 7, 2),
        lambda x, width: net.unit(x, *single("Conv_2b"), width),
        lambda x, width: pair(net, x, *coclr_halves("Conv_2c"), width, 3),
        block,
        lambda y, key, branch: net.gate(y, f"Mixed_{key}.gating_b{branch}.fc") if gated else y,
    )


def coclr_s3d(net):
    return coclr(net, gated=False)


def rspnet(net):
    def single(name):
        return f"{name}.conv3d", f"{name}.bn"

    def halves(name):
        return single(f"{name}.sep_conv.0"), single(f"{name}.sep_conv.1")

    def excite(x, name):
        scores = net.conv(x.mean((2, 3, 4), keepdim=True), f"{name}.excitation", x.shape[1], 1, bias=True)
        return x * torch.sigmoid(scores)

    def block(key, branch, step):
        name = f"feature.sepInc_{key}.branch{branch}"
        if step == "pair":
            return halves(f"{name}.1")
        return single({0: name, 3: f"{name}.1"}.get(branch, f"{name}.0"))

    def gate(y, key, branch):
        return excite(y, f"feature.sepInc_{key}.branch{branch}.1") if branch in (1, 2) else y

    return (
        lambda x, width: excite(pair(net, x, *halves("feature.sepConv1"), width, 7, 2, early=True), "feature.sepConv1"),
        lambda x, width: net.unit(x, *single("feature.basicConv3d"), width),
        lambda x, width: excite(pair(net, x, *halves("feature.sep_conv2"), width, 3), "feature.sep_conv2"),
        block,
        gate,
    )


def pace_pool(x, stage):
    if stage == "5":
        return F.max_pool3d(x, 2, 2, ceil_mode=True)
    kernel, stride, behind = ((3, 3, 3), 2, 1) if stage == "4" else ((1, 3, 3), (1, 2, 2), 0)
    return F.max_pool3d(F.pad(x, (0, 1, 0, 1, 0, behind)), kernel, stride, ceil_mode=True)  # maps are never negative


def pace(net):
    def single(name):
        return f"{name}.conv1", f"{name}.bn1"

    def block(key, branch, step):
        name = f"mixed_{key}.conv_b{branch}"
        if step == "pair":
            return coclr_halves(f"{name}_b")
        return single({0: name, 3: f"{name}_b"}.get(branch, f"{name}_a"))

    return (
        lambda x, width: net.unit(x, *single("conv1"), width, (3, 7, 7), 2),
        lambda x, width: net.unit(x, *single("conv_2b"), width),
        lambda x, width: net.gate(pair(net, x, *coclr_halves("conv_2c"), width, 3), "gating.fc"),
        block,
        lambda y, key, branch: net.gate(y, f"mixed_{key}.gating_b{branch}.fc"),
    )


def shufflenet(net, x, width, groups=3):
    table = {1: (24, 144, 288, 567), 2: (24, 200, 400, 800), 3: (24, 240, 480, 960)}
    table |= {4: (24, 272, 544, 1088), 8: (24, 384, 768, 1536)}
    first, *widths = (int(count * width / 32) for count in table[groups])
    x = net.unit(x, "conv1.0", "conv1.1", first, 3, (1, 2, 2))
    stages = [x, F.max_pool3d(x, 3, 2, 1)]
    for number, (wide, count) in enumerate(zip(widths, (4, 8, 4), strict=True), start=1):
        x = stages[-1]
        for unit in range(count):
            name, channels = f"layer{number}.{unit}", x.shape[1]
            y = net.unit(x, f"{name}.conv1", f"{name}.bn1", wide // 4, groups=1 if channels == 24 else groups)
            order = torch.arange(y.shape[1]).view(groups, -1).T.flatten()
            y = y[:, order]
            stride = 2 if unit == 0 else 1
            y = net.norm(net.conv(y, f"{name}.conv2", wide // 4, 3, stride, groups=wide // 4), f"{name}.bn2")
            out = wide - channels if unit == 0 else wide
            y = net.norm(net.conv(y, f"{name}.conv3", out, 1, groups=groups), f"{name}.bn3")
            if unit == 0:
                y = torch.cat([y, F.avg_pool3d(x, (2, 3, 3), 2, (0, 1, 1))], 1)
            else:
                y = y + x
            x = F.relu(y)
        stages.append(x)
    return stages


def mobilenet(net, x, width):
    def unit(x, name, at, width, kernel=1, stride=1, groups=1):
        x = net.norm(net.conv(x, f"{name}.{at}", width, kernel, stride, groups=groups), f"{name}.{at + 1}")
        return x.clamp(0, 6)

    x = unit(x, "features.0", 0, int(32 * width / 64), 3, (1, 2, 2))
    stages, number = [], 0
    for t, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                       (6, 320, 1, 1)):  # fmt: skip
        for repeat in range(n):
            number += 1
            name, wide, stride = f"features.{number}.conv", int(c * width / 64), s if repeat == 0 else 1
            middle = x.shape[1] * t
            y = x if t == 1 else unit(x, name, 0, middle)
            at = 0 if t == 1 else 3
            y = unit(y, name, at, middle, 3, stride, middle)
            y = net.norm(net.conv(y, f"{name}.{at + 3}", wide, 1), f"{name}.{at + 4}")
            x = x + y if stride == 1 and x.shape == y.shape else y
        stages.append(x)
    stages[6] = unit(x, "features.18", 0, int(1280 * max(1, width / 64)))
    return [stages[at] for at in (0, 1, 2, 4, 6)]


def squeezenet(net, x, width):
    stages = [net.unit(x, "features.0", "features.1", width, 3, (1, 2, 2), bias=True)]
    for number, (squeeze, expand) in enumerate(((16, 64), (32, 128), (48, 192), (64, 256))):
        x = F.max_pool3d(stages[-1], 3, 2, 1)
        for fire in (0, 1):
            name, half = f"features.{4 + 3 * number + fire}", expand * width // 64
            s = net.unit(x, f"{name}.squeeze", f"{name}.squeeze_bn", squeeze * width // 64, bias=True)
            e1 = net.norm(net.conv(s, f"{name}.expand1x1", half, 1, bias=True), f"{name}.expand1x1_bn")
            e3 = net.norm(net.conv(s, f"{name}.expand3x3", half, 3, bias=True), f"{name}.expand3x3_bn")
            x = F.relu(torch.cat([e1, e3], 1) + (x if fire else 0))
        stages.append(x)
    return stages
