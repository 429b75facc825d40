"use strict";
// One picture pixel covers `zoom` device pixels; (x, y) is the picture point at the middle of a panel.
(() => {
  const $ = (id) => document.getElementById(id);
  const view = $("view");
  const paint = view.getContext("2d", { alpha: false });
  const pictures = [...document.querySelectorAll("#sources img")].map((img) => ({
    img, label: img.dataset.label, name: img.dataset.name, pixels: null,
  }));
  const pairs = pictures.length > 2 ? [[0, 1], [0, 2], [1, 2]] : [[0, 1]];
  const gains = [1, 2, 4, 8, 16, 32, 64];
  const steps = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
  const state = { mode: "wipe", pair: 0, shown: 0, zoom: "fit", x: 0, y: 0, split: 0.5, gain: 8, signed: false };
  const background = "#303030";  // neutral, as the style sheet's
  let width = 0, height = 0, difference = null, wanted = false;

  // --- geometry, all in device pixels ---
  const ratio = () => view.width / view.clientWidth || 1;
  const columns = () => (state.mode === "side" ? pictures.length : 1);
  const panel = (i) => {
    const n = columns(), gap = n > 1 ? 2 : 0, w = Math.floor((view.width - gap * (n - 1)) / n);
    return { left: i * (w + gap), width: w };
  };
  function zoom() {
    if (state.zoom !== "fit") return state.zoom;
    const z = Math.min(panel(0).width / width, view.height / height);
    return z >= 1 ? Math.floor(z) : z;
  }
  function origin(i) {
    const z = zoom(), p = panel(i);
    return [p.left + Math.round(p.width / 2 - state.x * z), Math.round(view.height / 2 - state.y * z)];
  }
  const panelAt = (px) => {
    for (let i = columns() - 1; i > 0; i--) if (px >= panel(i).left) return i;
    return 0;
  };
  function pixelAt(px, py) {
    const [x0, y0] = origin(panelAt(px)), z = zoom();
    const x = Math.floor((px - x0) / z), y = Math.floor((py - y0) / z);
    return x >= 0 && y >= 0 && x < width && y < height ? [x, y] : null;
  }

  // --- painting ---
  function put(source, i, from, to) {
    const z = zoom(), [x0, y0] = origin(i), p = panel(i);
    paint.save();
    paint.beginPath();
    paint.rect(from, 0, to - from, view.height);
    paint.clip();
    paint.imageSmoothingEnabled = z < 1;
    paint.imageSmoothingQuality = "high";
    if (z < 1) {
      paint.drawImage(source, x0, y0, Math.round(width * z), Math.round(height * z));
    } else {
      const sx = Math.max(0, Math.floor((p.left - x0) / z)), sy = Math.max(0, Math.floor(-y0 / z));
      const w = Math.min(width, Math.ceil((p.left + p.width - x0) / z)) - sx;
      const h = Math.min(height, Math.ceil((view.height - y0) / z)) - sy;
      if (w > 0 && h > 0) paint.drawImage(source, sx, sy, w, h, x0 + sx * z, y0 + sy * z, w * z, h * z);
    }
    paint.restore();
  }
  function differenceCanvas() {
    const [a, b] = pairs[state.pair].map((i) => pictures[i].pixels.data);
    const key = `${state.pair} ${state.gain} ${state.signed}`;
    if (difference && difference.key === key) return difference.canvas;
    const canvas = difference ? difference.canvas : new OffscreenCanvas(width, height);
    const out = new ImageData(width, height), o = out.data, gain = state.gain;
    for (let i = 0; i < o.length; i += 4) {
      for (let c = i; c < i + 3; c++) {
        const gap = (a[c] - b[c]) * gain;
        o[c] = state.signed ? 128 + gap : Math.abs(gap);
      }
      o[i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(out, 0, 0);
    difference = { key, canvas };
    return canvas;
  }
  function draw() {
    wanted = false;
    paint.fillStyle = background;
    paint.fillRect(0, 0, view.width, view.height);
    if (!width) return;
    const [a, b] = pairs[state.pair];
    if (state.mode === "side") {
      pictures.forEach((p, i) => put(p.img, i, panel(i).left, panel(i).left + panel(i).width));
    } else if (state.mode === "flip") {
      put(pictures[state.shown].img, 0, 0, view.width);
    } else if (state.mode === "diff") {
      put(differenceCanvas(), 0, 0, view.width);
    } else {
      const at = Math.round(state.split * view.width), line = Math.max(1, Math.round(ratio()));
      put(pictures[a].img, 0, 0, at);
      put(pictures[b].img, 0, at, view.width);
      paint.fillStyle = "#000";
      paint.fillRect(at - 2 * line, 0, 3 * line, view.height);
      paint.fillStyle = "#fff";
      paint.fillRect(at - line, 0, line, view.height);
    }
    labels(a, b);
  }
  function redraw() {
    if (!wanted) requestAnimationFrame(draw);
    wanted = true;
  }

  // --- words around the picture ---
  const title = (i) => `${pictures[i].label}  ${pictures[i].name}`;
  function tagTexts(a, b) {
    if (state.mode === "side") return pictures.map((_, i) => title(i));
    if (state.mode === "flip") return [title(state.shown)];
    if (state.mode === "wipe") return [title(a), title(b)];
    const bars = state.signed ? "" : "|";
    return [`${bars}${pictures[a].label} − ${pictures[b].label}${bars} × ${state.gain}`];
  }
  function labels(a, b) {
    const texts = tagTexts(a, b), css = (px) => `${px / ratio()}px`;
    document.querySelectorAll(".tag").forEach((node, i) => {
      const atRight = state.mode === "wipe" && i === 1;
      node.hidden = i >= texts.length;
      node.textContent = texts[i] || "";
      node.style.left = atRight ? "auto" : `calc(${css(panel(i).left)} + 10px)`;
      node.style.right = atRight ? "10px" : "auto";
      node.style.maxWidth = `calc(${css(state.mode === "wipe" ? view.width / 2 : panel(0).width)} - 20px)`;
    });
    const percent = zoom() * 100;
    $("zoom").textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
    press("modes", "mode", state.mode);
    press("zooms", "zoom", String(state.zoom));
    $("gains").hidden = $("signs").hidden = state.mode !== "diff";
    $("pairs").hidden = pairs.length < 2 || state.mode === "side" || state.mode === "flip";
    $("pair").value = state.pair;
    $("gain").value = state.gain;
    $("signed").setAttribute("aria-pressed", state.signed);
    $("metrics").setAttribute("aria-pressed", !document.body.classList.contains("bare"));
  }
  function press(group, key, value) {
    for (const b of $(group).querySelectorAll("button")) b.setAttribute("aria-pressed", b.dataset[key] === value);
  }
  function read(place) {
    if (!place) return;
    const [x, y] = place, at = 4 * (y * width + x), row = $("read");
    row.replaceChildren(span(`x ${String(x).padStart(5)}  y ${String(y).padStart(5)}`));
    const values = pictures.map((p) => [...p.pixels.data.slice(at, at + 3)]);
    values.forEach((rgb, i) => row.append(span(`${pictures[i].label} ${triple(rgb)}`, `rgb(${rgb.join(" ")})`)));
    const [a, b] = pairs[state.pair];
    row.append(span(`${pictures[a].label}−${pictures[b].label} ${triple(values[a].map((v, c) => v - values[b][c]))}`));
  }
  const triple = (rgb) => rgb.map((v) => String(v).padStart(4)).join("");
  function span(text, color) {
    const node = document.createElement("span");
    if (color) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = color;
      node.append(swatch);
    }
    node.append(text);
    return node;
  }

  // --- what the user can do ---
  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  function set(changes) {
    Object.assign(state, changes);
    state.x = clamp(state.x, 0, width);
    state.y = clamp(state.y, 0, height);
    state.split = clamp(state.split, 0, 1);
    if (state.zoom === "fit") { state.x = width / 2; state.y = height / 2; }
    redraw();
  }
  function zoomTo(next, px, py) {
    if (next === "fit" || px === undefined) return set({ zoom: next });
    const p = panel(panelAt(px)), z = zoom();
    const dx = px - p.left - p.width / 2, dy = py - view.height / 2;
    set({ zoom: next, x: state.x + dx / z - dx / next, y: state.y + dy / z - dy / next });
  }
  function zoomBy(direction, px, py) {
    const z = zoom();
    const next = direction > 0 ? steps.find((s) => s > z * 1.001) : steps.findLast((s) => s < z * 0.999);
    if (next) zoomTo(next, px, py);
  }
  const show = (i) => i < pictures.length && set({ mode: "flip", shown: i });
  function flip() {
    const [a, b] = pairs[state.pair];
    show(state.mode === "flip" && state.shown === a ? b : a);
  }
  const gainBy = (d) => set({ mode: "diff", gain: gains[clamp(gains.indexOf(state.gain) + d, 0, gains.length - 1)] });
  const pan = (dx, dy, fine) => {
    const step = fine ? 1 : (64 * ratio()) / zoom();
    if (state.zoom === "fit") state.zoom = zoom();
    set({ x: state.x + dx * step, y: state.y + dy * step });
  };
  const keys = {
    " ": flip, a: () => show(0), b: () => show(1), r: () => show(2),
    w: () => set({ mode: "wipe" }), s: () => set({ mode: "side" }), d: () => set({ mode: "diff" }),
    0: () => zoomTo("fit"), f: () => zoomTo("fit"),
    1: () => zoomTo(1), 2: () => zoomTo(2), 4: () => zoomTo(4), 8: () => zoomTo(8),
    "+": () => zoomBy(1), "=": () => zoomBy(1), "-": () => zoomBy(-1),
    arrowleft: (e) => pan(-1, 0, e.shiftKey), arrowright: (e) => pan(1, 0, e.shiftKey),
    arrowup: (e) => pan(0, -1, e.shiftKey), arrowdown: (e) => pan(0, 1, e.shiftKey),
    ",": () => set({ mode: "wipe", split: state.split - 0.02 }), ".": () => set({ mode: "wipe", split: state.split + 0.02 }),
    "[": () => gainBy(-1), "]": () => gainBy(1), g: () => set({ mode: "diff", signed: !state.signed }),
    p: () => set({ pair: (state.pair + 1) % pairs.length }),
    m: () => { document.body.classList.toggle("bare"); redraw(); },
    "?": () => $("keys").showModal(), h: () => $("keys").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const action = keys[event.key.toLowerCase()];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
    if (event.target.tagName === "SELECT" && event.key.length > 1) return;
    event.preventDefault();
    action(event);
  });
  for (const b of $("modes").querySelectorAll("button"))
    b.addEventListener("click", () => (b.dataset.mode === "flip" ? flip() : set({ mode: b.dataset.mode })));
  for (const b of $("zooms").querySelectorAll("button"))
    b.addEventListener("click", () => zoomTo(b.dataset.zoom === "fit" ? "fit" : Number(b.dataset.zoom)));
  $("pair").addEventListener("change", (e) => set({ pair: Number(e.target.value) }));
  $("gain").addEventListener("change", (e) => set({ gain: Number(e.target.value) }));
  $("signed").addEventListener("click", keys.g);
  $("metrics").addEventListener("click", keys.m);
  $("help").addEventListener("click", keys["?"]);
  // a button that was clicked would take the next Space for itself
  document.querySelector("header").addEventListener("click", (e) => { if (e.detail) e.target.blur(); });

  const device = (event) => {
    const box = view.getBoundingClientRect();
    return [(event.clientX - box.left) * ratio(), (event.clientY - box.top) * ratio()];
  };
  const onLine = (px) => state.mode === "wipe" && Math.abs(px - state.split * view.width) < 9 * ratio();
  let drag = null;
  view.addEventListener("pointerdown", (event) => {
    const [px, py] = device(event);
    drag = { px, py, x: state.x, y: state.y, line: onLine(px) };
    view.setPointerCapture(event.pointerId);
    view.classList.add("dragging");
  });
  view.addEventListener("pointermove", (event) => {
    const [px, py] = device(event);
    read(pixelAt(px, py));
    view.classList.toggle("split", drag ? drag.line : onLine(px));
    if (!drag) return;
    if (drag.line) return set({ split: px / view.width });
    if (state.zoom === "fit" && Math.hypot(px - drag.px, py - drag.py) > 3 * ratio()) state.zoom = zoom();
    if (state.zoom !== "fit") set({ x: drag.x - (px - drag.px) / zoom(), y: drag.y - (py - drag.py) / zoom() });
  });
  for (const name of ["pointerup", "pointercancel"])
    view.addEventListener(name, () => { drag = null; view.classList.remove("dragging"); });
  view.addEventListener("dblclick", (event) => zoomTo(state.zoom === "fit" ? 1 : "fit", ...device(event)));
  let turned = 0;
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    if (Math.abs(turned) < 40) return;
    zoomBy(-Math.sign(turned), ...device(event));
    turned = 0;
  }, { passive: false });

  // --- start ---
  function resize(entries) {
    const exact = entries[0].devicePixelContentBoxSize?.[0];
    view.width = exact ? exact.inlineSize : Math.round(view.clientWidth * devicePixelRatio);
    view.height = exact ? exact.blockSize : Math.round(view.clientHeight * devicePixelRatio);
    draw();
  }
  function watchSize() {
    const observer = new ResizeObserver(resize);
    try { observer.observe(view, { box: "device-pixel-content-box" }); } catch { observer.observe(view); }
  }
  function pixelsOf(img) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(img, 0, 0);
    return context.getImageData(0, 0, width, height);
  }
  function stateOfLink() {
    const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1))), wish = {};
    if (["wipe", "flip", "side", "diff"].includes(asked.mode)) wish.mode = asked.mode;
    if (asked.zoom > 0 && asked.zoom <= 64) wish.zoom = Number(asked.zoom);
    for (const key of ["x", "y", "split"]) if (asked[key] >= 0) wish[key] = Number(asked[key]);
    if (asked.show in pictures) wish.shown = Number(asked.show);
    if (asked.pair in pairs) wish.pair = Number(asked.pair);
    if (gains.includes(Number(asked.gain))) wish.gain = Number(asked.gain);
    if (asked.signed) wish.signed = asked.signed === "1";
    return wish;
  }
  async function start() {
    if (document.readyState !== "complete") await new Promise((done) => addEventListener("load", done));
    if (pictures.some((p) => !p.img.naturalWidth)) throw new Error("the browser could not decode them");
    width = pictures[0].img.naturalWidth;
    height = pictures[0].img.naturalHeight;
    for (const p of pictures) p.pixels = pixelsOf(p.img);
    pairs.forEach(([a, b], i) => $("pair").add(new Option(`${pictures[a].label} | ${pictures[b].label}`, i)));
    gains.forEach((g) => $("gain").add(new Option(`× ${g}`, g)));
    $("note").hidden = true;
    set({ x: width / 2, y: height / 2, ...stateOfLink() });
    draw();
    document.body.dataset.state = "ready";
  }
  watchSize();
  start().catch((error) => {
    document.body.dataset.state = "failed";
    $("note").textContent = `The pictures cannot be shown: ${error.message}`;
  });
})();
