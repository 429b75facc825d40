"use strict";

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const GEOMETRY = ["width", "height", "bits", "cfa", "black_level", "packing"];
const PARTS = ["read", "decode", "queue", "isp", "head", "encode"];
const FINISHED = ["image/jpeg", "image/png"];
const state = { about: null, stream: null, file: null, seed: 0, shown: null, turn: 0 };

function say(status, error = "") {
  document.body.dataset.state = status;
  $("error").textContent = error;
}

// ---- the server

async function learn() {
  const response = await fetch("about");
  const about = (state.about = await response.json());
  const task = { classify: "names the picture", detect: "finds objects", segment: "finds regions" }[about.task];
  const head = about.head ? `${about.head} ${task}` : "no head: pictures only";
  $("about").textContent = `ISP: ${about.isp || "none"} · head: ${head}`;
  $("darkness").hidden = !about.dark;
  if (about.dark) {
    $("dark-says").textContent =
      "A camera frame is a finished picture, bright and clean. With this on, the server first makes the RAW that the " +
      `sensor ${about.dark.sensor} would have taken in little light, noise included (a simulation); then the ISP ` +
      "develops it and the head looks at that. Off, the head looks at the picture as it is.";
  }
  showLux();
}

function lux() {
  const [low, high] = state.about.dark.lux;
  return low * (high / low) ** ($("lux").value / 1000);
}

function showLux() {
  if (state.about && state.about.dark) $("lux-out").textContent = `${lux().toPrecision(2)} lux`;
}

async function ask(body, query) {
  const began = performance.now();
  const headers = { "Content-Type": "application/octet-stream" };
  const response = await fetch(`v1/see?${new URLSearchParams(query)}`, { method: "POST", body, headers });
  const data = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) {
    const wait = 1000 * Number(response.headers.get("Retry-After") || 0);
    throw Object.assign(new Error(data.error), { status: response.status, wait });
  }
  return { ...data, round_ms: performance.now() - began };
}

// ---- one picture

async function see(blob, extra = {}) {
  const picture = FINISHED.includes(blob.type);
  const dark = picture && !$("darkness").hidden && $("dark").checked;
  const query = { as: picture && !dark ? "json" : "both", ...extra };
  if (dark) Object.assign(query, { lux: lux().toPrecision(4), seed: state.seed++ });
  const answer = await ask(blob, query);
  const image = new Image();
  image.src = answer.picture || URL.createObjectURL(blob);
  await image.decode();
  if (!answer.picture) URL.revokeObjectURL(image.src);
  state.shown = { answer, image, regions: await regionsOf(answer) };
  draw();
  tell(answer);
}

async function seeFile(extra = {}) {
  const file = state.file;
  if (!file) return;
  say("busy");
  try {
    if (file.size > state.about.most_bytes) throw new Error(`${file.name} is larger than the server takes.`);
    await see(file, extra);
    $("dump").hidden = !Object.keys(extra).length;
    say("done");
  } catch (error) {
    $("dump").hidden = !(error.status === 422 || error.status === 400) || FINISHED.includes(file.type);
    say("error", error.message);
  }
}

// ---- the camera

async function startCamera() {
  if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
    say("error", "Browsers give the camera to https and localhost alone: start the server with --cert and --key, or " +
      "choose a file (a phone offers to take a photo).");
    return;
  }
  try {
    const video = { facingMode: "environment", width: { ideal: 1280 } };
    state.stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    say("error", `No camera: ${error.message}`);
    return;
  }
  $("video").srcObject = state.stream;
  $("video").hidden = false;
  await $("video").play();
  pressed(true);
  watch(++state.turn);
}

function stopCamera() {
  for (const track of state.stream ? state.stream.getTracks() : []) track.stop();
  state.stream = null;
  state.turn++;
  $("video").hidden = true;
  pressed(false);
}

function pressed(on) {
  $("camera").setAttribute("aria-pressed", String(on));
  $("camera").textContent = on ? "Stop camera" : "Start camera";
  $("labels").setAttribute("aria-live", on ? "off" : "polite");
}

async function watch(turn) {
  let last = performance.now();
  while (state.turn === turn) {
    try {
      const blob = await grabbed();
      if (blob && state.turn === turn) {
        await see(blob);
        const now = performance.now();
        row("frames a second", (1000 / (now - last)).toFixed(1));
        last = now;
        say("done");
      }
      await pause(document.hidden ? 500 : 0);
    } catch (error) {
      say("error", error.message);
      await pause(error.wait || 1000);
    }
  }
}

