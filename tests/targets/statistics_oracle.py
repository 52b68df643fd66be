"""A slow, independent calculation of the labels: plain Python, pixel by pixel, from the text of the definitions."""

import math
from collections import Counter

import numpy as np


def regions_of(row, col, size):
    """The (1-based) numbers of the regions that hold a pixel, per pattern."""
    unit = size // 4
    grid = 4 * (row // unit) + col // unit + 1
    ring = next(
        k for k in (1, 2, 3, 4) if all((size - k * unit) // 2 <= x < (size + k * unit) // 2 for x in (row, col))
    )
    half = size // 2
    r, c = row % half, col % half
    mirrored = half - 1 - c
    if row < half and col < half:
        triangles = [n for n, inside in ((1, r >= c), (2, r <= c)) if inside]
    elif row < half:
        triangles = [n for n, inside in ((3, r <= mirrored), (4, r >= mirrored)) if inside]
    elif col < half:
        triangles = [n for n, inside in ((5, r <= mirrored), (6, r >= mirrored)) if inside]
    else:
        triangles = [n for n, inside in ((7, r >= c), (8, r <= c)) if inside]
    return [grid], [ring], triangles


def pixels_of(size):
    """Pixels of each region: three lists of lists."""
    found = [[[] for _ in range(count)] for count in (16, 4, 8)]
    for row in range(size):
        for col in range(size):
            for pattern, numbers in enumerate(regions_of(row, col, size)):
                for number in numbers:
                    found[pattern][number - 1].append((row, col))
    return found


def boundaries(w, sign):
    """Prewitt derivatives of one field [S, S] in single precision."""
    size = len(w)
    at = lambda y, x: float(w[min(max(y, 0), size - 1), min(max(x, 0), size - 1)])  # noqa: E731
    dx, dy = np.zeros((2, size, size))
    for y in range(size):
        for x in range(size):
            dx[y, x] = sign * sum(at(y + j, x + 1) - at(y + j, x - 1) for j in (-1, 0, 1))
            dy[y, x] = sign * sum(at(y + 1, x + j) - at(y - 1, x + j) for j in (-1, 0, 1))
    return dx, dy


def direction_shares(dx, dy, orientation):
    """(bin, weight) pairs of one pixel."""
    position = (math.degrees(math.atan2(dy, dx)) % 360) / 45
    magnitude = math.hypot(dx, dy)
    if orientation == "hard":
        nearest = round(position)
        exact = nearest if abs(position - nearest) * 45 < 0.01 else position
        return [(math.floor(exact) % 8, magnitude)]
    low = math.floor(position)
    return [(low % 8, magnitude * (1 - position + low)), ((low + 1) % 8, magnitude * (position - low))]


def motion_sums(flow, sign=-1, orientation="soft", fields=None):
    """Mean magnitude per region, direction histogram per region, energy per field: for each of u, v."""
    size, found = flow.shape[-1], []
    for component in flow:
        per_field = [boundaries(field, sign) for field in component]
        mx, my = np.sum([d[0] for d in per_field], 0), np.sum([d[1] for d in per_field], 0)
        means, histograms = [], []
        for pattern in pixels_of(size):
            for pixels in pattern:
                histogram = np.zeros(8)
                for y, x in pixels:
                    for k, weight in direction_shares(mx[y, x], my[y, x], orientation):
                        histogram[k] += weight
                histograms.append(histogram)
                means.append(histogram.sum() / len(pixels))
        energy = [np.hypot(dx, dy).sum() for dx, dy in per_field[: fields or len(per_field)]]
        found.append((np.array(means), np.array(histograms), np.array(energy)))
    return found


def appearance(clip, colour):
    """The 13 labels of one clip [3, T, S, S] by counting."""
    labels = []
    for pattern in pixels_of(clip.shape[-1]):
        overlaps = [region_overlap(clip, pixels) for pixels in pattern]
        for place in (overlaps.index(min(overlaps)), overlaps.index(max(overlaps))):
            labels += [place + 1, dominant_colour(clip, pattern[place], colour)]
    everything = [(y, x) for y in range(clip.shape[2]) for x in range(clip.shape[3])]
    return [*labels, dominant_colour(clip, everything, colour)]


def region_overlap(clip, pixels):
    """Mean over channels of the intersection over union of the frames' histograms."""
    shares = []
    for channel in clip:
        histograms = [Counter(int(frame[y, x]) for y, x in pixels) for frame in channel]
        kept = sum(min(h[b] for h in histograms) for b in range(256))
        seen = sum(max(h[b] for h in histograms) for b in range(256))
        shares.append(np.float32(kept) / np.float32(seen))
    return (shares[0] + shares[1] + shares[2]) / np.float32(3)


def dominant_colour(clip, pixels, colour):
    """Octant number 1 .. 8 of the pixels in all frames."""
    seen = Counter()
    for t in range(clip.shape[1]):
        for y, x in pixels:
            red, green, blue = (int(v) for v in clip[:, t, y, x])
            seen[octant(red, green, blue) if colour == "vote" else 65536 * blue + 256 * green + red] += 1
    most = max(seen.values())
    winner = min(value for value, count in seen.items() if count == most)
    return winner if colour == "vote" else octant(winner % 256, winner // 256 % 256, winner // 65536)


def octant(red, green, blue):
    """1 blue, 2 cyan, 3 magenta, 4 white, 5 black, 6 green, 7 red, 8 yellow."""
    names = {(0, 0, 1): 1, (0, 1, 1): 2, (1, 0, 1): 3, (1, 1, 1): 4, (0, 0, 0): 5, (0, 1, 0): 6, (1, 0, 0): 7}
    return names.get(tuple(int(value >= 128) for value in (red, green, blue)), 8)
