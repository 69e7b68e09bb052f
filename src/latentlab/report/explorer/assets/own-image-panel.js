"use strict";
/* An own image: its code, class and neighbors, and its corrupted versions after each network. */

const TOP_CLASSES = 3;

/** Normal numbers and a position that are drawn once, so that a slider changes the severity only. */
const NOISE = Float32Array.from({ length: DEPTH * SIZE * SIZE }, randomNormal);
const SQUARE = [Math.random(), Math.random()];

/** Add noise of a standard deviation, and cover a share of an image with a black square. */
function corrupt(values, deviation, share) {
  const side = Math.round(Math.sqrt(share) * SIZE);
  const [left, top] = SQUARE.map((place) => Math.floor(place * (SIZE - side + 1)));
  return values.map((value, i) => {
    const [x, y] = [i % SIZE, Math.floor(i / SIZE) % SIZE];
    const covered = x >= left && x < left + side && y >= top && y < top + side;
    return covered ? 0 : value + deviation * NOISE[i];
  });
}

function mirror(values) {
  return values.map((_, i) => values[i - (i % SIZE) + SIZE - 1 - (i % SIZE)]);
}

/** Return the probability of each class. */
async function classify(values) {
  const shape = [DEPTH, SIZE, SIZE];
  let features = await RUNTIME.run("classifier.features", values, shape);
  if (DATA.classifier.mirrored) {
    const mirrored = await RUNTIME.run("classifier.features", mirror(values), shape);
    features = features.map((value, i) => (value + mirrored[i]) / 2);
  }
  const logits = await RUNTIME.run("classifier.logits", features, [features.length]);
  const largest = Math.max(...logits);
  const shares = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}

function createOwnImagePanel(app) {
  let image = null;

  const show = latestOnly(async () => {
    const { space } = app;
    if (!image) return;
    const [deviation, share] = ["noise", "occlusion"].map((id) => Number(byId(id).value));
    byId("noise-value").textContent = deviation.toFixed(2);
    byId("occlusion-value").textContent = `${Math.round(100 * share)}%`;
    const input = corrupt(image, deviation, share);
    const code = await space.encode(input);
    const outputs = [[space.title, await space.decode(code)]];
    for (const { name, network, clips } of DATA.denoisers) {
      const clipped = clips ? input.map((value) => clamp(value, 0, 1)) : input;
      outputs.push([`denoiser ${name}`, await RUNTIME.run(network, clipped, [DEPTH, SIZE, SIZE])]);
    }
    const shown = deviation || share ? [["corrupted", input], ...outputs] : outputs;
    byId("outputs").replaceChildren(...shown.map(([name, values]) => outputFigure(name, values)));
    if (DATA.classifier) showClasses(await classify(input));
    const nearest = space.nearest(code, NEIGHBORS);
    byId("own-nearest").replaceChildren(
      ...nearest.map(({ index, distance }) =>
        imageButton(index, fixed(distance), () => app.selectImage(index)),
      ),
    );
    app.map.mark({ own: code });
    byId("own-results").hidden = false;
  });

  function outputFigure(name, values) {
    const error = formatError(meanSquaredError(values, image));
    return element(
      "figure",
      {},
      picture(values, `${name}, mean squared error ${error}`),
      element("figcaption", {}, name, element("span", { className: "number" }, `MSE ${error}`)),
    );
  }

  function showClasses(probabilities) {
    const order = probabilities.map((share, label) => ({ share, label }));
    order.sort((a, b) => b.share - a.share);
    const rows = order.slice(0, TOP_CLASSES).map(({ share, label }) => {
      const percent = `${(100 * share).toFixed(1)}%`;
      const bar = element("span", {
        className: "bar",
        style: `width: ${100 * share}%; background: ${classColor(label)}`,
      });
      return element(
        "li",
        {},
        nameOf(CLASSES[label]),
        element("span", { className: "bar-track" }, bar),
        element("span", { className: "number" }, percent),
      );
    });
    byId("classes").replaceChildren(...rows);
  }

  const pad = createDrawingPad((values) => {
    image = values;
    show();
  });
  byId("noise").oninput = byId("occlusion").oninput = show;
  byId("own-classes").hidden = !DATA.classifier;
  byId("find-own").onclick = async () => {
    const code = Array.from(await app.space.encode(image));
    update({ at: code });
    app.map.jumpTo(code);
  };
  byId("random-image").onclick = () => pad.show(Math.floor(Math.random() * DATA.images.count));
  whenChanged(["tab"], show);
  return { use: (index) => pad.show(index) };
}
