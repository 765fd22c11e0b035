"""What does the capture of attention rows cost, beside the model's own forward pass?

    make bench                                                        # or
    python benchmarks/capture.py --repeats 9
    python benchmarks/capture.py --device cuda --geometry llava-1.5-7b
    python benchmarks/capture.py --sweep                              # see scaling.py

Each variant runs in a process of its own, for its peak memory; the processes take turns, so that a turn's
figures are of the same minute. What counts is the ratio to `plain` within a turn, a forward pass of the same
model and expressions with torch's fused attention:

- `eager`: `output_attentions=True`, as the paper's release;
- `vl-saliency`: that package's extractor without gradients, one expression at a time, as it wants; only where
  it is installed (`pip install -e '.[bench]'`);
- `capture`: rows of all heads; `heads`: of three heads, the deepest in the middle layer;
- `shared N`, `shared heads N`: N expressions of one image, seconds per expression.

Geometry `small` has LLaVA-1.5's 576 image tokens, with layers and width that two cores hold; weights are
random. Plain, eager, capture and heads take a batch of four texts, padded; plain and eager get the mask of
the padding, as a processor gives it. Memory is the peak of one run above the loaded model, in a process of
its own before the turns: on CUDA as torch counts it, else what is resident, with a C library told to give
back at once what is freed, which would cost time in the turns (Linux only; NaN elsewhere).
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import multiprocessing as mp
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import locheads.model  # noqa: F401  mends torchvision before transformers is imported

# isort: split
import numpy as np
import pandas as pd
import scaling
import torch
import transformers
from PIL import Image

from locheads.model.attention import capture
from locheads.model.attention_layer import ATTENTION
from locheads.model.families import FAMILIES
from locheads.model.lvlm import Lvlm
from locheads.model.shared_image import capture_image

RESULTS = Path(__file__).parent / "results"
GEOMETRIES = {
    "small": ((8, 512, 1408, 8), (4, 256, 1024, 4)),
    "llava-1.5-7b": ((32, 4096, 11008, 32), (24, 1024, 4096, 16)),
}
"""Layers, width, inner width and heads of decoder and encoder."""
SHARED = (1, 3, 7, 15)
PEAK = Path("/proc/self/clear_refs")
RIVALS = ["vl-saliency"] if importlib.util.find_spec("vl_saliency") else []
VARIANTS = ["plain", "eager", *RIVALS, "capture", "heads", *(f"shared {n}" for n in SHARED)]
VARIANTS += [f"shared heads {n}" for n in SHARED]
WORDS = ["the", "small", "red", "ring", "on", "the", "left", "of", "a", "large", "blue", "striped", "star"]


def _sizes(layers: int, width: int, inner: int, heads: int) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": heads,
    }


def made(geometry: str, device: str, attention: str, side: int = 24, layers: int | None = None) -> Lvlm:
    """A LLaVA with random weights, `side × side` image tokens, and as many layers as its geometry says."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    text, vision = GEOMETRIES[geometry]
    text, pixels = (layers or text[0], *text[1:]), 14 * side
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["?", "<image>", *sorted(set(WORDS))])}, "?")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["<image>"])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="?")
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**_sizes(*text), vocab_size=32064, max_position_embeddings=4096),
        vision_config=transformers.CLIPVisionConfig(**_sizes(*vision), image_size=pixels, patch_size=14),
        image_token_index=1,
    )
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForImageTextToText.from_config(
            config, dtype=dtype, attn_implementation={"text_config": attention}
        )
    square = {"height": pixels, "width": pixels}
    images = transformers.CLIPImageProcessor(size={"shortest_edge": pixels}, crop_size=square)
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return Lvlm(geometry, model.eval(), processor, "<image> {expression}", FAMILIES["llava"])


def noise(pixels: int) -> Image.Image:
    """A square picture."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (pixels, pixels, 3), np.uint8))


def texts(number: int) -> list[str]:
    """So many expressions, of three words and more."""
    return [" ".join(WORDS[: 3 + i % 8]) for i in range(number)]


def saliency(lvlm: Lvlm, image: Image.Image, expressions: list[str]) -> list[torch.Tensor]:
    """Maps of all heads through vl-saliency, `layer × head × row × column` for each expression."""
    from vl_saliency import SaliencyExtractor

    extractor, maps = SaliencyExtractor(lvlm.model, lvlm.processor, store_grads=False), []
    for expression in expressions:
        encoded = lvlm.encode([image], [expression])
        traced = extractor.capture(None, **encoded.inputs)
        maps.append(traced.attn[0][:, :, int(encoded.query[0])])
    return maps


def runner(variant: str, geometry: str, device: str) -> tuple[Callable[[], Any], int]:
    """What a variant runs, and for how many expressions; texts differ in length, so they are padded."""
    number = int(variant.split()[-1]) if variant.startswith("shared") else 4
    attention = {"plain": "sdpa", "eager": "eager", "vl-saliency": "eager"}.get(variant, ATTENTION)
    lvlm = made(geometry, device, attention)
    image, expressions = noise(336), texts(number)
    middle = lvlm.layers // 2
    heads = [(middle, 0), (middle, 1), (middle - 1, 0)] if "heads" in variant else None

    def forward() -> Any:
        inputs = lvlm.encode([image] * number, expressions).inputs
        with torch.inference_mode():
            return lvlm.model(
                **inputs, use_cache=False, logits_to_keep=1, output_attentions=variant == "eager"
            )

    if variant in ("plain", "eager"):
        return forward, number
    if variant == "vl-saliency":
        return lambda: saliency(lvlm, image, expressions), number
    if variant.startswith("shared"):
        return lambda: capture_image(lvlm, image, expressions, heads), number
    return lambda: capture(lvlm, [image] * number, expressions, heads), number


def serve(variant: str, given: argparse.Namespace, pipe: Connection) -> None:
    """In a process of its own: a turn for each message."""
    torch.set_num_threads(given.threads)
    run, number = runner(variant, given.geometry, given.device)
    pipe.send("ready")
    while pipe.recv():
        start = time.perf_counter()
        run()
        if given.device == "cuda":
            torch.cuda.synchronize()
        pipe.send((time.perf_counter() - start) / number)


def weigh(variant: str, given: argparse.Namespace, pipe: Connection) -> None:
    """In a process of its own: the peak of one run above the loaded model, in MiB."""
    torch.set_num_threads(given.threads)
    run, _ = runner(variant, given.geometry, given.device)
    run()  # what is made once and kept is not the forward pass's
    gc.collect()
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        run()
        return pipe.send((torch.cuda.max_memory_allocated() - held) / 2**20)
    if not PEAK.exists():
        return pipe.send(float("nan"))
    PEAK.write_text("5")  # the peak starts again from what is resident now
    held = _resident("VmHWM")
    run()
    return pipe.send((_resident("VmHWM") - held) / 2**10)


def _resident(entry: str) -> int:
    """An entry of the process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{entry}:"))


