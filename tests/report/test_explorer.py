"""The explorer in a browser, opened from disk without a network."""

import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from explorers import IMAGES, NAMES, build_explorer
from latentlab.evaluation.latent.interpolation import linear_interpolation, smoothness

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def explorer(tmp_path_factory, repository):
    return build_explorer(tmp_path_factory.mktemp("gray"), repository / "params.yaml", NAMES)


@pytest.fixture
def open_explorer(new_page):
    def open_explorer(explorer, fragment="", **options):
        page = new_page(explorer.address + fragment, **options)
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    return open_explorer


def pixels(page, canvas):
    """Return the gray levels [C, S, S] of a canvas."""
    script = f"() => Array.from(valuesOf(document.querySelector('{canvas}').getContext('2d')))"
    return torch.tensor(page.evaluate(script))


def wait_for_pixels(page, canvas, expected):
    """Wait until a canvas shows the expected image [C, S, S], up to one gray level."""
    page.wait_for_function(
        f"""(expected) => valuesOf(document.querySelector('{canvas}').getContext('2d'))
            .every((value, i) => Math.abs(value - expected[i]) < 1.5 / 255)""",
        arg=expected.clamp(0, 1).flatten().tolist(),
        timeout=10_000,
    )


def fragment_of(page):
    page.wait_for_timeout(400)  # the address changes after a delay
    return page.evaluate("location.hash")


def code_of(page, name="at"):
    return torch.tensor(page.evaluate(f"Array.from(STATE.{name})"))[None]


@torch.no_grad()
def test_a_code_in_the_address_is_decoded_as_by_pytorch(explorer, open_explorer):
    code = torch.tensor([[0.5, -1.0, 0.25, 2.0]])

    page = open_explorer(explorer, "#tab=vae&at=0.5,-1,0.25,2")

    wait_for_pixels(page, "#decoded", explorer.models.vae.decode(code))
    assert page.input_value("#command") == "latentlab decode --model vae --at=0.5,-1,0.25,2"


@torch.no_grad()
@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_the_point_under_the_pointer_is_decoded(explorer, open_explorer, projection):
    page = open_explorer(explorer, f"#map={projection}")
    page.hover("#map", position={"x": 200, "y": 150})

    page.wait_for_function("byId('point-title').textContent === 'Point under the pointer'")
    _, _, values = page.input_value("#command").partition("--at=")
    code = torch.tensor([[float(value) for value in values.split(",")]])
    wait_for_pixels(page, "#decoded", explorer.models.autoencoder.decode(code))
    assert page.locator("#nearest button").count() == 5
    codes = explorer.models.autoencoder.encode(explorer.test.floats())
    if projection == "pca":  # the code is in the plane of the map
        fitted = PCA(2).fit(codes)
        restored = fitted.inverse_transform(fitted.transform(code.numpy()))
        np.testing.assert_allclose(code.numpy(), restored, atol=2e-3)
    else:  # the code is between those of images
        assert bool((code >= codes.min(0).values).all() & (code <= codes.max(0).values).all())
    far = page.locator("#map").bounding_box()
    page.hover("#map", position={"x": far["width"] - 40, "y": far["height"] - 40})
    page.wait_for_function("(before) => !byId('command').value.endsWith(before)", arg=values)


@torch.no_grad()
def test_the_map_places_the_codes_of_the_test_images(explorer, open_explorer):
    page = open_explorer(explorer)
    codes = explorer.models.autoencoder.encode(explorer.test.floats())

    shown = torch.tensor(page.evaluate("Array.from(app.space.codes)")).reshape(IMAGES, -1)
    assert torch.allclose(shown, codes, atol=1e-5)
    for index in (0, 7):
        place = f"app.space.toMap(app.space.code({index}), app.space.maps.pca)"
        point = f"Array.from(app.space.maps.pca.points.slice({2 * index}, {2 * index + 2}))"
        assert page.evaluate(place) == pytest.approx(page.evaluate(point), abs=1e-4)
    assert page.evaluate("app.space.nearest(app.space.code(7), 1)[0].index") == 7
    assert page.evaluate("app.space.shareCloser(0)") == 0
    assert page.evaluate("app.space.shareCloser(1e9)") == 1


