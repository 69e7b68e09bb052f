"use strict";
/* The GAN's generator: one image from noise and a class, the same noise for all classes, samples. */

const SAMPLES = 24;

function createGeneratorPanel() {
  if (!DATA.generator) return { show() {} };
  const { noise_dim: noiseDim, classes } = DATA.generator;
  let sliders = [];

  const drawNoise = () => Array.from({ length: noiseDim }, randomNormal);

  async function generate(noise, label) {
    const input = new Float32Array(noiseDim + classes);
    input.set(noise);
    if (classes) input[noiseDim + label] = 1;
    const values = await RUNTIME.run("generator", input, [input.length]);
    return values.map((value) => (value + 1) / 2); // the output is in [-1, 1]
  }

  const showImage = latestOnly(async () => {
    const label = clamp(STATE.label, 0, Math.max(0, classes - 1));
    const canvas = paint(byId("generated"), await generate(STATE.noise, label));
    const name = classes ? CLASSES[label] : "image";
    canvas.setAttribute("aria-label", `Generated ${name}`);
    for (const chip of byId("generator-classes").children) {
      chip.setAttribute("aria-pressed", String(Number(chip.dataset.label) === label));
    }
    const all = [];
    for (let each = 0; each < classes; each++) {
      const values = await generate(STATE.noise, each);
      all.push(
        element("figure", {}, picture(values, `Generated ${CLASSES[each]}`),
          element("figcaption", {}, nameOf(CLASSES[each]))),
      );
    }
    byId("same-noise").replaceChildren(...all);
  });

  const showSamples = latestOnly(async () => {
    const label = clamp(STATE.label, 0, Math.max(0, classes - 1));
    const samples = [];
    for (let i = 0; i < SAMPLES; i++) {
      const noise = drawNoise();
      const frame = button("", () => update({ noise }), {
        className: "frame",
        "aria-label": `Use the noise of sample ${i + 1}`,
      });
      frame.append(paint(element("canvas", { className: "pixels" }), await generate(noise, label)));
      samples.push(frame);
    }
    byId("samples").replaceChildren(...samples);
  });

  function showSliders() {
    sliders.forEach((slider, i) => {
      slider.input.value = STATE.noise[i];
      slider.output.textContent = fixed(STATE.noise[i]);
    });
  }

  function create() {
    const chips = CLASSES.slice(0, classes).map((name, label) => {
      const chip = button("", () => update({ label }), { className: "chip", "data-label": label });
      const color = `background: ${classColor(label)}`;
      chip.append(element("span", { className: "swatch", style: color }), nameOf(name));
      return chip;
    });
    byId("generator-classes").replaceChildren(...chips);
    byId("generator-classes-row").hidden = byId("same-noise-card").hidden = !classes;
    sliders = Array.from({ length: noiseDim }, (_, i) => {
      const input = element("input", {
        type: "range", min: -3, max: 3, step: 0.01, "aria-label": `Noise ${i + 1}`,
      });
      const output = element("output", { className: "number" });
      input.oninput = () => {
        const noise = Array.from(STATE.noise);
        noise[i] = Number(input.value);
        update({ noise });
      };
      const range = element("span", { className: "range" }, input);
      return { row: element("label", { className: "slider" }, `${i + 1}`, range, output), input, output };
    });
    byId("noise-sliders").replaceChildren(...sliders.map(({ row }) => row));
    byId("new-noise").onclick = () => update({ noise: drawNoise() });
    byId("zero-noise").onclick = () => update({ noise: new Array(noiseDim).fill(0) });
    byId("new-samples").onclick = showSamples;
  }

  function show() {
    if (STATE.tab !== "generator") return;
    if (!sliders.length) create();
    if (STATE.noise?.length !== noiseDim) {
      update({ noise: drawNoise() }); // calls `show` again
      return;
    }
    showSliders();
    showImage();
  }

  whenChanged(["noise", "label", "tab"], show);
  whenChanged(["label", "tab"], () => {
    if (STATE.tab === "generator") showSamples();
  });
  return {
    show() {
      show();
      if (STATE.tab === "generator") showSamples();
    },
  };
}
