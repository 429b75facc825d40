"use strict";
// A screen of ispkit's rig: asks for frames, paints them one to one in device pixels, and says so once they are
// really there. The server may go away and come back; the page waits for it.

const NAME = new URLSearchParams(location.search).get("screen") || "main";
const RETRY_MS = 500;
const canvas = document.querySelector("canvas");
const note = document.querySelector("p");
const session = sessionStorage.session ||= Math.random().toString(36).slice(2);
let shown = "";
let deviceSize = [Math.round(innerWidth * devicePixelRatio), Math.round(innerHeight * devicePixelRatio)];

function say(text, problem = false) {
  note.textContent = text;
  document.body.classList.toggle("problem", problem);
}

// Exact device pixels where the browser tells them; products of rounded CSS pixels can be one off.
const observer = new ResizeObserver(([entry]) => {
  const exact = entry.devicePixelContentBoxSize?.[0];
  deviceSize = exact
    ? [exact.inlineSize, exact.blockSize]
    : [Math.round(innerWidth * devicePixelRatio), Math.round(innerHeight * devicePixelRatio)];
  place();
  hint();
});
try {
  observer.observe(document.documentElement, { box: "device-pixel-content-box" });
} catch { // not every browser knows that box
  observer.observe(document.documentElement);
}

function hint() {
  if (!shown) say(`Screen “${NAME}”, ${deviceSize[0]}×${deviceSize[1]} pixels. Click, or press F, for full screen.`);
}

function place() {
  const [width, height] = canvas.fitted || [canvas.width, canvas.height];
  const ratio = devicePixelRatio;
  canvas.style.width = `${width / ratio}px`;
  canvas.style.height = `${height / ratio}px`;
  canvas.style.left = `${Math.floor((deviceSize[0] - width) / 2) / ratio}px`;
  canvas.style.top = `${Math.floor((deviceSize[1] - height) / 2) / ratio}px`;
}

const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

async function paint(job) {
  const answer = await fetch(job.url);
  if (!answer.ok) throw new Error(`frame ${job.id}: ${answer.status}`);
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const scale = job.fit === "contain" ? Math.min(deviceSize[0] / width, deviceSize[1] / height) : 1;
  canvas.fitted = [Math.round(width * scale), Math.round(height * scale)];
  canvas.style.imageRendering = scale === 1 ? "pixelated" : "auto";
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
  place();
  document.body.classList.add("showing");
  document.body.classList.remove("problem");
  await painted();
  return { id: job.id, width: deviceSize[0], height: deviceSize[1], visible: document.visibilityState === "visible" };
}

const facts = (more) => new URLSearchParams({
  screen: NAME, session, width: deviceSize[0], height: deviceSize[1], ...more,
});

async function loop() {
  for (;;) {
    try {
      const answer = await fetch(`next?${facts({ have: shown })}`, { cache: "no-store" });
      if (answer.status === 409 || answer.status === 404) {
        say(await answer.text(), true);
        await new Promise((done) => setTimeout(done, 4 * RETRY_MS));
      } else if (answer.status === 200) {
        const job = await answer.json();
        const said = await paint(job);
        shown = job.id;
        await fetch(`shown?${facts(said)}`, { method: "POST" });
      } else if (!shown) hint();
    } catch {
      if (!shown) say("Waiting for the server …", true);
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

async function fullScreen() {
  try {
    await document.documentElement.requestFullscreen({ navigationUI: "hide" });
    await navigator.wakeLock?.request("screen"); // only on secure pages; elsewhere the user's own setting counts
  } catch { /* a screen without full screen still works */ }
}

addEventListener("click", fullScreen);
addEventListener("keydown", (event) => { if (event.key === "f" || event.key === "F") fullScreen(); });
requestAnimationFrame(() => { hint(); loop(); });
