"""Templates for those who make LoRAs and schedules of their own: training, and schedules side by side."""

from __future__ import annotations

from swd_dev.graph import Graph, Slot
from swd_dev.templates.bases import MEDIUM_6
from swd_dev.templates.files import MEDIUM
from swd_dev.templates.notes import note, note_without_lora
from swd_dev.templates.parts import COLUMNS, TEXT_ROOM, WIDTH, load, schedule

PROMPTS = (
    "A lighthouse on a cliff above a stormy sea, dramatic light",
    "A red fox in fresh snow, close-up, soft morning light",
    "A bowl of ramen with egg and spring onions, food photography",
    "An old library with tall shelves and a reading lamp",
    "A street market in Marrakesh, colourful fabrics, noon sun",
    "A watercolour of a village by a river, autumn trees",
    "An astronaut reading a newspaper on the moon, film grain",
    "A macro photo of a dragonfly on a blade of grass",
)
LORA = "my-swd-lora"
HINTS = (
    "Run it once: it draws eight pictures with the full model, trains a small LoRA on them for 40 steps, and draws a "
    "picture with it. This shows that everything works; it is far too little for a good LoRA.",
    "For a good one: thousands of prompts, rank 64, batch_size 32 to 64, 3000 steps, learning_rate 0.000005.",
    "You may stop at any time. Run it again and it goes on where it stopped.",
    "The LoRA is in output/loras. Its header holds the schedule, so the preset auto finds it.",
    "Training needs more memory than sampling. It needs least with micro_batch 1 and gradient_checkpointing on.",
)


def train_lora() -> Graph:
    """Teacher pictures, a LoRA, and a picture with it."""
    graph = Graph()
    checkpoint = graph.add(
        "CheckpointLoaderSimple", (0, 0), (WIDTH, 100), [("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")],
        widgets=[MEDIUM.name], models=[MEDIUM],
    )  # fmt: skip
    padding = graph.add(
        "T5TokenizerOptions", (COLUMNS[1], 0), (WIDTH, 120), [("CLIP", "CLIP")], [("clip", "CLIP", (checkpoint, 1))],
        [0, 512], title="T5 padding as in training",
    )  # fmt: skip
    graph.group("Step 1 - Load models", [checkpoint, padding])
    stages = graph.add(
        "SWDScaleSchedule", (COLUMNS[2] + 40, 0), (WIDTH, 110), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", (checkpoint, 0))], ["SD3.5 Medium, 4 steps"],
    )  # fmt: skip
    graph.group("Step 2 - Schedule", [stages], TEXT_ROOM)
    dataset = graph.add(
        "SWDTeacherDataset", (COLUMNS[3] + 80, 0), (WIDTH, 860),
        [("dataset", "SWD_DATASET"), ("report", "STRING")],
        [("model", "MODEL", (checkpoint, 0)), ("clip", "CLIP", (padding, 0)), ("vae", "VAE", (checkpoint, 2)),
         ("schedule", "SWD_SCHEDULE", (stages, 0))],
        ["\n".join(PROMPTS), "", "my-pictures", 1, 1024, 1024, 0, 40, 4.5, "euler", "simple", 4.5],
    )  # fmt: skip
    graph.group("Step 3 - Teacher pictures", [dataset])
    trained = graph.add(
        "SWDDistillLora", (COLUMNS[4] + 120, 0), (WIDTH, 860),
        [("model", "MODEL"), ("lora_name", "STRING"), ("loss_plot", "IMAGE"), ("report", "STRING")],
        [("model", "MODEL", (checkpoint, 0)), ("dataset", "SWD_DATASET", (dataset, 0)),
         ("schedule", "SWD_SCHEDULE", (stages, 0))],
        [LORA, "continue", 40, 4, 16, 0.0001, 42, True, False, False, "linear", 4.5, 5, 1, "bf16", "bf16", True, 0.0,
         20, 10],
    )  # fmt: skip
    graph.group("Step 4 - Train", [trained])
    latent = _sample(graph, trained, (padding, 0))
    _save(graph, latent, (checkpoint, 2), note_without_lora([MEDIUM], HINTS, MEDIUM_6.licence))
    return graph


