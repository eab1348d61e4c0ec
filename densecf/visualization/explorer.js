"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const palette = new Uint32Array(bytesOf(data.palette).buffer);  // pixels as the canvas holds them: red, green, blue, 255
const figures = [...document.querySelectorAll("figure")];
const chooser = document.getElementById("run");
const pinButton = document.getElementById("pin");
const sentence = document.getElementById("status");

let embeddings = null;  // of the chosen run, one a view: Int8Array or Int16Array, an axis after the other
let cursor = null;      // { view, row, column }: where the mouse, the finger or the arrow keys are
let pinned = null;      // the same; while there is one, similarities are those to it
let asked = false;      // whether a redraw is on its way
let byTouch = false;
const unpacked = new Map();

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

async function unpack(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** Similarity of one pixel to all pixels of a view: its vector times centres + steps * codes. */
function similarities(vector, method, codes, out) {
  const constant = vector.reduce((sum, value, axis) => sum + value * method.centres[axis], 0);
  const count = out.length;
  const weight = (axis) => (axis < vector.length ? Math.fround(vector[axis] * method.steps[axis]) : 0);
  out.fill(constant);
  for (let axis = 0; axis < vector.length; axis += 4) {  // four at a time: half the memory traffic
    const [a, b, c, d] = [weight(axis), weight(axis + 1), weight(axis + 2), weight(axis + 3)];
    const start = axis * count;
    const [second, third, fourth] = [1, 2, 3].map((more) => Math.min(axis + more, vector.length - 1) * count);
    for (let place = 0; place < count; place++) {
      out[place] += a * codes[start + place] + b * codes[second + place] + c * codes[third + place] + d * codes[fourth + place];
    }
  }
}

function vectorOf(method, point) {
  const count = data.views[point.view].values.length;
  const place = point.row * data.views[point.view].columns + point.column;
  return method.steps.map((step, axis) => method.centres[axis] + step * embeddings[point.view][axis * count + place]);
}

/** 256 colours from -1 to 1; where there is no image, nothing. */
function paint(view) {
  const { values, isValid, colours } = view;
  for (let place = 0; place < values.length; place++) {
    const level = (values[place] + 1) * 127.5 + 0.5;
    colours[place] = isValid[place] ? palette[level < 0 ? 0 : level > 255 ? 255 : level | 0] : 0;
  }
  view.context.putImageData(view.pixels, 0, 0);
}

function isImage(point) {
  const view = data.views[point.view];
  return view.isValid[point.row * view.columns + point.column] === 1;
}

function redraw() {
  asked = false;
  const from = pinned ?? cursor;
  if (!from || !embeddings) return;
  if (isImage(from)) {
    const method = data.methods[chooser.value];
    const vector = vectorOf(method, from);
    data.views.forEach((view, index) => {
      similarities(vector, method, embeddings[index], view.values);
      paint(view);
    });
  }
  describe(from);
}

function ask() {
  if (!asked) requestAnimationFrame(redraw);
  asked = true;
}

function valueAt(point) {
  const view = data.views[point.view];
  return isImage(point) ? view.values[point.row * view.columns + point.column].toFixed(3).replace("-", "\u2212") : "no image";
}

function nameOf(point) {
  return `row ${point.row * data.stride}, column ${point.column * data.stride} of ${data.views[point.view].title}`;
}

/** Marks, and the numbers in words. Beside a counterfactual stands the value at the same place. */
function describe(from) {
  figures.forEach((figure, index) => {
    const view = data.views[index];
    const samePlace = view.place === data.views[from.view].place && index !== from.view;
    mark(figure.querySelector(".pinned"), pinned && (samePlace || index === pinned.view) ? pinned : null, view, samePlace);
    mark(figure.querySelector(".cursor"), cursor?.view === index ? cursor : null, view, false);
    figure.querySelector("output").textContent =
      samePlace && isImage(from) ? `same place ${valueAt({ ...from, view: index })}` : "";
  });
  pinButton.disabled = !cursor;
  pinButton.textContent = pinned ? "Let go" : "Pin";
  if (!isImage(from)) sentence.textContent = `No image at ${nameOf(from)}`;
  else if (!pinned) sentence.textContent = `Similarity to ${nameOf(from)}`;
  else if (cursor) sentence.textContent = `${valueAt(cursor)} at ${nameOf(cursor)}; pinned: ${nameOf(pinned)}`;
}

function mark(element, point, view, faint) {
  element.hidden = !point;
  element.classList.toggle("faint", faint);
  if (!point) return;
  element.style.left = `${(100 * (point.column + 0.5)) / view.columns}%`;
  element.style.top = `${(100 * (point.row + 0.5)) / view.rows}%`;
}

function moveTo(view, row, column) {
  const { rows, columns } = data.views[view];
  cursor = { view, row: clamp(row, rows), column: clamp(column, columns) };
  ask();
}

function clamp(index, length) {
  return Math.max(0, Math.min(length - 1, index));
}

function pin(point) {
  const again = pinned && point && ["view", "row", "column"].every((key) => pinned[key] === point[key]);
  pinned = again ? null : point;
  ask();
}

function follow(index, event) {
  const box = figures[index].querySelector("canvas").getBoundingClientRect();
  const { rows, columns } = data.views[index];
  moveTo(
    index,
    Math.floor(((event.clientY - box.top) / box.height) * rows),
    Math.floor(((event.clientX - box.left) / box.width) * columns),
  );
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function press(index, event) {
  const here = cursor?.view === index ? cursor : centre(index);
  const far = event.shiftKey ? 10 : 1;
  if (event.key in STEPS) {
    const [down, right] = STEPS[event.key];
    moveTo(index, here.row + far * down, here.column + far * right);
  } else if (event.key === "Enter" || event.key === " ") pin({ ...here });
  else if (event.key === "Escape") pin(null);
  else return;
  event.preventDefault();
}

function centre(index) {
  return { view: index, row: data.views[index].rows >> 1, column: data.views[index].columns >> 1 };
}

async function choose() {
  const index = chooser.value;
  const method = data.methods[index];
  if (!unpacked.has(index)) {
    const Kind = method.bits === 8 ? Int8Array : Int16Array;
    unpacked.set(index, Promise.all(method.codes.map(async (text) => new Kind(await unpack(text)))));
  }
  const found = await unpacked.get(index);
  if (index !== chooser.value) return;  // another run was chosen meanwhile
  embeddings = found;
  document.querySelectorAll("[data-method]").forEach((element) => { element.hidden = element.dataset.method !== index; });
  ask();
}

async function start() {
  for (const [index, view] of data.views.entries()) {
    const canvas = figures[index].querySelector("canvas");
    [canvas.width, canvas.height] = [view.columns, view.rows];
    view.context = canvas.getContext("2d", { willReadFrequently: true });  // drawn by this program, not by the GPU
    view.pixels = view.context.createImageData(view.columns, view.rows);
    view.colours = new Uint32Array(view.pixels.data.buffer);
    view.values = new Float32Array(view.rows * view.columns);
    view.isValid = new Uint8Array(await unpack(view.valid));
    canvas.addEventListener("pointermove", (event) => follow(index, event));
    canvas.addEventListener("pointerdown", (event) => { byTouch = event.pointerType === "touch"; follow(index, event); });
    canvas.addEventListener("click", () => { if (!byTouch) pin({ ...cursor }); });  // a finger only points
    canvas.addEventListener("keydown", (event) => press(index, event));
  }
  const opacity = document.getElementById("opacity");
  const show = () => document.documentElement.style.setProperty("--opacity", `${opacity.value}%`);
  opacity.addEventListener("input", show);
  show();
  pinButton.addEventListener("click", () => pin(pinned ? null : { ...cursor }));
  chooser.addEventListener("change", choose);
  await choose();
  moveTo(0, centre(0).row, centre(0).column);
}

start();
