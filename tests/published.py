"""Annotation files as the data sets publish them, made up: for the tests that read them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def points(count: int, seed: int = 0, side: int = 96) -> NDArray[np.float64]:
    """Points (count, 2) well inside an image, 0-based px, on quarters that every file keeps."""
    random = np.random.default_rng(seed)
    return np.round(random.uniform(0.2 * side, 0.8 * side, (count, 2)) * 4) / 4


def write_image(path: Path, side: int = 96) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((side, side, 3), 90, np.uint8))


def structures(*records: dict[str, Any]) -> Array:
    """MATLAB's array of structures (1, N), whose fields are those of the first."""
    made = np.empty((1, len(records)), [(name, object) for name in records[0]])
    for i, record in enumerate(records):
        for name, value in record.items():
            made[0, i][name] = value
    return made


def write_wflw(path: Path, faces: dict[str, Array], *, attributes: tuple[int, ...] = (0, 0, 1, 0, 0, 0)) -> None:
    lines = []
    for name, xy in faces.items():
        box = [*np.floor(xy.min(0)).astype(int), *np.ceil(xy.max(0)).astype(int)]
        lines.append(" ".join(map(str, [*xy.reshape(-1).tolist(), *box, *attributes, name])))
        write_image(path.parent / "WFLW_images" / name)
    path.write_text("\n".join(lines) + "\n")


def write_cofw(path: Path, faces: list[Array], hidden: Array, images: list[Array]) -> None:
    """Images are RGB (H, W, 3) or grey (H, W); hidden is (N, 29)."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        references = np.empty((1, len(faces)), h5py.ref_dtype)
        for i, image in enumerate(images):
            references[0, i] = file.create_dataset(f"#refs#/{i}", data=image.T).ref
        file.create_dataset("IsTr", data=references)
        flat = [np.concatenate([xy[:, 0] + 1, xy[:, 1] + 1, h]) for xy, h in zip(faces, hidden, strict=True)]
        file.create_dataset("phisTr", data=np.stack(flat, 1))
        file.create_dataset("bboxesTr", data=np.zeros((4, len(faces))))


def write_aflw(path: Path, faces: list[Array], mask: Array, boxes: Array, order: list[int]) -> None:
    """`boxes` are left, right, top, bottom; `order` is 0-based."""
    from scipy.io import savemat

    names = np.empty((len(faces), 1), object)
    for i in range(len(faces)):
        names[i, 0] = f"0/image{i:05d}.jpg"
        write_image(path.parent / "flickr" / names[i, 0])
    data = np.stack([xy.T.reshape(-1) for xy in faces])
    ra = np.array(order)[None] + 1
    savemat(path, {"data": data, "mask_new": mask, "bbox": boxes, "nameList": names, "ra": ra})


def write_mpii(path: Path, xy: Array, *, missing: int, head: tuple[float, ...]) -> None:
    """One training image with one person of 16 joints, and one test image without annotation."""
    from scipy.io import savemat

    joints = [
        {"x": x + 1, "y": y + 1, "id": float(k), "is_visible": "1" if k % 2 else np.zeros((0, 0))}
        for k, (x, y) in enumerate(xy.tolist())
        if k != missing
    ]
    person = dict(zip(("x1", "y1", "x2", "y2"), head, strict=True)) | {
        "annopoints": structures({"point": structures(*joints)}),
        "scale": 0.25,
        "objpos": structures({"x": 51.0, "y": 41.0}),
    }
    entries = structures(
        {"image": structures({"name": "a.jpg"}), "annorect": structures(person)},
        {"image": structures({"name": "b.jpg"}), "annorect": np.zeros((0, 0))},
    )
    release = structures({"annolist": entries, "img_train": np.array([[1.0, 0.0]])})
    savemat(path, {"RELEASE": release})
    write_image(path.parent / "images" / "a.jpg")


def write_coco(
    path: Path, persons: list[Array], *, bare: tuple[str, ...] = (), side: int = 96, **fields: Any
) -> dict[str, Any]:
    """One image 0.png, 1.png ... per person; NaN is not annotated. `bare` images have no annotation."""
    images, annotations = [], []
    for i, xy in enumerate(persons):
        seen = np.asarray(np.isfinite(xy).all(-1))
        low, high = np.nanmin(xy, 0), np.nanmax(xy, 0)
        flat = np.concatenate([np.nan_to_num(xy), 2.0 * seen[:, None]], -1).reshape(-1).tolist()
        box = [*low.tolist(), *(high - low).tolist()]
        images.append({"id": i, "file_name": f"{i}.png", "width": side, "height": side})
        annotations.append(
            {"id": 100 + i, "image_id": i, "category_id": 1, "keypoints": flat, "bbox": box, "iscrowd": 0}
            | {"num_keypoints": int(seen.sum()), "area": float(np.prod(high - low)), **fields}
        )
        write_image(path.parent / f"{i}.png", side)
    images += [{"id": 1000 + i, "file_name": name} for i, name in enumerate(bare)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    path.write_text(json.dumps(content))
    return content
