"""The report on crafted outputs: what it says, and how a browser shows it."""

import re

import pytest

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import write_json
from latentlab.gate.noise import Noise
from latentlab.gate.policy import Rule
from latentlab.gate.report import Report as GateReport
from latentlab.gate.verdict import Comparison, Verdict
from latentlab.report.contents import Origin, write_contents
from latentlab.report.outputs import load_outputs
from latentlab.report.render import as_description, as_html, as_markdown
from report_outputs import CALIBRATION, craft_outputs

SECTIONS = [
    "Results", "Data", "Search", "Autoencoder", "Latent space", "Denoising and robustness",
    "Classification", "Generators", "Comparisons", "How to reproduce",
]  # fmt: skip
HARD_NAMES = ["<script>alert(1)</script>", "\"quotes' & |pipes|", "שלום עולם", "🦊 emoji", "plain"]
PHONE = {"width": 360, "height": 740}
JUDGED = "evaluate/test/autoencoder/mse"


def judged(value, accepted=0.01, allowed=0.001):
    """Return a comparison of one metric with its baseline, as the gate makes it."""
    rule = Rule(direction="lower", smallest_effect=allowed)
    change = value - accepted
    comparison = Comparison(
        JUDGED, rule, Noise(accepted, 0.0, 1), value, change, None, allowed, None
    )
    return GateReport(
        "shapes", Verdict("shapes", 0.05, [comparison]), baseline={"source": "b.json"}
    )


@pytest.fixture
def write(checkout):
    def write(classes=("cat", "dog", "fox"), channels=1, gate=None, **origin):
        outputs = craft_outputs(checkout, list(classes), channels)
        gate = gate or GateReport(error="there is no baseline")
        return write_contents(outputs, Origin(gate, **origin))

    return write


def sentences(report, section):
    (found,) = (each for each in report.sections if each.title == section)
    return [*found.paragraphs, *(block.sentence for block in found.blocks)]


@pytest.mark.parametrize(
    ("classes", "channels"),
    [(("cat", "dog", "fox"), 3), (map(str, range(40)), 1), ((), 1)],
    ids=["three classes of RGB images", "40 classes", "unlabeled"],
)
def test_every_figure_has_a_title_and_a_sentence(write, classes, channels):
    report = write(classes, channels)

    assert [section.title for section in report.sections] == SECTIONS
    for section in report.sections:
        for block in section.blocks:
            assert block.title
            assert block.sentence.endswith("."), block.title


def test_sentences_say_what_the_data_show(write):
    report = write()

    assert "Cat is most often confused with dog: 25% of its test images." in sentences(
        report, "Classification"
    )
    assert (
        "Cat is the hardest class to reconstruct: its error is 3.0 times that of fox."
        in sentences(report, "Autoencoder")
    )
    assert "model.hidden mattered most: it explains 70% of" in " ".join(sentences(report, "Search"))
    assert "DCGAN is the best generator" in sentences(report, "Generators")[0]
    assert "Variant 3 has the lowest error" in " ".join(sentences(report, "Comparisons"))


def test_without_a_search_the_report_says_so(write, checkout):
    outputs = craft_outputs(checkout, ["cat", "dog"])
    write_json(checkout.outputs("search") / "metrics.json", {"trials": {"total": 0}, "epochs": 0})
    outputs = load_outputs(checkout, outputs.params, CALIBRATION)

    report = write_contents(outputs, Origin(GateReport(error="there is no baseline")))

    assert sentences(report, "Search") == [
        "Nothing was searched: all values are those of params.yaml."
    ]


def test_missing_results_of_stages_are_named(checkout):
    outputs = craft_outputs(checkout, ["cat", "dog"])
    for stage in ("vae", "compare/latent_dim"):
        (outputs.folder / stage / "metrics.json").unlink()

    with pytest.raises(EnvironmentProblem, match="no results of vae, compare/latent_dim; run `dvc"):
        load_outputs(checkout, outputs.params, CALIBRATION)


def test_the_share_of_copied_samples_is_stated(write):
    assert "25% of the samples are near-duplicates of training images." in sentences(
        write(), "Generators"
    )


def test_class_names_with_the_same_beginning_keep_their_own_bars(write):
    report = write([f"{'x' * 60} {number}" for number in range(3)])

    (recall,) = (
        block
        for section in report.sections
        for block in section.blocks
        if block.title == "Recall of each class"
    )
    assert recall.chart.count('class="bar') == 3


