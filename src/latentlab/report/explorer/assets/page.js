"use strict";
/* The data of the page, and helpers for elements and images. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const CLASSES = DATA.dataset.classes;
const [DEPTH, SIZE] = DATA.dataset.shape;
const LABELS = DATA.images.labels;
const SOURCES = Array.from(document.querySelectorAll(".worker-source"), (each) => each.textContent);
const RUNTIME = createRuntime(DATA.networks, SOURCES);

const PALETTE = [
  "#3b7dd8", "#e8863a", "#3f9f52", "#d64550", "#8a63c9", "#9a6a4f", "#db6fb4", "#7f8790", "#a8a02a",
  "#27a5b5",
];

/** Return the color of a class; more than ten classes get evenly spread hues. */
function classColor(label) {
  if (label === null) return PALETTE[0];
  if (CLASSES.length <= PALETTE.length) return PALETTE[label];
  return `hsl(${(label * 137.508) % 360} 58% ${label % 2 ? 62 : 48}%)`;
}

const labelOf = (index) => (LABELS ? LABELS[index] : null);
const classOf = (index) => (LABELS ? CLASSES[LABELS[index]] : `image ${index + 1}`);
const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Return a number with a fixed number of decimals and a real minus sign. */
const fixed = (value, decimals = 2) => value.toFixed(decimals).replace("-", "−");
const formatError = (value) => fixed(value, 4);

/** Create an element. Text is never parsed as HTML, and attributes are set as properties. */
function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in created && name !== "list") created[name] = value;
    else created.setAttribute(name, value);
  }
  created.append(...children);
  return created;
}

/** Create the element of a class name, which may be written from right to left. */
const nameOf = (text) => element("bdi", { className: "name", title: text }, text);

function button(text, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, text);
}

/* --- Images: Float32Array [channels, size, size] in [0, 1] ---------------------------------- */

function paint(canvas, values) {
  canvas.width = canvas.height = SIZE;
  const image = new ImageData(SIZE, SIZE);
  const plane = SIZE * SIZE;
  for (let i = 0; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * i + channel] = 255 * values[DEPTH === 3 ? channel * plane + i : i] + 0.5;
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Create a canvas that shows an image and describes it to screen readers. */
function picture(values, description) {
  const canvas = element("canvas", { className: "pixels", role: "img", "aria-label": description });
  return paint(canvas, values);
}

/** Convert the pixels of a canvas to an image. */
function valuesOf(context, x = 0, y = 0) {
  const { data } = context.getImageData(x, y, SIZE, SIZE);
  const plane = SIZE * SIZE;
  const values = new Float32Array(DEPTH * plane);
  for (let i = 0; i < plane; i++) {
    const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
    if (DEPTH === 3) [red, green, blue].forEach((v, c) => (values[c * plane + i] = v / 255));
    else values[i] = (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
  }
  return values;
}

const meanSquaredError = (a, b) =>
  a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length;

/** The picture that contains all test images, row by row. */
const ATLAS = {
  image: new Image(),
  context: null,
  async load() {
    this.image.src = DATA.images.atlas;
    await this.image.decode();
    const canvas = element("canvas", { width: this.image.width, height: this.image.height });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(this.image, 0, 0);
  },
  position: (index) => [
    (index % DATA.images.columns) * SIZE,
    Math.floor(index / DATA.images.columns) * SIZE,
  ],
  values(index) {
    return valuesOf(this.context, ...this.position(index));
  },
  /** Draw a test image with its left upper corner at (x, y) and this width. */
  draw(context, index, x, y, width) {
    context.drawImage(this.image, ...this.position(index), SIZE, SIZE, x, y, width, width);
  },
};

/** Create a button with a test image, its class and a note. */
function imageButton(index, note, onclick) {
  const label = `Test image ${classOf(index)}, ${note}`;
  return element(
    "button",
    { type: "button", className: "image-button", onclick, "aria-label": label },
    paint(element("canvas", { className: "pixels" }), ATLAS.values(index)),
    LABELS ? nameOf(classOf(index)) : "",
    element("span", { className: "number" }, note),
  );
}

/** Standard normal numbers (Box and Muller 1958). */
function randomNormal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}
