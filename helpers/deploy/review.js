"use strict";

const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const parts = data.parts;
const STORED = `good-bad review ${data.digest}`; // of this content alone
const WORDS = { g: "good", 1: "good", b: "bad", 2: "bad", u: "unsure", 3: "unsure" };
const COLUMNS = ["path", "group", "drawn", "label", "score", "verdict", "passed"];
const MARKED = "In colour: the smallest area that stops it from passing.";
const IS_BLIND = parts.some((part) => part.drawn === "audit"); // a clean map would tell these
const choices = [...document.querySelectorAll(".choice")];
const marks = parts.map(() => document.createElement("span"));

// unseen: the judgements before the part's map or any score was shown
let state = { place: 0, judgements: {}, unseen: {}, comments: {}, inspector: "", map: false };
let view = { zoom: 1, x: 0.5, y: 0.5, contrast: 1 }; // (x, y): the point that stays in its place

function keep() {
  try {
    localStorage.setItem(STORED, JSON.stringify(state));
  } catch {
    at("kept").textContent = "This browser remembers nothing: save before you close it!";
  }
  show();
}

function go(place) {
  state.place = Math.max(0, Math.min(parts.length - 1, place));
  look({ zoom: 1 });
  keep();
}

function look(change) {
  view = { ...view, ...change };
  [view.x, view.y] = [view.x, view.y].map((share) => Math.max(0, Math.min(1, share)));
  const { mean } = parts[state.place]; // which contrast leaves as it is
  const brightness = ((mean - 0.5) / view.contrast + 0.5) / mean;
  at("frame").style.transformOrigin = `${100 * view.x}% ${100 * view.y}%`;
  at("frame").style.transform = `scale(${view.zoom})`;
  at("image").style.filter = `brightness(${brightness}) contrast(${view.contrast})`;
}

const zoom = (factor) => look({ zoom: Math.max(1, Math.min(16, view.zoom * factor)) });
const contrast = (factor) => look({ contrast: Math.max(1, Math.min(8, view.contrast * factor)) });

function judge(word) {
  const staysForMap = IS_BLIND && state.map && !(state.place in state.judgements);
  state.judgements[state.place] = word;
  state.saved = false;
  const open = parts.map((_, step) => (state.place + step) % parts.length);
  const next = open.find((place) => !(place in state.judgements));
  if (next === undefined) state.unseen = { ...state.judgements, ...state.unseen };
  if (staysForMap) keep();
  else go(next ?? state.place + 1);
}

function toggle() {
  state.map = !state.map;
  keep();
}

function save() {
  const said = [state.judgements, { ...state.judgements, ...state.unseen }, state.comments];
  const about = [state.inspector, data.digest, new Date().toISOString()];
  const rows = [[...COLUMNS, "judgement", "before_scores", "comment", "inspector", "page", "saved"]];
  parts.forEach((part, place) => {
    const known = COLUMNS.map((name) => part[name]);
    rows.push([...known, ...said.map((words) => words[place] ?? ""), ...about]);
  });
  const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;
  const lines = rows.map((row) => row.map(quoted).join(",") + "\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "text/csv" }));
  link.download = data.saved_as;
  link.click();
  state.saved = true;
  keep();
}

function show() {
  const part = parts[state.place];
  const judged = Object.keys(state.judgements).length;
  const isDone = judged === parts.length;
  at("number").textContent = `Part ${state.place + 1} of ${parts.length}`;
  at("name").textContent = part.path.split("/").pop();
  at("reduced").textContent = part.reduced;
  at("group").textContent = part.group || "none";
  const verdict = [part.score.toFixed(4), part.verdict, part.why].filter(Boolean).join(", ");
  const isOpen = !IS_BLIND || state.place in state.judgements;
  const isShown = state.map && isOpen;
  if (isShown) state.unseen[state.place] ??= state.judgements[state.place];
  at("verdict").textContent = isDone ? verdict : "shown when all are judged";
  at("doubt").hidden = !part.label;
  at("doubt").textContent = `Is its label, ${part.label}, right? ${isDone ? part.remark : ""}`;
  at("image").src = part.image;
  at("map").src = part.map;
  at("map").hidden = !(isShown && part.map);
  at("toggle").setAttribute("aria-pressed", state.map);
  at("scale").hidden = !state.map;
  at("legend").textContent = !isOpen ? "Opens when it is judged." : part.map ? MARKED : "Clean.";
  at("comment").value = state.comments[state.place] ?? "";
  choices.forEach((choice) => {
    choice.setAttribute("aria-pressed", state.judgements[state.place] === choice.value);
  });
  marks.forEach((mark, place) => {
    mark.className = `${state.judgements[place] ?? ""} ${place === state.place ? "here" : ""}`;
  });
  const next = state.saved ? ", saved" : isDone ? ": save the CSV" : "";
  at("status").textContent = `${judged} of ${parts.length} judged${next}`;
  at("save").className = isDone && !state.saved ? "ready good" : "";
}

const ACTIONS = {
  ArrowLeft: () => go(state.place - 1),
  ArrowRight: () => go(state.place + 1),
  m: toggle,
  s: save,
  n: () => at("comment").focus(),
  "+": () => zoom(1.5),
  "=": () => zoom(1.5),
  "-": () => zoom(1 / 1.5),
  c: () => contrast(1.25),
  x: () => contrast(1 / 1.25),
  0: () => look({ zoom: 1, contrast: 1 }),
  i: () => look({ y: view.y - 0.1 }),
  k: () => look({ y: view.y + 0.1 }),
  j: () => look({ x: view.x - 0.1 }),
  l: () => look({ x: view.x + 0.1 }),
};
document.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("input")) return void (key === "Enter" && event.target.blur());
  if (key in WORDS) judge(WORDS[key]);
  if (key in ACTIONS) ACTIONS[key]();
  if (key === "n") event.preventDefault(); // it is not typed into the comment
});
at("stage").addEventListener("wheel", (event) => {
  event.preventDefault();
  (event.shiftKey ? contrast : zoom)(Math.exp(-(event.deltaY || event.deltaX) / 400));
});
at("stage").addEventListener("pointermove", ({ offsetX, offsetY }) => {
  const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = at("frame");
  look({ x: (offsetX - offsetLeft) / offsetWidth, y: (offsetY - offsetTop) / offsetHeight });
});
document.addEventListener("input", ({ target }) => {
  if (target.id === "inspector") state.inspector = target.value;
  else state.comments[state.place] = target.value;
  state.saved = false;
  keep();
});
choices.forEach((choice) => choice.addEventListener("click", () => judge(choice.value)));
marks.forEach((mark, place) => mark.addEventListener("click", () => go(place)));
at("back").addEventListener("click", ACTIONS.ArrowLeft);
at("next").addEventListener("click", ACTIONS.ArrowRight);
at("toggle").addEventListener("click", toggle);
at("save").addEventListener("click", save);
at("image").addEventListener("load", ({ target }) => {
  at("frame").style.setProperty("--ratio", target.naturalWidth / target.naturalHeight);
});
at("marks").append(...marks);
at("model").textContent = data.described;
at("caveat").textContent = data.caveat;
at("bar").src = data.bar;
at("unit").textContent = data.scale.join(" ");
try {
  state = { ...state, ...JSON.parse(localStorage.getItem(STORED)) };
} catch {
  // it is told when the first judgement cannot be kept
}
at("inspector").value = state.inspector;
look({});
show();
