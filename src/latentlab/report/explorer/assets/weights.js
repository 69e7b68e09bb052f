"use strict";
/*
 * Weights of networks: decoded from base64, and arranged for the matrix product of network.js.
 *
 * This file also runs in a worker, so it must not use the document.
 */

const PANEL = 4;
/** Unit of the fraction of float16 by exponent. */
const HALF_UNITS = Array.from({ length: 32 }, (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));

function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Return an array of float32 from base64. */
function decodeFloats(text) {
  return new Float32Array(decodeBase64(text).buffer);
}

/** Return an array of float32 from base64 of float16. */
function decodeHalves(text) {
  const halves = new Uint16Array(decodeBase64(text).buffer);
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const exponent = (halves[i] >> 10) & 31;
    const fraction = halves[i] & 1023;
    // subnormal numbers have no implicit leading 1
    const size = HALF_UNITS[exponent] * (exponent ? 1024 + fraction : fraction);
    values[i] = halves[i] & 0x8000 ? -size : size;
  }
  return values;
}

/** Return a matrix [rows, columns] in panels of four rows, padded with zeros. */
function packRows(matrix, rows, columns) {
  const packed = new Float32Array(Math.ceil(rows / PANEL) * PANEL * columns);
  for (let row = 0; row < rows; row++) {
    const start = (row >> 2) * PANEL * columns + (row & 3);
    for (let column = 0; column < columns; column++) {
      packed[start + column * PANEL] = matrix[row * columns + column];
    }
  }
  return packed;
}

function transpose(matrix, rows, columns) {
  const result = new Float32Array(matrix.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      result[column * rows + row] = matrix[row * columns + column];
    }
  }
  return result;
}

/** Return the number of weights of a layer. */
function weightCount(layer) {
  return layer.inputs * layer.outputs * (layer.type === "linear" ? 1 : layer.kernel ** 2);
}

/** Return a network whose layers contain their weights as arrays. */
function prepareNetwork(network) {
  const weights = decodeHalves(network.weights);
  const biases = decodeFloats(network.biases);
  let weightStart = 0;
  let biasStart = 0;
  return network.layers.map((layer) => {
    if (layer.scale === undefined) return layer;
    const count = weightCount(layer);
    let matrix = weights.slice(weightStart, weightStart + count).map((w) => w * layer.scale);
    const bias = biases.slice(biasStart, biasStart + layer.outputs);
    weightStart += count;
    biasStart += layer.outputs;
    if (layer.type === "conv") {
      matrix = packRows(matrix, layer.outputs, count / layer.outputs);
    } else if (layer.type === "conv_transpose") {
      const rows = count / layer.inputs;
      matrix = packRows(transpose(matrix, layer.inputs, rows), rows, layer.inputs);
    }
    return { ...layer, matrix, bias };
  });
}
