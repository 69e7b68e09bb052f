from crafting import write_pictures
from latentlab.common.files import read_json


def test_a_stage_says_its_first_figures_at_its_end_and_where_the_others_are(bench):
    answer = bench.run("train")

    judged = read_json(bench.project.outputs("train") / "metrics.json")["validation"]
    figures = f"validation/mse {judged['mse']:.4g}, validation/psnr {judged['psnr']:.4g}, 4 more"
    assert f"train: {figures}; outputs/train/metrics.json" in answer.err.splitlines()


def test_a_stage_that_judges_nothing_says_what_it_counted(bench):
    for name in ("circles", "squares"):
        write_pictures(bench.project.data / "shapes" / name, 20)
    bench.edit({"data.name": "shapes"})

    answer = bench.run("fetch")

    sizes = read_json(bench.project.outputs("fetch") / "dataset.json")["sizes"]
    images = ", ".join(
        f"images/{split} {sizes[split]}" for split in ("train", "validation", "test")
    )
    said = f"fetch: classes 2, {images}, 2 more; outputs/fetch/metrics.json"
    assert said in answer.err.splitlines()


def test_a_stage_with_nothing_to_do_says_so(bench):
    answer = bench.run("denoise")

    assert "denoise: no figures; outputs/denoise/metrics.json" in answer.err.splitlines()
