"""Ids stay with their persons: they stand, leave, enter, cross, are covered; the detector is asked when it must be."""

import dataclasses
from collections import defaultdict
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from people import SPEC, ColourSession, Scene, box_of, line, make_runtime, picture, standing

from edgelm.errors import UsageError
from edgelm.runtimes.frames import Frame
from edgelm.runtimes.runtime import Runtime
from edgelm.runtimes.track import Tracked, Tracker, TrackOptions

RAW = TrackOptions(smooth=None)
# A heatmap pixel is 36 / 64 px of the image here, the detected box is noisy, and a decoded point may be half of it off.
CLOSE_PX = 1.5


def follow(scene: Scene, options: TrackOptions = RAW) -> list[Tracked]:
    return list(make_runtime().track(scene.frames(), detector=scene.detector, options=options))


def ids(results: list[Tracked]) -> list[list[int]]:
    return [r.landmarks.track_id.tolist() for r in results if r.landmarks.track_id is not None]


def persons_of_ids(scene: Scene, results: list[Tracked]) -> dict[int, set[int]]:
    """The persons each id was on; points are checked to be theirs, but for who is near others, or new and moving."""
    found, seen = defaultdict(set), dict[int, int]()
    for r in results:
        assert r.landmarks.track_id is not None
        for one, i in zip(r.landmarks.xy, r.landmarks.track_id.tolist(), strict=True):
            person, off, apart = scene.nearest(one, r.index)
            seen[i] = seen.get(i, 0) + 1
            assert off < CLOSE_PX or not apart or 1 < seen[i] < 5, f"frame {r.index}, id {i}: {off} px"
            found[i].add(person)
    return dict(found)


def test_results_are_complete() -> None:
    scene = Scene([standing(80, 90), standing(200, 90)], 3)
    for i, r in enumerate(follow(scene)):
        assert r.index == i
        assert r.time == pytest.approx(i / 30)
        assert r.detected == (i == 0)
        assert r.landmarks.track_id is not None
        assert r.landmarks.track_id.dtype == np.int64
        assert r.landmarks.xy.dtype == np.float32
        assert r.landmarks.box.shape == (2, 4)
        assert (r.landmarks.times["detect"] > 0) == r.detected
        assert r.draw().shape == r.image.shape
        assert (r.draw() != r.image).any()
    assert scene.looks == [0]


def test_the_detector_looks_every_n_frames() -> None:
    for n in (1, 4, 10):
        scene = Scene([standing(80, 90)], 21)
        results = follow(scene, dataclasses.replace(RAW, detect_every=n))
        assert scene.looks == list(range(0, 21, n))
        assert [r.index for r in results if r.detected] == scene.looks
        assert ids(results) == [[0]] * 21


def test_nobody_there_is_looked_for_in_each_frame() -> None:
    scene = Scene([standing(80, 90, first=5)], 9)
    assert ids(follow(scene)) == [[]] * 5 + [[0]] * 4
    assert scene.looks == [0, 1, 2, 3, 4, 5]


def test_leaving_entering_standing_still() -> None:
    """A, B, C; B leaves; D enters; all stand: rtmlib 0.0.16 gives new ids in every frame from there on."""
    ways = [standing(50, 90), standing(130, 90, last=4), standing(210, 90), standing(280, 90, first=6)]
    scene = Scene(ways, 40)
    results = follow(scene, dataclasses.replace(RAW, detect_every=3))
    assert ids(results)[:4] == [[0, 1, 2]] * 4
    assert ids(results)[4:6] == [[0, 2]] * 2
    assert ids(results)[9:] == [[0, 2, 3]] * 31
    assert persons_of_ids(scene, results) == {0: {0}, 1: {1}, 2: {2}, 3: {3}}


def test_the_place_of_one_who_left_is_not_theirs_for_ever() -> None:
    ways = [standing(50, 90), standing(200, 90, last=5), standing(200, 90, first=60)]
    results = follow(Scene(ways, 80))
    assert ids(results)[4] == [0, 1]
    assert ids(results)[-1] == [0, 2]
    back_soon = [standing(50, 90), standing(200, 90, last=5), standing(200, 90, first=20)]
    assert ids(follow(Scene(back_soon, 40)))[-1] == [0, 1]