async function grabbed() {
  const video = $("video");
  if (!video.videoWidth) return pause(50);
  const scale = Math.min(1, Number($("side").value) / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(2, Math.round((video.videoWidth * scale) / 2) * 2);
  canvas.height = Math.max(2, Math.round((video.videoHeight * scale) / 2) * 2);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

// ---- what is shown

function hue(text) {
  let sum = 7;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 3600;
  return sum / 10;
}

async function regionsOf(answer) {
  if (!answer.regions || !answer.regions.png) return null;
  const image = new Image();
  image.src = `data:image/png;base64,${answer.regions.png}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const plane = context.getImageData(0, 0, canvas.width, canvas.height);
  const colors = new Map(answer.regions.classes.map((c) => [c.index, rgb(c.name)]));
  for (let i = 0; i < plane.data.length; i += 4) {
    const color = colors.get(plane.data[i]);
    plane.data.set(color ? [...color, 120] : [0, 0, 0, 0], i);
  }
  context.putImageData(plane, 0, 0);
  return canvas;
}

function rgb(name) {
  const part = (n) => {
    const k = (n + hue(name) / 30) % 12;
    return Math.round(255 * (0.62 - 0.34 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

function draw() {
  const { answer, image, regions } = state.shown;
  const canvas = $("canvas");
  [canvas.width, canvas.height] = [answer.width, answer.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (!$("marks").checked) return;
  if (regions) context.drawImage(regions, 0, 0, canvas.width, canvas.height);
  const unit = Math.max(1, Math.max(canvas.width, canvas.height) / 400);
  context.lineWidth = 2 * unit;
  context.font = `${Math.round(13 * unit)}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const box of sure(answer.boxes)) {
    const color = `rgb(${rgb(box.name).join()})`;
    context.strokeStyle = context.fillStyle = color;
    context.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    const text = `${box.name} ${share(box.score)}`;
    const y = Math.max(0, box.top - 16 * unit);
    context.fillRect(box.left, y, context.measureText(text).width + 6 * unit, 16 * unit);
    context.fillStyle = "#000";
    context.fillText(text, box.left + 3 * unit, y + 1.5 * unit);
  }
}

const share = (value) => (value === null ? "" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);

const sure = (boxes) => (boxes || []).filter((box) => box.score === null || 100 * box.score >= $("least").value);

function tell(answer) {
  $("marking").hidden = !answer.boxes && !answer.regions;
  $("sure").hidden = !answer.boxes;
  const rows = [
    ...(answer.classes || []).map((c) => [c.name, c.probability]),
    ...sure(answer.boxes).map((b) => [b.name, b.score]),
    ...(answer.regions ? answer.regions.classes : []).map((c) => [c.name, c.share]),
  ].slice(0, 12);
  $("labels").replaceChildren(...rows.map(([name, value]) => label(name, value, !answer.classes)));
  const seen = rows.length ? rows.slice(0, 3).map((r) => r[0]).join(", ") : answer.task ? "nothing found" : "a picture";
  $("canvas").setAttribute("aria-label", `${answer.width} by ${answer.height} pixels: ${seen}`);
  row("round trip", `${answer.round_ms.toFixed(0)} ms`);
  row("in the server", `${answer.latency_ms.total.toFixed(1)} ms`);
  for (const part of PARTS) row(`· ${part}`, `${answer.latency_ms[part].toFixed(1)} ms`);
  row("pictures in its batch", answer.batch);
  row("light (simulated)", answer.dark ? `${answer.dark.lux} lux, ISO ${Math.round(answer.dark.iso)}` : "as it is");
}

function label(name, value, marked) {
  const item = document.createElement("li");
  const [bold, number] = [document.createElement("b"), document.createElement("i")];
  bold.textContent = name;
  number.textContent = share(value);
  if (marked) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${rgb(name).join()})`;
    bold.prepend(swatch);
  }
  item.append(bold, number);
  return item;
}

function row(name, value) {
  const body = $("latency").tBodies[0];
  let line = [...body.rows].find((r) => r.cells[0].textContent === name);
  if (!line) {
    line = body.insertRow();
    line.append(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
    line.insertCell();
  }
  line.cells[1].textContent = value;
}

// ---- controls

$("camera").addEventListener("click", () => (state.stream ? stopCamera() : startCamera()));
$("file").addEventListener("change", () => {
  stopCamera();
  state.file = $("file").files[0] || null;
  $("file").value = "";
  seeFile();
});
$("again").addEventListener("click", () => seeFile(Object.fromEntries(GEOMETRY.map((k) => [k, $(`g-${k}`).value]))));
$("lux").addEventListener("input", showLux);
for (const id of ["lux", "dark"]) $(id).addEventListener("change", () => state.stream || seeFile());
function again() {
  $("least-out").textContent = `${$("least").value} %`;
  if (!state.shown) return;
  draw();
  tell(state.shown.answer);
}

for (const id of ["marks", "least"]) $(id).addEventListener("input", again);
learn().then(() => say("ready"), () => say("error", "The server does not answer."));
