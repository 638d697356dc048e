"use strict";

const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const parts = data.parts;
const STORED = `good-bad review ${data.digest}`; // of this content alone
const WORDS = { g: "good", 1: "good", b: "bad", 2: "bad", u: "unsure", 3: "unsure" };
const COLUMNS = ["path", "group", "drawn", "label", "score", "verdict", "passed"];
const LEGEND = "In colour: what supports bad; inside the line it is above half of its peak.";
const EMPTY = "The map is empty: nothing supports bad.";
const choices = [...document.querySelectorAll(".choice")];
const marks = parts.map(() => document.createElement("span"));

// unseen: the judgements by the time that all were judged, and no score had been shown
let state = { place: 0, judgements: {}, unseen: null, map: false, saved: false };

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
  keep();
}

function judge(word) {
  state.judgements[state.place] = word;
  state.saved = false;
  const open = parts.map((_, step) => (state.place + step) % parts.length);
  const next = open.find((place) => !(place in state.judgements));
  if (next === undefined) state.unseen ??= { ...state.judgements };
  go(next ?? state.place + 1);
}

function toggle() {
  state.map = !state.map;
  keep();
}

function save() {
  const unseen = state.unseen ?? state.judgements;
  const rows = [[...COLUMNS, "judgement", "before_scores", "page", "saved"]];
  const about = [data.digest, new Date().toISOString()];
  parts.forEach((part, place) => {
    const known = COLUMNS.map((name) => part[name]);
    rows.push([...known, state.judgements[place] ?? "", unseen[place] ?? "", ...about]);
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
  const verdict = `${part.score.toFixed(4)}, ${part.verdict}`;
  at("verdict").textContent = isDone ? verdict : "shown when all are judged";
  at("doubt").hidden = !part.label;
  at("doubt").textContent = `Is its label, ${part.label}, right? ${isDone ? part.remark : ""}`;
  at("image").src = part.image;
  at("map").src = part.map;
  at("map").hidden = !(state.map && part.map);
  at("toggle").setAttribute("aria-pressed", state.map);
  at("legend").textContent = !state.map ? "" : part.map ? LEGEND : EMPTY;
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
};
document.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (key in WORDS) judge(WORDS[key]);
  if (key in ACTIONS) ACTIONS[key]();
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
try {
  state = JSON.parse(localStorage.getItem(STORED)) ?? state;
} catch {
  // it is told when the first judgement cannot be kept
}
show();
