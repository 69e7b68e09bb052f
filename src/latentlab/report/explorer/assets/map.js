"use strict";
/* The map of a latent space: drawing, zoom and pan. The view shows `zoom` times less than all. */

const POINT_RADIUS = 2.6;
const TILE = 24;
const MARGIN = 0.06;
const DENSITY_CELLS = 64;

class LatentMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.marks = { pointer: null, neighbors: [], own: null };
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show the points of a map of a latent space. */
  show(space, map) {
    this.space = space;
    this.map = map;
    const bounds = [0, 1].map((axis) => {
      let [low, high] = [Infinity, -Infinity];
      for (let i = axis; i < map.points.length; i += 2) {
        low = Math.min(low, map.points[i]);
        high = Math.max(high, map.points[i]);
      }
      return { low, high, middle: (low + high) / 2 };
    });
    this.center = bounds.map(({ middle }) => middle);
    this.extent = Math.max(...bounds.map(({ low, high }) => high - low), 1e-6) * (1 + 2 * MARGIN);
    this.density = null;
    this.draw();
  }

  /* --- Coordinates: `point` on the map, `pixel` on the canvas ------------------------------- */

  get viewCenter() {
    return [STATE.x ?? this.center[0], STATE.y ?? this.center[1]];
  }

  get scale() {
    const { clientWidth, clientHeight } = this.canvas;
    return (Math.min(clientWidth, clientHeight) / this.extent) * STATE.zoom;
  }

  toPixel(point) {
    const [x, y] = this.viewCenter;
    const { clientWidth, clientHeight } = this.canvas;
    return [
      clientWidth / 2 + (point[0] - x) * this.scale,
      clientHeight / 2 - (point[1] - y) * this.scale,
    ];
  }

  toPoint(pixel) {
    const [x, y] = this.viewCenter;
    const { clientWidth, clientHeight } = this.canvas;
    return [
      x + (pixel[0] - clientWidth / 2) / this.scale,
      y - (pixel[1] - clientHeight / 2) / this.scale,
    ];
  }

  /** Zoom by a factor; the point at `pixel` stays where it is. */
  zoomBy(factor, pixel = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const fixed = this.toPoint(pixel);
    const zoom = clamp(STATE.zoom * factor, 0.5, 60);
    const ratio = STATE.zoom / zoom;
    const [x, y] = this.viewCenter.map((value, i) => fixed[i] + (value - fixed[i]) * ratio);
    update({ zoom, x, y });
  }

  panBy(dx, dy) {
    const [x, y] = this.viewCenter;
    update({ x: x - dx / this.scale, y: y + dy / this.scale });
  }

  centerOn(point) {
    update({ x: point[0], y: point[1], zoom: Math.max(STATE.zoom, 2) });
  }

  /* --- Drawing ------------------------------------------------------------------------------ */

  draw() {
    if (!this.map || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { canvas, context } = this;
    const ratio = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.colors = getComputedStyle(canvas);
    if (STATE.density) this.drawDensity();
    if (STATE.tiles) this.drawTiles(width, height);
    else this.drawPoints(width, height);
    this.drawMarks();
  }

  color(name) {
    return this.colors.getPropertyValue(name);
  }

  /** Call a function with the index and pixel of each visible point within the canvas. */
  forVisible(width, height, border, visit) {
    const hidden = new Set(STATE.hide);
    const { points } = this.map;
    for (let i = 0; i < this.space.count; i++) {
      if (LABELS && hidden.has(LABELS[i])) continue;
      const [x, y] = this.toPixel([points[2 * i], points[2 * i + 1]]);
      if (x > -border && y > -border && x < width + border && y < height + border) visit(i, x, y);
    }
  }

  drawPoints(width, height) {
    const { context } = this;
    const radius = POINT_RADIUS * clamp(Math.sqrt(STATE.zoom), 0.8, 2);
    context.globalAlpha = 0.8;
    this.forVisible(width, height, radius, (i, x, y) => {
      context.fillStyle = classColor(labelOf(i));
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    });
    context.globalAlpha = 1;
  }

  /** Draw images instead of points, at most one in each cell of a grid. */
  drawTiles(width, height) {
    const { context } = this;
    const size = TILE * clamp(Math.sqrt(STATE.zoom), 1, 2.5);
    const taken = new Set();
    context.imageSmoothingEnabled = size < SIZE;
    this.forVisible(width, height, size, (i, x, y) => {
      const cell = `${Math.floor(x / size)},${Math.floor(y / size)}`;
      if (taken.has(cell)) return;
      taken.add(cell);
      ATLAS.draw(context, i, x - size / 2, y - size / 2, size);
      context.strokeStyle = classColor(labelOf(i));
      context.lineWidth = 1.5;
      context.strokeRect(x - size / 2, y - size / 2, size, size);
    });
  }

  /** Draw the density of the points of the map: a histogram that is smoothed twice. */
  drawDensity() {
    this.density ??= this.densityPicture();
    const half = this.extent / 2;
    const [left, top] = this.toPixel([this.center[0] - half, this.center[1] + half]);
    const size = this.extent * this.scale;
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(this.density, left, top, size, size);
  }

  densityPicture() {
    const n = DENSITY_CELLS;
    const hidden = new Set(STATE.hide);
    let cells = new Float32Array(n * n);
    for (let i = 0; i < this.space.count; i++) {
      if (LABELS && hidden.has(LABELS[i])) continue;
      const [x, y] = [0, 1].map((axis) => {
        const share = (this.map.points[2 * i + axis] - this.center[axis]) / this.extent + 0.5;
        return clamp(Math.floor(share * n), 0, n - 1);
      });
      cells[(n - 1 - y) * n + x]++;
    }
    for (const step of [1, n, 1, n]) {
      cells = cells.map((v, i) => v / 2 + ((cells[i - step] ?? 0) + (cells[i + step] ?? 0)) / 4);
    }
    const largest = Math.max(...cells, 1e-9);
    const picture = element("canvas", { width: n, height: n });
    const image = new ImageData(n, n);
    cells.forEach((value, i) => {
      image.data.set([110, 130, 170, 190 * Math.sqrt(value / largest)], 4 * i);
    });
    picture.getContext("2d").putImageData(image, 0, 0);
    return picture;
  }

  /** Draw the pointer, the selected point, its neighbors, the interpolation and the own image. */
  drawMarks() {
    const { context, space, map } = this;
    const place = (code) => this.toPixel(space.toMap(code, map));
    context.lineWidth = 2;
    if (STATE.from && STATE.to) {
      context.strokeStyle = this.color("--text");
      context.setLineDash([5, 4]);
      context.beginPath();
      for (let step = 0; step <= 24; step++) {
        context.lineTo(...place(interpolate(STATE.from, STATE.to, step / 24, STATE.kind)));
      }
      context.stroke();
      context.setLineDash([]);
      this.ring(place(interpolate(STATE.from, STATE.to, STATE.t, STATE.kind)), 5, "--text", true);
    }
    for (const { index } of this.marks.neighbors) {
      this.ring(this.toPixel([map.points[2 * index], map.points[2 * index + 1]]), 6, "--text");
    }
    if (STATE.from) this.label(place(STATE.from), "A");
    if (STATE.to) this.label(place(STATE.to), "B");
    if (this.marks.own) this.label(place(this.marks.own), "★");
    if (STATE.at) this.ring(place(STATE.at), 8, "--accent");
    if (this.marks.pointer) this.cross(this.toPixel(this.marks.pointer));
  }

  ring([x, y], radius, color, filled = false) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.lineWidth = 4.5;
    context.strokeStyle = this.color("--card");
    context.stroke();
    context.lineWidth = 2;
    context.strokeStyle = context.fillStyle = this.color(color);
    context.stroke();
    if (filled) context.fill();
  }

  cross([x, y]) {
    const { context } = this;
    context.strokeStyle = this.color("--text");
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 11 * dx, y + 11 * dy);
    }
    context.stroke();
  }

  label([x, y], text) {
    const { context } = this;
    context.fillStyle = this.color("--text");
    context.beginPath();
    context.arc(x, y, 10, 0, 2 * Math.PI);
    context.fill();
    context.strokeStyle = context.fillStyle = this.color("--card");
    context.lineWidth = 1.5;
    context.stroke();
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, x, y + 0.5);
  }
}
