// Environments of Gymnasium's that the page plays itself, by their ids.
const environments = {
  // Barto, Sutton & Anderson 1983, as Gymnasium has it.
  "CartPole-v1": {
    steps: 500,
    reset: () => Array.from({ length: 4 }, () => Math.random() * 0.1 - 0.05),
    step([x, speed, angle, turn], action) {
      const gravity = 9.8, cart = 1, pole = 0.1, half = 0.5, tau = 0.02, total = cart + pole;
      const cos = Math.cos(angle), sin = Math.sin(angle);
      const push = ((action === 1 ? 10 : -10) + pole * half * turn * turn * sin) / total;
      const turning = (gravity * sin - cos * push) / (half * (4 / 3 - (pole * cos * cos) / total));
      const moving = push - (pole * half * turning * cos) / total;
      const change = [speed, moving, turn, turning];
      const state = [x, speed, angle, turn].map((value, k) => value + tau * change[k]);
      const over = Math.abs(state[0]) > 2.4 || Math.abs(state[2]) > (12 * Math.PI) / 180;
      return { state, reward: 1, over };
    },
    observe: (state) => state,
    draw(pen, [x, , angle], width, height) {
      const scale = width / 4.8, ground = height * 0.75, middle = width / 2 + x * scale;
      pen.clearRect(0, 0, width, height);
      pen.fillStyle = "#888";
      pen.fillRect(0, ground, width, 2);
      pen.fillStyle = "#2d5d8b";
      pen.fillRect(middle - 32, ground - 20, 64, 40);
      pen.strokeStyle = "#c8803c";
      pen.lineWidth = 10;
      pen.lineCap = "round";
      pen.beginPath();
      pen.moveTo(middle, ground - 16);
      pen.lineTo(middle + Math.sin(angle) * scale, ground - 16 - Math.cos(angle) * scale);
      pen.stroke();
    },
  },
};