def weighed(given: argparse.Namespace) -> dict[str, float]:
    """Peak memory of each variant in MiB."""
    context, peaks = mp.get_context("spawn"), {}
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    for variant in VARIANTS:
        ours, theirs = context.Pipe()
        process = context.Process(target=weigh, args=(variant, given, theirs))
        process.start()
        peaks[variant] = ours.recv()
        process.join()
    del os.environ["MALLOC_MMAP_THRESHOLD_"]
    return peaks


def measured(given: argparse.Namespace) -> pd.DataFrame:
    """One row a turn and variant; the first turn warms up and is left out."""
    context, workers, peaks = mp.get_context("spawn"), {}, weighed(given)
    for variant in VARIANTS:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(variant, given, theirs), daemon=True)
        process.start()
        assert ours.recv() == "ready"
        workers[variant] = ours
    rows = []
    for turn in range(given.repeats + 1):
        for variant, pipe in workers.items():
            pipe.send(True)
            rows.append([turn, variant, pipe.recv(), peaks[variant]])
    for pipe in workers.values():
        pipe.send(False)
    table = pd.DataFrame(rows, columns=["turn", "variant", "seconds", "peak_mib"])
    plain = table[table.variant == "plain"].set_index("turn").seconds
    return table.assign(ratio=table.seconds / table.turn.map(plain)).query("turn > 0")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of the ratio, and the highest peak."""
    by = table.groupby("variant", sort=False)
    ratios = by.ratio.quantile([0.25, 0.5, 0.75]).unstack().set_axis(["lower", "median", "upper"], axis=1)
    return ratios.assign(seconds=by.seconds.median(), peak_mib=by.peak_mib.max())


def swept(given: argparse.Namespace) -> pd.DataFrame:
    """One row a point and way: seconds and operations per expression."""
    torch.set_num_threads(given.threads)
    text, vision = (scaling.Sizes(*sizes) for sizes in GEOMETRIES[given.geometry])
    known: dict[tuple[scaling.Setting, str], float] = {}
    rows = []
    for axis, setting in scaling.settings():
        side, some = round(setting.tokens**0.5), texts(setting.expressions)
        words = round(np.mean([len(one.split()) for one in some]))
        for way in scaling.WAYS:
            if (setting, way) not in known:
                attention = "sdpa" if way == "plain" else ATTENTION
                lvlm = made(given.geometry, given.device, attention, side, setting.layers)
                cuda, image = given.device == "cuda", noise(14 * side)
                known[setting, way] = scaling.seconds(way, lvlm, image, some, given.repeats, cuda)
            counted = scaling.operations(way, setting, text, vision, words, 32064)
            rows.append([axis, getattr(setting, axis), way, known[setting, way], counted])
    table = pd.DataFrame(rows, columns=["axis", "value", "way", "seconds", "operations"])
    return scaling.relative(table)


def draw(found: pd.DataFrame, path: Path) -> None:
    """Ratios of all variants, with quartiles."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    spread = np.abs(found[["lower", "upper"]].to_numpy().T - found["median"].to_numpy())
    axes.barh(found.index, found["median"], xerr=spread, color="#4c72b0")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("time per expression, ratio to a plain forward pass")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints and writes the table, and draws it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--sweep", action="store_true", help="tokens, expressions and layers, as in scaling.py"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--geometry", default="small", choices=list(GEOMETRIES))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    name = f"{'scaling' if given.sweep else 'capture'}-{given.geometry}-{given.device}"
    RESULTS.mkdir(exist_ok=True)
    if given.sweep:
        table = swept(given)
        table.assign(threads=given.threads).to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.5g")
        scaling.draw(table, RESULTS / f"{name}.png")
        print(table.round(3).to_string(index=False))
        return
    table = measured(given)
    table.assign(threads=given.threads).round(4).to_csv(RESULTS / f"{name}.csv", index=False)
    found = summary(table)
    draw(found, RESULTS / f"{name}.png")
    print(found.round(3).to_string())


if __name__ == "__main__":
    main()
