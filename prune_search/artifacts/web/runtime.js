// Each layer is made of the shape that it reads and of its fields, in the order of the description.
// It gives the shape of what it makes, what makes it of x, and how many numbers it keeps; these are
// changed in place. Numbers are kept as float32 and summed as float64. Images are [row][column]
// [channel].

const product = (shape) => shape.reduce((sum, size) => sum * size, 1);

// Of each row of a matrix what is not zero, and where the number lies that it is multiplied with.
function sparse(weight, placed = (place) => place) {
  const outputs = weight.shape[0], inputs = weight.values.length / outputs;
  return Array.from({ length: outputs }, (_, row) => {
    const whole = weight.values.subarray(row * inputs, (row + 1) * inputs);
    const places = [...whole.keys()].filter((place) => whole[place] !== 0);
    return { places: places.map(placed), values: places.map((place) => whole[place]) };
  });
}

function multiply(rows, x, from, start, y, to) {
  for (let row = 0; row < rows.length; row++) {
    const { places, values } = rows[row];
    let sum = start ? start[row] : 0;
    for (let k = 0; k < values.length; k++) sum += values[k] * x[from + places[k]];
    y[to + row] = sum;
  }
  return y;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// Abramowitz & Stegun 1964, equation 7.1.6.
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const functions = {
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  silu: (x) => x * sigmoid(x),
  sigmoid,
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
};

const layers = {
  Encoding: (shape, parts) => {
    const made = parts.map(([kind, count]) => count);
    return [[made.reduce((sum, count) => sum + count, 0)], (x) => {
      const y = [];
      let at = 0;
      for (const [kind, count, first] of parts) {
        if (kind === "Numbers") y.push(...x.subarray(at, at + count));
        else for (let k = 0; k < count; k++) y.push(x[at] === first + k ? 1 : 0);
        at += kind === "Numbers" ? count : 1;
      }
      return Float32Array.from(y);
    }];
  },
  ChannelsLast: (shape) => {
    const first = shape[0], rest = product(shape) / first;
    const turned = [shape[1], shape[2], product(shape) / (shape[1] * shape[2])];
    const origin = (place) => (place % first) * rest + Math.floor(place / first);
    return [turned, (x) => x.map((_, place) => x[origin(place)])];
  },
  Scaling: (shape, factor, offset) =>
    [shape, (x) => x.map((value) => value * Math.fround(factor) + Math.fround(offset))],
  Normalisation: (shape, mean, deviation, limit) => {
    const most = limit === null ? Infinity : limit;
    const scaled = (value, k) => (value - mean.values[k]) / deviation.values[k];
    return [shape, (x) => x.map((value, k) => Math.min(Math.max(scaled(value, k), -most), most))];
  },
  FrameStack: (shape, frames) => {
    const pixels = product(shape), kept = (frames - 1) * pixels;
    return [[shape[0], shape[1], frames], (x, state) => {
      const all = Float32Array.from([...state, ...x]);
      state.set(all.subarray(pixels));
      return all.map((_, place) => all[(place % frames) * pixels + Math.floor(place / frames)]);
    }, kept];
  },
  Dense: (shape, weight, bias) => {
    const rows = sparse(weight), start = bias && bias.values;
    return [[rows.length], (x) => multiply(rows, x, 0, start, new Float32Array(rows.length), 0)];
  },
  Convolution: (shape, weight, bias, [down, across], [top, bottom, left, right]) => {
    const [height, width, channels] = shape, [filters, , tall, wide] = weight.shape;
    const pitch = (width + left + right) * channels, start = bias && bias.values;
    const rows = sparse(weight, (k) => {
      const channel = Math.floor(k / (tall * wide)), row = Math.floor(k / wide) % tall;
      return row * pitch + (k % wide) * channels + channel;
    });
    const made = [
      Math.floor((height + top + bottom - tall) / down) + 1,
      Math.floor((width + left + right - wide) / across) + 1,
      filters,
    ];
    return [made, (x) => {
      const padded = new Float32Array((height + top + bottom) * pitch);
      for (let row = 0; row < height; row++) {
        const line = x.subarray(row * width * channels, (row + 1) * width * channels);
        padded.set(line, (row + top) * pitch + left * channels);
      }
      const y = new Float32Array(product(made));
      for (let row = 0; row < made[0]; row++)
        for (let column = 0; column < made[1]; column++) {
          const from = row * down * pitch + column * across * channels;
          multiply(rows, padded, from, start, y, (row * made[1] + column) * filters);
        }
      return y;
    }];
  },
  Flatten: (shape) => [[product(shape)], (x) => x],
  Activation: (shape, name) => [shape, (x) => x.map(functions[name])],
  LayerNorm: (shape, scale, shift, epsilon) => {
    const size = shape[shape.length - 1];
    return [shape, (x) => {
      const y = new Float32Array(x.length);
      for (let at = 0; at < x.length; at += size) {
        const part = Array.from(x.subarray(at, at + size));
        const mean = part.reduce((sum, value) => sum + value, 0) / size;
        const variance = part.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size;
        const scaled = (k) => ((part[k] - mean) / Math.sqrt(variance + epsilon)) * scale.values[k];
        for (let k = 0; k < size; k++) y[at + k] = scaled(k) + shift.values[k];
      }
      return y;
    }];
  },
  LSTM: (shape, inputWeight, recurrentWeight, bias) => {
    const into = sparse(inputWeight), again = sparse(recurrentWeight);
    const units = recurrentWeight.shape[1], gates = 4 * units;
    return [[units], (x, state) => {
      const given = multiply(into, x, 0, bias.values, new Float64Array(gates), 0);
      const gate = multiply(again, state, 0, given, new Float64Array(gates), 0);
      for (let k = 0; k < units; k++) {
        const cell = sigmoid(gate[units + k]) * state[units + k]
          + sigmoid(gate[k]) * Math.tanh(gate[2 * units + k]);
        state[units + k] = cell;
        state[k] = sigmoid(gate[3 * units + k]) * Math.tanh(cell);
      }
      return state.slice(0, units);
    }, 2 * units];
  },
  Expectation: (shape, support) => {
    const atoms = support.values.length;
    return [[shape[0] / atoms], (x) => {
      const y = new Float32Array(shape[0] / atoms);
      for (let k = 0; k < y.length; k++) {
        const logits = Array.from(x.subarray(k * atoms, (k + 1) * atoms));
        const largest = Math.max(...logits);
        const shares = logits.map((logit) => Math.exp(logit - largest));
        const total = shares.reduce((sum, share) => sum + share, 0);
        y[k] = shares.reduce((sum, share, j) => sum + share * support.values[j], 0) / total;
      }
      return y;
    }];
  },
};

// What makes an action of the network's outputs and of random numbers, and how many of these.
const actions = {
  Choice: (sizes, first, single, sampled) => {
    const outputs = sizes.reduce((sum, size) => sum + size, 0);
    return [(y, noise) => {
      const given = sampled ? y.map((value, k) => value + noise[k]) : y, chosen = [];
      let at = 0;
      sizes.forEach((size, group) => {
        let best = 0;
        for (let k = 1; k < size; k++) if (given[at + k] > given[at + best]) best = k;
        chosen.push(first[group] + best);
        at += size;
      });
      return single ? chosen[0] : chosen;
    }, sampled ? outputs : 0];
  },
  Continuous: (low, high, bounds, sampling) => {
    const size = low.values.length;
    const [logDeviation, limits, squashed] = sampling ? sampling.slice(1) : [];
    const drawn = (y, noise, k) => {
      const log = logDeviation ? logDeviation.values[k] : y[size + k];
      const cut = limits ? Math.min(Math.max(log, limits[0]), limits[1]) : log;
      const found = y[k] + Math.exp(cut) * noise[k];
      return squashed ? Math.tanh(found) : found;
    };
    return [(y, noise) => Array.from(low.values, (least, k) => {
      const most = high.values[k];
      let found = sampling ? drawn(y, noise, k) : y[k];
      if (bounds === "scale") found = least + ((found + 1) * (most - least)) / 2;
      return Math.fround(bounds === "none" ? found : Math.min(Math.max(found, least), most));
    }), sampling ? size : 0];
  },
};

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

// Arrays are {shape, values}: whole, or what is not zero and how far it lies behind the last.
function read(plain) {
  if (!Array.isArray(plain)) return plain;
  const [kind, shape, text, gaps] = plain;
  if (kind !== "whole" && kind !== "sparse") return plain.map(read);
  const given = new Float32Array(bytes(text));
  if (kind === "whole") return { shape, values: given };
  const values = new Float32Array(product(shape));
  let place = -1;
  new Uint16Array(bytes(gaps)).forEach((gap, k) => (values[(place += gap)] = given[k]));
  return { shape, values };
}

const [, observationShape, before, network, behind] = read(description);
const steps = [], inputs = product(observationShape);
let shape = observationShape, stateSize = 0;
for (const [kind, ...fields] of [...before, ...network]) {
  const [made, run, kept = 0] = layers[kind](shape, ...fields);
  steps.push({ run, begin: stateSize, end: stateSize + kept });
  shape = made;
  stateSize += kept;
}
const [act, noiseSize] = actions[behind[0]](...behind.slice(1));

function draw() {
  const gumbel = () => -Math.log(-Math.log(1 - Math.random()));
  const normal = () =>
    Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return Array.from({ length: noiseSize }, card.noise === "gumbel" ? gumbel : normal);
}

// One action. The observation is numbers, one behind the other; the state changes in place.
function step(observation, state, noise = draw()) {
  if (observation.length !== inputs)
    throw new RangeError(`an observation is ${inputs} numbers, got ${observation.length}`);
  let x = Float32Array.from(observation);
  if (!x.every(Number.isFinite)) throw new RangeError("the observation must be finite numbers");
  for (const { run, begin, end } of steps) x = run(x, state.subarray(begin, end));
  return act(x, noise);
}

// An episode begins: what it gives takes one observation after another and returns actions.
function begin() {
  const state = new Float32Array(stateSize);
  return (observation) => step(observation, state);
}

return { card, begin, step, inputs, stateSize, noiseSize };
