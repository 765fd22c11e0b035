"""The segmenter: what it is taught, that its training resumes exactly, and that it segments."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

# isort: split
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

from locheads.data.scenes.scenes import SIDE, draw_scene, mask_box
from locheads.errors import LocheadsError
from locheads.model.segmenter import Segmenter, load_segmenter
from locheads.model.small_sam import SegmenterConfig, build_sam, load_sam, save_segmenter
from locheads.specimen import segmenter_lessons as prompts
from locheads.specimen.segmenter import HELD_OUT, held_out_ious, train_segmenter
from locheads.specimen.segmenter_lessons import (
    Batch,
    coarse_logits,
    corrections,
    draw_batch,
    loss_of_batch,
    mask_losses,
    predict,
)

TINY = SegmenterConfig(32, 8, 16, 2, 2, (1,), 2, 16, 16)
SEEDS = [[3, i] for i in range(4)]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return load_segmenter("specimen")


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    save_segmenter(build_sam(TINY), TINY, tmp_path / "tiny")
    return tmp_path / "tiny"


# What it is taught


def test_a_batch_is_decided_by_its_seeds() -> None:
    one, two = draw_batch(32, SEEDS), draw_batch(32, SEEDS)
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(two, field.name))
    other = draw_batch(32, [[4, i] for i in range(4)])
    assert not torch.equal(one.images, other.images)


def test_a_scene_does_not_depend_on_its_company() -> None:
    alone, together = draw_batch(32, SEEDS[2:3]), draw_batch(32, SEEDS)
    assert torch.equal(alone.images[0], together.images[2])


def test_images_are_those_the_predictor_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    predictor = SamPredictor(build_sam(TINY))
    monkeypatch.setattr(predictor, "set_torch_image", lambda image, size: seen.append(image))
    predictor.set_image(draw_scene(np.random.default_rng(SEEDS[0])).image)
    assert torch.equal(seen[0][0].float(), draw_batch(32, SEEDS[:1]).images[0])


def test_points_lie_on_their_object_and_boxes_near_it() -> None:
    batch = draw_batch(128, [[5, i] for i in range(16)])
    boxed = len(batch.boxes)
    assert 0 < boxed < len(batch.masks) == boxed + len(batch.points)
    for box, mask in zip(batch.boxes.numpy(), batch.masks.numpy(), strict=False):
        tight = np.array(mask_box(mask))
        assert np.abs(box - tight).max() <= 0.36 * (tight[2:] - tight[:2]).max() + 1
    for (x, y), mask in zip(batch.points[:, 0].long(), batch.masks[boxed:], strict=True):
        near = mask[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert near.any()


@given(st.integers(0, 2**31), st.integers(4, 120), st.integers(4, 120))
def test_noisy_boxes_stay_within_what_is_promised(seed: int, width: int, height: int) -> None:
    box, rng = np.array([3.0, 5.0, 3.0 + width, 5.0 + height]), np.random.default_rng(seed)
    assert np.abs(prompts.jittered_box(box, rng, 2.5) - box).max() <= 2.5
    loose = prompts.loose_box(box, rng)
    scale = (loose[2:] - loose[:2]) / (width, height)
    shift = (loose[:2] + loose[2:] - box[:2] - box[2:]) / 2 / (width, height)
    assert (scale >= 0.85 - 1e-9).all() and (scale <= 1.35 + 1e-9).all()
    assert (np.abs(shift) <= 0.15 + 1e-9).all()


def test_many_images_at_once_are_predicted_as_each_alone() -> None:
    torch.manual_seed(0)
    sam, batch = build_sam(TINY), draw_batch(32, [[6, i] for i in range(6)])
    with torch.no_grad():
        features = sam.image_encoder(sam.preprocess(batch.images))
        logits, ious = predict(sam, batch, features)
    predictor = SamPredictor(sam)
    for i in range(len(batch.masks)):
        predictor.set_torch_image(batch.images[batch.scene[i]][None], (32, 32))
        j = i - len(batch.boxes)
        box = batch.boxes[i : i + 1] if j < 0 else None
        point = (None, None) if j < 0 else (batch.points[j : j + 1], torch.ones(1, 1))
        for several, part in ((False, slice(0, 1)), (True, slice(1, None))):
            _, quality, low = predictor.predict_torch(*point, box, None, several)
            torch.testing.assert_close(low[0], logits[i, part], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(quality[0], ious[i, part], rtol=1e-4, atol=1e-5)


def test_the_loss_by_hand() -> None:
    masks = torch.tensor([[[True, False], [False, False]]])
    half = torch.zeros(1, 1, 2, 2)
    # p = 1/2 everywhere: focal weight (1/2)², cross-entropy ln 2; α = 1/4 on the object, 3/4 elsewhere.
    focal = 0.25 * np.log(2) * (0.25 + 3 * 0.75) / 4
    dice = 1 - (2 * 0.5 + 1) / (4 * 0.5 + 1 + 1)
    losses, ious = mask_losses(half, masks)
    assert losses.item() == pytest.approx(20 * focal + dice, rel=1e-5)
    assert ious.item() == 0
    sure = torch.where(masks, 30.0, -30.0)[:, None]
    losses, ious = mask_losses(torch.cat([sure, torch.full_like(sure, 30.0)], 1), masks)
    assert losses[0, 0].item() == pytest.approx(0, abs=1e-6)
    assert ious[0].tolist() == [1.0, 0.25]


def test_a_correction_is_a_wrong_pixel_with_its_true_label() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2, 5] = True  # missed by a prediction that sees nothing
    seen = torch.full((2, 1, 8, 8), -9.0)
    seen[1, 0, 6, 1] = 9.0  # seen where nothing is
    points, labels = corrections(seen, masks)
    assert points.tolist() == [[[5.0, 2.0]], [[1.0, 6.0]]]
    assert labels.tolist() == [[1.0], [0.0]]


def test_a_coarse_mask_prompt_is_positive_where_most_of_a_cell_is_covered() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, :4, :3] = True
    logits = coarse_logits(masks, cells=2, side=4)
    assert logits[0, 0].tolist() == [[4.0, 4.0, -8.0, -8.0]] * 2 + [[-8.0] * 4] * 2


# Its training


@pytest.mark.slow
def test_resuming_gives_what_an_undisturbed_run_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, curve = train_segmenter(5, tmp_path / "whole.pt", TINY, 2, save_every=2)

    def interrupted(sam: Sam, batch: Batch, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        if step == 3:
            raise KeyboardInterrupt
        return loss_of_batch(sam, batch, step)

    arguments = (5, tmp_path / "halves.pt", TINY, 2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("locheads.specimen.segmenter.loss_of_batch", interrupted)
        train_segmenter(*arguments, save_every=2)
    torch.manual_seed(99)
    halves, resumed = train_segmenter(*arguments, save_every=2)
    assert [row["step"] for row in curve] == [2, 4, 5]
    assert resumed == curve
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, halves.state_dict()[name]), name
    assert not list(tmp_path.glob("*partial*"))


@pytest.mark.slow
def test_training_moves_every_weight(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = build_sam(TINY)
    after, _ = train_segmenter(4, tmp_path / "checkpoint.pt", TINY, 6)
    still = [n for n, p in before.named_parameters() if torch.equal(p, after.get_parameter(n))]
    assert still == []


# On disk


def test_a_saved_segmenter_is_loaded_again(tiny_folder: Path) -> None:
    torch.manual_seed(1)
    sam = build_sam(TINY)
    save_segmenter(sam, TINY, tiny_folder)
    loaded = load_sam(tiny_folder).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in sam.state_dict().items())
    assert load_segmenter(tiny_folder).name == str(tiny_folder)


def test_wrong_weights_are_one_clear_error(tiny_folder: Path, tmp_path: Path) -> None:
    path = tiny_folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "encoder_dim": 32}))
    with pytest.raises(LocheadsError, match="not the configuration of its weights"):
        load_segmenter(tiny_folder)
    path.unlink()
    with pytest.raises(LocheadsError, match=r"config\.json: missing"):
        load_segmenter(tiny_folder)
    (tiny_folder / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(LocheadsError, match="SHA-256"):
        load_segmenter(tiny_folder)
    with pytest.raises(LocheadsError, match="no such segmenter"):
        load_segmenter(tmp_path / "nowhere")
    with pytest.raises(LocheadsError, match="SHA256SUMS: no such file"):
        load_segmenter(tmp_path)


@pytest.mark.parametrize("name", ["sam_vit_b_01ec64.pth", "checkpoint.pth"])
def test_a_published_checkpoint_that_is_none_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no checkpoint")
    with pytest.raises(LocheadsError, match=f"{name}: (cut off|the file name must)"):
        load_segmenter(tmp_path / name)


# From boxes to masks


def test_masks_are_those_of_a_predictor_driven_by_hand(segmenter: Segmenter) -> None:
    scene = draw_scene(np.random.default_rng([8, 0]))
    predictor = SamPredictor(load_sam())
    predictor.set_image(scene.image)
    by_hand = [predictor.predict(box=box, multimask_output=False)[0][0] for box in scene.boxes]
    masks = segmenter.masks(Image.fromarray(scene.image), scene.boxes)
    assert masks.dtype == bool and np.array_equal(masks, by_hand)
    assert np.array_equal(masks, segmenter.masks(scene.image, scene.boxes))


def test_an_image_is_embedded_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = []
    encoder = segmenter.predictor.model.image_encoder
    hook = encoder.register_forward_hook(lambda *_: embedded.append(1))
    scene = draw_scene(np.random.default_rng([8, 1]), most=5)
    segmenter.masks(scene.image, scene.boxes)
    assert len(scene.boxes) > 1 and len(embedded) == 1
    assert segmenter.masks(scene.image, np.zeros((0, 4))).shape == (0, SIDE, SIDE)
    hook.remove()


def test_masks_have_the_size_of_an_image_that_is_not_square(segmenter: Segmenter) -> None:
    scene = draw_scene(np.random.default_rng([8, 2]))
    wide = Image.fromarray(scene.image).crop((0, 0, SIDE, 200)).resize((512, 400))
    masks = segmenter.masks(wide.convert("RGBA"), np.array([[10.0, 10.0, 600.0, 399.0]]))
    assert masks.shape == (1, 400, 512)
    cut = segmenter.masks(wide, np.array([[10, 10, 512, 399]]))
    assert np.array_equal(masks, cut)


@pytest.mark.parametrize(
    "box", [[-9, 0, 0, 9], [SIDE, 3, SIDE + 5, 9], [5, 5, 5, 9], [9, 9, 3, 12], [0, 0, np.nan, 9]]
)
def test_a_box_without_area_in_the_image_is_one_clear_error(segmenter: Segmenter, box: list[float]) -> None:
    boxes = np.array([[0, 0, 9, 9], box], float)
    with pytest.raises(LocheadsError, match=r"box 1 \(.*no area inside the image of 256 x 256"):
        segmenter.masks(np.zeros((SIDE, SIDE, 3), np.uint8), boxes)


@pytest.mark.slow
def test_objects_of_held_out_scenes_are_segmented(segmenter: Segmenter) -> None:
    ious = []
    for i in range(20):
        scene = draw_scene(np.random.default_rng([HELD_OUT, 7, i]))
        masks = segmenter.masks(scene.image, scene.boxes)
        ious.extend((masks & scene.masks).sum((1, 2)) / (masks | scene.masks).sum((1, 2)))
    assert np.mean(ious) >= 0.85
    sam = segmenter.predictor.model
    assert held_out_ious(sam, 20, seed=7) == pytest.approx(np.array(ious))
    assert held_out_ious(sam, 20, seed=7, loose=True).mean() >= 0.75


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with SAM ViT-B's keys whose storages carry the label of a GPU, as if saved on one."""
    torch.manual_seed(0)
    weights = sam_model_registry["vit_b"]().state_dict()
    path = tmp_path_factory.mktemp("sam") / "sam_vit_b_mine.pth"
    package = (1, lambda storage: "cuda:0", lambda storage, location: None)
    torch.serialization.register_package(*package)
    try:
        torch.save(weights, path)
    finally:
        torch.serialization._package_registry.remove(package)
    return path


