"""How calm the One Euro filter makes landmarks, and how late: figures, and a plot of both.

    python benchmarks/smoothing.py -o smoothing.png
    python benchmarks/smoothing.py --model face.onnx --min-cutoff 0.5 --beta 0.05

Measured on points that are known, with noise of 1 px for a person of 200 px at 30 frames a second, and with a model on
the bundled portrait under sensor noise. Jitter is the standard deviation of each coordinate at rest; lag is how far the
filtered noiseless point is behind at constant speed. Fails unless jitter falls threefold and lag stays under its bound
1 / (2 pi beta).
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgelm import zoo
from edgelm.runtimes.engines import engines
from edgelm.runtimes.one_euro import OneEuro, OneEuroOptions
from edgelm.runtimes.runtime import Runtime
from edgelm.runtimes.track import TrackOptions

Array = NDArray[Any]

FPS = 30.0
SPEEDS = (25, 50, 100, 200, 400, 800, 1600)
"""px/s of a person of 200 px: 200 is one face width a second."""
LEAST_GAIN = 3.0
_GREY, _RED, _BLACK = (190, 190, 190), (60, 60, 220), (40, 40, 40)


def filtered(values: Array, options: OneEuroOptions) -> Array:
    """Values (T, ...) one after the other through a new filter."""
    smooth = OneEuro(options)
    return np.array([smooth(value, i / FPS) for i, value in enumerate(values)])


def jitter(options: OneEuroOptions) -> tuple[float, float]:
    """Standard deviation px of white noise of 1 px at rest, as it comes and filtered."""
    noise = np.random.default_rng(0).standard_normal((900, 68, 2))
    return float(noise[90:].std(0).mean()), float(filtered(noise, options)[90:].std(0).mean())


def lags(options: OneEuroOptions) -> list[float]:
    """Lag in px at each of SPEEDS, after 10 s."""
    seconds = np.arange(int(10 * FPS)) / FPS
    return [float(speed * seconds[-1] - filtered(speed * seconds, options)[-1]) for speed in SPEEDS]


def model_jitter(model: Path, options: OneEuroOptions, frames: int) -> tuple[float, float]:
    """The same of a model's points on the portrait, which stands still under sensor noise, in px of a 200 px person."""
    photo = zoo.photo()
    image = None if photo is None else cv2.imread(str(photo))
    if image is None:
        raise SystemExit("this edgelm carries no photo")
    points = []
    for smooth in (None, options):
        rng = np.random.default_rng(0)
        noisy = (np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8) for _ in range(frames))
        with Runtime(model) as runtime:
            results = list(runtime.track(noisy, options=TrackOptions(smooth=smooth), fps=FPS))
        points.append(np.array([r.landmarks.xy[0] for r in results]))
        box = results[-1].landmarks.box[0]
    unit = math.sqrt(float(np.prod(box[2:] - box[:2]))) / 200
    raw, calm = (float(p[frames // 4 :].std(0).mean()) / unit for p in points)
    return raw, calm


def scene() -> tuple[Array, Array]:
    """A coordinate (T,) that rests, moves at 200 px/s, rests, and swings, and the same with noise of 1 px."""
    t = np.arange(int(7 * FPS)) / FPS
    swing = 40 * np.sin(2 * math.pi * 0.8 * np.maximum(t - 4.5, 0))
    x = 200 * np.clip(t - 1.5, 0, 1) + swing
    return x, x + np.random.default_rng(1).standard_normal(len(t))


def plot(options: OneEuroOptions, found: list[float], lines: list[str]) -> Array:
    """The picture (520, 1200, 3) uint8: a coordinate over time, and lag over speed with its bound."""
    canvas = np.full((520, 1200, 3), 255, np.uint8)
    truth, noisy = scene()
    seconds, smooth = np.arange(len(truth)) / FPS, filtered(noisy, options)
    rest, moves = slice(0, int(1.4 * FPS)), slice(int(1.4 * FPS), None)
    for corners, part, ys in (((60, 40, 340, 410), rest, (-5, 7)), ((410, 40, 750, 410), moves, (-60, 340))):
        panel = _Panel(canvas, corners, (seconds[part][0], seconds[part][-1]), ys, "time, s", "px")
        panel.line(seconds[part], noisy[part], _GREY, "as it comes")
        panel.line(seconds[part], truth[part], _BLACK, "truth")
        panel.line(seconds[part], smooth[part], _RED, "filtered")
    bound = 1 / (2 * math.pi * options.beta) if options.beta else 1.1 * max(found)
    panel = _Panel(canvas, (820, 40, 1170, 410), (0, SPEEDS[-1]), (0, 1.4 * bound), "speed, px/s", "lag, px")
    panel.line(np.array([0, SPEEDS[-1]]), np.array([bound, bound]), _GREY, "bound 1 / (2 pi beta)")
    panel.line(np.array([0, *SPEEDS]), np.array([0, *found]), _RED, "lag")
    for i, text in enumerate(lines):
        _text(canvas, text, (60, 472 + 19 * i))
    return canvas


class _Panel:
    """One pair of axes; rows of pixels point down, values up."""

    def __init__(
        self,
        canvas: Array,
        corners: tuple[int, int, int, int],
        xs: tuple[float, float],
        ys: tuple[float, float],
        x_name: str,
        y_name: str,
    ) -> None:
        self.canvas, self.corners, self.xs, self.ys, self.lines = canvas, corners, xs, ys, 0
        left, top, right, bottom = corners
        cv2.rectangle(canvas, (left, top), (right, bottom), _BLACK, 1)
        for i in range(5):
            x, y = xs[0] + (xs[1] - xs[0]) * i / 4, ys[0] + (ys[1] - ys[0]) * i / 4
            _text(canvas, f"{x:.4g}", (int(left + (right - left) * i / 4) - 10, bottom + 16))
            _text(canvas, f"{y:.3g}", (left - 45, int(bottom - (bottom - top) * i / 4) + 4))
        _text(canvas, x_name, ((left + right) // 2 - 30, bottom + 34))
        _text(canvas, y_name, (left, top - 8))

    def line(self, x: Array, y: Array, colour: tuple[int, int, int], name: str) -> None:
        """Draw values over values, and its name."""
        left, top, right, bottom = self.corners
        u = left + (right - left) * (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        v = bottom - (bottom - top) * (y - self.ys[0]) / (self.ys[1] - self.ys[0])
        points = np.rint(np.stack([u, v], -1) * 16).astype(np.int32)
        cv2.polylines(self.canvas, [points], False, colour, 2, cv2.LINE_AA, 4)
        at = (left + 12, top + 20 + 18 * self.lines)
        cv2.line(self.canvas, (at[0], at[1] - 4), (at[0] + 22, at[1] - 4), colour, 2, cv2.LINE_AA)
        _text(self.canvas, name, (at[0] + 30, at[1]))
        self.lines += 1


def _text(canvas: Array, text: str, at: tuple[int, int]) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.43, _BLACK, 1, cv2.LINE_AA)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = OneEuroOptions()
    parser.add_argument("-o", "--output", type=Path, help="write the plot: a .png")
    parser.add_argument("--model", type=Path, help="a face model; the bundled one by default")
    parser.add_argument("--frames", type=int, default=60, help="of the model on the portrait; 0 leaves it out")
    parser.add_argument("--min-cutoff", type=float, default=usual.min_cutoff)
    parser.add_argument("--beta", type=float, default=usual.beta)
    asked = parser.parse_args()
    options = OneEuroOptions(min_cutoff=asked.min_cutoff, beta=asked.beta)
    raw, calm = jitter(options)
    found = lags(options)
    bound = 1 / (2 * math.pi * options.beta) if options.beta else math.inf
    lines = [f"jitter at rest: {raw:.2f} px, filtered {calm:.2f} px: {raw / calm:.2f} times less"]
    pairs = (
        f"{lag:.1f} px = {1e3 * lag / speed:.0f} ms at {speed} px/s" for speed, lag in zip(SPEEDS, found, strict=True)
    )
    lines += [f"lag: {', '.join(list(pairs)[1::2])}; below {bound:.1f} px at any speed"]
    installed = {engine.suffix for engine in engines() if engine.version() is not None}
    models = [asked.model] if asked.model else [path for path in zoo.bundled() if path.suffix in installed]
    if models and asked.frames:
        real, smooth = model_jitter(models[0], options, asked.frames)
        gain = real / smooth if smooth else math.inf
        lines += [f"{models[0].name} on a still photo: {real:.2f} px, filtered {smooth:.2f} px: {gain:.2f} times less"]
    print(*lines, sep="\n")
    if asked.output and not cv2.imwrite(str(asked.output), plot(options, found, lines)):
        raise SystemExit(f"cannot write {asked.output}")
    return 0 if raw / calm >= LEAST_GAIN and max(found) < bound else 1


if __name__ == "__main__":
    sys.exit(main())
