"use strict";
// Polls status.json beside this page. Text goes in as text, never as markup: names come from users.

const size = (bytes) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at += 1; }
  return `${bytes.toFixed(at && bytes < 100 ? 1 : 0)} ${units[at]}`;
};

const cell = (row, content, name) => {
  const made = row.insertCell();
  if (content instanceof Node) made.append(content); else made.textContent = content;
  if (name) made.className = name;
};

const bar = (done, all) => {
  const made = document.createElement("progress");
  made.max = Math.max(all, 1);
  made.value = done;
  return made;
};

const show = (status) => {
  const { tasks, placed, bytes, workers, layers } = status;
  const slots = Object.values(workers).reduce((sum, worker) => sum + worker.slots, 0);
  document.getElementById("name").textContent = status.name;
  document.title = `${status.name}: ${tasks.done} of ${tasks.total}`;
  document.getElementById("line").textContent =
    `${tasks.done} tasks done, ${tasks.running} running, ${tasks.waiting} waiting, ${tasks.failed} failed; ` +
    `${Object.keys(workers).length} workers with ${slots} slots, ${status.clients} clients; ` +
    `read ${size(bytes.node)} on the node, ${size(bytes.rack)} in the rack, ${size(bytes.remote)} from afar ` +
    `(${placed.node} / ${placed.rack} / ${placed.remote} tasks)`;
  const layerRows = document.createElement("tbody");
  for (const layer of layers.slice().reverse()) {
    const row = layerRows.insertRow();
    cell(row, layer.name);
    cell(row, bar(layer.done, layer.n));
    cell(row, `${layer.done} of ${layer.n}`);
    cell(row, layer.running);
    cell(row, layer.waiting);
    cell(row, layer.failed, layer.failed ? "failed" : "");
    cell(row, `${layer.tasks_node} / ${layer.tasks_rack} / ${layer.tasks_remote}`);
  }
  document.querySelector("#layers tbody").replaceWith(layerRows);
  const workerRows = document.createElement("tbody");
  for (const [name, worker] of Object.entries(workers)) {
    const row = workerRows.insertRow();
    cell(row, name);
    cell(row, worker.host);
    cell(row, worker.slots);
    cell(row, worker.memory ? `${size(worker.rss)} of ${size(worker.memory)}` : size(worker.rss));
    cell(row, size(worker.managed));
    cell(row, worker.container);
  }
  document.querySelector("#workers tbody").replaceWith(workerRows);
};

const poll = async () => {
  try {
    const answer = await fetch("status.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    document.getElementById("line").textContent = `no answer: ${error.message}`;
  }
  setTimeout(poll, document.hidden ? 5000 : 1000);
};

poll();
