// The engine of `mt3x web`: the model runs in the browser, in a worker.
import { WRITERS } from "./note_files.js";
import { defaults } from "./transcriber.js";

const LIMITS = { maxMinutes: 60, maxMb: 200 };

export async function createEngine() {
  const response = await fetch(new URL("../model/config.json", import.meta.url));
  if (!response.ok) throw new Error("this site lacks its model: write it anew");
  const config = await response.json();
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const replies = new Map(); // by the number of a call
  const listeners = new Map(); // by the number of a job
  let numCalls = 0;

  worker.onmessage = ({ data }) => {
    if ("job" in data) {
      listeners.get(data.job)?.(data.event);
      return;
    }
    const { resolve, reject } = replies.get(data.id);
    replies.delete(data.id);
    if ("error" in data) reject(new Error(data.error));
    else resolve(data.result);
  };
  // It cannot be loaded, or is out of memory: nothing that waits will be answered.
  worker.onerror = ({ message }) => {
    const text = `the browser cannot run the model (${message ?? "worker"})`;
    for (const { reject } of replies.values()) reject(new Error(text));
    for (const tell of listeners.values()) tell({ type: "error", message: text });
  };

  function call(method, args = [], transfer = []) {
    numCalls += 1;
    const id = numCalls;
    const reply = new Promise((resolve, reject) => replies.set(id, { resolve, reject }));
    worker.postMessage({ id, method, args }, transfer);
    return reply;
  }

  // The page need not wait for the model.
  const started = call("start", [config]);
  started.catch(() => {}); // whoever transcribes is told
  const known = Object.freeze({
    limits: LIMITS,
    formats: Object.keys(WRITERS),
    models: ["piano"],
    defaults: defaults(config),
  });

  async function transcribe({ samples, name }, onEvent) {
    if (!samples) throw new Error(`${name} is not a sound that this browser can read`);
    await started;
    numCalls += 1;
    const id = numCalls;
    listeners.set(id, onEvent);
    // The page keeps its own samples.
    const copy = samples.slice();
    await call("transcribe", [id, copy, name], [copy.buffer]);
    return {
      decode: (choice) => call("decode", [id, choice]),
      async result(format, notes) {
        const { type, write } = WRITERS[format];
        return new Blob([write(notes, config.program_names)], { type });
      },
      close() {
        listeners.delete(id);
        return call("close", [id]);
      },
    };
  }

  return { info: () => known, transcribe };
}
