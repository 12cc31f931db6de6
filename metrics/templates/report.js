"use strict";

// --- the table: a click on a heading sorts by it -------------------------------------------------------------
const table = document.getElementById("table");
function sortTable(button) {
  const head = button.closest("th"), body = table.tBodies[0];
  const column = [...head.parentNode.children].indexOf(head);
  const better = button.dataset.better;
  const first = better === "higher" ? "descending" : "ascending";
  const order = head.ariaSort === first ? (first === "ascending" ? "descending" : "ascending") : first;
  const cost = row => {
    const cell = row.children[column];
    if (button.dataset.col === "-1") return cell.textContent;
    const value = cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
    return better === "nearest0" ? Math.abs(value) : value;
  };
  const rows = [...body.rows].map(row => [cost(row), row]);
  rows.sort(([a], [b]) => {
    if (typeof a === "string") return (order === "ascending" ? 1 : -1) * a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return order === "ascending" ? a - b : b - a;
  });
  body.append(...rows.map(([, row]) => row));
  for (const other of head.parentNode.children) other.ariaSort = other === head ? order : "none";
}
for (const button of table.querySelectorAll("thead button")) button.addEventListener("click", () => sortTable(button));

// --- the plots: a pair or a method marked in all of them -----------------------------------------------------
const plots = [...document.querySelectorAll(".plots .plot")];
const pickPair = document.getElementById("pick-pair"), pickMethod = document.getElementById("pick-method");
const readOut = document.getElementById("read-out");
function markPair(pair) {
  for (const plot of plots) {
    plot.classList.toggle("pair-marked", pair !== "");
    for (const dot of plot.querySelectorAll("circle.marked")) dot.classList.remove("marked");
    if (pair !== "") for (const dot of plot.querySelectorAll(`circle[data-p="${pair}"]`)) {
      dot.classList.add("marked");
      dot.parentNode.append(dot);
    }
  }
}
function markMethod(method) {
  for (const node of document.querySelectorAll(".plot .row, #table tbody tr"))
    node.classList.toggle("marked", node.dataset.method === method);
}
pickPair.addEventListener("change", () => { markPair(pickPair.value); readOut.textContent = ""; });
pickMethod.addEventListener("change", () => markMethod(pickMethod.value));
let pointed = null;
for (const plot of plots) {
  const name = plot.parentNode.querySelector("strong").textContent;
  // the nearest dot of the row under the pointer, so that small dots need no steady hand
  plot.addEventListener("pointermove", event => {
    const row = event.target.closest(".row");
    const dots = row ? [...row.querySelectorAll("circle")] : [];
    const scale = plot.viewBox.baseVal.width / plot.clientWidth;
    const x = (event.clientX - plot.getBoundingClientRect().left) * scale;
    const gap = dot => Math.abs(dot.cx.baseVal.value - x);
    const best = dots.reduce((near, dot) => near && gap(near) <= gap(dot) ? near : dot, null);
    const hit = best && gap(best) < 12 ? best : null;
    if (hit === pointed) return;
    pointed = hit;
    markPair(hit ? hit.dataset.p : pickPair.value);
    readOut.textContent = hit ? `${STEMS[hit.dataset.p]}, ${row.dataset.method}: ${name} ${hit.dataset.v}` : "";
  });
  plot.addEventListener("pointerleave", () => {
    pointed = null;
    markPair(pickPair.value);
    readOut.textContent = "";
  });
}

// --- the pictures: one place, magnified in all of them --------------------------------------------------------
const stages = [...document.querySelectorAll(".pair")];
if (stages.length) {
  const size = document.getElementById("size"), power = document.getElementById("power");
  const powerOut = document.getElementById("power-out"), shown = document.getElementById("lens");
  const places = stages.map(stage => stage.dataset.focus.split(",").map(Number));
  let current = 0, waiting = false;

  function draw() {
    waiting = false;
    const [x, y] = places[current], times = Number(power.value), dots = window.devicePixelRatio || 1;
    for (const frame of stages[current].querySelectorAll(".frame")) {
      const image = frame.firstElementChild, lens = frame.lastElementChild;
      lens.hidden = !shown.checked;
      if (lens.hidden || !image.complete || !frame.clientWidth) continue;
      const width = frame.clientWidth, height = frame.clientHeight;
      const side = Math.round(Math.min(0.44 * width, 0.6 * height, 320));
      const left = Math.min(Math.max(x * width - side / 2, 0), width - side);
      const top = Math.min(Math.max(y * height - side / 2, 0), height - side);
      lens.style.width = lens.style.height = `${side}px`;
      lens.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
      lens.width = lens.height = Math.round(side * dots);
      // the region is moved inside the picture, so that its border can be looked at as well
      const scale = image.naturalWidth / width, region = side / times * scale;
      const sx = Math.min(Math.max(x * image.naturalWidth - region / 2, 0), image.naturalWidth - region);
      const sy = Math.min(Math.max(y * image.naturalHeight - region / 2, 0), image.naturalHeight - region);
      const context = lens.getContext("2d");
      context.imageSmoothingEnabled = lens.width / region < 3;
      context.imageSmoothingQuality = "high";
      context.drawImage(image, sx, sy, region, region, 0, 0, lens.width, lens.height);
    }
  }
  function redraw() {
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  }
  function place(x, y) {
    places[current] = [Math.min(Math.max(x, 0), 1), Math.min(Math.max(y, 0), 1)];
    redraw();
  }
  function show(number) {
    current = number;
    stages.forEach((stage, index) => { stage.hidden = index !== number; });
    redraw();
  }
  function follow(frame, event) {
    const box = frame.getBoundingClientRect();
    place((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  for (const frame of document.querySelectorAll(".frame")) {
    // a mouse is followed as it moves; a finger places the magnifier and drags it, and scrolls elsewhere
    frame.addEventListener("pointerdown", event => {
      if (event.pointerType !== "mouse") { shown.checked = true; frame.setPointerCapture(event.pointerId); }
      follow(frame, event);
    });
    frame.addEventListener("pointermove", event => {
      if (event.pointerType === "mouse" || event.buttons) follow(frame, event);
    });
  }
  for (const stage of document.querySelectorAll(".stage")) stage.addEventListener("keydown", event => {
    const step = event.shiftKey ? 0.1 : 0.02, [x, y] = places[current];
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[event.key]) { shown.checked = true; place(x + moves[event.key][0], y + moves[event.key][1]); }
    else if (event.key === "+" || event.key === "=") { power.stepUp(); setPower(); }
    else if (event.key === "-") { power.stepDown(); setPower(); }
    else if (event.key === "Escape") { shown.checked = false; redraw(); }
    else return;
    event.preventDefault();
  });
  function setPower() {
    powerOut.textContent = `${power.value}×`;
    redraw();
  }
  size.addEventListener("input", () => {
    document.getElementById("pictures").style.setProperty("--size", `${size.value}px`);
    redraw();
  });
  if (window.innerWidth <= 640) size.value = 150;
  power.addEventListener("input", setPower);
  shown.addEventListener("change", redraw);
  for (const tab of document.querySelectorAll(".tabs input")) tab.addEventListener("change", () => show(Number(tab.value)));
  window.addEventListener("resize", redraw);
  window.addEventListener("load", redraw);
  show(0);
}