def test_without_labels_the_report_says_so(write):
    report = write(())

    assert "Training images" in [block.title for block in report.sections[1].blocks]
    assert sentences(report, "Classification") == [
        "shapes has no class labels, so no classifier was trained."
    ]
    assert not any("class" in line for line in report.summary)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.02, "The gate fails: 1 metric became worse (Autoencoder: MSE per pixel)."),
        (
            0.001,
            "The run is an improvement: no metric that can fail became worse, and 1 metric became "
            "better (Autoencoder: MSE per pixel).",
        ),
        (0.01, "The run passes: no metric that can fail changed by more than is allowed."),
    ],
)
def test_the_first_sentence_is_the_verdict_of_the_gate(write, value, verdict):
    report = write(gate=judged(value))

    assert report.summary[0] == verdict
    (table,) = report.sections[0].blocks
    assert table.rows[0][0] == "Autoencoder: MSE per pixel"


def test_without_a_verdict_the_report_gives_the_reason_and_the_values(write):
    report = write()

    assert sentences(report, "Results")[:2] == [
        "The run is not compared with a baseline.",
        "The reason: there is no baseline",
    ]
    assert ["Autoencoder: MSE per pixel", "0.0100"] in report.sections[0].blocks[0].rows


def test_values_of_published_reports_are_shown_next_to_the_metrics(write):
    report = write(gate=judged(0.01), published={JUDGED: 0.0152})

    (table,) = report.sections[0].blocks
    assert table.columns[-1] == "published"
    assert table.rows[0][-1] == "0.0152"


def test_fingerprint_and_changed_parameters_are_listed(write):
    report = write(fingerprint="f" * 64)
    section = report.sections[-1]

    assert f"fingerprint {'f' * 64}." in section.paragraphs[0]
    assert section.commands[-1] == "make repro"
    changed = dict(section.blocks[0].rows)
    assert changed["vae.epochs"] == "2"
    assert "runtime.threads" not in changed
    assert "train.dropout" not in changed


def test_the_report_does_not_depend_on_its_folder(write, checkout):
    report = write()

    assert str(checkout.root) not in as_html(report)
    markdown = as_markdown(report, checkout.outputs("report"))
    assert str(checkout.root) not in markdown
    assert "![Images restored by unet](../denoise/plots/unet.png)" in markdown


def test_class_names_are_text_in_markdown(write, checkout):
    markdown = as_markdown(write(HARD_NAMES), checkout.outputs("report"))

    assert "<script" not in markdown
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;" in markdown


def test_the_description_has_the_summary_and_the_first_table(write):
    report = write()
    text = as_description(report)

    assert f"- {report.summary[0]}" in text
    assert "| Autoencoder: MSE per pixel | 0.0100 |" in text


def test_a_page_refers_to_no_other_file_but_the_explorer(write):
    page = as_html(write())

    addresses = re.findall(r'(?:src|href)="([^"#]*)', page)
    assert {a for a in addresses if not a.startswith("data:")} <= {"explorer.html", ""}
    assert "<script" not in page


@pytest.fixture
def open_report(write, tmp_path, new_page):
    def open_report(classes=HARD_NAMES, **options):
        path = tmp_path / "index.html"
        path.write_text(as_html(write(classes, gate=judged(0.02))), encoding="utf-8")
        return new_page(path.as_uri(), **options)

    return open_report


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_finds_no_problem_of_accessibility(open_report, repository, scheme):
    page = open_report(color_scheme=scheme, bypass_csp=True)
    page.evaluate((repository / "tests" / "vendor" / "axe.min.js").read_text())

    violations = page.evaluate("axe.run().then(result => result.violations)")

    assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []


@pytest.mark.parametrize("count", [5, 40])
def test_a_phone_shows_the_page_without_scrolling_sideways(open_report, count):
    page = open_report((HARD_NAMES + [f"class {n}" for n in range(40)])[:count], viewport=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_class_names_are_text_in_a_browser(open_report):
    page = open_report()

    text = page.locator("svg text").all_text_contents()
    for name in HARD_NAMES:
        assert any(name in each for each in text), name
    assert page.locator("script").count() == 0


def test_the_page_follows_dark_mode(open_report):
    background = "getComputedStyle(document.body).backgroundColor"

    assert open_report(color_scheme="dark").evaluate(background) == "rgb(20, 23, 27)"
    assert open_report(color_scheme="light").evaluate(background) == "rgb(255, 255, 255)"


def test_sections_are_reached_by_keyboard(open_report):
    page = open_report()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    assert page.evaluate("location.hash") == "#data"
