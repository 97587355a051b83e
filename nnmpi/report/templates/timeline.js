// Draws the timeline of all ranks on a canvas. Ctrl and wheel, pinch, + and - zoom. Dragging and the arrow keys move.
(() => {
  "use strict";
  const canvas = document.getElementById("timeline");
  if (!canvas) return;
  const data = JSON.parse(document.getElementById("timeline-data").textContent);
  const text = document.getElementById("timeline-text");
  const ROW = 13, HEAD = 18, AXIS = 22, GAP = 6;
  const VARIABLES = { compute: "--blue", reduction: "--orange", waiting: "--vermillion", "I/O": "--purple", step: "--faint", phase: "--line" };
  let last = 0;
  let height = AXIS;
  const tracks = data.tracks.map((track) => {
    const n = track.slices.length / 4, slices = { name: new Uint16Array(n), depth: new Uint8Array(n), start: new Float64Array(n), end: new Float64Array(n) };
    let now = 0, deepest = 0;
    for (let i = 0; i < n; i++) {
      const [name, depth, ahead, length] = track.slices.slice(4 * i, 4 * i + 4);
      now += ahead;
      slices.name[i] = name;
      slices.depth[i] = Math.min(depth, 250);
      slices.start[i] = now;
      slices.end[i] = now + length;
      last = Math.max(last, now + length);
      deepest = Math.max(deepest, Math.min(depth, 5));
    }
    const top = height;
    height += HEAD + (deepest + 1) * ROW + GAP;
    return { label: track.name, n, top, ...slices };
  });
  last = last || 1;
  let from = 0, to = last, width = 0, pending = false;
  const x = (t) => ((t - from) / (to - from)) * width;
  const UNITS = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const duration = (ns, digits = 4) => {
    const [size, unit] = UNITS.find(([size]) => ns >= size) || UNITS[3];
    return `${Number((ns / size).toPrecision(digits))} ${unit}`;
  };

  function draw() {
    pending = false;
    const scale = window.devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const colours = data.groups.map((group) => colour(VARIABLES[group] || "--green"));
    width = canvas.clientWidth;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.fillStyle = colour("--paper");
    pen.fillRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    drawAxis(pen, colour("--soft"), colour("--faint"));
    for (const track of tracks) {
      pen.fillStyle = colour("--ink");
      pen.fillText(track.label, 4, track.top + HEAD / 2);
      const ends = [];
      for (let i = 0; i < track.n; i++) {
        if (track.end[i] < from || track.start[i] > to) continue;
        const depth = Math.min(track.depth[i], 5), left = Math.max(0, x(track.start[i])), right = Math.min(width, x(track.end[i]));
        const row = (ends[depth] ||= { x: -1 });
        if (right <= row.x) continue;  // another slice covers it
        const long = Math.max(right - left, 0.7);
        row.x = left + long;
        const y = track.top + HEAD + depth * ROW;
        pen.fillStyle = colours[track.name[i]];
        pen.fillRect(left, y, long, ROW - 1.5);
        if (long > 40) {
          const name = data.names[track.name[i]], pale = data.groups[track.name[i]] === "step" || data.groups[track.name[i]] === "phase";
          if (pen.measureText(name).width < long - 6) {
            pen.fillStyle = pale ? colour("--ink") : colour("--paper");
            pen.fillText(name, left + 3, y + ROW / 2);
          }
        }
      }
    }
  }

  function drawAxis(pen, ink, line) {
    const rough = ((to - from) / Math.max(2, width / 110)), power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5].find((f) => f * power >= rough) || 10);
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      pen.fillStyle = line;
      pen.fillRect(x(t), 0, 1, height);
      pen.fillStyle = ink;
      if (x(t) < width - 50) pen.fillText(t ? duration(t, 9) : "0", x(t) + 3, AXIS / 2);
    }
  }

  function show(start, end) {
    const length = Math.min(last, Math.max(200, end - start));
    from = Math.min(Math.max(0, start), last - length);
    to = from + length;
    if (!pending) { pending = true; requestAnimationFrame(draw); }
  }
  function zoom(factor, at) {
    const middle = from + (at / width) * (to - from);
    show(middle - (middle - from) * factor, middle + (to - middle) * factor);
  }
  function point(event) {
    const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top, t = from + (px / width) * (to - from);
    for (const track of tracks) {
      const depth = Math.floor((py - track.top - HEAD) / ROW);
      if (depth < 0 || depth > 5) continue;
      let best = -1;
      const near = ((to - from) / width) * 2;
      for (let i = 0; i < track.n && track.start[i] <= t + near; i++) {
        if (Math.min(track.depth[i], 5) === depth && track.end[i] >= t - near) best = i;
      }
      if (best >= 0) {
        text.textContent = `${track.label}: ${data.names[track.name[best]]}, ${duration(track.end[best] - track.start[best])}, from ${duration(track.start[best])}`;
        return;
      }
    }
  }

  const fingers = new Map();
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const by = event.deltaY || event.deltaX;
    if (event.ctrlKey) zoom(Math.exp(Math.max(-1, Math.min(1, by / 200))), event.offsetX);
    else show(from + ((to - from) * by) / 800, to + ((to - from) * by) / 800);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, event.clientX); canvas.setPointerCapture(event.pointerId); point(event); });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) { point(event); return; }
    const others = [...fingers].filter(([id]) => id !== event.pointerId);
    fingers.set(event.pointerId, event.clientX);
    if (others.length) {
      const other = others[0][1], wide = Math.abs(event.clientX - other), old = Math.abs(before - other);
      if (wide > 5 && old > 5) zoom(old / wide, (event.clientX + other) / 2 - canvas.getBoundingClientRect().left);
    } else {
      const by = ((before - event.clientX) / width) * (to - from);
      show(from + by, to + by);
    }
  });
  canvas.addEventListener("dblclick", (event) => zoom(0.4, event.offsetX));
  const actions = { in: () => zoom(0.5, width / 2), out: () => zoom(2, width / 2), all: () => show(0, last), left: () => show(from - (to - from) / 4, to - (to - from) / 4), right: () => show(from + (to - from) / 4, to + (to - from) / 4) };
  for (const button of document.querySelectorAll("[data-timeline]")) button.addEventListener("click", actions[button.dataset.timeline]);
  const keys = { "+": "in", "=": "in", "-": "out", "0": "all", ArrowLeft: "left", ArrowRight: "right" };
  canvas.addEventListener("keydown", (event) => { if (keys[event.key]) { event.preventDefault(); actions[keys[event.key]](); } });
  new ResizeObserver(() => show(from, to)).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(from, to));
  show(0, last);
})();
