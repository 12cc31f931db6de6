// Paints where a picture must win. The strokes are kept as shares of width and height, in the order of painting, and
// read by the page as window.defusionppStrokes() when it fuses.
const COLOURS = ["#e6550d", "#3182bd", "#31a354", "#c51b8a", "#d9c400", "#00a6a6", "#8c6d31", "#756bb1"];
const ERASER = -1;
let strokes = [], current = null, chosen = null, scene = null;
const find = (name) => element.querySelector(name);
const colour = (place) => COLOURS[place % COLOURS.length];

function canvas() {
  return find("canvas");
}

function draw(stroke) {
  const { width, height } = canvas(), pen = canvas().getContext("2d");
  pen.globalCompositeOperation = stroke.picture === ERASER ? "destination-out" : "source-over";
  pen.strokeStyle = stroke.picture === ERASER ? "#000" : colour(stroke.picture);
  pen.lineWidth = 2 * stroke.radius * width;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  stroke.points.forEach(([x, y]) => pen.lineTo(x * width, y * height));
  if (stroke.points.length === 1) pen.lineTo(stroke.points[0][0] * width + 0.01, stroke.points[0][1] * height);
  pen.stroke();
}

function redraw() {
  canvas().getContext("2d").clearRect(0, 0, canvas().width, canvas().height);
  strokes.forEach(draw);
  for (const name of [".undo", ".clear"]) find(name).disabled = !strokes.length;
}

function place(event) {
  const box = canvas().getBoundingClientRect();
  const share = (value) => Math.round(1e4 * Math.min(2, Math.max(-1, value))) / 1e4;
  return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
}

function choose(picture) {
  chosen = picture;
  element.querySelectorAll(".brush").forEach((one) =>
    one.setAttribute("aria-pressed", String(Number(one.dataset.picture) === picture)));
}

function brush(picture, text) {
  const button = document.createElement("button"), swatch = document.createElement("span");
  button.type = "button";
  button.className = "brush";
  button.dataset.picture = picture;
  swatch.className = "swatch";
  if (picture !== ERASER) swatch.style.background = colour(picture);
  button.append(swatch, text);
  button.addEventListener("click", () => choose(picture));
  return button;
}

function show() {
  const value = props.value;
  find(".painter").hidden = !value;
  find(".nothing").hidden = Boolean(value);
  if (!value || value.scene !== scene) strokes = [];
  if (!value) { scene = null; return; }
  if (value.scene !== scene) {
    find(".brushes").replaceChildren(...value.pictures.map((one) => brush(one.place, one.name)),
      brush(ERASER, "eraser"));
    choose(value.pictures[0].place);
    scene = value.scene;
  }
  const picture = find("img");
  picture.onload = () => {
    canvas().width = Math.min(1000, picture.naturalWidth);
    canvas().height = Math.round(canvas().width * picture.naturalHeight / picture.naturalWidth);
    redraw();
  };
  picture.src = value.url;
}

canvas().addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  canvas().setPointerCapture(event.pointerId);
  current = { picture: chosen, radius: Number(find(".radius").value) / 200, points: [place(event)] };
  strokes.push(current);
  redraw();
});
canvas().addEventListener("pointermove", (event) => {
  if (!current) return;
  (event.getCoalescedEvents?.() ?? [event]).forEach((one) => {
    if (current.points.length < 20000) current.points.push(place(one));
  });
  redraw();
});
for (const name of ["pointerup", "pointercancel"]) canvas().addEventListener(name, () => { current = null; });
find(".undo").addEventListener("click", () => { strokes.pop(); redraw(); });
find(".clear").addEventListener("click", () => { strokes = []; redraw(); });

window.defusionppStrokes = () => (strokes.length ? JSON.stringify(strokes) : "");
watch("value", show);
show();
