"use strict";
/* Lists of the worst reconstructions and the most confident errors, which jump to the map. */

const LISTED = 12;

function createListsPanel(app) {
  const entry = (index, note) =>
    imageButton(index, note, () => {
      app.selectImage(index);
      app.map.jumpTo(app.space.code(index));
    });

  function showReconstructions() {
    const { errors } = app.space;
    const order = Array.from(errors, (error, index) => ({ error, index }));
    order.sort((a, b) => b.error - a.error);
    byId("worst").replaceChildren(
      ...order.slice(0, LISTED).map(({ error, index }) => entry(index, formatError(error))),
    );
  }

  function showErrors() {
    const { predicted, probabilities } = DATA.classifier;
    const wrong = predicted
      .map((label, index) => ({ label, index }))
      .filter(({ label, index }) => label !== LABELS[index])
      .sort((a, b) => probabilities[b.index] - probabilities[a.index]);
    byId("errors-summary").textContent =
      `${wrong.length} of ${predicted.length} images are misclassified. ` +
      "These are the most confident errors, with the predicted class.";
    const items = wrong.slice(0, LISTED).map(({ label, index }) => {
      const percent = `${Math.round(100 * probabilities[index])}%`;
      return entry(index, `→ ${CLASSES[label]} ${percent}`);
    });
    byId("misclassified").replaceChildren(...items);
  }

  byId("errors").hidden = !DATA.classifier;
  whenChanged(["tab"], showReconstructions);
  return {
    show() {
      showReconstructions();
      if (DATA.classifier) showErrors();
    },
  };
}
