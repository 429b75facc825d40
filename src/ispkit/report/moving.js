"use strict";
// Wipes: drag, or the arrow keys; space flips between before and after.
for (const box of document.querySelectorAll(".wipe")) {
  let at = 50;
  const set = (percent) => { at = Math.max(0, Math.min(100, percent)); box.style.setProperty("--at", `${at}%`); };
  const follow = (event) => {
    const place = box.getBoundingClientRect();
    set(100 * (event.clientX - place.left) / place.width);
  };
  box.addEventListener("pointerdown", (event) => { box.setPointerCapture(event.pointerId); follow(event); box.focus(); });
  box.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") set(at - 2);
    else if (event.key === "ArrowRight") set(at + 2);
    else if (event.key === " ") set(at > 50 ? 0 : 100);
    else return;
    event.preventDefault();
  });
}
// Scatter plots: a click (or Enter) on a point shows what was rendered there.
const pictures = JSON.parse(document.getElementById("pictures")?.textContent ?? "{}");
for (const plot of document.querySelectorAll(".scatter")) {
  const pane = document.getElementById(plot.dataset.pane);
  const show = (point) => {
    if (!point?.dataset.shows) return;
    plot.querySelector(".chosen")?.classList.remove("chosen");
    point.classList.add("chosen");
    const text = document.createElement("div");
    text.textContent = point.dataset.text;
    const picture = new Image();
    picture.alt = point.dataset.text;
    picture.src = pictures[point.dataset.shows];
    pane.replaceChildren(picture, text);
  };
  plot.addEventListener("click", (event) => show(event.target.closest("circle")));
  plot.addEventListener("keydown", (event) => { if (event.key === "Enter") show(event.target.closest("circle")); });
}
