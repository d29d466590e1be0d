"""Feeds mutated LoRA files to the loader until the time is up; run by test_fuzz.py in a process of its own.

`python fuzz_lora.py COMFYUI PACK TINY_MODELS SECONDS [SEED]`: with a seed, that one case alone. A file must load or be
refused with an InputError, within seconds, and within the address space that is left free; whatever is accepted,
ComfyUI must be able to put on the model. Anything else is printed with its seed, and the exit code is 1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMFYUI, PACK, TINY_MODELS, SECONDS = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
sys.path[:0] = [str(PACK / "devtools"), COMFYUI]

from swd_dev.tiny.comfyui import use_comfyui  # noqa: E402

use_comfyui(Path(COMFYUI))

import comfy.lora  # noqa: E402
import folder_paths  # noqa: E402
import torch  # noqa: E402
from swd_dev.tiny.loading import load_model  # noqa: E402

import nodes as comfy_nodes  # noqa: E402

HANG_SECONDS = 20
# For files of 100 KB: what reading, converting and patching them may take, and no more.
FREE_ADDRESS_SPACE = 512 * 2**20
FREE_MEMORY = 128 * 2**20

NUMBERS = [0, 1, -1, 2, 7, 8, 9, 64, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
           2**64, 10**30, -(2**63), 1.5, 1e300, True, None, "8", [], {}]  # fmt: skip
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3",
          "C64", "U64", "", "F33", 5]  # fmt: skip
ENDINGS = [".lora_A.weight", ".lora_B.weight", ".lora_A", ".lora_up.weight", ".lora_down.weight", ".alpha", ".diff",
           ".diff_b", ".set_weight", ".dora_scale", ".lora_magnitude_vector", ".lora_B.bias", ".bias", ".weight",
           ".base_layer.weight", ".lora_mid.weight", ".reshape_weight", ".hada_w1_a", ".hada_w1_b", ".hada_t1",
           ".lokr_w1", ".lokr_w2", ".oft_blocks", ".rescale", ".a1.weight", ".w_norm", ".b_norm", ".lora_embedding_A",
           ""]  # fmt: skip
Bytes = Callable[[random.Random, bytes], bytes]


def split(whole: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def join(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def flip_bytes(chance: random.Random, whole: bytes) -> bytes:
    changed = bytearray(whole)
    end = len(changed) if chance.random() < 0.3 else min(len(changed), 2000)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        changed[chance.randrange(end)] = chance.choice([0, 255, chance.randrange(256)])
    return bytes(changed)


def cut(chance: random.Random, whole: bytes) -> bytes:
    start, end = sorted(chance.randrange(len(whole)) for _ in range(2))
    return chance.choice([whole[:end], whole[start:], whole[:start] + whole[end:], whole[:end] + whole[start:]])


def lie_about_the_length(chance: random.Random, whole: bytes) -> bytes:
    number = chance.choice([*(n for n in NUMBERS if isinstance(n, int)), chance.randrange(2**64)])
    return struct.pack("<Q", int(number) % 2**64) + whole[8:]


def change_the_header(chance: random.Random, whole: bytes) -> bytes:
    """Shapes, types, places and names that fit together no more, or fit in a new way."""
    header, data = split(whole)
    for _ in range(chance.choice([1, 1, 2, 5])):
        key = chance.choice(list(header))
        entry = header[key]
        if not isinstance(entry, dict) or "shape" not in entry:
            header[key] = chance.choice(NUMBERS)
            continue
        what = chance.randrange(6)
        if what == 0:
            entry["dtype"] = chance.choice(DTYPES)
        elif what == 1:
            entry["shape"] = [chance.choice(NUMBERS) for _ in range(chance.randrange(5))]
        elif what == 2:
            entry["data_offsets"] = [chance.choice(NUMBERS) for _ in range(chance.choice([2, 2, 2, 0, 3]))]
        elif what == 3:
            entry["shape"] = list(reversed(entry["shape"]))
        elif what == 4:
            header[key.rsplit(".lora_", 1)[0] + chance.choice(ENDINGS)] = header.pop(key)
        else:
            header[chance.choice([key[::-1], key * 50, "", "\0", "__metadata__", "x" * 5000])] = header.pop(key)
    return join(header, data)


def add_tensors(chance: random.Random, whole: bytes) -> bytes:
    """More tensors for layers that are there: sound ones, in shapes that may not be."""
    header, data = split(whole)
    layers = sorted({key.rsplit(".lora_", 1)[0] for key in header if ".lora_" in key})
    for _ in range(chance.choice([1, 2, 4])):
        shape = [chance.choice([0, 1, 2, 7, 8, 64, 256]) for _ in range(chance.randrange(4))]
        size = 4
        for side in shape:
            size *= side
        if size <= 2**16:
            place = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
            header[chance.choice(layers) + chance.choice(ENDINGS)] = place
            data += bytes(size) if chance.random() < 0.8 else chance.randbytes(size)
    return join(header, data)


def change_metadata(chance: random.Random, whole: bytes) -> bytes:
    header, data = split(whole)
    keys = ["lora_adapter_metadata", "lora_alpha", "r", "swd.scales", "swd.timesteps", "format"]
    values = ["", "8", "0", "-1", "nan", "1e999", "[", "[" * 20_000, "{}", "null", '{"r": 8, "lora_alpha": 4}',
              "64, 128", "1, 0.5", '{"transformer.r": "8"}']  # fmt: skip
    header["__metadata__"] = {chance.choice(keys): chance.choice(values) for _ in range(chance.randrange(1, 5))}
    return join(header, data)


def unchanged(chance: random.Random, whole: bytes) -> bytes:
    return whole


FILES: list[Bytes] = [flip_bytes, cut, lie_about_the_length, change_the_header, change_the_header, add_tensors,
                      add_tensors, change_metadata, unchanged]  # fmt: skip


def change_config(chance: random.Random, text: bytes) -> bytes | None:
    """The configuration, mutated; None for none."""
    what = chance.randrange(5)
    if what == 0:
        return None
    if what < 3:
        return text
    if what == 3:
        return chance.choice([flip_bytes, cut])(chance, text)
    config = json.loads(text)
    names = ["r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "use_dora"]
    patterns = [{"to_q": 4}, {"(": 8}, {"(a*)*b": 1}, {".*": 8}, {"to_q": None}, {"": 8}, {"x" * 1000: 8}]
    for _ in range(2):
        config[chance.choice(names)] = chance.choice([*NUMBERS, *patterns])
    return json.dumps(config).encode()


class Applied(logging.Handler):
    """What ComfyUI has to say while it puts patches on weights: it leaves out in silence what does not fit."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def put_on(model: Any, clone: Any) -> None:
    """Apply all patches of the clone to copies of the weights; raises where ComfyUI cannot."""
    handler = Applied()
    logging.getLogger().addHandler(handler)
    try:
        weights = model.model.state_dict()
        for key, patches in clone.patches.items():
            comfy.lora.calculate_weight(patches, weights[key].clone(), key)
    finally:
        logging.getLogger().removeHandler(handler)
    if handler.said:
        raise RuntimeError(f"accepted, but not put on the model: {handler.said[0]}")