def _sample(graph: Graph, trained: int, clip: Slot) -> Slot:
    """A picture with the trained LoRA. The preset auto reads the schedule from the header of the new file."""
    x = COLUMNS[4] + 620
    stages = graph.add(
        "SWDScaleSchedule", (x, 0), (320, 110), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", (trained, 0))], ["auto"],
    )  # fmt: skip
    report = graph.add(
        "PreviewAny", (x, 240), (320, 230), [("STRING", "STRING")], [("source", "*", (trained, 3))],
        title="Report of the training",
    )  # fmt: skip
    text = graph.add(
        "CLIPTextEncode", (x, 540), (320, 150), [("CONDITIONING", "CONDITIONING")], [("clip", "CLIP", clip)],
        ["A lighthouse beside a quiet harbour at dusk, photo"], title="Prompt",
    )  # fmt: skip
    size = graph.add(
        "EmptySD3LatentImage", (x, 760), (320, 130), [("LATENT", "LATENT")], widgets=[1024, 1024, 1]
    )  # fmt: skip
    graph.group("Step 5 - A picture with it", [stages, report, text, size])
    return _sampler(graph, (trained, 0), (text, 0), (size, 0), (stages, 0), (x + 420, 0)), 0


def _sampler(
    graph: Graph, model: Slot, positive: Slot, latent: Slot, stages: Slot, at: tuple[int, int], seed: str = "randomize"
) -> int:
    return graph.add(
        "SWDSampler", at, (320, 260), [("latent", "LATENT")],
        [("model", "MODEL", model), ("positive", "CONDITIONING", positive), ("latent_image", "LATENT", latent),
         ("schedule", "SWD_SCHEDULE", stages)],
        [0, seed, 1.0, 1.0, "bicubic"],
    )  # fmt: skip


def _save(graph: Graph, latent: Slot, vae: Slot, text: str) -> None:
    x, y = graph.nodes[latent[0] - 1]["pos"]
    decode = graph.add(
        "VAEDecode", (x + 380, y), (220, 50), [("IMAGE", "IMAGE")],
        [("samples", "LATENT", latent), ("vae", "VAE", vae)],
    )  # fmt: skip
    graph.add("SaveImage", (x + 660, y), (460, 520), inputs=[("images", "IMAGE", (decode, 0))], widgets=["SwD"])
    graph.add("MarkdownNote", (-500, -50), (440, 560), widgets=[text], title="Note: Model links")


def compare_schedules() -> Graph:
    """The same prompt, seed and steps: scale by scale, and all at full size."""
    graph, base = Graph(), MEDIUM_6
    loaded = load(graph, base)
    # Not auto: the list below has as many steps, whatever the LoRA.
    growing = schedule(graph, loaded, plot=True, preset=base.preset)
    lower = 530
    full = graph.add(
        "SWDCustomSchedule", (COLUMNS[2], lower), (WIDTH, 130), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", loaded.model)],
        ["128, 128, 128, 128, 128, 128", "1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022"],
    )  # fmt: skip
    plot = graph.add(
        "SWDSchedulePlot", (COLUMNS[3], lower), (WIDTH, 330), [("image", "IMAGE")],
        [("schedule", "SWD_SCHEDULE", (full, 0))], [1024, 1024],
    )  # fmt: skip
    graph.group("Step 3 - The same steps at full size", [full, plot])
    text = graph.add(
        "CLIPTextEncode", (COLUMNS[2] - 80, 2 * lower), (WIDTH, 150), [("CONDITIONING", "CONDITIONING")],
        [("clip", "CLIP", loaded.clip)], ["A lighthouse beside a quiet harbour at dusk, photo"], title="Prompt",
    )  # fmt: skip
    size = graph.add(
        base.empty_latent, (COLUMNS[3], 2 * lower), (WIDTH, 120), [("LATENT", "LATENT")], widgets=[1024, 1024, 1]
    )  # fmt: skip
    graph.group("Step 4 - Prompt and size", [text, size])
    hints = (
        "Both pictures have the same seed. Compare them, and their seconds: at its end each sampler writes the line "
        "`SwD: ... s in total` into the log. The Console at the lower left shows it.",
        "The sampler that runs first also gets the model ready, so it takes longer than it should. For a fair time "
        "give both another seed and run again.",
        "Change the lists in SwD Custom Schedule: one scale and one timestep for each step.",
    )
    for row, stages in enumerate((growing, (full, 0))):
        latent = _sampler(graph, loaded.model, (text, 0), (size, 0), stages, (COLUMNS[4], row * 620), "fixed")
        decode = graph.add(
            "VAEDecode", (COLUMNS[4] + 380, row * 620), (220, 50), [("IMAGE", "IMAGE")],
            [("samples", "LATENT", (latent, 0)), ("vae", "VAE", loaded.vae)],
        )  # fmt: skip
        graph.add(
            "SaveImage", (COLUMNS[4] + 660, row * 620), (460, 520), inputs=[("images", "IMAGE", (decode, 0))],
            widgets=[("SwD-scale-wise", "SwD-full-size")[row]],
        )  # fmt: skip
    graph.add(
        "MarkdownNote", (-500, -50), (440, 560), widgets=[note(base, loaded.files, hints)], title="Note: Model links"
    )
    return graph