@torch.no_grad()
def test_sliders_and_class_centroids_change_the_code(explorer, open_explorer):
    page = open_explorer(explorer)
    page.locator("#sliders input").first.fill("0.01")
    page.locator("#sliders input").first.press("ArrowRight")

    wait_for_pixels(page, "#decoded", explorer.models.autoencoder.decode(code_of(page)))
    page.locator("#centroids button").nth(2).click()
    centroid = explorer.content["spaces"][0]["centroids"][2]
    assert code_of(page)[0].tolist() == pytest.approx(centroid)
    page.click("#draw-density")
    assert code_of(page)[0].tolist() != pytest.approx(centroid)


@torch.no_grad()
def test_two_clicks_on_the_map_make_an_interpolation(explorer, open_explorer):
    page = open_explorer(explorer)
    page.click("#map", position={"x": 150, "y": 150})
    page.click("#map", position={"x": 300, "y": 250})

    page.wait_for_selector("#frames button:nth-child(9)")
    codes = linear_interpolation(code_of(page, "from")[0], code_of(page, "to")[0], 9)
    images = explorer.models.autoencoder.decode(codes)
    wait_for_pixels(page, "#frames button:nth-child(3) canvas", images[2])
    assert float(page.text_content("#smoothness")) == pytest.approx(smoothness(images), abs=0.02)
    page.fill("#scrub", "1")
    wait_for_pixels(page, "#current-frame", images[-1])
    page.click("#play")
    page.wait_for_function("STATE.t < 0.95")
    page.click("#play")
    page.check("#spherical")
    assert "kind=spherical" in fragment_of(page)


