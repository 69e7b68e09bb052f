"use strict";
/* A drawing pad of the size of the images, which also accepts files. */

/** Connect the pad; `onImage(values)` is called when its image has changed. */
function createDrawingPad(onImage) {
  const canvas = byId("pad");
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let last = null;

  const changed = () => onImage(valuesOf(context));

  function clear() {
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIZE, SIZE);
    changed();
  }

  function placeOf(event) {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * SIZE,
      ((event.clientY - box.top) / box.height) * SIZE,
    ];
  }

  function stroke(position) {
    context.strokeStyle = DEPTH === 3 ? byId("brush-color").value : "#fff";
    context.lineWidth = Math.max(1.5, (Number(byId("brush").value) / 28) * SIZE);
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...(last ?? position));
    context.lineTo(position[0] + 0.01, position[1]);
    context.stroke();
    last = position;
    changed();
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = null;
    stroke(placeOf(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) stroke(placeOf(event));
  });

  /** Show an image file, cropped to a square around its center. */
  async function load(file) {
    if (!file?.type.startsWith("image/")) {
      byId("pad-message").textContent = "This file is not an image.";
      return;
    }
    try {
      const image = await createImageBitmap(file);
      const side = Math.min(image.width, image.height);
      const left = (image.width - side) / 2;
      const top = (image.height - side) / 2;
      context.imageSmoothingQuality = "high";
      context.drawImage(image, left, top, side, side, 0, 0, SIZE, SIZE);
      byId("pad-message").textContent = "";
      changed();
    } catch {
      byId("pad-message").textContent = "This image cannot be read.";
    }
  }

  const dropZone = byId("own-image");
  dropZone.addEventListener("dragover", (event) => event.preventDefault());
  dropZone.addEventListener("drop", (event) => {
    event.preventDefault();
    load(event.dataTransfer.files[0]);
  });
  byId("file").onchange = (event) => load(event.target.files[0]);
  byId("clear-pad").onclick = clear;
  byId("invert-pad").onclick = () => {
    context.globalCompositeOperation = "difference";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIZE, SIZE);
    context.globalCompositeOperation = "source-over";
    changed();
  };
  byId("brush-color-field").hidden = DEPTH !== 3;
  context.fillStyle = "#000";
  context.fillRect(0, 0, SIZE, SIZE);

  return {
    /** Show a test image. */
    show(index) {
      ATLAS.draw(context, index, 0, 0, SIZE);
      changed();
    },
  };
}
