"use strict";
/*
 * The state of the view. It is stored in the URL fragment, so that an address shows the same view.
 * Sandboxed frames may not change their address; the state is then in memory only.
 */

const NUMBERS = ["at", "from", "to", "hide", "noise"]; // lists of numbers
const NUMBER = ["t", "zoom", "x", "y", "label"];
const FLAGS = ["tiles", "density"];

const DEFAULTS = {
  tab: "", map: "", at: null, from: null, to: null, kind: "linear", t: 0.5, hide: [], zoom: 1,
  x: null, y: null, tiles: false, density: false, label: 0, noise: null,
};
/** Values that belong to one latent space, and are reset with another one. */
const OF_SPACE = ["at", "from", "to", "t", "zoom", "x", "y"];

function parseState(fragment) {
  const state = { ...DEFAULTS };
  for (const [name, text] of new URLSearchParams(fragment)) {
    const values = text.split(",").map(Number);
    if (!(name in DEFAULTS) || text === "") continue;
    if (NUMBERS.includes(name)) state[name] = values.every(Number.isFinite) ? values : DEFAULTS[name];
    else if (NUMBER.includes(name)) state[name] = Number.isFinite(values[0]) ? values[0] : DEFAULTS[name];
    else if (FLAGS.includes(name)) state[name] = text === "1";
    else state[name] = text;
  }
  return state;
}

function formatState(state) {
  const round = (value) => Number(value.toPrecision(5));
  const fragment = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (JSON.stringify(value) === JSON.stringify(DEFAULTS[name]) || value === null) continue;
    if (NUMBERS.includes(name)) fragment.set(name, Array.from(value, round).join(","));
    else if (NUMBER.includes(name)) fragment.set(name, round(value));
    else if (FLAGS.includes(name)) fragment.set(name, value ? "1" : "0");
    else fragment.set(name, value);
  }
  return fragment.toString().replaceAll("%2C", ",");
}

const STATE = parseState(location.hash.slice(1));
const listeners = [];
let writing = 0;

function writeFragment() {
  const fragment = `#${formatState(STATE)}`;
  try {
    history.replaceState(null, "", fragment);
  } catch {
    try {
      location.hash = fragment;
    } catch {
      // the state stays in memory
    }
  }
}

/** Change values of the state, and tell the panels which ones. */
function update(changes) {
  Object.assign(STATE, changes);
  clearTimeout(writing);
  writing = setTimeout(writeFragment, 200); // browsers limit the number of changes per second
  for (const listener of listeners) listener(changes);
}

/** Call a function when one of the named values changes, or when the space changes. */
function whenChanged(names, listener) {
  listeners.push((changes) => {
    if (names.some((name) => name in changes)) listener(changes);
  });
}

addEventListener("hashchange", () => {
  const wanted = location.hash.slice(1);
  if (wanted !== formatState(STATE)) update(parseState(wanted));
});
