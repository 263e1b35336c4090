"""The flip test: mirrored, mirrored back, landmarks in order, and the one column of HRNet's pose networks."""

from dataclasses import replace

import numpy as np
import pytest
from test_runtime import BOX, PLACES, ColourSession, blobs, make_spec

from edgelm import flip
from edgelm.runtimes.runtime import Runtime
from edgelm.schemes import get_scheme

SPEC = replace(make_spec(), scheme=get_scheme("lsp14"))


@pytest.mark.parametrize("planar", [False, True])
def test_mirrored(planar: bool) -> None:
    x = np.random.RandomState(0).rand(2, 4, 5, 3).astype(np.float32)
    if planar:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    out = flip.mirrored(x)
    np.testing.assert_array_equal(out, x[:, :, ::-1])
    assert out.strides == x.strides, "the engine's layout is kept"


@pytest.mark.parametrize("rule", ["none", "average", "average_shift"])
def test_merge_is_the_plain_loop(rule: str) -> None:
    plain, flipped = np.random.RandomState(0).rand(2, 2, 14, 6, 5).astype(np.float32)
    merged = flip.merge(plain, flipped, replace(SPEC, flip_test=rule))  # type: ignore[arg-type]
    partner = {a: b for pair in SPEC.scheme.flip_pairs for a, b in (pair, pair[::-1])}
    for k in range(14):
        for column in range(5):
            source = max(column - 1, 0) if rule == "average_shift" else column
            back = flipped[:, partner.get(k, k), :, 4 - source]
            np.testing.assert_array_equal(merged[:, k, :, column], (plain[:, k, :, column] + back) / 2)


@pytest.mark.parametrize("rule", ["center", "index"])
def test_a_network_without_sides_gains_nothing(rule: str) -> None:
    """A network that sees a mirrored image as it sees the plain one finds the same points."""
    spec = make_spec(rule, flip_test="average_shift" if rule == "index" else "average")  # type: ignore[arg-type]
    runtime = Runtime.from_session(ColourSession(spec))
    image = blobs(PLACES)
    plain, both = runtime(image, BOX), runtime(image, BOX, flip_test=True)
    assert isinstance(runtime.session, ColourSession)
    assert runtime.session.batches == [1, 1, 1]
    # Of the index family: the maps of even crop pixels lie half a pixel off when mirrored, so their mean a quarter, and
    # the decoder's steps are another.
    pixel = 2 / plain.crop_matrix[0, 0, 0]  # image px of a heatmap pixel
    np.testing.assert_allclose(both.xy, plain.xy, atol=0.5 * pixel + 1e-3)
    np.testing.assert_allclose(both.score, plain.score, atol=0.15)
