"""Parameters for which the whole pipeline takes a minute, and a small dataset of images."""

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

SMALL = {
    # tests run in parallel: threads of two processes that share a core wait for each other
    "runtime": {"threads": 1},
    "search": {
        "trials": 2,
        "epochs": 1,
        "space": {
            "train.model.channels": {"type": "categorical", "choices": [[4, 8], [8, 16]]},
            "train.model.hidden": {"type": "int", "low": 16, "high": 32},
            "train.learning_rate": {"type": "float", "low": 0.001, "high": 0.01, "log": True},
            "train.weight_decay": {"type": "float", "low": 1e-8, "high": 1e-5, "log": True},
            "train.optimizer": {"type": "categorical", "choices": ["adam", "adamw"]},
        },
    },
    "train": {"epochs": 2, "learning_rate": "search"},
    "compare": {
        "latent_dim": {"parameter": "train.model.latent_dim", "values": [2, 3], "epochs": 1},
    },
    "denoise": {
        name: {
            "corruption": [{"name": "gaussian", "severity": [0.1, 0.5]}],
            "network": {"type": network, "channels": [4, 8], "activation": "silu"} | more,
            "epochs": 1,
            "batch_size": 64,
            "weight_decay": 0.0,
        }
        for name, network, more in (
            (
                "bottleneck",
                "autoencoder",
                {"hidden": 16, "latent_dim": 3, "upsampling": "subpixel"},
            ),
            ("unet", "unet", {}),
        )
    },
    "finetune": {
        "epochs": 2,
        "scratch_baseline": True,
        "label_efficiency": {
            "labels_per_class": [4, "all"],
            "seeds": 2,
            "epochs": 1,
            "images_per_epoch": 40,
            "batch_size": 32,
        },
    },
    "vae": {"epochs": 2},
    "reference": {"epochs": 2, "channels": [8, 16]},
    "gan": {"epochs": 2, "channels": 4, "learning_rate": 0.0004},
    "evaluate": {
        "projected_images": 100,
        "probe_images": 200,
        "samples": 64,
        "importance_samples": 2,
        "severities": {"gaussian": [0.2, 0.4], "occlusion": [0.2]},
    },
}

SHAPES = ("red squares", "green bars", "blue noise")


def edit_params(path, changes):
    """Change values of a params.yaml; `compare` and `denoise` are replaced as a whole."""
    yaml = YAML()
    document = yaml.load(path)
    for section, values in changes.items():
        if section in ("compare", "denoise"):
            document[section].clear()
        document[section].update(values)
    yaml.dump(document, path)


def draw_shapes(folder, of_each):
    """Write a folder of color images for each of `SHAPES`, as PNG and JPEG files of many sizes."""
    random = np.random.default_rng(0)
    for index, name in enumerate(SHAPES):
        (folder / name).mkdir(parents=True)
        for number in range(of_each):
            picture = random.integers(0, 60, (40, 36 + number, 3), dtype=np.uint8)
            picture[5 + number % 9 : 30, 4:20, index] = 220
            suffix = "jpg" if number % 2 else "png"
            Image.fromarray(picture).save(folder / name / f"{number:02}.{suffix}")
