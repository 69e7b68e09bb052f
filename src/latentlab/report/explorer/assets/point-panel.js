"use strict";
/* The decoded image of a point, its nearest test images, and a slider for each dimension. */

const NEIGHBORS = 5;
const BINS = 40;
const EDGE = 0.95; // shares of test images that are closer to their neighbor
const OUTSIDE = 0.99;

/** Return where a distance to the nearest test image lies among those between test images. */
function describeDistance(space, distance) {
  const share = space.shareCloser(distance);
  if (share <= EDGE) return { level: "inside", text: "Within the data" };
  if (share <= OUTSIDE) return { level: "edge", text: "At the edge of the data" };
  return { level: "outside", text: "Outside the data" };
}

/** Show the image of a point; returns a function that shows a code. */
function createPointPanel(app) {
  const show = latestOnly(async (code, isPointer) => {
    const { space } = app;
    const values = await space.decode(code);
    if (space !== app.space) return;
    const canvas = paint(byId("decoded"), values);
    const nearest = space.nearest(code, NEIGHBORS);
    const { level, text } = describeDistance(space, nearest[0].distance);
    canvas.setAttribute(
      "aria-label",
      `Decoded image; the nearest test image is ${classOf(nearest[0].index)}`,
    );
    byId("point-title").textContent = isPointer ? "Point under the pointer" : "Selected point";
    byId("distance-level").textContent = text;
    byId("distance-level").dataset.level = level;
    byId("distance").textContent = fixed(nearest[0].distance);
    byId("typical-distance").textContent = fixed(space.distances[50]);
    byId("nearest").replaceChildren(
      ...nearest.map(({ index, distance }) =>
        imageButton(index, fixed(distance), () => app.selectImage(index)),
      ),
    );
    app.map.mark({ neighbors: nearest });
    const at = Array.from(code, (value) => Number(value.toFixed(3))).join(",");
    byId("command").value = `latentlab decode --model ${space.name} --at=${at}`;
  });

  byId("copy").onclick = async () => {
    const field = byId("command");
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      field.select();
      document.execCommand("copy"); // also works in a sandboxed frame
    }
    byId("copy").textContent = "Copied";
    setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
  };
  return show;
}

/** Create the sliders of the latent dimensions and the buttons that select codes. */
function createCodePanel(app) {
  let sliders = [];

  function showSpace() {
    const { space } = app;
    sliders = Array.from({ length: space.dimensions }, (_, dimension) => slider(space, dimension));
    byId("sliders").replaceChildren(...sliders.map(({ row }) => row));
    const centroids = space.centroids.map((code, label) =>
      code ? button("", () => update({ at: code }), { className: "chip" }) : null,
    );
    centroids.forEach((chip, label) => {
      if (!chip) return;
      const color = `background: ${classColor(label)}`;
      chip.append(element("span", { className: "swatch", style: color }), nameOf(CLASSES[label]));
    });
    byId("centroids").replaceChildren(...centroids.filter(Boolean));
    byId("centroids-row").hidden = !centroids.some(Boolean);
    byId("draw-prior").hidden = !space.has_prior;
    showCode();
  }

  function showCode() {
    sliders.forEach(({ input, output }, dimension) => {
      const value = STATE.at?.[dimension] ?? 0;
      input.value = value;
      output.textContent = fixed(value);
    });
  }

  byId("draw-density").onclick = () => update({ at: app.space.drawFromDensity() });
  byId("draw-prior").onclick = () => update({ at: app.space.drawFromPrior() });
  whenChanged(["tab"], showSpace);
  whenChanged(["at"], showCode);
  return { show: showSpace };
}

/** Create a slider from the smallest to the largest value of a dimension, and its histogram. */
function slider(space, dimension) {
  const values = Array.from({ length: space.count }, (_, i) => space.codes[i * space.dimensions + dimension]);
  const [smallest, largest] = [Math.min(...values), Math.max(...values)];
  const border = Math.max(largest - smallest, 1e-3) * 0.1;
  const [low, high] = [smallest - border, largest + border];
  const counts = new Array(BINS).fill(0);
  for (const v of values) counts[Math.min(BINS - 1, Math.floor(((v - low) / (high - low)) * BINS))]++;
  const tallest = Math.max(...counts);
  const path = counts.map((n, i) => `M${i} 20v${(-18 * n) / tallest}h1V20z`).join("");
  const histogram = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  histogram.setAttribute("viewBox", `0 0 ${BINS} 20`);
  histogram.setAttribute("preserveAspectRatio", "none");
  histogram.setAttribute("aria-hidden", "true");
  const bars = document.createElementNS("http://www.w3.org/2000/svg", "path");
  bars.setAttribute("d", path);
  histogram.append(bars);

  const name = `z${dimension + 1}`;
  const input = element("input", {
    type: "range", min: low, max: high, step: "any",
    "aria-label": `Latent dimension ${dimension + 1}`,
  });
  const output = element("output", { className: "number" });
  input.oninput = () => {
    const code = Array.from(STATE.at);
    code[dimension] = Number(input.value);
    update({ at: code });
  };
  const range = element("span", { className: "range" }, histogram, input);
  return { row: element("label", { className: "slider" }, name, range, output), input, output };
}
