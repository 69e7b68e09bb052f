"use strict";
/*
 * Forward pass of small convolutional networks in plain JavaScript.
 *
 * A network is a list of layers in the format of networks.py. A tensor is a Float32Array with its
 * shape, [features] or [channels, height, width]; there is no batch dimension. Convolutions are
 * matrix products (im2col) of matrices that are stored in panels of four rows or columns, so that
 * the innermost loop keeps a block of 4 x 4 sums in registers and reads memory in order.
 *
 * This file also runs in a worker, so it must not use the document.
 */

/* --- Matrix product ----------------------------------------------------------------------- */

/**
 * Return the product [rows, columns] of packed matrices [rows, depth] and [depth, columns].
 *
 * `left` has panels of four rows and `right` panels of four columns.
 */
function multiply(left, right, rows, depth, columns) {
  const result = new Float32Array(rows * columns);
  for (let column = 0; column < columns; column += PANEL) {
    const width = Math.min(PANEL, columns - column);
    for (let row = 0; row < rows; row += PANEL) {
      const height = Math.min(PANEL, rows - row);
      let a = row * depth;
      let b = column * depth;
      let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
      let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
      for (let k = 0; k < depth; k++, a += PANEL, b += PANEL) {
        const a0 = left[a], a1 = left[a + 1], a2 = left[a + 2], a3 = left[a + 3];
        const b0 = right[b], b1 = right[b + 1], b2 = right[b + 2], b3 = right[b + 3];
        s00 += a0 * b0; s01 += a0 * b1; s02 += a0 * b2; s03 += a0 * b3;
        s10 += a1 * b0; s11 += a1 * b1; s12 += a1 * b2; s13 += a1 * b3;
        s20 += a2 * b0; s21 += a2 * b1; s22 += a2 * b2; s23 += a2 * b3;
        s30 += a3 * b0; s31 += a3 * b1; s32 += a3 * b2; s33 += a3 * b3;
      }
      const sums = [s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33];
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          result[(row + y) * columns + column + x] = sums[y * PANEL + x];
        }
      }
    }
  }
  return result;
}

/** Return a matrix [depth, columns] in panels of four columns, padded with zeros. */
function packColumns(matrix, depth, columns) {
  const packed = new Float32Array(Math.ceil(columns / PANEL) * PANEL * depth);
  for (let k = 0; k < depth; k++) {
    for (let column = 0; column < columns; column++) {
      packed[(column >> 2) * PANEL * depth + k * PANEL + (column & 3)] = matrix[k * columns + column];
    }
  }
  return packed;
}

/** Return the input pixels of each output pixel [C * kernel^2, out * out], packed in columns. */
function imageToColumns({ values, shape }, layer, height, width) {
  const [channels, inHeight, inWidth] = shape;
  const { kernel, stride, padding } = layer;
  const depth = channels * kernel * kernel;
  const packed = new Float32Array(Math.ceil((height * width) / PANEL) * PANEL * depth);
  let k = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let ky = 0; ky < kernel; ky++) {
      for (let kx = 0; kx < kernel; kx++, k++) {
        for (let y = 0; y < height; y++) {
          const inY = y * stride - padding + ky;
          if (inY < 0 || inY >= inHeight) continue;
          const source = (channel * inHeight + inY) * inWidth;
          for (let x = 0; x < width; x++) {
            const inX = x * stride - padding + kx;
            if (inX < 0 || inX >= inWidth) continue;
            const column = y * width + x;
            packed[(column >> 2) * PANEL * depth + k * PANEL + (column & 3)] = values[source + inX];
          }
        }
      }
    }
  }
  return packed;
}

/* --- Layers ------------------------------------------------------------------------------- */

function addBias(values, bias) {
  const size = values.length / bias.length;
  for (let i = 0; i < values.length; i++) values[i] += bias[Math.floor(i / size)];
  return values;
}

function convolve(layer, input) {
  const outputSize = (size) =>
    Math.floor((size + 2 * layer.padding - layer.kernel) / layer.stride) + 1;
  const height = outputSize(input.shape[1]);
  const width = outputSize(input.shape[2]);
  const columns = imageToColumns(input, layer, height, width);
  const depth = layer.inputs * layer.kernel ** 2;
  const values = multiply(layer.matrix, columns, layer.outputs, depth, height * width);
  return { values: addBias(values, layer.bias), shape: [layer.outputs, height, width] };
}

