"use strict";
/* The interpolation between two codes: its images, playback, smoothness and export. */

const FRAMES = 9;
const GIF_FRAMES = 24;
const PLAY_MS = 3000;

function createInterpolationPanel(app) {
  let playing = null;

  const codeAt = (t) => interpolate(STATE.from, STATE.to, t, STATE.kind);
  const decodeAll = (frames) =>
    Promise.all(
      Array.from({ length: frames }, (_, i) => app.space.decode(codeAt(i / (frames - 1)))),
    );

  const showFrames = latestOnly(async () => {
    if (!STATE.from || !STATE.to) return;
    const images = await decodeAll(FRAMES);
    const pictures = images.map((values, i) => {
      const share = i / (FRAMES - 1);
      const frame = button("", () => update({ t: share, at: codeAt(share) }), {
        className: "frame",
        "aria-label": `Image at ${Math.round(100 * share)}% of the way`,
      });
      frame.append(paint(element("canvas", { className: "pixels" }), values));
      return frame;
    });
    byId("frames").replaceChildren(...pictures);
    byId("smoothness").textContent = fixed(smoothness(images));
  });

  const showCurrent = latestOnly(async () => {
    if (STATE.from && STATE.to) paint(byId("current-frame"), await app.space.decode(codeAt(STATE.t)));
  });

  function showEnds() {
    const complete = Boolean(STATE.from && STATE.to);
    byId("interpolation").hidden = !complete;
    byId("interpolation-help").hidden = complete;
    byId("interpolation-help").textContent = STATE.from
      ? "A is set. Click the map again to set B."
      : "Click two points of the map, or choose two centroids.";
    for (const kind of ["linear", "spherical"]) byId(kind).checked = STATE.kind === kind;
    if (!complete) stop();
  }

  function show() {
    showEnds();
    showFrames();
    showCurrent();
    byId("scrub").value = STATE.t;
    byId("exported").replaceChildren();
  }

  function showShare() {
    byId("scrub").value = STATE.t;
    byId("share").textContent = `${Math.round(100 * STATE.t)}%`;
    showCurrent();
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = null;
    byId("play").textContent = "Play";
  }

  function play() {
    if (playing) return stop();
    byId("play").textContent = "Pause";
    const start = performance.now() - STATE.t * PLAY_MS;
    const next = (now) => {
      const phase = ((now - start) / PLAY_MS) % 2;
      update({ t: clamp(phase < 1 ? phase : 2 - phase, 0, 1) });
      playing = requestAnimationFrame(next);
    };
    playing = requestAnimationFrame(next);
  }

  /** Offer a file for download, and show it for frames in which downloads are not allowed. */
  function offer(blob, name) {
    const address = URL.createObjectURL(blob);
    const image = element("img", { src: address, alt: `Interpolation from A to B, ${name}` });
    byId("exported").replaceChildren(image);
    element("a", { href: address, download: name }).click();
  }

  async function exportStrip() {
    const images = await decodeAll(FRAMES);
    const scale = Math.max(1, Math.round(96 / SIZE));
    const strip = element("canvas", { width: FRAMES * SIZE * scale, height: SIZE * scale });
    const context = strip.getContext("2d");
    context.imageSmoothingEnabled = false;
    images.forEach((values, i) => {
      const frame = paint(element("canvas"), values);
      context.drawImage(frame, i * SIZE * scale, 0, SIZE * scale, SIZE * scale);
    });
    strip.toBlob((blob) => offer(blob, "interpolation.png"));
  }

  async function exportGif() {
    const images = await decodeAll(GIF_FRAMES);
    const scale = Math.max(1, Math.round(112 / SIZE));
    const both = [...images, ...images.slice(1, -1).reverse()]; // there and back
    offer(new Blob([encodeGif(both, scale)], { type: "image/gif" }), "interpolation.gif");
  }

  byId("scrub").oninput = (event) => {
    stop();
    const t = Number(event.target.value);
    update({ t, at: codeAt(t) });
  };
  byId("play").onclick = play;
  byId("linear").onchange = () => update({ kind: "linear" });
  byId("spherical").onchange = () => update({ kind: "spherical" });
  byId("clear-ends").onclick = () => update({ from: null, to: null });
  byId("swap-ends").onclick = () => update({ from: STATE.to, to: STATE.from, t: 1 - STATE.t });
  byId("export-png").onclick = exportStrip;
  byId("export-gif").onclick = exportGif;

  /** Fill the lists of classes whose centroids can be the ends. */
  function showClasses() {
    const withCentroid = CLASSES.map((name, label) => ({ name, label })).filter(
      ({ label }) => app.space.centroids[label],
    );
    for (const end of ["from", "to"]) {
      const list = byId(`${end}-class`);
      list.closest(".field").hidden = !withCentroid.length;
      list.replaceChildren(
        element("option", { value: "" }, "point of the map"),
        ...withCentroid.map(({ name, label }) => element("option", { value: label }, name)),
      );
      list.onchange = () => {
        if (list.value !== "") update({ [end]: app.space.centroids[list.value], t: 0.5 });
      };
    }
  }

  whenChanged(["tab"], () => {
    showClasses();
    show();
  });
  whenChanged(["from", "to"], (changes) => {
    for (const end of ["from", "to"]) {
      const list = byId(`${end}-class`);
      if (end in changes && changes[end] !== app.space.centroids[list.value]) list.value = "";
    }
    show();
  });
  whenChanged(["kind"], show);
  whenChanged(["t"], showShare);
  return {
    show() {
      showClasses();
      show();
      showShare();
    },
  };
}
