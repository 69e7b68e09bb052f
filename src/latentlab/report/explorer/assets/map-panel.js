"use strict";
/* The map with its toolbar and legend, and how pointer and keyboard move on it. */

const KEY_STEP = 12; // pixels that an arrow key moves the pointer
const CLICK_DISTANCE = 4; // pixels within which a press and release count as a click
const INVERSES = {
  identity: "Points of the map are codes.",
  linear:
    "Points of the map are decoded by the inverse of PCA: all other components are at their mean.",
  neighbors:
    `Points of the map are decoded from the codes of the ${MAP_NEIGHBORS} nearest images, ` +
    "weighted by their distance.",
};

/** Connect the map; `onPoint(code or null)` is called while the pointer moves. */
function createMapPanel(app, onPoint) {
  const canvas = byId("map");
  const map = new LatentMap(canvas);
  const pointers = new Map();
  let pressed = null;
  let pinch = 0;

  const currentMap = () => app.space.maps[STATE.map] ?? Object.values(app.space.maps)[0];
  const pixelOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  function pointAt(pixel) {
    map.marks.pointer = map.toPoint(pixel);
    onPoint(app.space.fromMap(map.marks.pointer, currentMap()));
    map.draw();
  }

  function leave() {
    map.marks.pointer = null;
    onPoint(null);
    map.draw();
  }

  /** Select a point; the first two are the ends of an interpolation. */
  function select(pixel) {
    const code = app.space.fromMap(map.toPoint(pixel), currentMap());
    const second = STATE.from && !STATE.to;
    update({ at: code, ...(second ? { to: code, t: 0.5 } : { from: code, to: null }) });
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, pixelOf(event));
    pressed = { pixel: pixelOf(event), moved: false };
    pinch = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const pixel = pixelOf(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      pointAt(pixel);
      return;
    }
    pointers.set(event.pointerId, pixel);
    if (pointers.size === 2) {
      const [a, b] = pointers.values();
      const distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (pinch) map.zoomBy(distance / pinch, [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
      pinch = distance;
      pressed.moved = true;
      return;
    }
    const [dx, dy] = [pixel[0] - pressed.pixel[0], pixel[1] - pressed.pixel[1]];
    pressed.moved ||= Math.hypot(dx, dy) > CLICK_DISTANCE;
    if (pressed.moved) map.panBy(pixel[0] - before[0], pixel[1] - before[1]);
  });
  canvas.addEventListener("pointerup", (event) => {
    pointers.delete(event.pointerId);
    if (pressed && !pressed.moved) {
      pointAt(pixelOf(event));
      select(pixelOf(event));
    }
    if (pointers.size === 0) pressed = null;
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      map.zoomBy(Math.exp(-event.deltaY / 400), pixelOf(event));
    },
    { passive: false },
  );

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const at = map.marks.pointer ?? (STATE.at ? app.space.toMap(STATE.at, currentMap()) : map.viewCenter);
    const pixel = map.toPixel(at);
    const arrow = arrows[event.key];
    const step = event.shiftKey ? 4 * KEY_STEP : KEY_STEP;
    if (arrow) pointAt([pixel[0] + step * arrow[0], pixel[1] + step * arrow[1]]);
    else if (event.key === "Enter" || event.key === " ") select(pixel);
    else if (event.key === "+" || event.key === "=") map.zoomBy(1.5, pixel);
    else if (event.key === "-") map.zoomBy(1 / 1.5, pixel);
    else if (event.key === "0") update({ zoom: 1, x: null, y: null });
    else if (event.key === "Escape") update({ from: null, to: null });
    else return;
    event.preventDefault();
  });

  byId("zoom-in").onclick = () => map.zoomBy(1.5);
  byId("zoom-out").onclick = () => map.zoomBy(1 / 1.5);
  byId("zoom-reset").onclick = () => update({ zoom: 1, x: null, y: null });
  byId("tiles").onchange = (event) => update({ tiles: event.target.checked });
  byId("density").onchange = (event) => update({ density: event.target.checked });
  byId("projection").onchange = (event) =>
    update({ map: event.target.value, zoom: 1, x: null, y: null });

  function showMap() {
    const chosen = currentMap();
    const options = Object.entries(app.space.maps).map(([name, each]) =>
      element("option", { value: name, selected: each === chosen }, each.title),
    );
    byId("projection").replaceChildren(...options);
    byId("x-axis").textContent = chosen.axes[0];
    byId("y-axis").textContent = chosen.axes[1];
    byId("inverse").textContent = INVERSES[chosen.inverse];
    map.show(app.space, chosen);
  }

  function showControls() {
    byId("tiles").checked = STATE.tiles;
    byId("density").checked = STATE.density;
    for (const [label, entry] of [...byId("legend").querySelectorAll("button")].entries()) {
      entry.setAttribute("aria-pressed", String(!STATE.hide.includes(label)));
    }
    map.density = null;
    map.draw();
  }

  createLegend();
  whenChanged(["map", "tab"], showMap);
  whenChanged(["tiles", "density", "hide"], showControls);
  whenChanged(["at", "from", "to", "kind", "t", "zoom", "x", "y"], () => map.draw());

  return {
    show() {
      showMap();
      showControls();
    },
    mark(marks) {
      Object.assign(map.marks, marks);
      map.draw();
    },
    jumpTo: (code) => map.centerOn(app.space.toMap(code, currentMap())),
  };
}

/** Create a button for each class that shows or hides its points. */
function createLegend() {
  byId("legend-row").hidden = !LABELS;
  if (!LABELS) return;
  const toggle = (label) => {
    const others = STATE.hide.filter((each) => each !== label);
    update({ hide: others.length < STATE.hide.length ? others : [...others, label] });
  };
  const only = (label) => {
    const others = CLASSES.map((_, each) => each).filter((each) => each !== label);
    update({ hide: STATE.hide.length === others.length && !STATE.hide.includes(label) ? [] : others });
  };
  const entries = CLASSES.map((name, label) =>
    element(
      "button",
      {
        type: "button",
        className: "legend-entry",
        title: "Click: show or hide. Double click: show only these points.",
        onclick: () => toggle(label),
        ondblclick: () => only(label),
      },
      element("span", { className: "swatch", style: `background: ${classColor(label)}` }),
      nameOf(name),
    ),
  );
  byId("legend").append(...entries);
  byId("show-all").onclick = () => update({ hide: [] });
  byId("hide-all").onclick = () => update({ hide: CLASSES.map((_, label) => label) });
}
