"use strict";
/* A latent space: codes of the test images, maps, density, and interpolation between codes. */

/** Neighbors on a nonlinear map whose codes are interpolated. */
const MAP_NEIGHBORS = 6;

/** Uniform numbers that are drawn once, so that an image always has the same code. */
const DRAWS = Float32Array.from({ length: DEPTH * SIZE * SIZE }, Math.random);

class Space {
  constructor(content) {
    Object.assign(this, content);
    this.codes = decodeFloats(content.codes);
    this.errors = decodeFloats(content.errors);
    this.count = this.errors.length;
    this.centers = decodeFloats(content.density.centers);
    this.spread = decodeFloats(content.density.spread);
    for (const map of Object.values(this.maps)) {
      map.points = map.points ? decodeFloats(map.points) : this.codePoints();
    }
  }

  code(index) {
    return this.codes.slice(index * this.dimensions, (index + 1) * this.dimensions);
  }

  codePoints() {
    const points = new Float32Array(2 * this.count);
    for (let i = 0; i < this.count; i++) {
      points[2 * i] = this.codes[i * this.dimensions];
      points[2 * i + 1] = this.dimensions > 1 ? this.codes[i * this.dimensions + 1] : 0;
    }
    return points;
  }

  decode(code) {
    return RUNTIME.run(this.decoder, Float32Array.from(code), [this.dimensions]);
  }

  encode(values) {
    // a Bernoulli likelihood models binary draws from gray values
    const images = this.binarizes ? values.map((v, i) => (DRAWS[i] < v ? 1 : 0)) : values;
    return RUNTIME.run(this.encoder, images, [DEPTH, SIZE, SIZE]);
  }

  /** Return the `count` nearest test images of a code, as {index, distance}. */
  nearest(code, count) {
    return nearestRows(this.codes, this.dimensions, code, count);
  }

  /** Return the share of test images whose nearest neighbor is closer than `distance`. */
  shareCloser(distance) {
    const position = this.distances.findIndex((quantile) => quantile >= distance);
    return position < 0 ? 1 : position / (this.distances.length - 1);
  }

  /** Return the position of a code on a map. */
  toMap(code, map) {
    if (map.inverse === "identity") return [code[0], code[1] ?? 0];
    if (map.inverse === "linear") {
      return map.components.map((row) =>
        row.reduce((sum, weight, i) => sum + weight * (code[i] - map.mean[i]), 0),
      );
    }
    return weightedMean(this.nearest(code, MAP_NEIGHBORS), map.points, 2);
  }

  /** Return the code of a position on a map. */
  fromMap(point, map) {
    if (map.inverse === "identity") return point.slice(0, this.dimensions);
    if (map.inverse === "linear") {
      return map.mean.map(
        (mean, i) => mean + point[0] * map.components[0][i] + point[1] * map.components[1][i],
      );
    }
    const neighbors = nearestRows(map.points, 2, point, MAP_NEIGHBORS);
    return weightedMean(neighbors, this.codes, this.dimensions);
  }

  /** Draw a code from the kernel density estimate of the codes of training images. */
  drawFromDensity() {
    const n = this.dimensions;
    const center = Math.floor(Math.random() * (this.centers.length / n)) * n;
    const noise = Array.from({ length: n }, () => this.density.bandwidth * randomNormal());
    return Array.from({ length: n }, (_, i) =>
      noise.reduce((sum, value, j) => sum + this.spread[i * n + j] * value, this.centers[center + i]),
    );
  }

  drawFromPrior() {
    return Array.from({ length: this.dimensions }, randomNormal);
  }
}

/** Return the rows of a matrix that are nearest to a vector, as {index, distance} in order. */
function nearestRows(matrix, columns, vector, count) {
  const found = [];
  for (let index = 0; index * columns < matrix.length; index++) {
    let distance = 0;
    for (let i = 0; i < columns; i++) distance += (matrix[index * columns + i] - vector[i]) ** 2;
    if (found.length < count || distance < found[found.length - 1].distance) {
      let at = found.length;
      while (at > 0 && found[at - 1].distance > distance) at--;
      found.splice(at, 0, { index, distance });
      if (found.length > count) found.pop();
    }
  }
  for (const each of found) each.distance = Math.sqrt(each.distance);
  return found;
}

/** Return the mean of rows of a matrix, with the inverse squared distances as weights. */
function weightedMean(neighbors, matrix, columns) {
  const smallest = 1e-6 + neighbors[0].distance * 1e-3;
  const weights = neighbors.map(({ distance }) => 1 / (distance + smallest) ** 2);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from({ length: columns }, (_, i) =>
    neighbors.reduce((sum, { index }, j) => sum + weights[j] * matrix[index * columns + i], 0) / total,
  );
}

/** Return the code at share `t` of the way between two codes, as interpolation.py does. */
function interpolate(start, end, t, kind) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const mix = (a, b) => Array.from(start, (value, i) => a * value + b * end[i]);
  const lengths = Math.sqrt(dot(start, start) * dot(end, end));
  const angle = Math.acos(clamp(dot(start, end) / Math.max(lengths, 1e-12), -1, 1));
  const parallel = angle < 1e-4 || Math.PI - angle < 1e-4;
  if (kind === "linear" || parallel) return mix(1 - t, t);
  return mix(Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle));
}

/** Return the largest step between successive images divided by the mean step. */
function smoothness(images) {
  const steps = images.slice(1).map((image, i) => Math.sqrt(meanSquaredError(image, images[i])));
  const mean = steps.reduce((sum, step) => sum + step, 0) / steps.length;
  return Math.max(...steps) / Math.max(mean, 1e-12);
}