class Fuzzer:
    """One case a seed, on one tiny model and one small LoRA in a folder that ComfyUI lists."""

    def __init__(self, folder: Path) -> None:
        asyncio.run(comfy_nodes.load_custom_node(str(PACK)))
        self.folder = folder
        self.model = load_model("flux", TINY_MODELS)
        self.loader = comfy_nodes.NODE_CLASS_MAPPINGS["SWDLoraLoader"]
        self.saver = comfy_nodes.NODE_CLASS_MAPPINGS["SWDLoraSave"]
        source = TINY_MODELS / "loras/swd_flux"
        self.config = (source / "adapter_config.json").read_bytes()
        self.whole = self._small((source / "adapter_model.safetensors").read_bytes())
        folder_paths.add_model_folder_path("loras", str(folder))
        folder_paths.set_output_directory(str(folder / "output"))
        (folder / "bad.safetensors").write_bytes(self.whole)
        self.outcomes: Counter[str] = Counter()

    @staticmethod
    def _small(whole: bytes) -> bytes:
        """A few of the layers, so that there is time for many cases."""
        header, data = split(whole)
        kept: dict[str, Any] = {}
        small = b""
        wanted = ("proj_out.", "x_embedder", "single_transformer_blocks.0.attn", "transformer_blocks.1.ff.net.2")
        for key, entry in header.items():
            if any(name in key for name in wanted):
                start, end = entry["data_offsets"]
                kept[key] = {**entry, "data_offsets": [len(small), len(small) + end - start]}
                small += data[start:end]
        return join(kept, small)

    def case(self, seed: int) -> str:
        """Run one case; returns how it ended, and raises what must not be."""
        chance = random.Random(seed)
        (self.folder / "bad.safetensors").write_bytes(chance.choice(FILES)(chance, self.whole))
        config = change_config(chance, self.config)
        (self.folder / "adapter_config.json").unlink(missing_ok=True)
        if config is not None:
            (self.folder / "adapter_config.json").write_bytes(config)
        ends = [self._load(), self._save()]
        return ", ".join(ends)

    def _load(self) -> str:
        try:
            clone, _ = self.loader.execute(model=self.model, lora_name="bad.safetensors", strength_model=1.0).result
        except ValueError as error:
            return self._refusal(error)
        put_on(self.model, clone)
        return "loaded"

    def _save(self) -> str:
        try:
            self.saver.execute(lora_name="bad.safetensors", filename_prefix="x")
        except ValueError as error:
            return self._refusal(error)
        for file in (self.folder / "output").iterdir():
            file.unlink()
        return "saved"

    @staticmethod
    def _refusal(error: ValueError) -> str:
        if type(error).__name__ != "InputError" or "allocate" in str(error) or len(str(error).splitlines()) != 4:
            raise error
        return "refused"


def hang(*_: Any) -> None:
    raise TimeoutError(f"no end within {HANG_SECONDS} s")


def address_space() -> int:
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def main() -> int:
    seeds = [int(seed) for seed in sys.argv[5:]]
    failures = 0
    with tempfile.TemporaryDirectory(prefix="swd-fuzz-") as name, torch.inference_mode():
        fuzzer = Fuzzer(Path(name))
        for warm in range(50):
            fuzzer.case(warm)
        limit = address_space() + FREE_ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        signal.signal(signal.SIGALRM, hang)
        end, seed = time.monotonic() + SECONDS, -1
        while failures < 5 and (seeds or time.monotonic() < end):
            seed = seeds.pop() if seeds else seed + 1
            signal.alarm(HANG_SECONDS)
            try:
                fuzzer.outcomes[fuzzer.case(seed)] += 1
            except Exception as error:
                failures += 1
                print(f"seed {seed}: {type(error).__name__}: {error}"[:400])
            finally:
                signal.alarm(0)
            if len(sys.argv) > 5 and not seeds:
                break
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    print(json.dumps({"cases": sum(fuzzer.outcomes.values()), **fuzzer.outcomes, "grown": grown}))
    return 1 if failures or grown > FREE_MEMORY else 0


if __name__ == "__main__":
    logging.disable(logging.INFO)
    logging.getLogger("swd").setLevel(logging.ERROR)
    sys.exit(main())
