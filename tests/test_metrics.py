"""Metrics against vectors computed by hand, and closed forms against sums over fine steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.models.data import Sample
from edgelm.models.metrics import auc, ced, failure_rate, nme, normalizers, norms
from edgelm.models.pose_metrics import cunet_mean, head_length, hrnet_mean, oks_ap, pck, torso_lengths
from edgelm.schemes import get_scheme

NAN = float("nan")


def moved(truth: NDArray[Any], dx: float, dy: float) -> NDArray[np.float32]:
    shifted: NDArray[np.float32] = (truth + np.array([dx, dy])).astype(np.float32)
    return shifted


def test_norms_of_68_points() -> None:
    truth = np.zeros((1, 68, 2), np.float32)
    truth[0, 36], truth[0, 45] = (0, 0), (30, 40)  # 50 apart
    truth[0, 37:42] = 6, 0  # the mean of six is (5, 0)
    truth[0, 42:45], truth[0, 46:48] = (30, 40), (30, 40)  # and here (30, 40)
    assert normalizers(truth, "300w68")[0] == pytest.approx(50)
    assert normalizers(truth, "300w68", "inter_pupil")[0] == pytest.approx(np.hypot(25, 40))
    boxes = np.array([[10, 10, 26, 110]])
    assert normalizers(truth, "300w68", "box", boxes)[0] == pytest.approx(40)  # sqrt(16 * 100)
    found = moved(truth, 3, 4)
    assert nme(found, truth, "300w68")[0] == pytest.approx(10)
    assert nme(found, truth, "300w68", "box", boxes)[0] == pytest.approx(12.5)


@pytest.mark.parametrize(("scheme", "a", "b"), [("wflw98", 96, 97), ("cofw29", 16, 17)])
def test_pupils_that_are_landmarks(scheme: str, a: int, b: int) -> None:
    truth = np.zeros((1, len(get_scheme(scheme).names), 2))
    truth[0, b] = 8, 6
    truth[0, a] = 2, -2
    assert normalizers(truth, scheme, "inter_pupil")[0] == pytest.approx(10)
    assert normalizers(truth, scheme)[0] == 0


def test_what_can_be_divided_by() -> None:
    assert norms("300w68") == ("inter_ocular", "inter_pupil", "box")
    assert norms("aflw19") == norms("of my own") == ("box",)
    with pytest.raises(UsageError, match="no inter-pupil distance for scheme 'aflw19'; known are 300w68"):
        normalizers(np.zeros((1, 19, 2)), "aflw19", "inter_pupil")
    with pytest.raises(UsageError, match="needs the boxes"):
        normalizers(np.zeros((1, 19, 2)), "aflw19", "box")


def test_missing_landmarks_do_not_count() -> None:
    truth = np.zeros((3, 19, 2), np.float32)
    truth[0, 3] = NAN
    truth[1, :] = NAN
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 9]])
    found = moved(np.nan_to_num(truth), 1, 0)
    found[0, 3] = 1e6
    error = nme(found, truth, "aflw19", "box", boxes)
    assert error[0] == pytest.approx(10)
    assert np.isnan(error[1:]).all()  # no landmark; a box without area


def test_curve_by_hand() -> None:
    errors = np.array([0.04, 0.02, 0.12, 0.08])
    x, share = ced(errors)
    np.testing.assert_array_equal(x, [0.02, 0.04, 0.08, 0.12])
    np.testing.assert_array_equal(share, [0.25, 0.5, 0.75, 1])
    # The step function has 0, 1/4, 1/2 up to 0.02, 0.04, 0.08: (0.02 * 0 + 0.02 * 0.25 + 0.04 * 0.5) / 0.08.
    assert auc(errors, 0.08) == pytest.approx(0.3125)
    assert failure_rate(errors, 0.08) == 0.25
    assert failure_rate(errors, 0.10) == 0.25
    assert failure_rate(np.array([0.08]), 0.08) == 0


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=30), st.sampled_from([0.08, 0.1]))
def test_auc_is_the_integral_of_the_curve(values: list[float], threshold: float) -> None:
    errors = np.array(values)
    x, share = ced(errors)
    # The slow twin: the area of each step of the curve.
    edges = np.concatenate([[0], x[x < threshold], [threshold]])
    heights = np.concatenate([[0], share[x < threshold]])
    assert auc(errors, threshold) == pytest.approx((np.diff(edges) * heights).sum() / threshold, abs=1e-9)


def test_errors_that_are_not_finite_are_failures() -> None:
    errors = np.array([0.0, NAN, np.inf])
    assert auc(errors, 0.1) == pytest.approx(1 / 3)
    assert failure_rate(errors, 0.1) == pytest.approx(2 / 3)
    for wrong in (np.zeros(0), np.zeros((2, 2))):
        with pytest.raises(UsageError, match="expected errors"):
            auc(wrong, 0.1)
    with pytest.raises(UsageError, match="above 0"):
        failure_rate(np.zeros(3), 0)


def test_pckh_by_hand() -> None:
    assert head_length(np.array([10, 10, 40, 50])) == pytest.approx(30)
    truth = np.zeros((2, 16, 2))
    truth[1, 0] = NAN
    found = np.zeros((2, 16, 2))
    found[0, 0, 0] = 15.0  # half of 30: right
    found[0, 1, 0] = 15.1  # wrong
    found[1, 1, 0] = 15.1  # right for a head of 60
    found[:, 6:8] = 1e5
    percent, count = pck(found, truth, np.array([30.0, 60.0]), 0.5)
    assert percent.tolist() == [100, 50, 100, 100, 100, 100, 0, 0, *[100] * 8]
    assert count.tolist() == [1, *[2] * 15]
    assert hrnet_mean(percent, count) == pytest.approx((100 * 1 + 50 * 2 + 100 * 24) / 27)
    assert cunet_mean(percent) == pytest.approx((50 + 13 * 100) / 14)


def test_pck_without_heads_or_joints() -> None:
    truth, found = np.zeros((2, 16, 2)), np.zeros((2, 16, 2))
    truth[:, 3] = NAN
    percent, count = pck(found, truth, np.array([NAN, 0]), 0.5)
    assert np.isnan(percent).all()
    assert not count.any()
    assert np.isnan(hrnet_mean(percent, count))
    assert np.isnan(cunet_mean(percent))
    percent, count = pck(found, truth, np.array([NAN, 1.0]), 0.5)
    assert np.isnan(percent[3])
    assert (hrnet_mean(percent, count), cunet_mean(percent)) == (100, 100)


def test_torso_of_lsp() -> None:
    truth = np.full((1, 14, 2), NAN)
    truth[0, 9], truth[0, 2] = (0, 0), (30, 40)
    assert torso_lengths(truth)[0] == 50
    found = np.nan_to_num(truth)
    found[0, 2, 0] += 10.01
    percent, _ = pck(found, truth, torso_lengths(truth), 0.2)
    assert (percent[9], percent[2]) == (100, 0)


def person(i: int, side: float) -> Sample:
    xy = np.random.default_rng(i).uniform(0, side, (17, 2)).astype(np.float32)
    return Sample(Path(f"{i}.png"), xy, np.array([0, 0, side, side], np.float32), area=side * side, image_id=i)


def test_oks_of_perfect_and_lost_persons() -> None:
    pytest.importorskip("pycocotools", reason="OKS AP is computed by pycocotools")
    scheme = get_scheme("coco17")
    samples = [person(i, side) for i, side in enumerate((60.0, 70.0, 200.0, 300.0))]
    xy = np.stack([s.xy for s in samples])
    score = np.full((4, 17), 0.9, np.float32)
    figures = oks_ap(samples, xy, score, scheme)
    assert all(v == pytest.approx(100) for v in figures.values())
    score[3], xy[3] = 0.3, xy[3] + 1000  # the least sure of the large ones is lost
    figures = oks_ap(samples, xy, score, scheme)
    assert figures["AR"] == pytest.approx(75)
    assert figures["AR_L"] == pytest.approx(50)
    assert figures["AP_M"] == pytest.approx(100)
    assert figures["AP"] == pytest.approx(100 * 76 / 101)  # recall 0, 0.01, .. 0.75 of 101 steps


def test_oks_counts_a_threshold_by_hand() -> None:
    """All joints off by d with OKS 0.62: right at 0.50, 0.55 and 0.60, wrong at the seven higher thresholds."""
    pytest.importorskip("pycocotools", reason="OKS AP is computed by pycocotools")
    scheme = get_scheme("coco17")
    sample = person(0, 200.0)
    distance = 2 * np.array(scheme.sigmas) * np.sqrt(-2 * np.log(0.62) * 200.0**2)
    xy = (sample.xy + np.stack([distance, 0 * distance], -1))[None]
    figures = oks_ap([sample], xy, np.ones((1, 17), np.float32), scheme)
    assert figures["AP"] == pytest.approx(30)
    assert figures["AP50"] == pytest.approx(100)
    assert figures["AP75"] == 0
    assert np.isnan(figures["AP_M"])


def test_oks_needs_areas_and_constants() -> None:
    pytest.importorskip("pycocotools", reason="OKS AP is computed by pycocotools")
    sample = Sample(Path("a.png"), np.zeros((17, 2), np.float32), np.zeros(4, np.float32))
    with pytest.raises(UsageError, match="no area"):
        oks_ap([sample], np.zeros((1, 17, 2)), np.zeros((1, 17)), get_scheme("coco17"))
    with pytest.raises(UsageError, match="no OKS constants"):
        oks_ap([sample], np.zeros((1, 14, 2)), np.zeros((1, 14)), get_scheme("lsp14"))