@torch.no_grad()
def test_an_interpolation_is_saved_as_png_and_gif(explorer, open_explorer):
    page = open_explorer(explorer, "#from=1,0,0,0&to=0,1,0,2")
    decode = explorer.models.autoencoder.decode
    ends = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 2]])

    for name, kind, frames in (("png", "PNG", 1), ("gif", "GIF", 46)):
        with page.expect_download() as download:
            page.click(f"#export-{name}")
        image = Image.open(io.BytesIO(download.value.path().read_bytes()))
        assert (image.format, getattr(image, "n_frames", 1)) == (kind, frames)
        scale = image.height // 8
        gray = torch.from_numpy(np.array(image.convert("L")))
        first = gray[scale // 2 :: scale, scale // 2 :: scale][:, :8]
        expected = (decode(ends[:1]).reshape(8, 8) * 255).round()
        assert (first - expected).abs().max() <= 1


@torch.no_grad()
def test_a_drawn_image_is_reconstructed_classified_and_placed(explorer, open_explorer):
    models = explorer.models
    page = open_explorer(explorer)
    page.click("#clear-pad")
    page.click("#pad", position={"x": 60, "y": 80})
    page.click("#pad", position={"x": 160, "y": 120})
    drawn = pixels(page, "#pad").reshape(1, 1, 8, 8)

    assert drawn.max() > 0.5
    wait_for_pixels(page, "#outputs figure:nth-child(1) canvas", models.autoencoder(drawn))
    wait_for_pixels(page, "#outputs figure:nth-child(3) canvas", models.unet(drawn))
    shares = page.evaluate("(v) => classify(Float32Array.from(v))", drawn.flatten().tolist())
    assert torch.allclose(torch.tensor(shares), models.classifier(drawn).softmax(1), atol=1e-3)
    page.click("#find-own")
    page.wait_for_function("STATE.zoom === 2")
    assert torch.allclose(code_of(page), models.autoencoder.encode(drawn), atol=1e-3)
    page.fill("#noise", "0.5")
    values = "Array.from(corrupt(Float32Array.from(v), 0.5, 0))"
    noisy = torch.tensor(page.evaluate(f"(v) => {values}", drawn.flatten().tolist()))
    noisy = noisy.reshape(drawn.shape)
    assert noisy.min() < 0
    wait_for_pixels(page, "#outputs figure:nth-child(2) canvas", models.autoencoder(noisy))
    wait_for_pixels(page, "#outputs figure:nth-child(4) canvas", models.unet(noisy.clamp(0, 1)))
    page.fill("#occlusion", "0.3")
    page.wait_for_selector("text=corrupted")


@torch.no_grad()
def test_a_bernoulli_vae_sees_the_same_binary_image_every_time(tmp_path, repository, open_explorer):
    explorer = build_explorer(tmp_path, repository / "params.yaml", NAMES, likelihood="bernoulli")
    page = open_explorer(explorer, "#tab=vae")
    gray = explorer.test.floats()[:1]
    encode = "(v) => app.space.encode(Float32Array.from(v)).then((code) => Array.from(code))"

    codes = [torch.tensor([page.evaluate(encode, gray.flatten().tolist())]) for _ in range(2)]

    binary = (torch.tensor(page.evaluate("Array.from(DRAWS)")) < gray.flatten()).float()
    expected, _ = explorer.models.vae.encode(binary.reshape(gray.shape))
    assert torch.equal(codes[0], codes[1])
    assert torch.allclose(codes[0], expected, atol=1e-3)


def test_an_image_file_can_be_loaded_and_other_files_are_refused(explorer, open_explorer, tmp_path):
    Image.new("RGB", (30, 20), "white").save(tmp_path / "white.png")
    (tmp_path / "text.txt").write_text("text")
    page = open_explorer(explorer)

    page.set_input_files("#file", tmp_path / "white.png")
    page.wait_for_function("valuesOf(byId('pad').getContext('2d')).every((v) => v > 0.99)")
    page.set_input_files("#file", tmp_path / "text.txt")
    page.wait_for_selector("text=This file is not an image.")


def test_the_legend_hides_classes_and_the_lists_jump_to_the_map(explorer, open_explorer):
    page = open_explorer(explorer)
    page.locator("#legend button").nth(1).click()

    assert page.locator("#legend button").nth(1).get_attribute("aria-pressed") == "false"
    assert "hide=1" in fragment_of(page)
    page.locator("#misclassified button").first.click()
    page.wait_for_function("STATE.zoom === 2")
    assert page.locator("#worst button").count() == 12


def test_an_address_shows_the_same_view_again(explorer, open_explorer):
    fragment = "#tab=vae&map=tsne&at=1,2,3,4&from=1,0,0,0&to=0,0,0,1&t=0.25&hide=0,2&zoom=3&x=1&y=2"
    page = open_explorer(explorer, fragment)
    page.check("#tiles")

    assert set(fragment_of(page)[1:].split("&")) == {*fragment[1:].split("&"), "tiles=1"}
    assert page.input_value("#projection") == "tsne"
    assert page.get_attribute("#tab-vae", "aria-selected") == "true"


def test_an_address_that_does_not_fit_is_repaired(explorer, open_explorer):
    page = open_explorer(explorer, "#tab=other&map=x&at=1,2&hide=99,nan&t=7&zoom=-1&kind=cubic&y=z")

    assert page.get_attribute("#tab-autoencoder", "aria-selected") == "true"
    assert page.evaluate("[STATE.t, STATE.zoom, STATE.kind, STATE.at.length]") == [
        1,
        0.5,
        "linear",
        4,
    ]


def test_everything_on_the_map_works_with_the_keyboard(explorer, open_explorer):
    page = open_explorer(explorer)
    page.focus("#map")
    page.keyboard.press("ArrowLeft")
    assert page.text_content("#point-title") is not None
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#interpolation:not([hidden])")
    page.keyboard.press("+")
    assert page.evaluate("STATE.zoom") == 1.5
    page.keyboard.press("Escape")
    page.wait_for_selector("#interpolation", state="hidden")
    page.focus("#tab-autoencoder")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-vae", "aria-selected") == "true"


@torch.no_grad()
def test_the_generator_shows_images_of_its_noise_and_class(explorer, open_explorer):
    page = open_explorer(explorer, "#tab=generator&noise=1,0,-1,0.5,0,2&label=2")
    inputs = torch.tensor([[1, 0, -1, 0.5, 0, 2, 0, 0, 1, 0]])

    wait_for_pixels(page, "#generated", (explorer.models.generator(inputs) + 1) / 2)
    page.wait_for_selector("#samples button:nth-child(24)")
    assert page.locator("#same-noise figure").count() == len(NAMES)
    page.click("#new-noise")
    assert page.evaluate("STATE.noise[0]") != 1


def test_class_names_are_text(explorer, open_explorer):
    page = open_explorer(explorer)

    assert page.locator("#legend bdi").all_text_contents() == NAMES
    assert page.text_content(".page-header bdi") == '<b>"own"</b>'
    assert page.locator("#from-class option").all_text_contents()[1:] == NAMES
    assert page.title() == 'Latent space of <b>"own"</b>'


@pytest.mark.parametrize("tab", ["autoencoder", "generator"])
def test_a_phone_needs_no_horizontal_scrolling(explorer, open_explorer, tab):
    page = open_explorer(explorer, f"#tab={tab}&from=1,0,0,0&to=0,1,0,2", viewport=PHONE)

    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["vae", "generator"])