@pytest.mark.parametrize("step", [1.5, 3.0, 5.0])
@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_crossing(step: float, noise: float) -> None:
    """One passes in front of the other, who cannot be seen for some frames."""
    ways = [line((40, 88), (step, 0)), line((280, 94), (-step, 0))]
    count = int(240 / step)
    scene = Scene(ways, count, noise=noise)
    results = follow(scene)
    found = persons_of_ids(scene, results)
    assert set(found) == {0, 1}
    assert [len(persons) for persons in found.values()] == [1, 1]
    assert ids(results)[0] == ids(results)[-1] == [0, 1]
    assert [0, 1] not in ids(results)[count // 2 - 1 : count // 2 + 1], "the one behind cannot be seen"


@pytest.mark.parametrize("step", [1.5, 4.0])
def test_crossing_apart(step: float) -> None:
    """They pass each other so closely that each is in the other's crop, and both stay to be seen."""
    ways = [line((40, 70), (step, 0)), line((280, 112), (-step, 0))]
    scene = Scene(ways, int(240 / step))
    results = follow(scene)
    found = persons_of_ids(scene, results)
    assert sorted(found) == [0, 1]
    assert all(len(persons) == 1 for persons in found.values())


def test_walking_out_and_another_walking_in() -> None:
    ways = [line((200, 90), (6, 0), last=30), line((-20, 90), (6, 0), first=15)]
    scene = Scene(ways, 60)
    results = follow(scene)
    found = persons_of_ids(scene, results)
    assert set(found) == {0, 1}
    assert ids(results)[-1] == [1]


def test_a_covered_person_is_looked_for_less_and_less_often() -> None:
    scene = Scene([standing(80, 90), standing(220, 90, last=3)], 60)
    follow(scene, dataclasses.replace(RAW, detect_every=1000))
    assert scene.looks == [0, 4, 5, 7, 11, 19]


def test_two_boxes_of_one_person_are_one_person() -> None:
    boxes = np.stack([box_of((80, 90)) - 3, box_of((80, 90)) + 3, box_of((80, 90))])
    results = list(make_runtime().track([picture([(80, 90)])] * 3, detector=lambda image: boxes, options=RAW))
    assert ids(results) == [[0]] * 3


def test_two_close_persons_are_two() -> None:
    scene = Scene([standing(80, 90), standing(118, 90)], 12)
    results = follow(scene, dataclasses.replace(RAW, detect_every=1))
    assert ids(results) == [[0, 1]] * 12
    assert persons_of_ids(scene, results) == {0: {0}, 1: {1}}


def test_a_false_detection_is_nobody() -> None:
    box = box_of((250, 40))
    results = list(make_runtime().track([picture([(80, 90)])] * 3, detector=lambda image: [box], options=RAW))
    assert ids(results) == [[]] * 3


def test_frames_that_change_size() -> None:
    image = picture([(80, 90), (200, 60)])
    detector = Mock(side_effect=lambda image: np.stack([box_of((80, 90)), box_of((200, 60))]) * image.shape[1] / 320)
    frames = [image] * 3 + [np.repeat(np.repeat(image, 2, 0), 2, 1)] * 3 + [image[:100, :150]] * 2
    results = list(make_runtime().track(frames[:6], detector=detector, options=RAW))
    assert ids(results) == [[0, 1]] * 6
    assert [r.detected for r in results] == [True, False, False, True, False, False]
    assert results[4].landmarks.image_size == (360, 640)
    np.testing.assert_allclose(results[4].landmarks.xy, 2 * results[0].landmarks.xy + 0.5, atol=CLOSE_PX)
    detector.side_effect = lambda image: np.empty((0, 4))
    assert len(list(make_runtime().track(frames, detector=detector))) == 8, "none outside the small one is cut out"


@pytest.mark.parametrize("times", [[0.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1e6, 1e6 + 0.03]])
def test_strange_clocks(times: list[float]) -> None:
    frames = [Frame(i, t, picture([(80 + i, 90)])) for i, t in enumerate(times)]
    results = list(make_runtime().track(frames, detector=lambda image: [box_of((80, 90))]))
    assert ids(results) == [[0]] * 3
    assert [r.time for r in results] == times


def test_gaps_in_the_numbers_of_frames_stay() -> None:
    frames = [Frame(i, i / 30, picture([(80, 90)])) for i in (0, 3, 9)]
    results = list(make_runtime().track(frames, detector=lambda image: [box_of((80, 90))]))
    assert [r.index for r in results] == [0, 3, 9]


def test_smoothing_calms_what_stands_and_follows_what_moves() -> None:
    rng = np.random.default_rng(0)
    still = [picture([(160 + x, 90 + y)]) for x, y in rng.normal(0, 0.6, (60, 2))]
    moving = [picture([(40 + 3 * i, 90)]) for i in range(60)]
    # One detection alone, so that boxes come from the points in both runs alike.
    options = TrackOptions(detect_every=1000)

    def points(frames: list[np.ndarray], options: TrackOptions) -> np.ndarray:
        start = [box_of((160, 90) if frames is still else (40, 90))]
        results = make_runtime().track(frames, detector=lambda image: start, options=options)
        return np.array([r.landmarks.xy[0] for r in results])

    raw, smooth = points(still, dataclasses.replace(options, smooth=None)), points(still, options)
    assert raw[20:].std(0).mean() > 0.3
    assert raw[20:].std(0).mean() / smooth[20:].std(0).mean() > 2.5
    raw, smooth = points(moving, dataclasses.replace(options, smooth=None)), points(moving, options)
    lag = (raw - smooth)[20:, :, 0]
    assert (lag > 0).all()
    # 1 / (2 pi beta) = 22.7 px for a person of 200 px; this one has 28.
    assert (lag < 22.7 * 28 / 200).all()


def test_a_frame_that_fails_changes_nothing() -> None:
    tracker = Tracker(
        make_runtime(),
        detector=Mock(side_effect=[[box_of((80, 90))], RuntimeError("lens cap")]),
        options=dataclasses.replace(RAW, detect_every=2),
    )
    image = picture([(80, 90)])
    first = tracker(image, 0.0)
    tracker(image, 0.1)
    with pytest.raises(UsageError, match="failed with RuntimeError: lens cap"):
        tracker(image, 0.2)
    with pytest.raises(UsageError, match="image"):
        tracker(np.zeros((0, 0, 3), np.uint8), 0.2)
    tracker._detector = lambda image: [box_of((80, 90))]
    after = tracker(image, 0.2)
    assert after.index == 2
    assert after.landmarks.track_id is not None
    assert after.landmarks.track_id.tolist() == [0]
    np.testing.assert_allclose(after.landmarks.xy, first.landmarks.xy, atol=CLOSE_PX)


def test_what_was_given_out_before_an_error_stays() -> None:
    def detector(image: Any) -> Any:
        if detector.calls == 2:  # type: ignore[attr-defined]
            raise ValueError("broken detector")
        detector.calls += 1  # type: ignore[attr-defined]
        return [box_of((80, 90))]

    detector.calls = 0  # type: ignore[attr-defined]
    frames = [picture([(80, 90)])] * 9
    results: list[Tracked] = []
    with pytest.raises(ValueError, match="broken detector"):
        results.extend(
            make_runtime().track(frames, detector=detector, options=dataclasses.replace(RAW, detect_every=3))
        )
    assert ids(results) == [[0]] * 6


@pytest.mark.parametrize("found", [[[400.0, 10, 500, 90]], [[np.nan] * 4], "boxes", [[1, 2, 3]]])
def test_a_detector_that_gives_no_boxes(found: Any) -> None:
    with pytest.raises(UsageError, match="box"):
        list(make_runtime().track([picture([])], detector=lambda image: found))


def test_a_pose_model_needs_a_detector() -> None:
    with pytest.raises(UsageError, match="colours is a pose model; pass a detector"):
        make_runtime(dataclasses.replace(SPEC, task="pose")).track([])


def test_scores_without_a_number_are_missing() -> None:
    class Broken(ColourSession):
        def _run(self, x: np.ndarray) -> np.ndarray:
            return np.full_like(super()._run(x), np.nan)

    runtime = Runtime.from_session(Broken())
    results = list(runtime.track([picture([(80, 90)])] * 3, detector=lambda image: [box_of((80, 90))]))
    assert ids(results) == [[]] * 3


@pytest.mark.parametrize(
    "wrong",
    [{"detect_every": 0}, {"detect_every": 2.5}, {"max_missing": -1}, {"keep_score": 0.0}, {"match_iou": np.nan},
     {"same_oks": True}, {"box_scale": "1"}],
)  # fmt: skip
def test_wrong_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrackOptions(**wrong)
    with pytest.raises(TypeError):
        TrackOptions(3)  # type: ignore[call-arg]
