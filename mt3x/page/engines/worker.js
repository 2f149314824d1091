// The browser engine's worker: owns the model and transcribes one recording at a time.
//
// In: {id, method, args}. Out: {id, result} or {id, error} for each, and {job, event}.
import * as ort from "../vendor/ort.js";
import { NUM_PITCHES, RollDecoder } from "./roll_decoder.js";
import { defaults, ROLLS, Transcriber } from "./transcriber.js";

// More help little, and pages are not alone on a machine.
const MOST_THREADS = 4;

const jobs = new Map(); // by id: {samples, name, rolls, isClosed}
let transcriber = null;
let line = Promise.resolve(); // the jobs so far
let numWaiting = 0;

const METHODS = { start, transcribe, decode, close };

self.onmessage = async ({ data: { id, method, args } }) => {
  try {
    self.postMessage({ id, result: await METHODS[method](...args) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};

// Loads the model. config: that of the site's model.
async function start(config) {
  const files = ["model/noise.bin", "model/model.onnx"];
  const [noise, model] = await Promise.all(files.map(fetched));
  ort.env.wasm.wasmPaths = { wasm: address("vendor/ort.wasm").href };
  ort.env.wasm.numThreads = self.crossOriginIsolated
    ? Math.min(navigator.hardwareConcurrency, MOST_THREADS)
    : 1;
  const session = await ort.InferenceSession.create(new Uint8Array(model), {
    executionProviders: ["wasm"],
  });
  const numBins = config.features.num_bins;
  transcriber = new Transcriber(
    config,
    new Int8Array(noise),
    async (features, numFrames) => {
      const feats = new ort.Tensor("float32", features, [1, numFrames, numBins]);
      const found = await session.run({ feats }, ROLLS);
      return Object.fromEntries(ROLLS.map((name) => [name, found[name].data]));
    },
  );
}

// Puts a recording in the queue; events tell what becomes of it.
function transcribe(id, samples, name) {
  const job = { samples, name, rolls: [], isClosed: false };
  jobs.set(id, job);
  const tell = (event) => {
    if (!job.isClosed) self.postMessage({ job: id, event });
  };
  tell({ type: "queued", place: numWaiting });
  numWaiting += 1;
  line = line.then(() => run(job, tell)).finally(() => (numWaiting -= 1));
}

async function run(job, tell) {
  if (job.isClosed) return;
  try {
    const duration = job.samples.length / transcriber.sampleRateHz;
    if (duration === 0) throw new Error(`${job.name} holds no sound`);
    tell({ type: "progress", seconds: 0, duration });
    const { decoding } = transcriber.config;
    const preview = new RollDecoder(decoding, transcriber.frameRateHz);
    const warnings = [];
    let numFrames = 0;
    const parts = transcriber.rolls(job.samples, (text) =>
      warnings.push(`${job.name}: ${text}`),
    );
    for await (const rolls of parts) {
      job.rolls.push(rolls);
      const notes = preview.push(rolls);
      if (notes.length) tell({ type: "notes", notes, final: false });
      numFrames += rolls.onset.length / NUM_PITCHES;
      const seconds = Math.min(numFrames / transcriber.frameRateHz, duration);
      tell({ type: "progress", seconds, duration });
      await nextTask();
      if (job.isClosed) return;
    }
    job.samples = null;
    const { config } = transcriber;
    const choice = defaults(config);
    const found = transcriber.decode(job.rolls, choice);
    tell({ type: "done", ...found, model: config.kind, choice, warnings });
  } catch (error) {
    tell({ type: "error", message: error.message });
  }
}

function decode(id, choice) {
  if (!jobs.has(id)) throw new Error("the recording is forgotten: transcribe it again");
  return transcriber.decode(jobs.get(id).rolls, choice);
}

function close(id) {
  const job = jobs.get(id);
  if (job) job.isClosed = true;
  jobs.delete(id);
}

// Messages that have come meanwhile are read first.
function nextTask() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

const address = (name) => new URL(`../${name}`, import.meta.url);

async function fetched(name) {
  const response = await fetch(address(name));
  if (!response.ok) throw new Error(`${name} is missing on this site`);
  return response.arrayBuffer();
}
