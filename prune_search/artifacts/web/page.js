// Plays episodes where the environment is known here; else shows what the policy saw, and does.
const { card } = policy, task = card.task, how = card.measurement;
const plain = task && !task.wrappers.length && !Object.keys(task.config).length;
const environment = plain ? environments[task.id] : undefined;
const at = (id) => document.getElementById(id);
const shown = (value) => Number(value.toPrecision(4));
const interval = ({ value, low, high }) => `${shown(value)} [${shown(low)}, ${shown(high)}]`;

// One episode at once; its return.
function episode() {
  const act = policy.begin(), most = Math.min(environment.steps, how ? how.max_steps : Infinity);
  let state = environment.reset(), total = 0;
  for (let count = 0, over = false; count < most && !over; count++) {
    const next = environment.step(state, act(environment.observe(state)));
    state = next.state;
    over = next.over;
    total += next.reward;
  }
  return total;
}

// One episode after another, as fast as they are to be seen.
function play() {
  const canvas = at("picture"), pen = canvas.getContext("2d"), returns = [];
  let act, state, total, count;
  const reset = () => {
    [act, state, total, count] = [policy.begin(), environment.reset(), 0, 0];
  };
  const tick = () => {
    const action = act(environment.observe(state));
    const next = environment.step(state, action);
    state = next.state;
    total += next.reward;
    environment.draw(pen, state, canvas.width, canvas.height);
    at("told").textContent = `step ${++count}, action ${action}, return ${shown(total)}`;
    if (!next.over && count < environment.steps) return;
    returns.push(total);
    const mean = returns.reduce((sum, value) => sum + value, 0) / returns.length;
    at("ended").textContent = `${returns.length} episodes, mean return ${shown(mean)}`;
    reset();
  };
  reset();
  setInterval(tick, 20);
}

// Recorded observations, one after another; the numbers of vectors can be changed.
function show() {
  const { shape, rows } = recorded, canvas = at("picture"), given = at("given");
  const bytes = Uint8Array.from(atob(recorded.values), (letter) => letter.charCodeAt(0));
  const values = new Float32Array(bytes.buffer), size = values.length / rows;
  let act = policy.begin(), row = 0;
  const answer = (observation) => {
    at("told").textContent = `action ${[].concat(act(observation)).map(shown).join(", ")}`;
  };
  const next = () => {
    if (row === 0) act = policy.begin();
    const observation = Array.from(values.subarray(row * size, (row + 1) * size));
    if (shape.length > 1) paint(canvas, observation, shape);
    else [...given.children].forEach((input, k) => (input.value = shown(observation[k])));
    at("ended").textContent = `observation ${row + 1} of ${rows} that it has seen`;
    row = (row + 1) % rows;
    answer(observation);
  };
  if (shape.length === 1) {
    canvas.remove();
    for (let k = 0; k < size; k++) {
      const input = document.createElement("input");
      given.append(Object.assign(input, { type: "number", step: "any" }));
    }
    given.oninput = () => answer([...given.children].map((input) => Number(input.value)));
  }
  at("next").hidden = false;
  at("next").onclick = next;
  next();
}

// An image, grey: the mean of its channels, which lie in front where that is the smaller side.
function paint(canvas, observation, shape) {
  const inFront = shape.length === 3 && shape[0] < shape[2];
  const [height, width] = inFront ? shape.slice(1) : shape;
  const pixels = height * width, channels = observation.length / pixels;
  const low = Math.min(...observation), range = Math.max(...observation) - low || 1;
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d"), picture = pen.createImageData(width, height);
  for (let place = 0; place < pixels; place++) {
    let sum = 0;
    for (let k = 0; k < channels; k++)
      sum += observation[inFront ? k * pixels + place : place * channels + k];
    const grey = (255 * (sum / channels - low)) / range;
    picture.data.set([grey, grey, grey, 255], 4 * place);
  }
  pen.putImageData(picture, 0, 0);
}

const numbers = card.nonzero.toLocaleString("en");
document.title = at("name").textContent = `${card.name}, ${numbers} numbers`;
at("about").textContent = [
  task ? task.id : "",
  how && how.returned ? `return ${interval(how.returned)} in RLlib` : "",
  how && how.dense ? `the dense policy's ${interval(how.dense)}` : "",
].filter(Boolean).join("; ");
if (environment) play();
else show();
