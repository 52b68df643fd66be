"""Videos whose pictures tell their own number, so that exactness can be seen and not only computed."""

from fractions import Fraction

import av
import numpy as np
from PIL import Image

WIDTH, HEIGHT, BITS, BLOCK = 96, 64, 6, 16


def numbered_frame(number):
    """uint8 RGB [64, 96, 3]: six blocks of 16 x 16 hold the number in binary; a moving texture keeps encoders busy."""
    frame = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    columns = (np.arange(WIDTH) + 3 * number) % 32
    frame[2 * BLOCK :] = (columns * 6)[None, :, None]
    for bit in range(BITS):
        frame[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
    return frame


def numbers_in(frames):
    """The numbers that pictures of `numbered_frame` show, whatever their size."""
    height, width = frames.shape[1:3]
    rows = slice(height // 16, height * 3 // 16)
    centres = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    bits = np.stack([frames[:, rows, c - 1 : c + 2].mean((1, 2, 3)) > 128 for c in centres], axis=1)
    return (bits @ (1 << np.arange(BITS))).tolist()


def write_numbered(
    path,
    frames=40,
    codec="libx264",
    *,
    gop=12,
    b_frames=0,
    stamps=None,
    rate=25,
    options=None,
    pixels="yuv420p",
    aspect=None,
    scale=1,
    **more,
):
    """Write numbered frames; `stamps` in 1/1000 s, else regular at `rate`. Further arguments go to `av.open`."""
    with av.open(str(path), "w", **more) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = scale * WIDTH, scale * HEIGHT, pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        stream.gop_size, stream.max_b_frames = gop, b_frames
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), "rgb24")
            frame = frame.reformat(scale * WIDTH, scale * HEIGHT, pixels, interpolation="POINT")
            if stamps is not None:
                frame.pts, frame.time_base = int(stamps[number]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_frames(folder, numbers, pattern="frame{:06d}.png", start=0):
    """Frames that show `numbers`, in files numbered from `start` on."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, number in enumerate(numbers, start):
        Image.fromarray(numbered_frame(number)).save(folder / pattern.format(place))
    return folder


def remux(source, target, change=lambda number, packet: packet):
    """Copy packets into another container; `change(number, packet)` may alter a packet or return None to drop it."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        track = old.streams.video[0]
        stream = new.add_stream_from_template(track)
        for number, packet in enumerate(packet for packet in old.demux(track) if packet.size):
            packet = change(number, packet)
            if packet is not None:
                packet.stream = stream
                new.mux(packet)
    return target
