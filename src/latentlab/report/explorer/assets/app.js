"use strict";
/* Connects the panels, the tabs and the state. */

const SPACES = Object.fromEntries(DATA.spaces.map((content) => [content.name, new Space(content)]));
const TABS = [
  ...DATA.spaces.map(({ name, title }) => ({ name, title, panel: "space-panel" })),
  ...(DATA.generator ? [{ name: "generator", title: "GAN generator", panel: "generator-panel" }] : []),
];

const app = {
  space: null,
  /** Select the code of a test image, and use the image as the own one. */
  selectImage(index) {
    update({ at: Array.from(this.space.code(index)) });
    this.ownImage.use(index);
  },
};

/** Return the code that is selected first: a centroid, or the code of the first image. */
const firstCode = (space) => Array.from(space.centroids.find(Boolean) ?? space.code(0));

/** Replace values of the state that do not fit the data, such as those of another report. */
function repairState() {
  if (!TABS.some(({ name }) => name === STATE.tab)) STATE.tab = TABS[0].name;
  app.space = SPACES[STATE.tab] ?? app.space ?? Object.values(SPACES)[0];
  for (const name of ["at", "from", "to"]) {
    if (STATE[name] && STATE[name].length !== app.space.dimensions) STATE[name] = null;
  }
  STATE.at ??= firstCode(app.space);
  STATE.hide = STATE.hide.filter((label) => label in CLASSES);
  STATE.t = clamp(STATE.t, 0, 1);
  STATE.zoom = clamp(STATE.zoom, 0.5, 60);
  if (!["linear", "spherical"].includes(STATE.kind)) STATE.kind = "linear";
}

function showTab() {
  for (const { name, panel } of TABS) {
    const selected = name === STATE.tab;
    const tab = byId(`tab-${name}`);
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    if (selected) byId(panel).setAttribute("aria-labelledby", tab.id);
  }
  byId("space-panel").hidden = STATE.tab === "generator";
  byId("generator-panel").hidden = STATE.tab !== "generator";
}

function createTabs() {
  const choose = (name) => {
    const resets = Object.fromEntries(OF_SPACE.map((each) => [each, DEFAULTS[each]]));
    update({ ...(name === "generator" ? {} : resets), tab: name });
  };
  const tabs = TABS.map(({ name, title, panel }, i) =>
    element(
      "button",
      {
        type: "button", id: `tab-${name}`, role: "tab", "aria-controls": panel,
        onclick: () => choose(name),
        onkeydown: (event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!step) return;
          const next = TABS[(i + step + TABS.length) % TABS.length].name;
          choose(next);
          byId(`tab-${next}`).focus();
        },
      },
      title,
    ),
  );
  byId("tabs").replaceChildren(...tabs);
}

async function start() {
  await ATLAS.load();
  // before the panels: they read the state after it was repaired
  listeners.push((changes) => {
    if ("tab" in changes || "at" in changes) repairState();
    if ("tab" in changes) showTab();
  });
  repairState();
  createTabs();
  let pointer = null; // code under the pointer
  const showPoint = createPointPanel(app);
  const showCurrent = () => showPoint(pointer ?? STATE.at, Boolean(pointer));
  app.map = createMapPanel(app, (code) => {
    pointer = code;
    showCurrent();
  });
  const panels = [
    app.map,
    createCodePanel(app),
    createInterpolationPanel(app),
    createListsPanel(app),
    createGeneratorPanel(),
  ];
  app.ownImage = createOwnImagePanel(app);
  app.ownImage.use(0);
  whenChanged(["at", "tab"], () => {
    pointer = null;
    showCurrent();
  });
  showTab();
  for (const panel of panels) panel.show();
  showCurrent();
  document.documentElement.dataset.ready = "true";
}

start();