@pytest.mark.slow
def test_a_checkpoint_saved_on_a_gpu_or_in_training_is_that_checkpoint(published: Path) -> None:
    given = torch.load(published, map_location="cpu")
    trained = published.with_name("sam_vit_b_trained.pth")
    torch.save({"model": given, "epoch": 3}, trained)
    for path in (published, trained):
        loaded = load_segmenter(path, device="cpu").predictor.model.state_dict()
        assert loaded.keys() == given.keys() and all(torch.equal(loaded[key], given[key]) for key in given)


@pytest.mark.parametrize("content", [[1], {"model": [1]}, {"epoch": 3}, {}])
def test_a_pickle_that_holds_no_weights_is_one_line(tmp_path: Path, content: object) -> None:
    path = tmp_path / "sam_vit_b_none.pth"
    torch.save(content, path)
    with pytest.raises(LocheadsError, match=f"{path.name}: does not hold the weights of a SAM vit_b"):
        load_segmenter(path, device="cpu")


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123\n")
    with pytest.raises(LocheadsError, match=f"{path.name}: a pointer of Git LFS"):
        load_segmenter(path, device="cpu")


@pytest.mark.parametrize(("width", "height", "narrow"), [(512, 1, True), (1, 300, True), (256, 1, False)])
def test_a_picture_too_narrow_is_refused(width: int, height: int, narrow: bool) -> None:
    """The specimen's SAM scales one edge to 128 pixels: at 256:1 half a pixel is left, rounded up."""
    segmenter, picture = load_segmenter("specimen", "cpu"), Image.new("RGB", (width, height))
    box = np.array([[0.0, 0.0, width, height]])
    if not narrow:
        assert segmenter.masks(picture, box).shape == (1, height, width)
        return
    with pytest.raises(LocheadsError, match=rf"an image of {width} × {height} pixels is too narrow for SAM"):
        segmenter.masks(picture, box)
