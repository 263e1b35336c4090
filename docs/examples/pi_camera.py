"""Landmarks from the camera of a Raspberry Pi, with the frame rate on the screen.

    python pi_camera.py face.tflite                      # the camera module where picamera2 is installed, else camera 0
    python pi_camera.py face.tflite --source 1           # a USB camera by its number, or a video file
    python pi_camera.py face.tflite --save points.mp4

With a desktop and an OpenCV that can open windows (Debian's python3-opencv) the picture is shown; Esc or Q ends it.
The rate stands in the terminal too. Ctrl-C ends it as well, and leaves a whole file.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import time
from collections import deque

import cv2

import edgelm
from edgelm.runtimes.frames import Frames, open_frames
from edgelm.runtimes.live import LatestFrames
from edgelm.runtimes.track import TrackOptions
from edgelm.video import VideoFile

WINDOW = "edgelm"


def open_camera_module() -> Frames:
    """The Pi's own camera, as frames of which the newest counts."""
    from picamera2 import Picamera2

    camera = Picamera2()
    camera.configure(camera.create_video_configuration({"size": (640, 480), "format": "RGB888"}))
    camera.start()
    # What picamera2 calls RGB888 lies in memory as BGR, as edgelm wants it.
    return LatestFrames(camera.capture_array, close=camera.stop, name="the camera module")


def has_window() -> bool:
    """Whether a picture can be shown; asked without a desktop, OpenCV would end the program."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        cv2.namedWindow(WINDOW)
    except cv2.error:
        return False
    return True


def main() -> None:
    """Follow faces until the source ends or somebody ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--source", help="a camera's number or a video file")
    parser.add_argument("--save", help="write a video too, .mp4 or .avi")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    module = asked.source is None and importlib.util.find_spec("picamera2") is not None
    shows = has_window()
    moments: deque[float] = deque(maxlen=30)
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(open_camera_module() if module else open_frames(asked.source or 0))
        runtime = stack.enter_context(edgelm.Runtime(asked.model, threads=asked.threads))
        video = stack.enter_context(VideoFile(asked.save, fps=frames.fps)) if asked.save else None
        for result in runtime.track(frames, options=TrackOptions(detect_every=15)):
            moments.append(time.perf_counter())
            rate = (len(moments) - 1) / max(moments[-1] - moments[0], 1e-9)
            text = f"{rate:.1f} frames/s, {len(result.landmarks)} faces"
            picture = result.draw()
            cv2.putText(picture, text, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 4, cv2.LINE_AA)
            cv2.putText(picture, text, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 1, cv2.LINE_AA)
            if video is not None:
                video.write(picture, result.time)
            sys.stdout.write(f"\r{text}   ")
            sys.stdout.flush()
            if shows:
                cv2.imshow(WINDOW, picture)
                if cv2.waitKey(1) & 0xFF in (27, ord("q")):
                    break
    sys.stdout.write("\n")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