/** The transposed convolution: every input pixel adds its kernel to the output. */
function convolveTransposed(layer, { values, shape }) {
  const [, inHeight, inWidth] = shape;
  const { kernel, stride, padding, outputs } = layer;
  const outputSize = (size) => (size - 1) * stride - 2 * padding + kernel + layer.output_padding;
  const height = outputSize(inHeight);
  const width = outputSize(inWidth);
  const pixels = inHeight * inWidth;
  const rows = outputs * kernel ** 2;
  const packed = packColumns(values, layer.inputs, pixels);
  const products = multiply(layer.matrix, packed, rows, layer.inputs, pixels);
  const result = new Float32Array(outputs * height * width);
  for (let row = 0; row < rows; row++) {
    const channel = Math.floor(row / kernel ** 2);
    const ky = Math.floor(row / kernel) % kernel;
    const kx = row % kernel;
    for (let inY = 0; inY < inHeight; inY++) {
      const y = inY * stride - padding + ky;
      if (y < 0 || y >= height) continue;
      for (let inX = 0; inX < inWidth; inX++) {
        const x = inX * stride - padding + kx;
        if (x < 0 || x >= width) continue;
        result[(channel * height + y) * width + x] += products[row * pixels + inY * inWidth + inX];
      }
    }
  }
  return { values: addBias(result, layer.bias), shape: [outputs, height, width] };
}

function linear(layer, { values }) {
  const { inputs, outputs, matrix, bias } = layer;
  const result = new Float32Array(outputs);
  for (let row = 0; row < outputs; row++) {
    let sum = bias[row];
    const start = row * inputs;
    for (let i = 0; i < inputs; i++) sum += matrix[start + i] * values[i];
    result[row] = sum;
  }
  return { values: result, shape: [outputs] };
}

/** y[o, a r + dy, b r + dx] = x[(o r + dy) r + dx, a, b], or the inverse. */
function pixelShuffle(factor, { values, shape }, inverse) {
  const [channels, height, width] = inverse
    ? [shape[0], shape[1] / factor, shape[2] / factor]
    : [shape[0] / factor ** 2, shape[1], shape[2]];
  const result = new Float32Array(values.length);
  for (let o = 0; o < channels; o++) {
    for (let dy = 0; dy < factor; dy++) {
      for (let dx = 0; dx < factor; dx++) {
        for (let a = 0; a < height; a++) {
          for (let b = 0; b < width; b++) {
            const small = (((o * factor + dy) * factor + dx) * height + a) * width + b;
            const large = (o * height * factor + a * factor + dy) * width * factor + b * factor + dx;
            if (inverse) result[small] = values[large];
            else result[large] = values[small];
          }
        }
      }
    }
  }
  const newShape = inverse
    ? [channels * factor ** 2, height, width]
    : [channels, height * factor, width * factor];
  return { values: result, shape: newShape };
}

function affine(layer, { values, shape }) {
  const size = values.length / layer.scales.length;
  const result = values.map((value, i) => {
    const channel = Math.floor(i / size);
    return value * layer.scales[channel] + layer.shifts[channel];
  });
  return { values: result, shape };
}

/** Complementary error function with a relative error below 1.2e-7 (Numerical Recipes, 6.2). */
function erfc(x) {
  const t = 1 / (1 + Math.abs(x) / 2);
  const coefficients = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398,
    1.48851587, -0.82215223, 0.17087277,
  ];
  const polynomial = coefficients.reduceRight((sum, coefficient) => sum * t + coefficient, 0);
  const value = t * Math.exp(-x * x + polynomial);
  return x >= 0 ? value : 2 - value;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

const ACTIVATIONS = {
  relu: () => (x) => (x > 0 ? x : 0),
  leaky_relu: ({ slope }) => (x) => (x > 0 ? x : slope * x),
  silu: () => (x) => x / (1 + Math.exp(-x)),
  gelu: () => (x) => (x / 2) * erfc(-x / Math.SQRT2),
  elu: ({ alpha }) => (x) => (x > 0 ? x : alpha * Math.expm1(x)),
  sigmoid: () => sigmoid,
  tanh: () => Math.tanh,
};

const LAYERS = {
  linear,
  conv: convolve,
  conv_transpose: convolveTransposed,
  pixel_shuffle: (layer, input) => pixelShuffle(layer.factor, input, false),
  pixel_unshuffle: (layer, input) => pixelShuffle(layer.factor, input, true),
  affine,
  flatten: (_, { values }) => ({ values, shape: [values.length] }),
  unflatten: (layer, { values }) => ({ values, shape: layer.shape }),
};

/** Return the output of a prepared network for an input, a Float32Array, of this shape. */
function runNetwork(layers, values, shape) {
  let current = { values, shape };
  const saved = []; // features that skip connections bypass the coarser scales with
  for (const layer of layers) {
    if (layer.type === "save") {
      saved.push(current);
    } else if (layer.type === "concatenate") {
      const skipped = saved.pop();
      const joined = new Float32Array(skipped.values.length + current.values.length);
      joined.set(skipped.values);
      joined.set(current.values, skipped.values.length);
      const channels = skipped.shape[0] + current.shape[0];
      current = { values: joined, shape: [channels, ...current.shape.slice(1)] };
    } else if (ACTIVATIONS[layer.type]) {
      const activation = ACTIVATIONS[layer.type](layer);
      const result = new Float32Array(current.values.length);
      for (let i = 0; i < result.length; i++) result[i] = activation(current.values[i]);
      current = { values: result, shape: current.shape };
    } else {
      current = LAYERS[layer.type](layer, current);
    }
  }
  return current.values;
}