def test_axe_finds_no_barriers(explorer, open_explorer, repository, tab, scheme):
    fragment = f"#tab={tab}&from=1,0,0,0&to=0,1,0,2&hide=1"
    page = open_explorer(explorer, fragment, color_scheme=scheme)
    page.wait_for_selector("#samples button" if tab == "generator" else "#frames button")
    page.add_script_tag(path=repository / "tests" / "vendor" / "axe.min.js")

    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


def test_dark_mode_follows_the_system(explorer, open_explorer):
    colors = [
        open_explorer(explorer, color_scheme=scheme).evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        for scheme in ("light", "dark")
    ]

    assert min(colors[0]) > 200
    assert max(colors[1]) < 50


@torch.no_grad()
@pytest.mark.parametrize("policy", ["", "worker-src 'none'"])
def test_the_page_works_in_a_sandbox_and_without_workers(
    explorer, new_page, tmp_path, policy, errors
):
    rule = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    text = explorer.page.read_text(encoding="utf-8").replace("<head>", f"<head>{rule}")
    (tmp_path / "inner.html").write_text(text, encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text('<iframe sandbox="allow-scripts" src="inner.html" width=900></iframe>')

    page = new_page(outer.as_uri())
    frame = page.frames[1]
    frame.wait_for_selector("html[data-ready]", state="attached")
    code = torch.tensor([frame.evaluate("Array.from(STATE.at)")])
    wait_for_pixels(frame, "#decoded", explorer.models.autoencoder.decode(code))
    assert frame.evaluate("RUNTIME.usesWorker()") == (not policy)
    if policy:  # Chromium reports it
        errors[:] = [error for error in errors if policy not in error]


@torch.no_grad()
def test_unlabeled_color_images_with_two_latent_dimensions(tmp_path, repository, open_explorer):
    explorer = build_explorer(tmp_path, repository / "params.yaml", [], depth=3, codes=2)
    page = open_explorer(explorer, "#at=0.5,1")

    wait_for_pixels(page, "#decoded", explorer.models.autoencoder.decode(torch.tensor([[0.5, 1]])))
    assert page.input_value("#projection") == "code"
    clusters = page.locator("#legend button").all_inner_texts()
    assert clusters == [f"cluster {number}" for number in range(1, len(clusters) + 1)]
    assert len(clusters) > 1
    assert page.locator("#centroids button").count() == len(clusters)
    for hidden in ("#errors", "#own-classes"):
        assert page.is_hidden(hidden)
    page.click("#tab-generator")
    page.wait_for_selector("#samples button:nth-child(24)")
    assert page.is_hidden("#generator-classes-row")


def test_forty_classes_have_different_colors(tmp_path, repository, open_explorer):
    names = [f"class {number}" for number in range(40)]
    page = open_explorer(build_explorer(tmp_path, repository / "params.yaml", names, depth=3))

    assert len(set(page.evaluate("CLASSES.map((_, label) => classColor(label))"))) == 40
    assert page.locator("#legend button").count() == 40


def test_equal_outputs_give_an_equal_page(tmp_path, repository):
    pages = [
        build_explorer(tmp_path / name, repository / "params.yaml", NAMES).content
        for name in ("first", "second")
    ]

    assert json.dumps(pages[0]) == json.dumps(pages[1])


def test_the_page_refers_to_no_other_file(explorer):
    text = explorer.page.read_text(encoding="utf-8")

    references = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', text)
    assert {each for pair in references for each in pair if each} == {"data:,", "index.html"}
