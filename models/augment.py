"""Training samples: one similarity warp per sample does crop, scale, rotation, shift and mirror in one resampling.

Everything is drawn from a generator seeded by (seed, epoch, index), so that a run resumed at an epoch sees the same
images as one that was never stopped.
K = landmarks, H, W = crop height and width in px.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm import geometry
from edgelm.models.data import Sample
from edgelm.schemes import flip_permutation
from edgelm.spec import ModelSpec

__all__ = ["Augmentation", "make_batch"]


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; all zero and `flip` False for validation.

    Attributes:
        scale: the face is enlarged by a factor in this range (log-uniform), CU-Net: 0.75 to 1.25.
        rotation: degrees to either side, CU-Net: 30.
        shift: of the box's centre, in box sides to either side.
        flip: mirror every other sample, with the scheme's landmark pairs.
        colour: gain and offset jitter per channel, as a fraction.
        occlusion: share of the samples in which a rectangle of noise, each side a tenth to four tenths of the crop's,
            hides what is behind it; landmarks stay annotated.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    shift: float = 0.0
    flip: bool = False
    colour: float = 0.0
    occlusion: float = 0.0


def make_batch(
    images: Sequence[NDArray[np.uint8]],
    samples: Sequence[Sample],
    spec: ModelSpec,
    augmentation: Augmentation,
    seeds: Sequence[Sequence[int]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Crops and landmarks of a batch.

    Args:
        images: the samples' images, BGR.
        samples: N annotated faces.
        spec: input size, crop convention and landmark scheme.
        augmentation: what to change at random.
        seeds: of each sample's generator.

    Returns:
        x (N, 3, H, W) float32 as the network takes it, and landmarks (N, K, 2) float32 in crop coordinates.
    """
    H, W = spec.input.height, spec.input.width
    permutation = list(flip_permutation(spec.scheme))
    crops = np.empty((len(samples), H, W, 3), np.uint8)
    points = np.empty((len(samples), len(spec.scheme.names), 2), np.float32)
    for i, (image, sample, seed) in enumerate(zip(images, samples, seeds, strict=True)):
        random = np.random.default_rng(seed)
        matrix = _random_matrix(sample, spec, augmentation, random)
        xy = geometry.apply(matrix, sample.xy)
        if augmentation.flip and random.random() < 0.5:
            mirror = np.array([[-1.0, 0, W], [0, 1, 0]])
            matrix = _chain(mirror, matrix)
            xy = geometry.apply(mirror, xy)[permutation]
        crop = geometry.warp(image, matrix, H, W, first_pixel=geometry.first_pixel(spec.decode))
        crops[i] = _occlude(_jitter(crop, augmentation.colour, random), augmentation.occlusion, random)
        points[i] = xy
    return np.ascontiguousarray(geometry.normalize(crops, spec.input).transpose(0, 3, 1, 2)), points


def _random_matrix(
    sample: Sample, spec: ModelSpec, augmentation: Augmentation, random: np.random.Generator
) -> NDArray[Any]:
    low, high = np.log(augmentation.scale)
    x1, y1, x2, y2 = sample.box
    side = max(x2 - x1, y2 - y1)
    # An enlarged face is a smaller box. Every draw happens, so that switching one off leaves the others alone.
    factor = np.exp(-random.uniform(low, high))
    dx, dy = random.uniform(-augmentation.shift, augmentation.shift, 2) * side
    cx, cy, w, h = (x1 + x2) / 2 + dx, (y1 + y2) / 2 + dy, (x2 - x1) * factor / 2, (y2 - y1) * factor / 2
    box = np.array([[cx - w, cy - h, cx + w, cy + h]])
    angle = random.uniform(-augmentation.rotation, augmentation.rotation)
    matrix: NDArray[Any] = geometry.crop_matrix(box, spec.crop, spec.input.height, spec.input.width, angle)[0]
    return matrix


def _chain(outer: NDArray[Any], inner: NDArray[Any]) -> NDArray[Any]:
    """The map that does `inner` first, both (2, 3)."""
    linear: NDArray[Any] = outer[:, :2] @ inner
    linear[:, 2] += outer[:, 2]
    return linear


def _jitter(crop: NDArray[np.uint8], amount: float, random: np.random.Generator) -> NDArray[np.uint8]:
    if amount == 0:
        return crop
    gain = 1 + random.uniform(-amount, amount, 3) / 2 + random.uniform(-amount, amount)
    offset = 255 * random.uniform(-amount, amount) / 2
    jittered: NDArray[np.float32] = np.clip(crop * gain.astype(np.float32) + np.float32(offset), 0, 255)
    return np.rint(jittered).astype(np.uint8)


def _occlude(crop: NDArray[np.uint8], share: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """With the probability `share`, noise around one random colour over a random rectangle."""
    if share == 0 or random.random() >= share:
        return crop
    H, W = crop.shape[:2]
    h, w = (max(1, round(side * random.uniform(0.1, 0.4))) for side in (H, W))
    top, left = random.integers(0, H - h + 1), random.integers(0, W - w + 1)
    noise = random.integers(0, 256, 3) + random.normal(0, 30, (h, w, 3))
    hidden = crop.copy()
    hidden[top : top + h, left : left + w] = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    return hidden
