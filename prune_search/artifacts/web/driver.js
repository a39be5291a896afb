// Plays policy.js for Python: rows of numbers come in, rows of actions and states go out.
// A request is a count of rows, or minus how often its one row is repeated to be timed.
"use strict";
const fs = require("fs");
const text = fs.readFileSync(process.argv[2], "utf8");
const policy = new (require("vm").Script)(`${text}\npolicy`).runInThisContext();
const { inputs, stateSize, noiseSize } = policy, width = inputs + stateSize + noiseSize;

function read(array) {
  const bytes = new Uint8Array(array.buffer);
  for (let at = 0; at < bytes.length; ) {
    const count = fs.readSync(0, bytes, at, bytes.length - at, null);
    if (count === 0) process.exit();
    at += count;
  }
  return array;
}

function write(numbers) {
  const bytes = new Uint8Array(Float64Array.from(numbers).buffer);
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(1, bytes, at, bytes.length - at);
}

function act(row) {
  const state = row.slice(inputs, inputs + stateSize);
  const action = policy.step(row.subarray(0, inputs), state, row.subarray(inputs + stateSize));
  return [].concat(action, Array.from(state));
}

for (;;) {
  const [count] = read(new Int32Array(1));
  const given = read(new Float32Array(width * Math.max(count, 1)));
  const found = [];
  for (let row = 0; row < count; row++)
    for (const number of act(given.subarray(row * width, (row + 1) * width))) found.push(number);
  for (let time = 0; time < -count; time++) {
    const begun = process.hrtime.bigint();
    act(given);
    found.push(Number(process.hrtime.bigint() - begun));
  }
  write(found);
}
