"use strict";
/*
 * Runs networks in a worker, so that the page stays responsive, or in the page itself where workers
 * are not allowed. weights.js and network.js are the source of both.
 */

const WORKER_MAIN = `
  const prepared = {};
  self.onmessage = ({ data: { id, name, network, values, shape } }) => {
    if (network) prepared[name] = prepareNetwork(network);
    self.postMessage({ id, values: runNetwork(prepared[name], values, shape) });
  };`;

/** Return a function (name, values, shape) -> Promise of the output of one of the networks. */
function createRuntime(networks, sources) {
  const prepared = {}; // networks that were used in the page itself
  const sent = new Set(); // names of the networks that the worker has
  const waiting = new Map(); // requests to the worker by number
  let requests = 0;
  let worker = startWorker();

  function startWorker() {
    try {
      const address = URL.createObjectURL(
        new Blob([...sources, WORKER_MAIN], { type: "text/javascript" }),
      );
      const started = new Worker(address);
      started.onmessage = ({ data }) => {
        waiting.get(data.id).resolve(data.values);
        waiting.delete(data.id);
      };
      started.onerror = (event) => {
        event.preventDefault();
        worker = null;
        for (const { resolve, request } of waiting.values()) resolve(runHere(...request));
        waiting.clear();
      };
      return started;
    } catch {
      return null;
    }
  }

  function runHere(name, values, shape) {
    prepared[name] ??= prepareNetwork(networks[name]);
    return runNetwork(prepared[name], values, shape);
  }

  function run(name, values, shape) {
    if (!worker) return Promise.resolve(runHere(name, values, shape));
    return new Promise((resolve) => {
      const id = requests++;
      waiting.set(id, { resolve, request: [name, values, shape] });
      const network = sent.has(name) ? undefined : networks[name];
      sent.add(name);
      worker.postMessage({ id, name, network, values, shape });
    });
  }

  return { run, usesWorker: () => worker !== null };
}

/** Return a function that runs `task` with the latest arguments only while another one is busy. */
function latestOnly(task) {
  let busy = false;
  let next = null;
  return async function request(...args) {
    if (busy) {
      next = args;
      return;
    }
    busy = true;
    try {
      await task(...args);
    } finally {
      busy = false;
    }
    if (next) {
      const following = next;
      next = null;
      await request(...following);
    }
  };
}
